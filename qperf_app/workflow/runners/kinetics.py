"""Step ``kinetics``: curves of the myocardium in, maps out; or the maps handed in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.images import read_image, read_json, sidecar_path, write_image
from qperf_app.methods.wider_intervals import but_for_a_factor, widened, widened_by
from qperf_app.plugins import RELATIVE_UNITS, InputFunction, KineticMaps, QualityCode, Series, TissueCurves
from qperf_app.plugins.keys import Role
from qperf_app.plugins.results import INTERVAL
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import MOST_BLOOD, Upstream, call_plugin, constants_of, uris
from qperf_app.workflow.slice_clocks import fit_by_clock
from qperf_app.workflow.tasks import Task, derive_seed, fingerprint


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write a map of every quantity and the quality map."""
    if task.handed_in:
        return StepResult("handed-in", _copy_maps(task, out))
    series, aif = read_curves(upstream)
    mask = records.read_mask(upstream["myocardium"].files["myocardium"])
    voxels = np.argwhere(mask)
    curves = TissueCurves(
        series.data[mask].astype(np.float64), series.times, voxels, series.affine, series.units, of_image=True
    )
    offsets = series.slice_times[voxels[:, 2]]
    result = _unsure_of_blood(task, curves, aif, offsets, upstream, mask, fit(task, curves, aif, offsets))
    result = _marked(result, upstream, mask)
    read = uris(path for outcome in upstream.values() for path in outcome.files.values())
    files = records.write_maps(
        out, task.prefix, task.plugin, result, voxels, mask.shape, series.affine, constants_of(task), read
    )
    return StepResult("done", files, summary=_summary(result, len(voxels)))


def _unsure_of_blood(
    task: Task,
    curves: TissueCurves,
    aif: InputFunction,
    offsets: NDArray[np.float64],
    upstream: Upstream,
    mask: NDArray[np.bool_],
    result: KineticMaps,
) -> KineticMaps:
    """Intervals hold that the share of blood in a voxel is known to a standard deviation: the fit with so much more."""
    path = upstream["muscle"].files.get("muscle-shift")
    if path is None or not any(m.statistic in INTERVAL for m in result.maps):
        return result
    shift = np.nan_to_num(read_image(path)[0][mask].astype(np.float64))
    other = fit(task, dataclasses.replace(curves, concentration=curves.concentration + shift), aif, offsets)
    return widened_by(result, other, np.random.default_rng(derive_seed(task.seed, fingerprint(shift))))


def _marked(result: KineticMaps, upstream: Upstream, mask: NDArray[np.bool_]) -> KineticMaps:
    """Say of voxels without a curve because they are mostly blood that they are."""
    muscle = records.read_muscle_fraction(upstream["muscle"].files)
    if muscle is None:
        return result
    qc = np.where(muscle[mask] < 1.0 - MOST_BLOOD, QualityCode.MOSTLY_BLOOD, result.qc).astype(np.uint8)
    return dataclasses.replace(result, qc=qc)


def read_curves(upstream: Upstream) -> tuple[Series, InputFunction]:
    """Concentration of the muscle and the input function, in one unit.

    Raises
    ------
    ValueError
        Where the units differ.
    """
    series = records.read_series(upstream["muscle"].files["muscle"])
    joint = upstream.get("joint")
    path = joint.files["joint"] if joint is not None and joint.usable else upstream["aif"].files["aif"]
    aif = records.read_aif(path)
    if aif.log_peak_sd and aif.units == RELATIVE_UNITS:
        # Of unknown height: so is what is divided by it.
        series = dataclasses.replace(series, metadata={**series.metadata, "Units": RELATIVE_UNITS})
    if aif.units != series.units:
        raise ValueError(
            f"the input function is in {aif.units!r}, the tissue in {series.units!r}: flow needs both in one unit"
        )
    return series, aif


def fit(task: Task, curves: TissueCurves, aif: InputFunction, offsets: NDArray[np.float64]) -> KineticMaps:
    """Fit curves by the task's kinetics plugin, each read ``offsets`` (n,) s after its volume's onset.

    The input's own uncertainty widens the intervals.
    """

    def called(part: TissueCurves) -> KineticMaps:
        found: KineticMaps = call_plugin(task, part, aif, constants_of(task))
        return found

    result = fit_by_clock(curves, offsets, called)
    if aif.units == RELATIVE_UNITS:
        result = but_for_a_factor(result)
    if not aif.log_peak_sd:
        return result
    return widened(
        result, aif.log_peak_sd, np.random.default_rng(derive_seed(task.seed, fingerprint(aif.concentration)))
    )


def _summary(result: KineticMaps, count: int) -> str:
    """How many voxels have flow, and how many everything: at rest the one is many and the other few."""
    full = int((result.qc == 0).sum())
    flow = result.values.get("MBF")
    known = "" if flow is None else f"MBF in {int(np.isfinite(flow).sum())}, "
    return f"{known}every parameter in {full} of {count} voxels"


def _copy_maps(task: Task, out: Path) -> dict[Role, Path]:
    files: dict[Role, Path] = {}
    for key, path in task.given.items():
        data, affine = read_image(path)
        files[key] = out / (path.name if path.name.endswith(".gz") else f"{path.name}.gz")
        sidecar = read_json(sidecar_path(path)) if sidecar_path(path).is_file() else {}
        write_image(files[key], data, affine, {**sidecar, "Sources": list(task.sources), "SkullStripped": False})
    return files
