"""The spleen that a reader has marked, and its enhancement, as files of the contract."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.images import read_json, sidecar_path, write_image
from qperf_app.bids.names import derivative_name
from qperf_app.bids.sidecars import describe, describe_image
from qperf_app.bids.tables import write_table
from qperf_app.physics.spleen import Enhancement
from qperf_app.plugins.keys import Role

MASK, CURVE = "spleen", "spleen-curve"


def write_spleen(
    out: Path, prefix: str, mask: NDArray[np.bool_], affine: NDArray[np.float64], sources: Sequence[str]
) -> Path:
    """Write the mask."""
    path = out / derivative_name(prefix, MASK)
    write_image(path, mask, affine, describe_image("Spleen", "1", sources, Type="ROI"))
    return path


def write_spleen_curve(
    out: Path,
    prefix: str,
    times: NDArray[np.float64],
    spleen: NDArray[np.float64],
    blood: NDArray[np.float64],
    found: Enhancement,
    units: str,
    sources: Sequence[str],
) -> Path:
    """Write signal (t,) of the spleen and of the left ventricle's blood, with the enhancement in the sidecar."""
    path = out / derivative_name(prefix, CURVE)
    features = {
        "peak": found.peak,
        "peak_value": found.peak_value,
        "blood_peak_value": found.blood_peak_value,
        "share": found.share,
    }
    sidecar = describe("First pass through the spleen", units, sources)
    columns = {
        "time": {"Description": "Time on the clock of the series", "Units": "s"},
        "spleen": {"Description": "Median signal over the spleen's voxels", "Units": units},
        "blood": {
            "Description": "Median signal over the brightest blood within the left ventricle's wall",
            "Units": units,
        },
    }
    rounded = {name: round(value, 6) for name, value in features.items()}
    write_table(path, tuple(columns), zip(times, spleen, blood, strict=True), {**sidecar, **rounded, **columns})
    return path


def read_spleen_share(files: Mapping[Role, Path]) -> float | None:
    """The spleen's enhancement over the blood's; NaN where it was marked and none was found, None where it was not."""
    if CURVE not in files:
        return math.nan if MASK in files else None
    return float(read_json(sidecar_path(files[CURVE]))["share"])
