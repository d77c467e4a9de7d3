"""Step ``input-function``: the mean signal of the blood as concentration, with its features; or the curve handed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.names import AIF_LABEL, parse_entities
from qperf_app.checks.curves import AFTER_PEAK
from qperf_app.methods.saturated_input import BloodSignal, Witness, estimate_input
from qperf_app.plugins import CONCENTRATION_UNITS, RELATIVE_UNITS, InputFunction, Series
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import (
    Upstream,
    call_plugin,
    corrected_series,
    frames_left_out,
    plugin_of,
    sources,
)
from qperf_app.workflow.tasks import Task, derive_seed, fingerprint

#: Samples without which there is no curve.
LEAST_SAMPLES = 3
#: Upper over lower bound of the peak's 90 % interval beyond which flow is relative: a factor of two each way.
WIDEST = 4.0


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the curve."""
    if "aif" in task.given:
        return _written(task, records.read_aif(task.given["aif"]), "handed-in", task.sources, out)
    series = corrected_series(upstream)
    voxels = records.read_pools(upstream["pools"].files).aif
    left_out = np.any(frames_left_out(task, upstream, series)[voxels.any(axis=(0, 1))], axis=0)
    found = estimate(task, series, voxels, left_out)
    aif, warnings, how = _measure(task, series, voxels, left_out) if found is None else (found[0], (), found[1])
    late = cut_short(aif)
    if late:
        return StepResult("not-found", reason=late, warnings=warnings)
    return _written(task, aif, "done", sources(task, upstream), out, warnings, how)


def estimate(
    task: Task,
    series: Series,
    voxels: NDArray[np.bool_],
    left_out: NDArray[np.bool_],
    witness: Witness | None = None,
) -> tuple[InputFunction, str] | None:
    """Posterior of the curve where it comes from the tissue series and the plugin knows its signal's equation.

    With a phrase on how well its height is known. It is relative where that is too little for a flow.
    """
    if task.subject != task.prefix or parse_entities(task.prefix).get("acq") == AIF_LABEL:
        return None
    curve = _mean_signal(series, voxels)
    equation = getattr(plugin_of(task), "signal_equation", lambda _: None)(curve)
    if equation is None:
        return None
    blood = BloodSignal.of(curve, equation, left_out)
    if not blood.usable:
        return None
    rng = np.random.default_rng(derive_seed(task.seed, fingerprint(blood.signal)))
    found = estimate_input(blood, rng, witness)
    low, _, high = found.peak
    how, units = f"90 % interval of its peak {low:.3g} to {high:.3g} mmol/L", CONCENTRATION_UNITS
    if high > WIDEST * low:
        how, units = f"{how}, too wide for a flow: flow is relative", RELATIVE_UNITS
    signal = np.asarray(curve.dynamic().data[0, 0, 0], dtype=np.float64)
    return InputFunction(blood.times, found.concentration, signal, units, log_peak_sd=found.log_peak_sd), how


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
    curve = _mean_signal(series, voxels)
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


def _mean_signal(series: Series, voxels: NDArray[np.bool_]) -> Series:
    """Mean over voxels, as a series of one."""
    signal = series.data[voxels].mean(axis=0, dtype=np.float64)
    return Series(signal[None, None, None, :], series.times, series.affine, series.metadata)
