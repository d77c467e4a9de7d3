"""Step ``input-function``: the mean signal of the blood as concentration, with its features; or the curve handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.names import is_input_series, parse_entities
from qperf_app.checks.curves import AFTER_PEAK
from qperf_app.checks.dual_bolus import dose_ratio
from qperf_app.checks.echoes import brighter_echo
from qperf_app.checks.input_function import PEAK, baseline_words, peak_doubt, saturation_doubt
from qperf_app.checks.native_t1 import native_t1_words
from qperf_app.checks.wording import counted
from qperf_app.methods.saturated_input import SCALE_SD, BloodSignal, Witness, estimate_input
from qperf_app.physics.baseline import baseline_frames
from qperf_app.physics.input_function import NoBolusError, find_features
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    RELATIVE_UNITS,
    SIGNAL_UNITS,
    BloodPools,
    ConcentrationSeries,
    InputFunction,
    Series,
    SignalEquation,
)
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import (
    Upstream,
    call_plugin,
    corrected_series,
    frames_left_out,
    plugin_of,
    sources,
    why_left_out,
)
from qperf_app.workflow.runners.dual_bolus import amplitude_doubt, main_curve, on_main_clock, summary_of
from qperf_app.workflow.runners.two_echoes import at_echo_time_zero, correction_size, second_echo_signal, without_decay
from qperf_app.workflow.slice_clocks import slice_offset
from qperf_app.workflow.tasks import Task, derive_seed, fingerprint

#: Samples without which there is no curve.
LEAST_SAMPLES = 3
#: Upper over lower bound of the peak's 90 % interval beyond which flow is relative: a factor of two each way.
WIDEST = 4.0


@dataclass(frozen=True)
class _Said:
    """What is to be said of an input function: warnings, doubts, phrases of the summary, fields of its sidecar."""

    warnings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __add__(self, other: _Said) -> _Said:
        return _Said(
            (*self.warnings, *other.warnings),
            (*self.doubts, *other.doubts),
            (*self.phrases, *other.phrases),
            {**self.fields, **other.fields},
        )


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the curve."""
    if "aif" in task.given:
        return _written(task, records.read_aif(task.given["aif"]), _Said(), "handed-in", task.sources, out)
    series = corrected_series(upstream)
    pools = records.read_pools(upstream["pools"].files)
    left_out = np.any(frames_left_out(task, upstream, series)[pools.aif.any(axis=(0, 1))], axis=0)
    found = estimate(task, series, pools.aif, left_out)
    aif, said = (
        _measure(task, upstream, series, pools.aif, left_out) if found is None else (found[0], _Said(phrases=found[1:]))
    )
    # A curve is no better than the blood that it was read in.
    said += _Said(doubts=upstream["pools"].step.doubts)
    late = cut_short(aif)
    if late:
        return StepResult("not-found", reason=late, warnings=said.warnings)
    if "main" in upstream:
        try:
            aif, of_both = _of_main_bolus(task, upstream, series, pools, aif)
        except NoBolusError as error:
            return StepResult("not-found", reason=f"dual bolus: {error}", warnings=said.warnings)
        said += of_both
    if aif.units == CONCENTRATION_UNITS:
        said += _of_height(task, aif, said.fields.get("DoseRatio", 1.0))
    echo = (task.second_echo.source,) if task.second_echo is not None else ()
    return _written(task, aif, said, "done", (*sources(task, upstream), *echo), out)


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
    if task.subject != task.prefix or is_input_series(parse_entities(task.prefix)):
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
    elif falls_again(equation, high):
        how, units = f"{how}, where T2* may let the signal fall again: flow is relative", RELATIVE_UNITS
    signal = np.asarray(curve.dynamic().data[0, 0, 0], dtype=np.float64)
    times = blood.times + slice_offset(series, voxels)
    return InputFunction(times, found.concentration, signal, units, log_peak_sd=found.log_peak_sd), how


def falls_again(equation: SignalEquation, peak: float) -> bool:
    """Whether a peak, mmol/L, can't be told from one beyond which the signal falls, since T2* gains on T1.

    The table ends where the signal is largest. It is known but for :data:`SCALE_SD`, and so is which side a signal near
    the largest lies on, unless no dose reaches the other one.
    """
    concentration = (equation.r1 - equation.native_r1) / equation.relaxivity
    near = float(np.interp(peak, concentration, equation.prepared)) > (1.0 - SCALE_SD) * float(equation.prepared.max())
    return near and float(concentration[-1]) < PEAK[1]


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
    said: _Said,
    state: Literal["handed-in", "done"],
    sources: tuple[str, ...],
    out: Path,
) -> StepResult:
    path, features = records.write_aif(out, task.prefix, aif, task.haematocrit, sources, more=said.fields)
    warnings = said.warnings
    if np.isnan(features["peak"]):
        warnings += ("The input function has no first pass that can be told from its baseline.",)
    peak = f"peak {features['peak_value']:.3g} {aif.units} at {features['peak']:.1f} s"
    return StepResult(state, {"aif": path}, warnings, "; ".join((peak, *said.phrases)), doubts=said.doubts)


def _measure(
    task: Task, upstream: Upstream, series: Series, voxels: NDArray[np.bool_], left_out: NDArray[np.bool_]
) -> tuple[InputFunction, _Said]:
    """Mean signal of the voxels as concentration; NaN in the frames (t,) left out and where the signal saturates."""
    curve = _mean_signal(series, voxels)
    converted, of_echoes = _converted(task, upstream, curve, voxels)
    dynamic = curve.dynamic()
    invalid = int(converted.invalid.sum())
    concentration = np.where(left_out, np.nan, np.asarray(converted.data[0, 0, 0], dtype=np.float64))
    if np.isfinite(concentration).sum() < LEAST_SAMPLES:
        raise ValueError("the signal of the input function is outside the signal equation on all but a few frames")
    warnings: tuple[str, ...] = (
        (f"Input function: {invalid} of {len(dynamic.times)} frames saturate and are left out.",) if invalid else ()
    )
    if left_out.any():
        warnings += (f"Input function: left out {counted(int(left_out.sum()), 'frame')} that {why_left_out(task)}.",)
    aif = InputFunction(
        times=dynamic.times + slice_offset(series, voxels),
        concentration=concentration,
        signal=np.asarray(dynamic.data[0, 0, 0], dtype=np.float64),
        units=converted.units,
    )
    said = _Said(warnings, phrases=(converted.summary,) if converted.summary else ())
    said += of_echoes + _judged(aif, converted, series.metadata)
    if converted.native_t1 is None and converted.units == CONCENTRATION_UNITS and series.units == SIGNAL_UNITS:
        before = series.dynamic().data[voxels][:, : baseline_frames(dynamic.data[0, 0, 0])]
        words, wrong = baseline_words(before)
        said += _Said(() if wrong or not words else (f"Input function: {words}.",), doubts=(words,) if wrong else ())
    return aif, said


def _judged(aif: InputFunction, converted: ConcentrationSeries, metadata: Mapping[str, Any]) -> _Said:
    """What the conversion of the blood's signal says of itself: saturation about the peak, T1 before contrast."""
    doubts = saturation_doubt(aif.concentration, converted.invalid[0, 0, 0])
    said = _Said(doubts=(doubts,) if doubts else ())
    if converted.native_t1 is None:
        return said
    t1 = float(converted.native_t1[0, 0, 0])
    words, wrong = native_t1_words(t1, metadata.get("MagneticFieldStrength"))
    known = _Said(phrases=(f"native T1 {t1:.2f} s",), fields={"NativeT1": round(t1, 4)}) if np.isfinite(t1) else _Said()
    return said + known + _Said(() if wrong or not words else (f"Input function: {words}.",), (words,) if wrong else ())


def _of_height(task: Task, aif: InputFunction, ratio: float) -> _Said:
    """Whether the curve's peak, or any in its 90 % interval where it has one, is that of its dose."""
    keep = np.isfinite(aif.concentration)
    features = find_features(aif.times[keep], aif.concentration[keep])
    reach = 1.645 * aif.log_peak_sd
    ends = [features.peak_value * float(np.exp(step)) for step in (-reach, reach)]
    doubts = [peak_doubt(end, task.metadata, ratio) for end in ends]
    return _Said(doubts=(doubts[0],) if all(doubts) else ())


def _converted(
    task: Task, upstream: Upstream, curve: Series, voxels: NDArray[np.bool_]
) -> tuple[ConcentrationSeries, _Said]:
    """Concentration of a curve, extrapolated to echo time 0 where there is a second echo, and the size of that."""
    echo = task.second_echo
    second = None if echo is None else second_echo_signal(echo, upstream["series"].files, voxels)
    if echo is None or second is None:
        lost = "Input function: its second echo is not used, since its displacement is not known (desc-moco_xfm)."
        return call_plugin(task, curve, "blood"), _Said((lost,) if echo is not None else ())
    still = at_echo_time_zero(curve, second, echo.echo_time)
    converted, without = (call_plugin(task, one, "blood") for one in (still, without_decay(curve)))
    size = correction_size(converted.data, without.data)
    phrase = f"T2* correction by two echoes: peak {size:+.1%}"
    doubt = brighter_echo(*(values[curve.n_proton_density :] for values in (curve.data[0, 0, 0], second)))
    return converted, _Said(
        doubts=(doubt,) if doubt else (), phrases=(phrase,), fields={"EchoCorrection": round(size, 4)}
    )


def _of_main_bolus(
    task: Task, upstream: Upstream, small: Series, pools: BloodPools, aif: InputFunction
) -> tuple[InputFunction, _Said]:
    """The input function of a small dose as that of the main bolus."""
    main = records.read_series(upstream["main"].files["preproc"])
    signal, voxels = main_curve(main, pools)
    times = main.dynamic().times + slice_offset(main, voxels)
    ratio = dose_ratio(main.metadata, small.metadata)
    scaled, fields, warnings = on_main_clock(aif, times, signal[-len(times) :], ratio)
    doubt = ""
    if scaled.units == CONCENTRATION_UNITS:
        own = call_plugin(task, _curve(main, signal), "blood")
        doubt = amplitude_doubt(scaled, times, *(np.asarray(values[0, 0, 0]) for values in (own.data, own.invalid)))
    return scaled, _Said(warnings, (doubt,) if doubt else (), (summary_of(fields),), fields)


def _curve(series: Series, signal: NDArray[np.float64]) -> Series:
    """A series of one voxel with a signal (t,)."""
    return Series(signal[None, None, None, :], series.times, series.affine, series.metadata)


def _mean_signal(series: Series, voxels: NDArray[np.bool_]) -> Series:
    """Mean over voxels, as a series of one."""
    return _curve(series, series.data[voxels].mean(axis=0, dtype=np.float64))
