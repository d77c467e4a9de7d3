"""Step ``blood-pool``: find the ventricles' blood, or take the masks handed in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from qperf_app.bids import records
from qperf_app.checks.anatomy import mirrored
from qperf_app.checks.outlines import judge_pool, right_after_left
from qperf_app.plugins import BloodPools
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, call_plugin, corrected_series, sources
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the masks."""
    given = task.given
    if "lv" in given:
        pools = records.read_pools(given)
        if "aif-voxels" not in given:
            from qperf_app.methods.input_voxels import choose_input_voxels

            data = corrected_series(upstream).dynamic().data
            pools = dataclasses.replace(pools, aif=choose_input_voxels(data, pools.lv))
        files = records.write_pools(out, task.prefix, pools, sources(task, upstream))
        return StepResult("handed-in", files, _warnings(pools))
    series = corrected_series(upstream)
    pools = call_plugin(task, series)
    if not pools.found:
        return StepResult("not-found", reason=pools.reason)
    judged = judge_pool(series, pools.lv, pools.estimated_dice)
    pools = dataclasses.replace(pools, estimated_dice=judged.dice)
    exchanged = right_after_left(series, pools)
    doubts = (*judged.doubts, *((exchanged,) if exchanged else ()))
    summary = f"LV {int(pools.lv.sum())}, RV {int(pools.rv.sum())}, input function {int(pools.aif.sum())} voxels"
    files = records.write_pools(out, task.prefix, pools, sources(task, upstream))
    return StepResult("done", files, _warnings(pools), summary, doubts=doubts)


def _warnings(pools: BloodPools) -> tuple[str, ...]:
    told = mirrored(pools.lv, pools.rv, pools.affine)
    return (told,) if told else ()
