"""Step ``myocardium``: outline the wall. A mask handed in replaces the plugin's; it still gives missing landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.checks.anatomy import cavities, septum_apart, widening
from qperf_app.checks.outlines import blood_outside_wall, judge_wall
from qperf_app.checks.points import point_findings
from qperf_app.checks.wall import blood_in_wall, clocks_apart, enclosed_blood
from qperf_app.geometry import Grid
from qperf_app.plugins import Myocardium
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, call_plugin, corrected_series, sources
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write mask and landmarks."""
    given = task.given
    found, warnings = _found(task, upstream)
    mask = records.read_mask(given["myocardium"]) if "myocardium" in given else found.mask if found else None
    if mask is None or not mask.any():
        return StepResult("not-found", reason=" ".join(warnings) or "no myocardium found")
    own = found.landmarks if found else ()
    landmarks = records.read_landmarks(given["landmarks"]) if "landmarks" in given else own
    series = corrected_series(upstream)
    affine = series.affine
    handed_in = "myocardium" in given
    judged = judge_wall(series, mask, found.estimated_dice if found and not handed_in else ())
    myocardium = Myocardium(mask, tuple(landmarks), estimated_dice=judged.dice)
    if "landmarks" in given and "myocardium" not in given:
        # The wall was not known before; where both are handed in they were checked together.
        found_points = point_findings(str(given["landmarks"]), landmarks, Grid.of(series.data.shape, affine), mask)
        warnings += tuple(f"Insertion points handed in: {finding.text}." for finding in found_points)
    pools = records.read_pools(upstream["pools"].files) if upstream["pools"].usable else None
    apart = septum_apart(myocardium.landmarks, mask, affine, pools) if pools else ""
    warnings += tuple(told for told in (widening(mask, affine), apart, *_of_blood(task, upstream, mask)) if told)
    outside = blood_outside_wall(mask, affine, pools) if pools else ""
    doubts = (*judged.doubts, *((outside,) if outside else ()))
    files = records.write_myocardium(out, task.prefix, myocardium, affine, sources(task, upstream))
    summary = f"{int(mask.sum())} voxels, {len(landmarks)} insertion points, {_in_words(judged.dice)}"
    if handed_in:
        # Whoever drew it saw the heart: what is odd is said, and the numbers count.
        return StepResult("handed-in", files, (*warnings, *(f"{text}." for text in doubts)), summary)
    return StepResult("done", files, warnings, summary, doubts=doubts)


def _in_words(dice: Sequence[float]) -> str:
    known = [d for d in dice if np.isfinite(d)]
    return f"estimated Dice {', '.join(f'{d:.2f}' for d in known)}" if known else "no estimated Dice"


def _of_blood(task: Task, upstream: Upstream, mask: NDArray[np.bool_]) -> tuple[str, ...]:
    """What the blood within the wall says of an outline that was handed in, and of the clock."""
    series, aif = corrected_series(upstream).dynamic(), upstream["aif"]
    enclosed = cavities(mask, series.affine)
    blood = enclosed_blood(enclosed, series.data)
    wide = blood_in_wall(mask, enclosed, series.data, blood) if "myocardium" in task.given else ""
    curve = records.read_aif(aif.files["aif"]) if aif.usable else None
    return (wide, clocks_apart(curve, blood, series.times) if curve else "")


def _found(task: Task, upstream: Upstream) -> tuple[Myocardium | None, tuple[str, ...]]:
    """What the plugin finds, where something is still to be found, and what it warns of."""
    given = task.given
    if "myocardium" in given and "landmarks" in given:
        return None, ()
    try:
        found = _segment(task, upstream)
    except Exception as error:
        if "myocardium" not in given:
            raise
        return None, (f"No landmarks: the {task.plugin} plugin could not find them ({error}).",)
    # Of a mask that was handed in the plugin knows nothing.
    return found, () if "myocardium" in given else found.warnings


def _segment(task: Task, upstream: Upstream) -> Myocardium:
    pools, aif = upstream["pools"], upstream["aif"]
    found: Myocardium = call_plugin(
        task,
        corrected_series(upstream),
        records.read_pools(pools.files) if pools.usable else None,
        records.read_aif(aif.files["aif"]) if aif.usable else None,
    )
    return found
