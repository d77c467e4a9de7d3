"""Step ``spleen``: the first-pass enhancement of the spleen that a reader has marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.spleen import CURVE, MASK, write_spleen, write_spleen_curve
from qperf_app.checks.anatomy import cavities
from qperf_app.geometry import resample
from qperf_app.methods.input_voxels import choose_input_voxels
from qperf_app.physics.input_function import NoBolusError
from qperf_app.physics.spleen import NoEnhancementError, first_pass_enhancement, region_curve
from qperf_app.plugins import Series
from qperf_app.plugins.keys import Role
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, corrected_series, frames_left_out, sources
from qperf_app.workflow.tasks import Task

#: Share of its voxels within the outlines of the heart above which a mask is not the spleen's. Fewer are a slip of the
#: brush, which a median does not see.
MOST_IN_HEART = 0.05


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write mask and curve; the mask alone, with a warning, where nothing can be measured in it."""
    series = corrected_series(upstream)
    mask, wall = records.read_mask(task.given[MASK]), records.read_mask(upstream["myocardium"].files["myocardium"])
    blood = cavities(wall, series.affine)
    files: dict[Role, Path] = {MASK: write_spleen(out, task.prefix, mask, series.affine, task.sources)}
    try:
        _check(mask, blood, wall | blood | _pools(upstream, series))
        dynamic = series.dynamic()
        data = np.where(frames_left_out(task, upstream, series), np.nan, dynamic.data)
        curves = region_curve(data, mask), region_curve(data, choose_input_voxels(dynamic.data, blood))
        found = first_pass_enhancement(dynamic.times, *curves)
    except (NoBolusError, NoEnhancementError) as error:
        return StepResult("handed-in", files, (f"Spleen: {error}. No enhancement is shown.",))
    made_from = sources(task, upstream)
    files[CURVE] = write_spleen_curve(out, task.prefix, dynamic.times, *curves, found, series.units, made_from)
    summary = f"{int(mask.sum())} voxels, peak at {found.peak:.1f} s, {found.share:.0%} of the blood's enhancement"
    return StepResult("handed-in", files, summary=summary)


def _check(mask: NDArray[np.bool_], blood: NDArray[np.bool_], heart: NDArray[np.bool_]) -> None:
    """Refuse a mask that marks nothing, or the heart; and a heart without blood to hold it against."""
    if not mask.any():
        raise NoEnhancementError("its mask is empty")
    inside = int((mask & heart).sum())
    if inside > MOST_IN_HEART * mask.sum():
        raise NoEnhancementError(f"{inside} of the {int(mask.sum())} voxels of its mask lie in the heart's outlines")
    if not blood.any():
        raise NoEnhancementError("the outlined wall encloses no blood to hold it against")


def _pools(upstream: Upstream, series: Series) -> NDArray[np.bool_]:
    """Blood of both ventricles on the grid of the series, as far as it was found there."""
    shape = series.data.shape[:3]
    if not upstream["pools"].usable:
        return np.zeros(shape, bool)
    pools = records.read_pools(upstream["pools"].files)
    found = resample(pools.lv | pools.rv, pools.affine, series.affine, shape, project=False)
    return np.asarray(found, bool)
