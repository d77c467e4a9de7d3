"""Step ``joint-input-function``: the posterior of the input function with the tissue's curves as second witness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.images import read_image
from qperf_app.methods import priors, tissue_witness
from qperf_app.methods.saturated_input import Witness
from qperf_app.plugins import CONCENTRATION_UNITS, Series
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, corrected_series, frames_left_out, sources
from qperf_app.workflow.runners.input_function import estimate
from qperf_app.workflow.segments import segment_curve
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the curve; one that was not estimated from its signal (handed in, converted) as it is."""
    aif = records.read_aif(upstream["aif"].files["aif"])
    warnings: tuple[str, ...] = ()
    summary = "as it was"
    if aif.log_peak_sd:
        series, voxels = corrected_series(upstream), records.read_pools(upstream["pools"].files).aif
        left_out = np.any(frames_left_out(task, upstream, series)[voxels.any(axis=(0, 1))], axis=0)
        found = estimate(task, series, voxels, left_out, _witness(task, upstream))
        if found is not None:
            aif, summary = found
            warnings = (f"The input function is estimated from the tissue series' saturating signal: {summary}.",)
    path, _ = records.write_aif(out, task.prefix, aif, task.haematocrit, sources(task, upstream), "joint")
    return StepResult("done", {"joint": path}, warnings, summary)


def _witness(task: Task, upstream: Upstream) -> Witness | None:
    """The segments' curves, asked for the evidence of input functions; None where they are no concentration."""
    series = records.read_series(upstream["concentration"].files["conc"])
    if series.units != CONCENTRATION_UNITS:
        return None
    curves = _segment_curves(series, read_image(upstream["labels"].files["dseg"], np.uint8)[0])
    prior = priors.read("", "2CXM", ("Fp", "PS", "vp", "ve", "Ta"))

    def asked(blood: NDArray[np.float64]) -> NDArray[np.float64]:
        return tissue_witness.log_evidence(series.times, curves, blood / (1.0 - task.haematocrit), prior)

    return asked


def _segment_curves(series: Series, labels: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.stack([segment_curve(series.data[labels == k]) for k in np.unique(labels[labels > 0])])
