"""Write a scan and its truth under the contract's names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids.images import write_image
from qperf_app.bids.names import AIF_LABEL, derivative_name, folder, map_name, prefix
from qperf_app.bids.sidecars import describe, describe_image, own_uri
from qperf_app.bids.tables import write_input_function, write_landmarks
from qperf_app.phantom.perfusion import DENSITY, UNITS
from qperf_app.phantom.render import LABELS
from qperf_app.phantom.scan import Scan
from qperf_app.phantom.series import SeriesTruth
from qperf_app.physics.input_function import NoBolusError, find_features
from qperf_app.plugins import InputFunction, MapKey, Series

#: ``acq`` of the series of a scan that are not the tissue series.
_ACQUISITIONS = {"aif": AIF_LABEL, "prebolus": "prebolus"}
#: Label of the truth's maps in ``desc-``.
TRUTH = "truth"
# The stored displacement is rounded to this, mm: far below what matters, and it halves the file.
_DISPLACEMENT_STEP = 1.0 / 64.0


@dataclass(frozen=True)
class _Place:
    """Where the files of one series go."""

    raw: Path
    truth: Path
    prefix: str
    entities: dict[str, str]
    echoes: int = 1

    def series_name(self, echo: int) -> str:
        """File of an echo of the raw series; what is made of all of them has no ``echo``."""
        return f"{self.prefix}_echo-{echo}_dce.nii.gz" if self.echoes > 1 else f"{self.prefix}_dce.nii.gz"

    @property
    def source(self) -> str:
        """BIDS URI of the raw series, its first echo where there are several."""
        return f"bids:raw:{folder(self.entities)}/{self.series_name(1)}"

    def role(self, role: str) -> Path:
        """Path of the derivative of a role."""
        return self.truth / derivative_name(self.prefix, role)


def write_scan(raw_root: Path, truth_root: Path, label: str, scan: Scan, run: str = "") -> None:
    """Write a scan of participant ``label``: the series below ``raw_root``, what is known below ``truth_root``.

    ``run`` is the scan's entity of that name where it is one of several.
    """
    places = {}
    for name, series in scan.series.items():
        acquisition = {} if name == "tissue" else {"acq": _ACQUISITIONS[name]}
        entities = {"sub": label, "task": scan.config.task} | acquisition | ({"run": run} if run else {})
        place = _Place(raw_root / folder(entities), truth_root / folder(entities), prefix(entities), entities)
        place.raw.mkdir(parents=True, exist_ok=True)
        place.truth.mkdir(parents=True, exist_ok=True)
        echoes = [series] if name != "aif" or scan.second_echo is None else [series, scan.second_echo]
        place = replace(place, echoes=len(echoes))
        for number, echo in enumerate(echoes, start=1):
            _write_series(place.raw / place.series_name(number), echo)
        _write_geometry(place, series, scan.truth[name])
        places[name] = place
    _write_tissue(places["tissue"], scan)
    # The pools belong to the series in which the input function is measured, its curve to the tissue series' clock.
    *_, measured = places.values()
    source = own_uri(derivative_name(measured.prefix, "lv"))
    _write_input_function(places["tissue"], scan, scan.aif, source)
    if scan.prebolus is not None:
        _write_input_function(measured, scan, scan.prebolus, source)


def _write_series(path: Path, series: Series) -> None:
    stored = np.clip(np.rint(series.data), 0, np.iinfo(np.int16).max).astype(np.int16)
    write_image(path, stored, series.affine, series.metadata)


def _write_geometry(place: _Place, series: Series, truth: SeriesTruth) -> None:
    """Masks in the reference frame and frame by frame, and the displacement between the two."""
    rounded = np.rint(truth.displacement / _DISPLACEMENT_STEP) * np.float32(_DISPLACEMENT_STEP)
    normal = series.affine[:3, 2] / np.linalg.norm(series.affine[:3, 2])
    through = truth.motion.breath * float(truth.motion.direction @ normal)
    sidecar = describe_image(
        "True displacement of the heart within each slice, from the reference frame of the masks; "
        "diaphragm: its shift towards the feet, through_plane: that of a structure that follows it fully, both mm",
        "mm",
        [place.source],
        diaphragm=_rounded(truth.motion.breath),
        through_plane=_rounded(through),
    )
    # Adding 0 turns -0 into 0, which compresses better.
    write_image(place.role("xfm"), rounded + np.float32(0.0), series.affine, sidecar)
    roi = {"Type": "ROI", "Manual": False, "SpatialReference": place.source}
    for name in LABELS:
        if name == "myocardium" and "acq" in place.entities:
            continue
        still = describe(f"True {name}, reference frame", "1", [place.source], **roi)
        write_image(place.truth / f"{place.prefix}_label-{name}_mask.nii.gz", truth.masks[name], series.affine, still)
        moving = describe(f"True {name} in every volume", "1", [place.source], **roi)
        path = place.truth / f"{place.prefix}_label-{name}_desc-frames_mask.nii.gz"
        write_image(path, truth.frame_masks[name], series.affine, moving)


def _write_tissue(place: _Place, scan: Scan) -> None:
    """Landmarks, concentration and parameter maps of the tissue series."""
    series, truth = scan.series["tissue"], scan.truth["tissue"]
    n = series.n_proton_density
    write_landmarks(
        place.role("landmarks"),
        truth.landmarks,
        describe("True right-ventricular insertion points, reference frame", "mm", [place.source]),
    )
    concentration = describe_image(
        "True concentration in the reference frame, mean over each voxel; proton-density volumes left out",
        "mmol/L",
        [place.source],
        VolumeTiming=series.metadata["VolumeTiming"][n:],
        **{key: series.metadata[key] for key in ("SliceTiming",) if key in series.metadata},
        Haematocrit=scan.participant.haematocrit,
    )
    write_image(place.role("conc"), truth.concentration, series.affine, concentration)
    for quantity, values in truth.parameters.items():
        fields: dict[str, Any] = {"Haematocrit": scan.participant.haematocrit}
        if quantity == "MBF":
            fields["TissueDensity"] = DENSITY
        sidecar = describe_image(f"True {quantity} of the simulated tissue", UNITS[quantity], [place.source], **fields)
        path = place.truth / map_name(place.prefix, MapKey(scan.model, quantity), TRUTH)
        write_image(path, values, series.affine, sidecar)


def _write_input_function(place: _Place, scan: Scan, aif: InputFunction, source: str) -> None:
    names = ("foot", "peak", "valley", "duration", "area")
    try:
        found = find_features(aif.times, aif.concentration)
        values: tuple[float, ...] = (found.foot, found.peak, found.valley, found.first_pass_duration, found.area)
    except NoBolusError:
        values = (np.nan,) * len(names)
    features = {n: round(float(v), 4) if np.isfinite(v) else None for n, v in zip(names, values, strict=True)}
    sidecar = describe(
        f"True arterial input function, whole blood; {scan.bolus.kind} bolus",
        aif.units,
        [source],
        Haematocrit=scan.participant.haematocrit,
        **features,
    )
    write_input_function(place.role("aif"), aif, sidecar)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 3) for v in values]
