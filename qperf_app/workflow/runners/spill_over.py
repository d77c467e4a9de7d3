"""Step ``spill-over``: what lies in the voxels of the wall, and their muscle's concentration; or that handed in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.plugins import ConcentrationSeries, Converter, Myocardium, Series, SpillOver
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
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the muscle's series of concentration and maps of the fractions."""
    if "muscle" in task.given:
        path = records.copy_concentration(out, task.prefix, task.given["muscle"], task.sources, "muscle")
        return StepResult("handed-in", {"muscle": path})
    wall = records.read_mask(upstream["myocardium"].files["myocardium"])
    handed_in = upstream["concentration"].step.state == "handed-in"
    series, convert = _concentration(upstream) if handed_in else _signal(task, upstream)
    pools = upstream["pools"]
    found: SpillOver = call_plugin(
        task,
        series,
        Myocardium(wall),
        records.read_pools(pools.files) if pools.usable else None,
        records.read_aif(upstream["aif"].files["aif"]),
        constants_of(task),
        convert,
    )
    most = sum(found.fractions.values(), np.zeros(wall.shape)) > MOST_BLOOD
    nowhere = (~wall | most)[..., None]
    if not handed_in:
        nowhere = nowhere | frames_left_out(task, upstream, series)
    muscle = _without(found.muscle, nowhere)
    read = sources(task, upstream)
    files = records.write_spill_over(out, task.prefix, series, dataclasses.replace(found, muscle=muscle), read)
    told = ("Concentration was handed in: blood was taken out of it, not out of the signal.",)
    warnings = told if handed_in and found.fractions else ()
    return StepResult("done", files, warnings, _summary(found, wall, most))


def _signal(task: Task, upstream: Upstream) -> tuple[Series, Converter]:
    """The series in which voxels mix, and the scan's conversion to concentration."""
    step = upstream["concentration"].step
    plugin = make(load_plugins(task.disable).get(CONCENTRATION.name, step.plugin), step.options)
    context = context_of(task, task.seed)
    return corrected_series(upstream), lambda values: plugin.convert(values, "myocardium", context)


def _concentration(upstream: Upstream) -> tuple[Series, Converter]:
    """Concentration that was handed in. Signal mixes, concentration does not quite; but nothing better is known."""
    given = records.read_series(upstream["concentration"].files["conc"])
    return given, lambda values: ConcentrationSeries(values.data, given.units, np.isnan(values.data))


def _without(muscle: ConcentrationSeries, nowhere: NDArray[np.bool_]) -> ConcentrationSeries:
    nowhere = np.broadcast_to(nowhere, muscle.data.shape)
    return dataclasses.replace(muscle, data=np.where(nowhere, np.nan, muscle.data), invalid=muscle.invalid | nowhere)


def _summary(found: SpillOver, wall: NDArray[np.bool_], most: NDArray[np.bool_]) -> str:
    if not found.fractions:
        return ""
    parts = [f"{name} {float(np.mean(values[wall])):.1%}" for name, values in found.fractions.items()]
    return f"blood in the wall: {', '.join(parts)}; {int(most.sum())} of {int(wall.sum())} voxels mostly blood"
