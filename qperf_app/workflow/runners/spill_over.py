"""Step ``spill-over``: what lies in the voxels of the wall, and their muscle's concentration; or that handed in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.checks.amplitude import MOST_APART, SAID_APART, blood_ratio, is_apart, muscle_ratio
from qperf_app.checks.anatomy import cavities
from qperf_app.checks.native_t1 import native_t1_words
from qperf_app.methods.input_voxels import choose_input_voxels
from qperf_app.plugins import CONCENTRATION_UNITS, ConcentrationSeries, Converter, Myocardium, Series, SpillOver
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.plugins.steps import CONCENTRATION
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import (
    MOST_BLOOD,
    Upstream,
    call_plugin,
    constants_of,
    corrected_series,
    frames_left_out,
    sources,
)
from qperf_app.workflow.saying import context_of
from qperf_app.workflow.slice_clocks import slice_offset
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the muscle's series of concentration and maps of the fractions."""
    if "muscle" in task.given:
        path = records.copy_concentration(out, task.prefix, task.given["muscle"], task.sources, task.metadata, "muscle")
        return StepResult("handed-in", {"muscle": path}, _of_given(path, upstream))
    wall = records.read_mask(upstream["myocardium"].files["myocardium"])
    handed_in = upstream["concentration"].step.state == "handed-in"
    series, convert = _concentration(upstream) if handed_in else _signal(task, upstream)
    lost = np.zeros((1, 1), bool) if handed_in else frames_left_out(task, upstream, series)
    pools = upstream["pools"]
    found: SpillOver = call_plugin(
        task,
        _bridged(series, lost),
        Myocardium(wall),
        records.read_pools(pools.files) if pools.usable else None,
        records.read_aif(upstream["aif"].files["aif"]),
        constants_of(task),
        convert,
    )
    most = sum(found.fractions.values(), np.zeros(wall.shape)) > MOST_BLOOD
    muscle = _without(found.muscle or _as_it_is(upstream), (~wall | most)[..., None] | lost)
    read = sources(task, upstream)
    files = records.write_spill_over(out, task.prefix, series, dataclasses.replace(found, muscle=muscle), read)
    of_muscle = ("", False) if handed_in else _of_muscle(series, wall, convert)
    judged = [(words, wrong) for words, wrong in (of_muscle, _of_blood(task, upstream, series, wall)) if words]
    warnings = [f"Concentration: {words}." for words, wrong in judged if not wrong]
    doubts = tuple(words for words, wrong in judged if wrong)
    if handed_in and found.fractions:
        warnings.insert(0, "Concentration was handed in: blood was taken out of it, not out of the signal.")
    return StepResult("done", files, tuple(warnings), _summary(found, wall, most), doubts=doubts)


def _of_given(path: Path, upstream: Upstream) -> tuple[str, ...]:
    """Say so where the muscle's series that was handed in has another scale than the concentration of its voxels.

    Flow is in proportion to it. Whoever made it may have had a reason: it counts.
    """
    concentration, myocardium = upstream["concentration"], upstream["myocardium"]
    if not (concentration.usable and myocardium.usable):
        return ()
    muscle, voxels = (records.read_series(each) for each in (path, concentration.files["conc"]))
    wall = records.read_mask(myocardium.files["myocardium"])
    ratio = muscle_ratio(muscle, voxels, wall) if muscle.units == voxels.units else float("nan")
    if not is_apart(ratio, SAID_APART):
        return ()
    return (
        f"The muscle's concentration that was handed in is {ratio:.2g} times that of the wall in this series, and flow "
        "with it: is its scale that of the input function?",
    )


def _of_muscle(series: Series, wall: NDArray[np.bool_], convert: Converter) -> tuple[str, bool]:
    """What is odd about the muscle's T1 before contrast, where the series measures it, and whether flow can be right.

    A wrong field of the read-out scales T1 and concentration in opposite ways. Most voxels of the wall are muscle.
    """
    measured = convert(series, wall).native_t1 if series.n_proton_density else None
    if measured is None or not np.isfinite(measured[wall]).any():
        return "", False
    t1 = float(np.nanmedian(measured[wall]))
    return native_t1_words(t1, series.metadata.get("MagneticFieldStrength"), "myocardium")


def _signal(task: Task, upstream: Upstream) -> tuple[Series, Converter]:
    """The series in which voxels mix, and the scan's conversion to concentration."""
    plugin, context = _plugin(task, upstream), context_of(task, task.seed)

    def convert(series: Series, where: NDArray[np.bool_] | None = None) -> ConcentrationSeries:
        whole = where is None or not hasattr(plugin, "convert_within")
        method, given = (plugin.convert, ()) if whole else (plugin.convert_within, (where,))
        converted: ConcentrationSeries = method(series, *given, "myocardium", context)
        return converted

    return corrected_series(upstream), convert


def _plugin(task: Task, upstream: Upstream) -> Any:
    """The plugin that converted the series."""
    step = upstream["concentration"].step
    return make(load_plugins(task.disable).get(CONCENTRATION.name, step.plugin), step.options)


def _of_blood(task: Task, upstream: Upstream, series: Series, wall: NDArray[np.bool_]) -> tuple[str, bool]:
    """Say so where the blood that the wall encloses contradicts the input function, and whether flow can be right.

    Tissue and input function are converted each by its own fields: what scales one of them alone scales flow.
    """
    path = upstream["aif"].files["aif"]
    aif, inside = records.read_aif(path), cavities(wall, series.affine)
    # The doses of two boluses were held against the main one's blood before, and what was estimated is of this blood.
    of_two = sidecar_path(path).is_file() and "DoseRatio" in read_json(sidecar_path(path))
    if of_two or aif.log_peak_sd > 0 or aif.units != CONCENTRATION_UNITS or not inside.any():
        return "", False
    voxels = choose_input_voxels(series.dynamic().data, inside)
    mean = series.data[voxels].mean(axis=0, dtype=np.float64)[None, None, None]
    curve = Series(mean, series.times, series.affine, series.metadata)
    if upstream["concentration"].step.state == "handed-in":
        blood, excluded, units = mean[0, 0, 0], np.zeros(mean.shape[-1], bool), series.units
    else:
        found = _plugin(task, upstream).convert(curve, "blood", context_of(task, task.seed))
        blood, excluded, units = np.asarray(found.data)[0, 0, 0], found.invalid[0, 0, 0], found.units
    known = dataclasses.replace(aif, concentration=aif.in_blood(task.haematocrit))
    times = series.dynamic().times + slice_offset(series, voxels)
    ratio = blood_ratio(known, times, blood, excluded) if units == aif.units else float("nan")
    if not is_apart(ratio, SAID_APART):
        return "", False
    words = (
        f"away from the bolus' peak the blood within the wall has {ratio:.2g} times the concentration of the input "
        f"function: a field or the scale of one of the two is wrong, and flow too {'high' if ratio > 1 else 'low'} by "
        "as much or more"
    )
    return words, is_apart(ratio, MOST_APART)


def _concentration(upstream: Upstream) -> tuple[Series, Converter]:
    """Concentration that was handed in. Signal mixes, concentration does not quite; but nothing better is known."""
    given = records.read_series(upstream["concentration"].files["conc"])

    def convert(series: Series, where: NDArray[np.bool_] | None = None) -> ConcentrationSeries:
        return ConcentrationSeries(series.data, given.units, np.isnan(series.data))

    return given, convert


def _as_it_is(upstream: Upstream) -> ConcentrationSeries:
    """Concentration of the voxels."""
    series = records.read_series(upstream["concentration"].files["conc"])
    return ConcentrationSeries(series.data, series.units, np.isnan(series.data))


def _bridged(series: Series, lost: NDArray[np.bool_]) -> Series:
    """The series with what was left out of its dynamic frames, (z, t), interpolated: it says nothing of any voxel."""
    if not lost.any():
        return series
    data, n, times = series.data.copy(), series.n_proton_density, series.dynamic().times
    for z in np.flatnonzero(lost.any(axis=1)).tolist():
        kept = np.flatnonzero(~lost[z])
        for t in np.flatnonzero(lost[z]).tolist():
            after = int(np.clip(np.searchsorted(kept, t), 1, len(kept) - 1)) if len(kept) > 1 else 0
            first, second = kept[max(after - 1, 0)], kept[after]
            part = float(np.clip((times[t] - times[first]) / max(times[second] - times[first], 1e-9), 0.0, 1.0))
            data[:, :, z, n + t] = (1.0 - part) * data[:, :, z, n + first] + part * data[:, :, z, n + second]
    return series.with_data(data)


def _without(muscle: ConcentrationSeries, nowhere: NDArray[np.bool_]) -> ConcentrationSeries:
    nowhere = np.broadcast_to(nowhere, muscle.data.shape)
    return dataclasses.replace(muscle, data=np.where(nowhere, np.nan, muscle.data), invalid=muscle.invalid | nowhere)


def _summary(found: SpillOver, wall: NDArray[np.bool_], most: NDArray[np.bool_]) -> str:
    if not found.fractions:
        return ""
    parts = [f"{name} {float(np.mean(values[wall])):.1%}" for name, values in found.fractions.items()]
    mostly = f"{int(most.sum())} of {int(wall.sum())} voxels are mostly something else"
    return f"in the wall: {', '.join(parts)}; {mostly}"
