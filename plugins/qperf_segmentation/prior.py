"""Blood pools of one series on the grid of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qperf_app.geometry import resample
from qperf_app.methods.bolus_timing import steepest_rise_time
from qperf_app.plugins import BloodPoolPlugin, BloodPools, RunContext, Series
from qperf_segmentation.enhancement import Enhancement, measure_enhancement
from qperf_segmentation.pool_growth import grow_pools
from qperf_segmentation.ventricles import USUAL_DELAY, Mask, VentriclePair, VentricleRules

#: A note for the reader of the report: the slice it is about, or None, and its words.
Note = tuple[int | None, str]

#: Right blood that arrives less than this before the left, widths of the first pass, was not found where it is.
_LEAST_DELAY = 0.15
#: Affines that differ by less than this, mm, are one grid.
_SAME_GRID = 1e-3


def ventricles_of(
    series: Series, pools: BloodPools | None, finder: BloodPoolPlugin, context: RunContext
) -> tuple[BloodPools | None, list[Note]]:
    """Blood pools on the grid of a tissue series: those handed on, or else what ``finder`` finds; with notes."""
    if pools is not None and pools.found:
        return bring_to_grid(pools, series)
    own = finder.find(series, context)
    if not own.found:
        return None, [(None, f"no blood pools to start from: {own.reason}")]
    return own, [(None, "no blood pools were handed on: they were looked for in the tissue series")]


def bring_to_grid(pools: BloodPools, series: Series) -> tuple[BloodPools | None, list[Note]]:
    """Find pools on the grid of a tissue series, starting from pools that may lie on another.

    Pools on the same grid are kept. Others say by their place which voxels of the tissue series to take for left and
    right blood; these tell the arrival times, and with both the pools are found again in every slice. Where that
    fails the pools are taken over as they lie.

    Returns
    -------
    pools : BloodPools or None
        None where the pools lie outside of the tissue series.
    notes : list of Note
    """
    x, y, n_slices = series.data.shape[:3]
    same = pools.lv.shape == (x, y, n_slices) and np.allclose(pools.affine, series.affine, atol=_SAME_GRID)
    lv, rv = (
        mask if same else resample(mask, pools.affine, series.affine, (x, y, n_slices)) for mask in (pools.lv, pools.rv)
    )
    if not lv.any():
        return None, [(None, "the blood pools lie outside of the tissue series: no myocardium")]
    if same and lv.any(axis=(0, 1)).all():
        return pools, []
    found = measure_enhancement(series)
    again_lv, again_rv = (np.zeros_like(lv),) * 2 if found is None else _find_again(found, lv, rv, series)
    notes: list[Note] = []
    final_lv, final_rv = lv.copy(), rv.copy()
    for k in range(n_slices):
        if same and lv[..., k].any():
            continue
        if again_lv[..., k].any():
            final_lv[..., k], final_rv[..., k] = again_lv[..., k], again_rv[..., k]
        elif lv[..., k].any():
            notes.append((k, "the blood pools were not found again; taken over from the other series"))
    nowhere = np.zeros((x, y, n_slices), bool)
    return replace(pools, lv=final_lv, rv=final_rv & ~final_lv, aif=nowhere, affine=series.affine), notes


def _find_again(found: Enhancement, lv: Mask, rv: Mask, series: Series) -> tuple[Mask, Mask]:
    """Find pools near the given ones, with their arrival times in this series."""
    k = int(lv.sum(axis=(0, 1)).argmax())
    lv_arrival = _arrival(found, lv)
    rv_arrival = _arrival(found, rv) if rv.any() else np.inf
    if not rv_arrival < lv_arrival - _LEAST_DELAY:
        rv_arrival = lv_arrival - USUAL_DELAY
    prior = VentriclePair(-1, rv[..., k], lv[..., k], rv_arrival, lv_arrival, 0.0)
    return grow_pools(found, prior, series.voxel_size, VentricleRules())


def _arrival(found: Enhancement, mask: Mask) -> float:
    """Time of the steepest rise of the mean curve of a mask, widths."""
    return steepest_rise_time(found.times, found.curves[mask].mean(axis=0))
