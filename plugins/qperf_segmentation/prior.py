"""Blood pools of one series on the grid of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import resample
from qperf_app.methods.bolus_timing import steepest_rise_time
from qperf_app.plugins import BloodPoolPlugin, BloodPools, RunContext, Series
from qperf_segmentation.blood_pool import KMeansOptions, grow
from qperf_segmentation.enhancement import Enhancement, measure_enhancement
from qperf_segmentation.ventricles import VentriclePair, VentricleRules

Mask = NDArray[np.bool_]


def ventricles_of(
    series: Series, pools: BloodPools | None, finder: BloodPoolPlugin, context: RunContext
) -> tuple[BloodPools | None, list[str]]:
    """Blood pools on the grid of a tissue series: those handed on, or else what ``finder`` finds; with warnings."""
    if pools is not None and pools.found:
        return bring_to_grid(pools, series, context.seed)
    own = finder.find(series, context)
    if not own.found:
        return None, [f"no blood pools to start from: {own.reason}"]
    return own, ["no blood pools were handed on: they were looked for in the tissue series"]


def bring_to_grid(pools: BloodPools, series: Series, seed: int) -> tuple[BloodPools | None, list[str]]:
    """Find pools on the grid of a tissue series, starting from pools that may lie on another.

    Pools on the same grid are kept. Others say by their place which voxels of the tissue series to take for left and
    right blood; these tell the arrival times, and with both the pools are found again in every slice. Where that
    fails the pools are taken over as they lie.

    Returns
    -------
    pools : BloodPools or None
        None where the pools lie outside of the tissue series.
    warnings : list of str
    """
    shape: tuple[int, int, int] = tuple(series.data.shape[:3])  # type: ignore[assignment]
    same = pools.lv.shape == shape and np.allclose(pools.affine, series.affine, atol=1e-3)
    lv, rv = (mask if same else resample(mask, pools.affine, series.affine, shape) for mask in (pools.lv, pools.rv))
    if not lv.any():
        return None, ["the blood pools lie outside of the tissue series: no myocardium"]
    if same and lv.any(axis=(0, 1)).all():
        return pools, []
    found = measure_enhancement(series)
    again = None if found is None else _find_again(series, found, lv, rv, seed)
    warnings = []
    final_lv, final_rv = lv.copy(), rv.copy()
    for k in range(shape[2]):
        if same and lv[..., k].any():
            continue
        if again is not None and again.lv[..., k].any():
            final_lv[..., k], final_rv[..., k] = again.lv[..., k], again.rv[..., k]
        elif lv[..., k].any():
            warnings.append(f"slice {k}: the blood pools were not found again; taken over from the other series")
    return replace(
        pools, lv=final_lv, rv=final_rv & ~final_lv, aif=np.zeros(shape, bool), affine=series.affine
    ), warnings


def _find_again(series: Series, found: Enhancement, lv: Mask, rv: Mask, seed: int) -> BloodPools | None:
    """Find pools near the given ones, with their arrival times in this series."""
    k = int(lv.sum(axis=(0, 1)).argmax())
    if not lv[..., k].any():
        return None
    lv_arrival = _arrival(found, lv)
    rv_arrival = _arrival(found, rv) if rv.any() else lv_arrival - 5.0
    if not rv_arrival < lv_arrival - 1.0:
        rv_arrival = lv_arrival - 5.0
    prior = VentriclePair(-1, rv[..., k], lv[..., k], rv_arrival, lv_arrival, 0.0)
    again = grow(series, found, prior, VentricleRules(), KMeansOptions(), seed)
    return again if again.found else None


def _arrival(found: Enhancement, mask: Mask) -> float:
    """Time of the steepest rise of the mean curve of a mask, s."""
    return steepest_rise_time(found.times, found.curves[mask].mean(axis=0))
