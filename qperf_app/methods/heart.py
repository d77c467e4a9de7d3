"""Where the heart is in a series that still moves.

Blood of the ventricles rises and falls with the first pass. So do, less often, edges that breathing moves past a pixel;
but those jump to and fro, or stay changed, where blood has one smooth bump. How long that lasts is a matter of dose,
injection and heart, and how many frames it has one of the sampling as well: intervals are therefore counted in widths
of the first pass (:func:`first_pass_width`), which is about 6.5 s in a resting adult.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.bolus_timing import width_at_half
from qperf_app.methods.running import lowest_before, running_median
from qperf_app.methods.smoothing import gaussian

#: No first pass of blood through the ventricles is shorter at half of its height, s: an injection takes 2 to 4 s, and
#: the lungs spread it. What is shorter is an edge that moved, or the beginning of a pass that the series cuts off.
SHORTEST_PASS = 5.0
#: The first look for the first pass goes so far to either side of a peak, as a part of the series. Farther, a heart
#: that lies elsewhere for some time would count; nearer, a pass would be cut short.
_FIRST_LOOK = 0.25
#: Smoothing in the plane of that look, mm: edges that move are narrower than ventricles.
_FIRST_SMOOTHING, _FIRST_MEDIAN = 8.0, 3
#: A bolus has come and, in good part, gone within this time on either side of its peak, widths of the first pass.
_PASSAGE = 1.85
#: Spread of the prior that an operator centres the heart, as a fraction of half the field of view.
_CENTRED = 0.5
#: Size of the two ventricles' blood together, and distance between them, mm.
_BLOB, _REACH = 15.0, 25.0
#: Blood pools are sought this far around the heart's centre, mm.
_SEARCH = 65.0
#: Share of the search area's highest score (98th percentile) that marks blood; where no left ventricle follows, a coil
#: that lies nearer to the right one may have made it look faint: half of that. Muscle has a third of that and less.
_BLOOD, _FAINT = 0.3, 0.15
#: Smallest blood pool, mm2.
_SMALLEST = 60.0
#: The left ventricle fills after the right one by this range, widths of the first pass, and has at least this share of
#: the leading pool's weight and this roundness (a right ventricle's crescent is flatter, a moving edge is a line).
_TRANSIT, _WEIGHT, _ROUND = (0.23, 1.85), 0.1, 0.35
#: Neighbouring pixels whose arrival times differ by more than this belong to two pools, widths of the first pass.
_PARTING = 0.31
#: Spread of the prior that the pools lie near the heart's centre, mm.
_NEAR = 40.0
#: A bump below this share of the series' brightest value is noise or rounding.
_NOTHING = 0.01


def heart_centre(scores: list[NDArray[np.floating]], spacing: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Centre of the two ventricles' blood in pixels, (2,), from the first-pass scores of all slices.

    None where nothing in the series rises and falls.
    """
    from scipy.ndimage import gaussian_filter

    weight = sum(np.sqrt(score / score.max()) for score in scores if score.max() > 0)
    if not np.any(weight):
        return None
    x, y = np.ogrid[: weight.shape[0], : weight.shape[1]]
    weight = weight * _centred(weight.shape)
    blob = gaussian_filter(weight, _BLOB / spacing, mode="constant")
    centre = np.array(np.unravel_index(int(blob.argmax()), blob.shape), float)
    for _ in range(10):
        near = weight * np.exp(-squared_distance(weight.shape, centre, spacing) / (2 * _REACH**2))
        centre = np.array([(x * near).sum(), (y * near).sum()]) / near.sum()
    return centre


def first_pass_width(slices: Sequence[NDArray[np.floating]], spacing: NDArray[np.float64], interval: float) -> float:
    """How long the first pass lasts in a series, whose heart may still move: its width at half height, s.

    The median over the pixels, each weighted by how much it rises and falls as blood does and by how central it lies.
    A pixel's height is counted from the higher of the levels before and after its peak, so that a saturated signal,
    which hardly falls, has a width as well.

    Parameters
    ----------
    slices : sequence of (x, y, t) arrays
        Dynamic frames of each slice, of one shape.
    spacing : (2,) array
        mm.
    interval : float
        Usual time between frames, s.

    Returns
    -------
    float
        At least ``SHORTEST_PASS``.
    """
    return first_pass(slices, spacing, interval)[1]


def first_pass(
    slices: Sequence[NDArray[np.floating]], spacing: NDArray[np.float64], interval: float
) -> tuple[float, float]:
    """When the bolus is in the ventricles, the frame (with fraction) between its two peaks, and its width, s.

    Arguments and width are those of :func:`first_pass_width`; the frame is the weighted median of the pixels' peaks,
    the middle one where nothing passes.
    """
    peaks, widths, weights = [], [], []
    for frames in slices:
        window = max(2, round(_FIRST_LOOK * frames.shape[2]))
        median = min(_FIRST_MEDIAN, frames.shape[2])
        smooth, peak, bump, score = _bump(frames, spacing, window, _FIRST_SMOOTHING, median)
        seen = score > 0
        peaks.append(peak[seen])
        widths.append(width_at_half(smooth[seen], peak[seen], bump[seen]))
        weights.append((score * _centred(score.shape))[seen])
    width, weight = np.concatenate(widths), np.concatenate(weights)
    if not len(width):
        return (slices[0].shape[2] - 1) / 2.0, SHORTEST_PASS
    frame = _weighted_median(np.concatenate(peaks), weight)
    return frame, max(_weighted_median(width, weight) * interval, SHORTEST_PASS)


def _weighted_median(values: NDArray[np.generic], weight: NDArray[np.floating]) -> float:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order], dtype=np.float64)
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def odd_frames(most: int, width: float) -> int:
    """Frames of a running median: at most ``most``, and no more than a first pass of ``width`` frames lasts."""
    return max(1, (min(most, int(width)) - 1) // 2 * 2 + 1)


def first_pass_score(
    frames: NDArray[np.float32], spacing: NDArray[np.float64], width: float, smoothing: float, median: int
) -> NDArray[np.float32]:
    """How much each pixel rises and falls as blood does, (x, y), 0 where not at all.

    Parameters
    ----------
    frames : (x, y, t) array
        Dynamic frames.
    spacing : (2,) array
        mm.
    width : float
        Width of the first pass, frames.
    smoothing : float
        mm, in the plane.
    median : int
        Frames, at most, of the running median that takes out breathing.
    """
    return _bump(frames, spacing, _passage(width), smoothing, odd_frames(median, width))[3]


@dataclass(frozen=True)
class LeftVentricle:
    """Blood of the left ventricle, masks (x, y).

    ``pool`` is the pool that fills after the one of most blood, or that one where none does so. ``fainter`` is then one
    of less blood that does, None where there is none either.
    """

    pool: NDArray[np.bool_]
    fainter: NDArray[np.bool_] | None = None

    @property
    def likeliest(self) -> NDArray[np.bool_]:
        """The pool that fills last."""
        return self.pool if self.fainter is None else self.fainter

    @property
    def either(self) -> NDArray[np.bool_]:
        """Both pools, where it may be the one or the other."""
        return self.pool | self.likeliest


def left_ventricle(
    frames: NDArray[np.float32], spacing: NDArray[np.float64], width: float, centre: NDArray[np.float64]
) -> LeftVentricle | None:
    """Blood pool of the left ventricle in frames that are roughly aligned already, or None.

    ``width`` is that of the first pass, frames. Of the connected pools near ``centre`` the one of most score, roundness
    and nearness leads. Where another follows it in time as the left ventricle follows the right one, that is taken
    instead; where none does, it is looked for once more among what is fainter.
    """
    smooth, peak, _, score = _bump(frames, spacing, _passage(width), smoothing=3.0, median=odd_frames(3, width))
    distance = squared_distance(score.shape, centre, spacing)
    near = distance <= _SEARCH**2
    highest = np.percentile(score[near], 98)
    arrival = _arrival(smooth, peak, _passage(width)) / width
    pools = _pools(near & (score > _BLOOD * highest), score, arrival, distance, spacing)
    if not pools:
        return None
    lead = pools[0]
    followers = [pool for pool in pools[1:] if _follows(pool, lead)]
    if followers:
        return LeftVentricle(followers[0].mask)
    after = arrival - lead.arrival
    late = near & (score > _FAINT * highest) & (after > _TRANSIT[0]) & (after < _TRANSIT[1])
    fainter = [pool for pool in _pools(late, score, arrival, distance, spacing) if _follows(pool, lead)]
    return LeftVentricle(lead.mask, fainter[0].mask if fainter else None)


@dataclass(frozen=True)
class _Pool:
    """Connected blood (x, y), its weight as a ventricle's, when it fills (widths of the first pass), its roundness."""

    mask: NDArray[np.bool_]
    weight: float
    arrival: float
    roundness: float


def _follows(pool: _Pool, lead: _Pool) -> bool:
    """Whether a pool fills after the leading one as the left ventricle does, and is like one."""
    after = _TRANSIT[0] < pool.arrival - lead.arrival < _TRANSIT[1]
    return after and pool.weight > _WEIGHT * lead.weight and pool.roundness > _ROUND


def _pools(
    blood: NDArray[np.bool_],
    score: NDArray[np.float32],
    arrival: NDArray[np.float64],
    distance: NDArray[np.float64],
    spacing: NDArray[np.float64],
) -> list[_Pool]:
    """Connected pools of blood, the weightiest first; two that touch part where their arrival times do."""
    from scipy.ndimage import generate_binary_structure, label, maximum_filter, minimum_filter

    cross = generate_binary_structure(2, 1)
    latest = maximum_filter(np.where(blood, arrival, -np.inf), footprint=cross)
    earliest = minimum_filter(np.where(blood, arrival, np.inf), footprint=cross)
    labels, count = label(blood & (latest - earliest < _PARTING))
    pools = []
    for k in range(1, count + 1):
        pool = labels == k
        if pool.sum() * np.prod(spacing) >= _SMALLEST:
            roundness, closeness = _roundness(pool, spacing), np.exp(-distance[pool].mean() / (2 * _NEAR**2))
            weight = float(score[pool].sum() * roundness * closeness)
            pools.append(_Pool(pool, weight, float(np.median(arrival[pool])), roundness))
    return sorted(pools, key=lambda pool: (pool.weight, pool.arrival, pool.roundness), reverse=True)


def dilated(mask: NDArray[np.bool_], margin: float, spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask with everything within ``margin`` mm of it, holes filled."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    return np.asarray(distance_transform_edt(~binary_fill_holes(mask), sampling=spacing) <= margin)


def squared_distance(
    shape: tuple[int, ...], centre: NDArray[np.float64], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared distance of every pixel from ``centre``, mm2."""
    x, y = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(((x - centre[0]) * spacing[0]) ** 2 + ((y - centre[1]) * spacing[1]) ** 2)


def _centred(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """How likely the heart is to lie at each pixel: operators centre it."""
    half = [max((n - 1) / 2, 1.0) for n in shape]
    x, y = np.ogrid[: shape[0], : shape[1]]
    away = ((x - (shape[0] - 1) / 2) / half[0]) ** 2 + ((y - (shape[1] - 1) / 2) / half[1]) ** 2
    return np.asarray(np.exp(-away / (2 * _CENTRED**2)))


def _bump(
    frames: NDArray[np.floating], spacing: NDArray[np.float64], width: int, smoothing: float, median: int
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Smoothed frames, frame of each pixel's bump, its height, and its score.

    The bump is the largest excess over the lowest values in ``width`` frames before and after. The score weighs it
    by its share of all the pixel's ups and downs (one smooth bump: 1) and by its share of the pixel's peak (blood that
    was dark before: near 1).
    """
    # Frame by frame in memory: what is done along time is then done to whole images at a time.
    images = np.ascontiguousarray(np.moveaxis(np.asarray(frames, np.float32), 2, 0))
    blurred = gaussian(images, (0.0, *(smoothing / spacing)))
    smooth = running_median(blurred, median, axis=0)
    before, after = lowest_before(smooth, width, axis=0), lowest_before(smooth[::-1], width, axis=0)[::-1]
    excess = smooth - np.maximum(before, after)
    peak = excess.argmax(axis=0)
    bump = np.take_along_axis(excess, peak[None], axis=0)[0]
    bump[bump < _NOTHING * smooth.max()] = 0
    travel = np.abs(np.moveaxis(np.diff(blurred, axis=0), 0, 2), order="C").sum(axis=2)
    tiny = np.finfo(np.float32).tiny
    steady = np.minimum(1, 2 * bump / np.maximum(travel, tiny))
    score = bump * steady * bump / np.maximum(smooth.max(axis=0), tiny)
    return np.ascontiguousarray(np.moveaxis(smooth, 0, 2)), peak, bump, score


def _passage(width: float) -> int:
    return max(2, round(_PASSAGE * width))


def _arrival(smooth: NDArray[np.float32], peak: NDArray[np.intp], width: int) -> NDArray[np.float64]:
    """Frame (with fraction) at which each pixel has risen halfway to its bump."""
    frame = np.arange(smooth.shape[2])
    rising = (frame <= peak[..., None]) & (frame >= peak[..., None] - width)
    top = np.take_along_axis(smooth, peak[..., None], axis=2)
    half = (top + np.where(rising, smooth, np.inf).min(axis=2, keepdims=True)) / 2
    below = np.where(rising & (smooth <= half), frame, 0).max(axis=2)[..., None]
    above = np.minimum(below + 1, smooth.shape[2] - 1)
    low, high = np.take_along_axis(smooth, below, axis=2), np.take_along_axis(smooth, above, axis=2)
    fraction = np.clip((half - low) / np.maximum(high - low, np.finfo(np.float32).tiny), 0, 1)
    return np.asarray((below + fraction)[..., 0])


def _roundness(pool: NDArray[np.bool_], spacing: NDArray[np.float64]) -> float:
    """Area over that of the circle around the pool's centroid that holds it: 1 for a disc, near 0 for a line."""
    points = np.argwhere(pool) * spacing
    radius = np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).max()) + spacing.mean() / 2
    return float(len(points) * np.prod(spacing) / (np.pi * radius**2))
