"""Which enhancing voxels are right- and which left-ventricular blood: place, two clusters by arrival, plausibility."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.heart import squared_distance
from qperf_app.methods.noise import white_noise_sd
from qperf_segmentation.enhancement import Enhancement

Mask = NDArray[np.bool_]

#: Candidates are voxels above these shares of the strongest bolus passage around a place; the best pair decides.
LEVELS = (0.2, 0.35, 0.5)
#: Lengths of the interval, widths of the first pass, in which both ventricles enhance.
PASSAGES = (1.25, 2.3)
#: Time from the right to the left ventricle, widths, where the right one is not seen.
USUAL_DELAY = 0.77
#: Greatest distance between the blood of the two ventricles, mm.
SEPTUM = 24.0
#: Distance between the centres of the ventricles, mm, that is seldom exceeded.
USUAL_DISTANCE = 60.0
# What follows was set on 21 real series, as the rules below were.
#: In other slices, candidates are measured against what lies this near the reference pair, and the left ventricle comes
#: within this distance of it, mm.
_STRENGTH_REACH, _LEFT_REACH = 30.0, 25.0
#: Arrival times in other slices may be this much farther from the pair's than half of its delay, widths.
_SLACK = 0.08
#: Where the heart may be: blur of the bolus passage and least distance of its maxima, mm; the brightest voxels count as
#: this percentile.
_PLACE_BLUR, _PLACE_DISTANCE, _PLACE_PERCENTILE = 15.0, 20.0, 98
#: Level and steepness of the strongest voxels are this percentile of all: a few outliers don't matter.
_STRONGEST = 99
#: Regions that are looked at of each mask.
_REGIONS = 4
#: The level before contrast is that of this interval about the arrival, widths.
_BEFORE = (-1.4, -0.46)
#: A pool that follows another: its steepness and size as parts of the other's, its compactness, how much later, widths.
_FOLLOWER_STEEPNESS, _FOLLOWER_SIZE, _FOLLOWER_COMPACTNESS, _FOLLOWER_DELAY = 0.6, 0.2, 0.7, (0.31, 1.55)
#: Wall about a pool: distance from it, mm, delay, widths, peak as a part of the pool's, and the part of a sector's
#: voxels that make it wall.
_WALL_DISTANCE, _WALL_DELAY, _WALL_PEAK, _WALL_SHARE = (2.5, 9.0), (0.06, 1.08), (0.08, 0.7), 0.25


@dataclass(frozen=True)
class VentricleRules:
    """What a pair of ventricles may look like: lengths mm, areas mm^2, times widths of the first pass.

    ``min_contrast`` is the least peak of a pool's mean curve over that curve's own beat-to-beat scatter; over its
    signal before contrast it may be little, which in a steady state without saturation is high. ``min_washout`` is the
    least share of the peak that is lost after it, ``min_steepness`` the least up-slope over that of the slice's
    steepest voxels, and ``max_unrest`` the greatest range of the curve before contrast over its peak. Over 21 real
    series the extremes were 17, 0.34, 0.43 and 0.13; moving edges and noise mostly stay outside the limits.
    ``min_balance`` is the least up-slope, summed over its voxels, of the left ventricle over the right one. A slice
    near the apex may cut the left ventricle alone: it counts ``alone_weight`` of what a pair as strong would count, if
    tissue that enhances after it surrounds it on ``min_wall`` of its circumference.
    """

    snr: float = 3.0
    min_transit: float = 0.23
    max_transit: float = 2.3
    min_area: float = 60.0
    max_area: float = 8000.0
    min_voxels: int = 4
    min_steepness: float = 0.2
    min_contrast: float = 15.0
    max_unrest: float = 0.3
    min_washout: float = 0.05
    heart_radius: float = 70.0
    max_distance: float = 90.0
    min_balance: float = 1 / 6
    alone_weight: float = 0.25
    min_wall: float = 0.5


@dataclass(frozen=True)
class VentriclePair:
    """Cores of the two ventricles in one slice, (x, y) bool, their arrival times (widths) and how strong they are.

    ``rv`` is empty where the slice cuts the left ventricle alone; ``rv_arrival`` is then a guess.
    """

    slice: int
    rv: Mask
    lv: Mask
    rv_arrival: float
    lv_arrival: float
    score: float


@dataclass(frozen=True)
class _Slice:
    """The features of one slice, (x, y)."""

    index: int
    bolus: NDArray[np.float64]
    arrival: NDArray[np.float64]
    enhancing: Mask
    voxel: NDArray[np.float64]
    times: NDArray[np.float64]
    upslope: NDArray[np.float64]
    snr: NDArray[np.float64]
    signal: NDArray[np.float64]
    curves: NDArray[np.float64]
    washout: NDArray[np.float64]


def find_pair(found: Enhancement, voxel: NDArray[np.float64], rules: VentricleRules) -> VentriclePair | None:
    """Find the most plausible pair of ventricles over all slices, or None.

    Parameters
    ----------
    found : Enhancement
    voxel : (3,) float array
        Edge lengths of a voxel, mm.
    rules : VentricleRules

    Notes
    -----
    Moving fat can enhance more than blood and hearts lie anywhere, so several places, candidate levels and intervals
    are tried. Each gives two clusters by arrival time; their connected regions make pairs, and the pair with the
    strongest bolus passage through both, the left one compact, wins.
    """
    best: VentriclePair | None = None
    for part in _slices(found, voxel, rules):
        for near in _places(part, rules):
            for level in LEVELS:
                for passage in PASSAGES:
                    for pair in _pairs(part, near, level, passage, rules):
                        if best is None or pair.score > best.score:
                            best = pair
    return best


def find_in_slice(
    found: Enhancement, k: int, reference: VentriclePair, voxel: NDArray[np.float64], rules: VentricleRules
) -> tuple[Mask, Mask]:
    """Find (lv, rv) of another slice by the arrival times and the place of the reference pair; empty if not there."""
    part = next(one for one in _slices(found, voxel, rules) if one.index == k)
    distance = _distance_from(reference.lv, part)
    strongest = part.bolus[part.enhancing & (distance < _STRENGTH_REACH)].max(initial=0.0)
    cut = (reference.rv_arrival + reference.lv_arrival) / 2
    half = (reference.lv_arrival - reference.rv_arrival) / 2 + _SLACK
    enhancing = part.enhancing & (part.bolus > LEVELS[0] * strongest)
    late = enhancing & (part.arrival > cut) & (part.arrival < reference.lv_arrival + half)
    early = enhancing & (part.arrival <= cut) & (part.arrival > reference.rv_arrival - half)
    return (
        _strongest_within(late, part, distance, _LEFT_REACH, rules),
        _strongest_within(early, part, distance, rules.max_distance, rules),
    )


def two_means(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float | None:
    """Cut between the two clusters of weighted k-means on a line, exact; None where all values are equal.

    On a line the best two clusters are the cut with the largest variance between them, so no random start is needed.
    """
    order = np.argsort(values, kind="stable")
    v, w = values[order], weights[order]
    if v.size < 2 or v[0] == v[-1]:
        return None
    below, moment = np.cumsum(w)[:-1], np.cumsum(w * v)[:-1]
    above = w.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moment / below - ((w * v).sum() - moment) / above) ** 2
    between[(v[1:] == v[:-1]) | ~np.isfinite(between)] = -1.0
    cut = int(between.argmax())
    return float(v[cut] + v[cut + 1]) / 2


def compactness(mask: Mask, voxel: NDArray[np.float64]) -> float:
    """Share of a region inside the disc of its own area about its centre: 1 for a disc, small for a thin curve."""
    points = np.argwhere(mask) * voxel[:2]
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    area = len(points) * voxel[0] * voxel[1]
    return float(np.mean(distance <= np.sqrt(area / np.pi) + 0.5 * voxel[:2].mean()))


def _slices(found: Enhancement, voxel: NDArray[np.float64], rules: VentricleRules) -> Iterator[_Slice]:
    bolus = found.bolus
    for k in range(bolus.shape[2]):
        enhancing = (found.snr[..., k] >= rules.snr) & (bolus[..., k] > 0)
        yield _Slice(
            index=k,
            bolus=bolus[..., k],
            arrival=found.arrival[..., k],
            enhancing=enhancing,
            voxel=voxel,
            times=found.times,
            upslope=found.upslope[..., k],
            snr=found.snr[..., k],
            signal=found.signal[:, :, k],
            curves=found.curves[:, :, k],
            washout=found.washout[..., k],
        )


def _places(part: _Slice, rules: VentricleRules, count: int = 6) -> Iterator[Mask]:
    """Discs about the strongest maxima of the blurred squared bolus passage, where the heart may be."""
    from scipy import ndimage

    if not part.enhancing.any():
        return
    bolus = np.where(part.enhancing, part.bolus, 0.0)
    limited = np.minimum(bolus, np.percentile(bolus[part.enhancing], _PLACE_PERCENTILE)) ** 2
    blurred = ndimage.gaussian_filter(limited, _PLACE_BLUR / part.voxel[:2], mode="constant")
    reach = np.maximum(1, np.round(_PLACE_DISTANCE / part.voxel[:2]).astype(int)) * 2 + 1
    peaks = np.argwhere((blurred == ndimage.maximum_filter(blurred, size=tuple(reach))) & (blurred > 0))
    order = np.argsort(-blurred[tuple(peaks.T)], kind="stable")[:count]
    for centre in peaks[order]:
        yield squared_distance(bolus.shape, centre, part.voxel) < rules.heart_radius**2


def _pairs(part: _Slice, near: Mask, level: float, passage: float, rules: VentricleRules) -> Iterator[VentriclePair]:
    """Plausible pairs among the regions of the two clusters by arrival."""
    enhancing = near & part.enhancing
    enhancing &= part.bolus > level * np.percentile(part.bolus[enhancing], _STRONGEST)
    start = _busiest(part, enhancing, passage)
    enhancing &= (part.arrival >= start) & (part.arrival < start + passage)
    cut = two_means(part.arrival[enhancing], part.bolus[enhancing])
    if cut is None:
        return
    late, early = (
        [region for region in _regions(mask, part.voxel, rules) if _passes_like_blood(part, region, rules)]
        for mask in (enhancing & (part.arrival > cut), enhancing & (part.arrival <= cut))
    )
    judged = [_judge(part, rv, lv, rules) for rv in early for lv in late]
    alone = [_judge_alone(part, lv, rules) for lv in (*early, *late)]
    yield from (pair for pair in (*judged, *alone) if pair is not None)


def _busiest(part: _Slice, enhancing: Mask, length: float) -> float:
    """Start of the interval of this length in which most of the bolus passage lies."""
    arrival, weight = part.arrival[enhancing], part.bolus[enhancing]
    inside = [weight[(arrival >= start) & (arrival < start + length)].sum() for start in part.times]
    return float(part.times[int(np.argmax(inside))])


def _regions(mask: Mask, voxel: NDArray[np.float64], rules: VentricleRules) -> list[Mask]:
    """Connected regions of a plausible size, at most the largest few."""
    from scipy import ndimage

    labels, n = ndimage.label(mask)
    voxels = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    area = voxels * voxel[0] * voxel[1]
    fits = (area >= rules.min_area) & (area <= rules.max_area) & (voxels >= rules.min_voxels)
    return [labels == i + 1 for i in np.argsort(-area, kind="stable")[:_REGIONS] if fits[i]]


def _passes_like_blood(part: _Slice, region: Mask, rules: VentricleRules) -> bool:
    """Whether a region is among the steepest, stands out of its scatter, gains enough signal and loses some again."""
    steepest = np.percentile(part.upslope[part.enhancing], _STRONGEST)
    if np.median(part.upslope[region]) < rules.min_steepness * steepest:
        return False
    signal = part.signal[region].mean(axis=0)
    peak = float(part.curves[region].mean(axis=0).max())
    scatter = float(white_noise_sd(signal))
    arrival = np.median(part.arrival[region])
    before = signal[(part.times > arrival + _BEFORE[0]) & (part.times < arrival + _BEFORE[1])]
    before = before if before.size else signal[:1]
    return (
        peak >= rules.min_contrast * scatter
        and float(np.ptp(before)) <= rules.max_unrest * peak
        and float(np.median(part.washout[region])) >= rules.min_washout
    )


def _strongest_within(
    mask: Mask, part: _Slice, distance: NDArray[np.float64], reach: float, rules: VentricleRules
) -> Mask:
    """The region with the strongest bolus passage that comes as near as ``reach``; empty where there is none."""
    inside = [region for region in _regions(mask, part.voxel, rules) if distance[region].min() < reach]
    return max(inside, key=lambda region: part.bolus[region].sum(), default=np.zeros_like(mask))


def _judge(part: _Slice, rv: Mask, lv: Mask, rules: VentricleRules) -> VentriclePair | None:
    """Score a pair by the bolus through both and the roundness of the left one; None where it is not plausible."""
    rv_arrival, lv_arrival = (float(np.median(part.arrival[mask])) for mask in (rv, lv))
    distance = float(np.linalg.norm((_centre(lv) - _centre(rv)) * part.voxel[:2]))
    if not rules.min_transit <= lv_arrival - rv_arrival <= rules.max_transit or distance > rules.max_distance:
        return None
    if part.upslope[lv].sum() < rules.min_balance * part.upslope[rv].sum():
        return None
    right, left = (float(part.bolus[mask].sum() * part.voxel[0] * part.voxel[1]) for mask in (rv, lv))
    score = np.sqrt(right * left) * compactness(lv, part.voxel)
    if _pool_follows(part, lv, rv | lv, lv_arrival, rules):
        return None
    return VentriclePair(part.index, rv, lv, rv_arrival, lv_arrival, float(score))


def _judge_alone(part: _Slice, lv: Mask, rules: VentricleRules) -> VentriclePair | None:
    """Score a region as a left ventricle without the right one in its slice; None where it may be the right one.

    It may be where no wall surrounds it, where another pool follows, or where the series ends before one could.
    """
    arrival = float(np.median(part.arrival[lv]))
    wall = _surrounded(part, lv, arrival)
    ends_early = part.times[-1] < arrival + rules.max_transit
    if wall < rules.min_wall or ends_early or _pool_follows(part, lv, lv, arrival, rules):
        return None
    strength = float(part.bolus[lv].sum() * part.voxel[0] * part.voxel[1])
    score = rules.alone_weight * strength * compactness(lv, part.voxel) * wall
    return VentriclePair(part.index, np.zeros_like(lv), lv, arrival - USUAL_DELAY, arrival, score)


def _pool_follows(part: _Slice, pool: Mask, heart: Mask, arrival: float, rules: VentricleRules) -> bool:
    """Whether another compact region beside the heart enhances after a pool, about as steeply: it was the right one.

    ``heart`` is what has been taken for ventricles. The other region need not wash out: the series may end before.
    """
    from scipy import ndimage

    gap = ndimage.distance_transform_edt(~heart, sampling=part.voxel[:2])
    steep = part.enhancing & (part.upslope > _FOLLOWER_STEEPNESS * np.median(part.upslope[pool]))
    near = _distance_from(pool, part) < USUAL_DISTANCE
    later = _between(part.arrival, _FOLLOWER_DELAY, arrival)
    loose = replace(rules, min_washout=0.0)
    return any(
        gap[region].min() < SEPTUM
        and region.sum() > _FOLLOWER_SIZE * pool.sum()
        and compactness(region, part.voxel) > _FOLLOWER_COMPACTNESS
        and _passes_like_blood(part, region, loose)
        for region in _regions(steep & near & later & ~heart, part.voxel, rules)
    )


def _surrounded(part: _Slice, lv: Mask, arrival: float, sectors: int = 24) -> float:
    """Share of the directions in which tissue next to a pool enhances soon after it, and less than it."""
    from scipy import ndimage

    outside = ndimage.distance_transform_edt(~lv, sampling=part.voxel[:2])
    beside = _between(outside, _WALL_DISTANCE)
    peak = part.curves.max(axis=-1) / np.median(part.curves[lv].max(axis=-1))
    later = _between(part.arrival, _WALL_DELAY, arrival)
    wall = beside & later & _between(peak, _WALL_PEAK) & (part.snr >= VentricleRules.snr)
    offset = (np.moveaxis(np.indices(lv.shape), 0, -1) - _centre(lv)) * part.voxel[:2]
    turn = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) + 0.5
    sector = np.minimum((turn * sectors).astype(int), sectors - 1)
    voxels, walls = (np.bincount(sector[mask], minlength=sectors) for mask in (beside, wall))
    return float(np.mean(walls > _WALL_SHARE * np.maximum(voxels, 1)))


def _between(values: NDArray[np.float64], limits: tuple[float, float], since: float = 0.0) -> Mask:
    """Where values lie between limits, both counted from ``since``."""
    return np.asarray((values > since + limits[0]) & (values < since + limits[1]))


def _distance_from(mask: Mask, part: _Slice) -> NDArray[np.float64]:
    """Distance of every voxel from the centre of a region, mm."""
    return np.sqrt(squared_distance(mask.shape, _centre(mask), part.voxel))


def _centre(mask: Mask) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(axis=0))
