"""Outlines of the left ventricle against the series that they lie in, slice by slice: can they be trusted?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import resample
from qperf_app.methods.outline_features import cavity_of, seen_slices
from qperf_app.methods.outline_trust import Trust, trust_pool, trust_wall
from qperf_app.plugins.records import BloodPools, Series

#: What to do about an outline that isn't trusted.
MEND = "correct the outline (qperf review)"
#: Least share of the pools' left blood within the epicardium, where both cut the same slices: the input function's
#: series is coarser, and its heart may lie some mm aside.
WITHIN = 0.5


@dataclass(frozen=True)
class Judged:
    """Estimated Dice (z,), NaN where there is no outline, and why which slice isn't trusted."""

    dice: tuple[float, ...]
    doubts: tuple[str, ...]


def judge_wall(series: Series, wall: NDArray[np.bool_], own: Sequence[float] = ()) -> Judged:
    """Estimate the Dice of a wall (x, y, z), outlined on a motion-corrected series.

    Parameters
    ----------
    own : (z,) sequence
        What the plugin itself thinks; the lower one counts. Empty where it has no estimate.
    """
    dice, doubts = _judge(series, wall, trust_wall, "wall", own)
    return Judged(dice, tuple(doubts.values()))


def judge_pool(series: Series, left: NDArray[np.bool_], own: Sequence[float] = ()) -> Judged:
    """Estimate the Dice of the left ventricle's blood (x, y, z); as :func:`judge_wall`.

    The slice that the input function is taken from, that with the largest pool, decides.
    """
    dice, doubts = _judge(series, left, trust_pool, "left ventricle's blood", own)
    k = int(left.sum(axis=(0, 1)).argmax())
    return Judged(dice, (doubts[k],) if k in doubts else ())


def blood_outside_wall(wall: NDArray[np.bool_], affine: NDArray[np.float64], pools: BloodPools) -> str:
    """Say so where the input function's blood lies outside of the outlined wall; else empty.

    Pools and wall may come from different series: their world frames must agree.
    """
    left = resample(pools.lv, pools.affine, affine, wall.shape)
    both = left.any(axis=(0, 1)) & wall.any(axis=(0, 1))
    if not both.any():
        return ""
    heart = np.stack([wall[..., k] | cavity_of(wall[..., k]) for k in np.flatnonzero(both)], axis=-1)
    share = float((left[..., both] & heart).sum() / left[..., both].sum())
    if share >= WITHIN:
        return ""
    return (
        f"{1 - share:.0%} of the left ventricle's blood that the input function was looked for in lies outside of the "
        f"outlined wall: one of the two lies wrong; {MEND}"
    )


def blood_within_wall(wall: NDArray[np.bool_], affine: NDArray[np.float64], pools: BloodPools) -> str:
    """Say so where half of the left ventricle's blood is outlined as wall; else empty."""
    left = resample(pools.lv, pools.affine, affine, wall.shape)
    left[..., ~wall.any(axis=(0, 1))] = False
    if not left.any() or (share := float((left & wall).sum() / left.sum())) < WITHIN:
        return ""
    return f"{share:.0%} of the left ventricle's blood is outlined as wall: is the cavity filled in? {MEND}"


def right_after_left(series: Series, pools: BloodPools) -> str:
    """Say so where the right ventricle's blood enhances after the left one's; else empty."""
    from qperf_app.methods.bolus_timing import BEFORE_BOLUS, half_rise_time

    dynamic = series.dynamic()
    if not (pools.rv.any() and pools.lv.any()) or len(dynamic.times) < 3:
        return ""
    right, left = (
        half_rise_time(dynamic.times, np.nan_to_num(dynamic.data[mask]).mean(axis=0), BEFORE_BOLUS)
        for mask in (pools.rv, pools.lv)
    )
    if right <= left:
        return ""
    return f"the right ventricle's blood enhances {right - left:.1f} s after the left one's: are they exchanged? {MEND}"


def _judge(
    series: Series,
    mask: NDArray[np.bool_],
    trust: Callable[..., Trust],
    what: str,
    own: Sequence[float],
) -> tuple[tuple[float, ...], dict[int, str]]:
    """Estimated Dice of every slice, and why it is doubtful of those that are."""
    seen = seen_slices(series)
    dice = np.full(mask.shape[2], np.nan)
    doubts: dict[int, str] = {}
    for k in map(int, np.flatnonzero(mask.any(axis=(0, 1)))) if seen else ():
        found = trust(seen[k], mask[..., k])
        thought = float(own[k]) if len(own) else np.nan
        dice[k] = np.nanmin([found.dice, thought])
        if dice[k] < found.least:
            doubts[k] = f"slice {k + 1}: {_words(what, dice[k], found.against)}"
    return tuple(dice.tolist()), doubts


def _words(what: str, dice: float, against: Sequence[str]) -> str:
    reasons = f" ({'; '.join(against)})" if against else ""
    return f"the estimated Dice of the {what} is {dice:.2f}{reasons}: {MEND}"
