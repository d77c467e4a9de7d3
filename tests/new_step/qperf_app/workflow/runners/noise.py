"""Step ``noise``: measure the noise of each voxel, or take the map handed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qperf_app.bids.images import read_image, write_image
from qperf_app.bids.names import derivative_name
from qperf_app.bids.sidecars import describe_image
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, call_plugin, corrected_series, sources
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the map."""
    if task.given:
        noise, affine = read_image(task.given["noise"])
        units, state = "arbitrary", "handed-in"
    else:
        series = corrected_series(upstream)
        noise, affine, units, state = call_plugin(task, series), series.affine, series.units, "done"
    path = out / derivative_name(task.prefix, "noise")
    sidecar = describe_image("Standard deviation of the noise", units, sources(task, upstream))
    write_image(path, noise.astype(np.float32), affine, sidecar)
    summary = f"median {np.median(noise):.3g}"
    return StepResult("handed-in" if state == "handed-in" else "done", {"noise": path}, summary=summary)
