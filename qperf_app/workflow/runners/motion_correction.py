"""Step ``motion-correction``: find the displacement, or take the one handed in; apply it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qperf_app.bids import records
from qperf_app.bids.names import is_input_series, parse_entities, series_kind
from qperf_app.checks.motion import judge_motion
from qperf_app.checks.wording import plural
from qperf_app.geometry import longest, warp
from qperf_app.plugins import Motion
from qperf_app.plugins.keys import Role
from qperf_app.plugins.steps.motion_correction import check_motion
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, call_plugin
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write displacement and corrected series."""
    given = task.given
    series = records.read_series(Path(task.series), task.metadata)
    if "preproc" in given:
        corrected = records.read_series(given["preproc"], task.metadata)
        files: dict[Role, Path] = {"preproc": records.write_corrected(out, task.prefix, corrected, task.sources)}
        if "xfm" in given:
            motion = records.read_motion(given["xfm"])
            files["xfm"] = records.write_motion(out, task.prefix, motion, series, task.sources)
        return StepResult("handed-in", files)
    motion = check_motion(records.read_motion(given["xfm"]), series) if given else call_plugin(task, series)
    judged = judge_motion(series, motion, may_undo=not given)
    motion = judged.motion
    corrected = series.with_data(warp(series.data, series.affine, motion.displacement))
    files = {
        "xfm": records.write_motion(out, task.prefix, motion, series, task.sources),
        "preproc": records.write_corrected(out, task.prefix, corrected, task.sources),
    }
    entities = parse_entities(task.prefix)
    name = f"{series_kind(entities).capitalize()}: " if is_input_series(entities) else ""
    failed = int((~motion.corrected).sum())
    told = f"{failed} of {motion.corrected.size} slice images could not be corrected and stay where they were"
    mend = "look at the moving picture (qperf review); --leave-out-uncorrected leaves them out"
    warnings = [f"{told}: {mend}."] if failed and not name else []
    doubts = tuple(f"{name}{text}" for text in judged.doubts)
    if given or name:
        # Whoever made it saw the heart; and the input function is the mean of voxels well inside a pool, which some mm
        # don't change, and single images that lie aside still less: the table of steps has these. It is said, and the
        # step counts.
        warnings += [f"{text}." for text in doubts]
        doubts = ()
    summary = f"{name}{_size(motion)}{_undone(judged.undone)}"
    summary += f"; {told}" if failed and name else ""
    return StepResult("handed-in" if given else "done", files, tuple(warnings), summary, doubts=doubts)


def _undone(slices: Sequence[int]) -> str:
    if not slices:
        return ""
    which = f"{plural(len(slices), 'slice')} {', '.join(str(k + 1) for k in slices)}"
    return f"; {which} as acquired: no stiller when corrected"


def _size(motion: Motion) -> str:
    size = longest(motion.displacement) if motion.displacement.size else np.zeros(1)
    return f"largest displacement {size.max():.1f} mm, median over frames {np.median(size):.1f} mm"
