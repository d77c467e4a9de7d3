"""Step ``concentration``: convert the corrected tissue series, or take the one handed in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from qperf_app.bids import records
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import (
    Upstream,
    call_plugin,
    corrected_series,
    frames_left_out,
    sources,
    why_left_out,
)
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the series of concentration."""
    if "conc" in task.given:
        path = records.copy_concentration(out, task.prefix, task.given["conc"], task.sources, task.metadata)
        return StepResult("handed-in", {"conc": path})
    series = corrected_series(upstream)
    converted = call_plugin(task, series, "myocardium")
    summary = f"{converted.invalid.mean():.1%} of values outside the signal equation" if converted.invalid.any() else ""
    left_out = frames_left_out(task, upstream, series)
    warnings: tuple[str, ...] = ()
    if left_out.any():
        count = f"{int(left_out.sum())} of {left_out.size}"
        warnings = (f"{count} slice images that {why_left_out(task)} are left out of the fit.",)
        nowhere = np.broadcast_to(left_out, converted.data.shape)
        converted = dataclasses.replace(
            converted, data=np.where(nowhere, np.nan, converted.data), invalid=converted.invalid | nowhere
        )
    path = records.write_concentration(out, task.prefix, series, converted, sources(task, upstream))
    return StepResult("done", {"conc": path}, warnings, summary)
