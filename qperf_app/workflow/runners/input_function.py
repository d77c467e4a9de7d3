"""Step ``input-function``: the mean signal of the blood as concentration, with its features; or the curve handed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.plugins import InputFunction, Series
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, call_plugin, corrected_series, frames_left_out, sources
from qperf_app.workflow.tasks import Task

#: Time after the peak of the input function, s, without which the muscle has shown nothing of its flow.
AFTER_PEAK = 5.0
#: Samples without which there is no curve.
LEAST_SAMPLES = 3


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the curve."""
    if "aif" in task.given:
        return _written(task, records.read_aif(task.given["aif"]), "handed-in", task.sources, out)
    series = corrected_series(upstream)
    voxels = records.read_pools(upstream["pools"].files).aif
    left_out = np.any(frames_left_out(task, upstream, series)[voxels.any(axis=(0, 1))], axis=0)
    aif, warnings, how = _measure(task, series, voxels, left_out)
    late = cut_short(aif)
    if late:
        return StepResult("not-found", reason=late, warnings=warnings)
    return _written(task, aif, "done", sources(task, upstream), out, warnings, how)


def cut_short(aif: InputFunction) -> str:
    """Say so where the series ends with the bolus; what a fit made of the first rise would be noise."""
    concentration = np.where(np.isfinite(aif.concentration), aif.concentration, -np.inf)
    left = float(aif.times[-1] - aif.times[int(concentration.argmax())])
    if left >= AFTER_PEAK:
        return ""
    return f"the blood is brightest {left:.1f} s before the series ends: the bolus came too late for its first pass"


def _written(
    task: Task,
    aif: InputFunction,
    state: str,
    sources: tuple[str, ...],
    out: Path,
    warnings: tuple[str, ...] = (),
    how: str = "",
) -> StepResult:
    path, features = records.write_aif(out, task.prefix, aif, task.haematocrit, sources)
    if np.isnan(features["peak"]):
        warnings += ("The input function has no first pass that can be told from its baseline.",)
    summary = f"peak {features['peak_value']:.3g} {aif.units} at {features['peak']:.1f} s{how and f'; {how}'}"
    return StepResult("handed-in" if state == "handed-in" else "done", {"aif": path}, warnings, summary)


def _measure(
    task: Task, series: Series, voxels: NDArray[np.bool_], left_out: NDArray[np.bool_]
) -> tuple[InputFunction, tuple[str, ...], str]:
    """Mean signal of the voxels as concentration; NaN in the frames (t,) left out and where the signal saturates.

    With warnings, and what the plugin says of the conversion.
    """
    signal = series.data[voxels].mean(axis=0, dtype=np.float64)
    curve = Series(signal[None, None, None, :], series.times, series.affine, series.metadata)
    converted = call_plugin(task, curve, "blood")
    dynamic = curve.dynamic()
    invalid = int(converted.invalid.sum())
    concentration = np.where(left_out, np.nan, np.asarray(converted.data[0, 0, 0], dtype=np.float64))
    if np.isfinite(concentration).sum() < LEAST_SAMPLES:
        raise ValueError("the signal of the input function is outside the signal equation on all but a few frames")
    warnings: tuple[str, ...] = (
        (f"Input function: {invalid} of {len(dynamic.times)} frames saturate and are left out.",) if invalid else ()
    )
    if left_out.any():
        warnings += (f"Input function: {int(left_out.sum())} frames that could not be corrected are left out.",)
    aif = InputFunction(
        times=dynamic.times,
        concentration=concentration,
        signal=np.asarray(dynamic.data[0, 0, 0], dtype=np.float64),
        units=converted.units,
    )
    return aif, warnings, converted.summary
