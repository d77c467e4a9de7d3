"""Run one step: read its records, call the plugin, check and write what came out.

Every function here takes a task, the outcomes of the nodes it reads from and a folder to write into.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids import records
from qperf_app.bids.names import AIF_LABEL, parse_entities
from qperf_app.bids.sidecars import RAW, own_uri
from qperf_app.plugins import InputFunction, Myocardium, Series, StepOutcome
from qperf_app.plugins.checks import (
    check_concentration,
    check_motion,
    check_myocardium,
    check_pools,
)
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.workflow import kinetics, segments
from qperf_app.workflow.saying import context_of
from qperf_app.workflow.tasks import INPUT_FUNCTION, SEGMENT_VALUES, SEGMENTS, Outcome, Task

Upstream = Mapping[str, Outcome]


def run_step(task: Task, upstream: Upstream, out: Path) -> Outcome:
    """Run one step, or skip it for want of an earlier result."""
    started = time.perf_counter()
    missing = _missing(task, upstream)
    if missing:
        return Outcome(StepOutcome(task.step, task.plugin, "skipped", task.version, missing, dict(task.options)))
    state, files, notes = _RUNNERS[task.step](task, upstream, out)
    summary = notes.get("summary", "")
    if state == "handed-in":
        names = dict.fromkeys(source.split(":")[1] for source in task.sources)
        summary = "; ".join(part for part in (f"from {', '.join(n for n in names if n != RAW)}", summary) if part)
    return Outcome(
        StepOutcome(
            step=task.step,
            plugin=task.plugin,
            state=state,  # type: ignore[arg-type]
            version=task.version,
            reason=notes.get("reason", ""),
            options=dict(task.options),
            seconds=round(time.perf_counter() - started, 3),
            warnings=tuple(notes.get("warnings", ())),
            summary=summary,
        ),
        files,
    )


#: What a step can do without, though it reads it where it is there.
_OPTIONAL = {"myocardium": ("pools", "aif")}

Result = tuple[str, dict[str, Path], dict[str, Any]]


def _missing(task: Task, upstream: Upstream) -> str:
    for name, outcome in upstream.items():
        if outcome.usable or name in _OPTIONAL.get(task.step, ()):
            continue
        # A step that is handed in needs nothing, but for the series that voxels are chosen from.
        if task.handed_in and task.step not in ("myocardium", "blood-pool"):
            continue
        why = outcome.step.reason or outcome.step.state
        return why if outcome.step.state == "skipped" else f"{outcome.step.step}: {why}"
    return ""


def _plugin(task: Task, step: str | None = None) -> Any:
    return make(load_plugins(task.disable).get(step or task.step, task.plugin), task.options)


def correct_motion(task: Task, upstream: Upstream, out: Path) -> Result:
    """Find the displacement (or take the one handed in), apply it, write both."""
    from qperf_app.geometry.warp import warp

    series = records.read_series(Path(task.series), task.metadata)
    if "preproc" in task.handed_in:
        corrected = records.read_series(Path(task.handed_in["preproc"]), task.metadata)
        files = {"preproc": records.write_corrected(out, task.prefix, corrected, task.sources)}
        if "xfm" in task.handed_in:
            motion = records.read_motion(Path(task.handed_in["xfm"]))
            files["xfm"] = records.write_motion(out, task.prefix, motion, series, task.sources)
        return "handed-in", files, {}
    if "xfm" in task.handed_in:
        motion, state = records.read_motion(Path(task.handed_in["xfm"])), "handed-in"
    else:
        motion, state = _plugin(task).correct(series, context_of(task)), "done"
    check_motion(motion, series)
    corrected = series.with_data(warp(series.data, series.affine, motion.displacement))
    files = {
        "xfm": records.write_motion(out, task.prefix, motion, series, task.sources),
        "preproc": records.write_corrected(out, task.prefix, corrected, task.sources),
    }
    failed = int((~motion.corrected).sum())
    name = "Input-function series: " if parse_entities(task.prefix).get("acq") == AIF_LABEL else ""
    warnings = (f"{name}{failed} of {motion.corrected.size} frames could not be corrected.",) if failed else ()
    size = np.linalg.norm(motion.displacement, axis=-1).max(axis=(0, 1)) if motion.displacement.size else np.zeros(1)
    summary = f"largest displacement {size.max():.1f} mm, median over frames {np.median(size):.1f} mm"
    return state, files, {"warnings": warnings, "summary": name + summary}


def find_blood_pools(task: Task, upstream: Upstream, out: Path) -> Result:
    """Find the ventricles' blood, or take the masks handed in."""
    if "lv" in task.handed_in:
        pools = records.read_pools(task.handed_in)
        if "aif-voxels" not in task.handed_in:
            from qperf_app.physics.blood import brightest_voxels

            data = _corrected(upstream).dynamic().data
            pools = dataclasses.replace(pools, aif=brightest_voxels(data, pools.lv))
        return "handed-in", records.write_pools(out, task.prefix, pools, _sources(task, upstream)), {}
    series = _corrected(upstream)
    pools = check_pools(_plugin(task).find(series, context_of(task)), series)
    if not pools.found:
        return "not-found", {}, {"reason": pools.reason}
    summary = f"LV {int(pools.lv.sum())}, RV {int(pools.rv.sum())}, input function {int(pools.aif.sum())} voxels"
    return "done", records.write_pools(out, task.prefix, pools, _sources(task, upstream)), {"summary": summary}


def make_input_function(task: Task, upstream: Upstream, out: Path) -> Result:
    """Average the blood signal, convert it to concentration, find its features; or take the curve handed in."""
    warnings: tuple[str, ...] = ()
    if "aif" in task.handed_in:
        aif, state = records.read_aif(Path(task.handed_in["aif"])), "handed-in"
    else:
        series = _corrected(upstream)
        pools = records.read_pools(upstream["pools"].files)
        left_out = np.any(_left_out(task, upstream, series)[pools.aif.any(axis=(0, 1))], axis=0)
        aif, warnings = _measure_input_function(task, series, pools.aif, left_out)
        late = _cut_short(aif)
        if late:
            return "not-found", {}, {"reason": late, "warnings": warnings}
        state = "done"
    sources = task.sources if state == "handed-in" else _sources(task, upstream)
    path, features = records.write_aif(out, task.prefix, aif, task.haematocrit, sources)
    if np.isnan(features["peak"]):
        warnings += ("The input function has no first pass that can be told from its baseline.",)
    summary = f"peak {features['peak_value']:.3g} {aif.units} at {features['peak']:.1f} s"
    return state, {"aif": path}, {"warnings": warnings, "summary": summary}


#: Time after the peak of the input function, s, without which the muscle has shown nothing of its flow.
_AFTER_PEAK = 5.0


def _cut_short(aif: InputFunction) -> str:
    """Say so where the series ends with the bolus; what a fit made of the first rise would be noise."""
    concentration = np.where(np.isfinite(aif.concentration), aif.concentration, -np.inf)
    left = float(aif.times[-1] - aif.times[int(concentration.argmax())])
    if left >= _AFTER_PEAK:
        return ""
    return f"the blood is brightest {left:.1f} s before the series ends: the bolus came too late for its first pass"


def _measure_input_function(
    task: Task, series: Series, voxels: np.ndarray, left_out: np.ndarray
) -> tuple[InputFunction, tuple[str, ...]]:
    """Mean signal of the voxels as concentration; NaN in the frames (t,) left out and where the signal saturates."""
    signal = series.data[voxels].mean(axis=0, dtype=np.float64)
    curve = Series(signal[None, None, None, :], series.times, series.affine, series.metadata)
    converted = check_concentration(_plugin(task, "concentration").convert(curve, "blood", context_of(task)), curve)
    dynamic = curve.dynamic()
    invalid = int(converted.invalid.sum())
    concentration = np.where(left_out, np.nan, np.asarray(converted.data[0, 0, 0], dtype=np.float64))
    if np.isfinite(concentration).sum() < 3:
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
    return aif, warnings


def convert_to_concentration(task: Task, upstream: Upstream, out: Path) -> Result:
    """Convert the corrected tissue series."""
    if "conc" in task.handed_in:
        path = Path(task.handed_in["conc"])
        return "handed-in", {"conc": records.copy_concentration(out, task.prefix, path, task.sources)}, {}
    series = _corrected(upstream)
    converted = check_concentration(_plugin(task).convert(series, "myocardium", context_of(task)), series)
    summary = f"{converted.invalid.mean():.1%} of values outside the signal equation" if converted.invalid.any() else ""
    left_out = _left_out(task, upstream, series)
    warnings: tuple[str, ...] = ()
    if left_out.any():
        count = f"{int(left_out.sum())} of {left_out.size}"
        warnings = (f"{count} slice images that could not be corrected are left out of the fit.",)
        nowhere = np.broadcast_to(left_out, converted.data.shape)
        converted = dataclasses.replace(
            converted, data=np.where(nowhere, np.nan, converted.data), invalid=converted.invalid | nowhere
        )
    path = records.write_concentration(out, task.prefix, series, converted, _sources(task, upstream))
    return "done", {"conc": path}, {"summary": summary, "warnings": warnings}


def _left_out(task: Task, upstream: Upstream, series: Series) -> np.ndarray:
    """Dynamic frames (z, t) that motion correction could not place, where they are to be left out.

    None of a slice in which it placed no frame at all: there its frames are as good as one another.
    """
    dynamic = slice(series.n_proton_density, None)
    files = upstream["series"].files
    if not task.leave_out_uncorrected or "xfm" not in files:
        return np.zeros((series.data.shape[2], series.data.shape[3] - series.n_proton_density), bool)
    lost = ~records.read_motion(files["xfm"]).corrected[:, dynamic]
    return np.asarray(lost & ~lost.all(axis=1, keepdims=True))


def outline_myocardium(task: Task, upstream: Upstream, out: Path) -> Result:
    """Outline the myocardium. A mask handed in replaces the plugin's; the plugin still gives missing landmarks."""
    handed_mask, handed_points = task.handed_in.get("myocardium"), task.handed_in.get("landmarks")
    series = _corrected(upstream)
    warnings: tuple[str, ...] = ()
    found: Myocardium | None = None
    if not (handed_mask and handed_points):
        try:
            found = _segment(task, series, upstream)
        except Exception as error:
            if not handed_mask:
                raise
            warnings = (f"No landmarks: the {task.plugin} plugin could not find them ({error}).",)
    mask = records.read_mask(Path(handed_mask)) if handed_mask else found.mask if found else None
    assert mask is not None
    if not mask.any():
        reason = " ".join(found.warnings) if found and found.warnings else "no myocardium found"
        return "not-found", {}, {"reason": reason}
    landmarks = records.read_landmarks(Path(handed_points)) if handed_points else found.landmarks if found else ()
    if found is not None and not handed_mask:
        warnings += found.warnings
    myocardium = Myocardium(mask, tuple(landmarks))
    files = records.write_myocardium(out, task.prefix, myocardium, series.affine, _sources(task, upstream))
    notes = {"warnings": warnings, "summary": f"{int(mask.sum())} voxels, {len(landmarks)} insertion points"}
    return "handed-in" if handed_mask else "done", files, notes


def _segment(task: Task, series: Series, upstream: Upstream) -> Myocardium:
    pools, aif = upstream["pools"], upstream["aif"]
    result = _plugin(task).segment(
        series,
        records.read_pools(pools.files) if pools.usable else None,
        records.read_aif(aif.files["aif"]) if aif.usable else None,
        context_of(task),
    )
    return check_myocardium(result, series)


def _corrected(upstream: Upstream) -> Series:
    return records.read_series(upstream["series"].files["preproc"])


def _sources(task: Task, upstream: Upstream) -> tuple[str, ...]:
    """BIDS URIs of what a step read: what was handed in, the files of the steps before it, or else the raw series."""
    read = sorted(own_uri(path.name) for outcome in upstream.values() for path in outcome.files.values())
    return (*(task.sources if task.handed_in or not read else ()), *read)


_RUNNERS: Mapping[str, Callable[[Task, Upstream, Path], Result]] = {
    "motion-correction": correct_motion,
    "blood-pool": find_blood_pools,
    INPUT_FUNCTION: make_input_function,
    "concentration": convert_to_concentration,
    "myocardium": outline_myocardium,
    "kinetics": kinetics.estimate,
    SEGMENTS: segments.divide,
    SEGMENT_VALUES: segments.summarise,
}
