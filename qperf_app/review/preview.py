"""What follows from edits at once: the AHA segments, and the blood's signal over time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.images import read_image
from qperf_app.bids.segment_tables import read_segments
from qperf_app.geometry import Level
from qperf_app.geometry.segments import label_segments
from qperf_app.methods.input_voxels import choose_input_voxels
from qperf_app.plugins.steps import INPUT_FUNCTION, SEGMENT_VALUES, SEGMENTS
from qperf_app.report.curves import units_in_words
from qperf_app.review.edits import Edits, landmarks_of, mask_of, plane_name
from qperf_app.review.planes import Plane
from qperf_app.workflow.status import ScanRecord


def preview(edits: Edits, planes: Mapping[str, Plane], levels: tuple[Level | None, ...] | None) -> dict[str, Any]:
    """Segments, slice by slice as runs of pixels by number, and the mean signal over the input function's voxels.

    Parameters
    ----------
    edits : Edits
    planes : mapping
    levels : tuple or None
        As published of a short stack (:func:`published_levels`).
    """
    found: dict[str, Any] = {"segments": [], "notes": [], "blood": None}
    if "tissue" in planes and "myocardium" in edits.regions:
        found |= _segments(edits, planes["tissue"], levels)
    name = plane_name("lv", planes)
    if name:
        found["blood"] = _blood(edits, planes[name])
    return found


def _segments(edits: Edits, plane: Plane, levels: tuple[Level | None, ...] | None) -> dict[str, Any]:
    mask = mask_of(edits, "myocardium", plane)
    segmentation = label_segments(mask, plane.series.affine, landmarks_of(edits, plane), levels)
    stack = plane.to_screen(segmentation.labels)
    return {
        "segments": [labels.tobytes().hex() if labels.any() else "" for labels in stack],
        "notes": list(segmentation.warnings),
    }


def _blood(edits: Edits, plane: Plane) -> dict[str, Any] | None:
    """Mean signal of the dynamic frames; the app's own choice of voxels where the pool was drawn and they were not."""
    pool, voxels = mask_of(edits, "lv", plane), mask_of(edits, "aif-voxels", plane)
    series = plane.series.dynamic()
    if "aif-voxels" not in edits.touched and ("lv" in edits.touched or not voxels.any()) and pool.any():
        voxels = choose_input_voxels(series.data, pool)
    if not voxels.any():
        return None
    signal = series.data[voxels].mean(axis=0, dtype=np.float64)
    return {"times": series.times.tolist(), "signal": _rounded(signal), "voxels": int(voxels.sum())}


def published_input(scan: ScanRecord, out_dir: Path) -> dict[str, Any] | None:
    """The input function as published; None where there is none."""
    record = scan.find(INPUT_FUNCTION.name)
    path = record.paths.get("aif") if record else None
    if path is None or not (out_dir / path).is_file():
        return None
    aif = records.read_aif(out_dir / path)
    signal = None if aif.signal is None else _rounded(aif.signal)
    return {
        "times": aif.times.tolist(),
        "concentration": _rounded(aif.concentration),
        "signal": signal,
        "units": aif.units,
    }


def published_flow(scan: ScanRecord, out_dir: Path) -> dict[str, Any] | None:
    """Flow of each segment over the whole wall, by the method that leads; None where there is none.

    ``out_dir`` may be the dataset of corrections: it keeps what flow was before the first of them.
    """
    for record in scan.of_step(SEGMENT_VALUES.name):
        path = record.paths.get("transmural")
        if path is None or not (out_dir / path).is_file():
            continue
        table = read_segments(record.key.plugin, "", {"transmural": out_dir / path})
        values = {row.segment: row.values.get("MBF", np.nan) for row in table.rows}
        rounded = dict(zip(values, _rounded(np.array([*values.values()], np.float64)), strict=True))
        units = units_in_words(table.units.get("MBF", ""))
        return {"method": record.key.plugin, "units": units, "values": rounded}
    return None


def published_levels(scan: ScanRecord, out_dir: Path) -> tuple[Level | None, ...] | None:
    """Level of each slice of a stack of up to three, as its segments tell: another scan may have decided it."""
    record = scan.find(SEGMENTS.name)
    path = record.paths.get("dseg") if record else None
    if path is None or not (out_dir / path).is_file():
        return None
    labels, _ = read_image(out_dir / path, np.uint8)
    levels = tuple(_level(labels[:, :, z]) for z in range(labels.shape[2]))
    return levels if len(levels) <= 3 and all(levels) else None


def _level(labels: NDArray[np.uint8]) -> Level | None:
    highest = int(labels.max(initial=0))
    bounds: tuple[tuple[int, Level], ...] = ((17, "apex"), (13, "apical"), (7, "mid"), (1, "basal"))
    return next((level for first, level in bounds if highest >= first), None)


def _rounded(values: NDArray[np.floating]) -> list[float | None]:
    return [None if not np.isfinite(v) else float(f"{v:.6g}") for v in values]
