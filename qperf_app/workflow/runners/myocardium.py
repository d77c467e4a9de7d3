"""Step ``myocardium``: outline the wall. A mask handed in replaces the plugin's; it still gives missing landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.checks.anatomy import cavities, septum_apart, widening
from qperf_app.checks.outlines import blood_outside_wall, blood_within_wall, judge_wall
from qperf_app.checks.points import point_findings
from qperf_app.checks.wall import blood_in_wall, clocks_apart, enclosed_blood, input_comes_late
from qperf_app.geometry import Grid
from qperf_app.plugins import BloodPools, Myocardium, Series
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, call_plugin, corrected_series, sources
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write mask and landmarks."""
    given = task.given
    series = corrected_series(upstream)
    found, warnings = _found(task, upstream, series)
    mask = records.read_mask(given["myocardium"]) if "myocardium" in given else found.mask if found else None
    if mask is None or not mask.any():
        return StepResult("not-found", reason=" ".join(warnings) or "no myocardium found")
    own = found.landmarks if found else ()
    landmarks = records.read_landmarks(given["landmarks"]) if "landmarks" in given else own
    affine = series.affine
    handed_in = "myocardium" in given
    judged = judge_wall(series, mask, found.estimated_dice if found and not handed_in else ())
    myocardium = Myocardium(mask, tuple(landmarks), estimated_dice=judged.dice)
    pools = records.read_pools(upstream["pools"].files) if upstream["pools"].usable else None
    outside = blood_outside_wall(mask, affine, pools) if pools else ""
    filled = blood_within_wall(mask, affine, pools) if pools else ""
    turned, of_points = _of_points(task, myocardium, Grid.of(series.data.shape, affine), pools)
    warnings += tuple(f"{text}." for text in of_points)
    doubts = tuple(told for told in (*judged.doubts, outside) if told)
    # What can't be a wall, or a septum, is doubted whoever drew it.
    of_blood, late = _of_blood(task, upstream, series, mask)
    impossible = tuple(told for told in (filled, *turned, late) if told)
    warnings += tuple(told for told in (widening(mask, affine), *of_blood) if told)
    files = records.write_myocardium(out, task.prefix, myocardium, affine, sources(task, upstream))
    summary = f"{int(mask.sum())} voxels, {len(landmarks)} insertion points, {_in_words(judged.dice)}"
    if handed_in:
        # Whoever drew it saw the heart: what is odd is said, and the numbers count.
        said = tuple(f"{text}." for text in doubts)
        return StepResult("handed-in", files, (*warnings, *said), summary, doubts=impossible)
    return StepResult("done", files, warnings, summary, doubts=(*doubts, *impossible))


def _of_points(
    task: Task, found: Myocardium, grid: Grid, pools: BloodPools | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What makes the insertion points doubtful, and what is only said of them: off the wall, the wrong way round, away
    from the right ventricle."""
    given, drawn = "landmarks" in task.given, "myocardium" in task.given
    apart = septum_apart(found.landmarks, found.mask, grid.affine, pools).rstrip(".") if pools else ""
    told = (apart,) if apart else ()
    if given and drawn:
        # Both were checked together before.
        return (), told
    if not given and not found.landmarks:
        # One point alone, or none, is said by the plugin.
        return told, ()
    file, what = (str(task.given["landmarks"]), "Insertion points handed in") if given else ("", "insertion points")
    findings = [*point_findings(file, found.landmarks, grid, found.mask)]
    refused = tuple(f"{what}: {finding.text}" for finding in findings if finding.refused)
    if given:
        # The wall was not known before, so that they could not be refused.
        return refused, (*(f"{what}: {finding.text}" for finding in findings if not finding.refused), *told)
    return ((), (*refused, *told)) if drawn else ((*refused, *told), ())


def _in_words(dice: Sequence[float]) -> str:
    known = [d for d in dice if np.isfinite(d)]
    return f"estimated Dice {', '.join(f'{d:.2f}' for d in known)}" if known else "no estimated Dice"


def _of_blood(task: Task, upstream: Upstream, series: Series, mask: NDArray[np.bool_]) -> tuple[tuple[str, ...], str]:
    """What the blood within the wall says of a drawn outline and of the clock, and why flow is doubtful."""
    series, aif = series.dynamic(), upstream["aif"]
    enclosed = cavities(mask, series.affine)
    blood = enclosed_blood(enclosed, series.data)
    wide = blood_in_wall(mask, enclosed, series.data, blood) if "myocardium" in task.given else ""
    curve = records.read_aif(aif.files["aif"]) if aif.usable else None
    apart = clocks_apart(curve, blood, series.times) if curve else ""
    late = curve is not None and input_comes_late(curve, blood, series.times)
    return (wide, "" if late else apart), (apart if late else "").rstrip(".")


def _found(task: Task, upstream: Upstream, series: Series) -> tuple[Myocardium | None, tuple[str, ...]]:
    """What the plugin finds, where something is still to be found, and what it warns of."""
    given = task.given
    if "myocardium" in given and "landmarks" in given:
        return None, ()
    try:
        found = _segment(task, upstream, series)
    except Exception as error:
        if "myocardium" not in given:
            raise
        return None, (f"No landmarks: the {task.plugin} plugin could not find them ({error}).",)
    # Of a mask that was handed in the plugin knows nothing.
    return found, () if "myocardium" in given else found.warnings


def _segment(task: Task, upstream: Upstream, series: Series) -> Myocardium:
    pools, aif = upstream["pools"], upstream["aif"]
    found: Myocardium = call_plugin(
        task,
        series,
        records.read_pools(pools.files) if pools.usable else None,
        records.read_aif(aif.files["aif"]) if aif.usable else None,
    )
    return found
