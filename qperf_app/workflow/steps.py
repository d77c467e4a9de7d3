"""Run one step, or skip it for want of an earlier result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qperf_app.bids.images import bring_onto
from qperf_app.bids.sidecars import RAW
from qperf_app.plugins import StepOutcome
from qperf_app.plugins.steps.spec import FileKind
from qperf_app.workflow.outcomes import Outcome, StepResult
from qperf_app.workflow.tasks import Task


def run_step(task: Task, upstream: Mapping[str, Outcome], out: Path) -> Outcome:
    """Run a step in the folder ``out``.

    Returns
    -------
    Outcome
        ``skipped`` where a result that the step needs is not there.
    """
    started = time.perf_counter()
    missing = _missing(task, upstream)
    if missing:
        return Outcome(ended(task, "skipped", reason=missing))
    result: StepResult = task.spec.load_runner()(_on_grid(task, out), upstream, out)
    summary = result.summary
    if result.state == "handed-in":
        names = dict.fromkeys(source.split(":")[1] for source in task.sources)
        summary = "; ".join(part for part in (f"from {', '.join(n for n in names if n != RAW)}", summary) if part)
    step = ended(
        task, result.state, result.reason, round(time.perf_counter() - started, 3), tuple(result.warnings), summary
    )
    return Outcome(replace(step, doubts=result.doubts), result.files)


def _on_grid(task: Task, out: Path) -> Task:
    """The task with images that were handed in brought onto the grid of their series, as the affines say."""
    if task.grid is None:
        return task
    tables = (FileKind.CURVE, FileKind.POINTS)
    brought = [
        record
        if isinstance(record.role, str) and task.spec.files[record.role].kind in tables
        else replace(record, path=str(bring_onto(Path(record.path), task.grid, out / "handed-in")))
        for record in task.handed_in
    ]
    return replace(task, handed_in=tuple(brought))


def ended(
    task: Task, state: str, reason: str = "", seconds: float = 0.0, warnings: tuple[str, ...] = (), summary: str = ""
) -> StepOutcome:
    """How a task ended, with all that it says of its plugin."""
    return StepOutcome(
        step=task.step,
        plugin=task.plugin,
        state=state,  # type: ignore[arg-type]
        version=task.version,
        reason=reason,
        options=dict(task.options),
        seconds=seconds,
        warnings=warnings,
        summary=summary,
        loaded_files=dict(task.loaded_files),
    )


def _missing(task: Task, upstream: Mapping[str, Outcome]) -> str:
    """Why a step can't run; empty where it can. One that is handed in whole lacks nothing."""
    optional = {read.name for read in task.spec.reads if read.optional or (task.handed_in and read.witness)}
    for name, outcome in upstream.items():
        if not outcome.usable and name not in optional:
            why = outcome.step.reason or outcome.step.state
            return why if outcome.step.state == "skipped" else f"{outcome.step.step}: {why}"
    return ""
