"""AHA segments: their voxels, one curve for each, and medians of maps over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import SegmentRow, SegmentTable
from qperf_app.plugins.results import CURVE_PERCENTILES

#: A segment, over the whole wall or one layer of it: its number and layer, and its voxels (x, y, z).
Region = tuple[tuple[int, str], NDArray[np.bool_]]

#: Standard deviation of a normal distribution over its median absolute deviation.
_TO_SD = 1.4826
#: Deviations of voxels so far from each other, in voxels, are not held against each other: a wall is not much thicker.
_REACH = 3


def segment_regions(labels: NDArray[np.integer], affine: NDArray[np.float64]) -> list[Region]:
    """Every segment, transmural and by layer."""
    from qperf_app.geometry.segments import label_layers

    layers = label_layers(labels > 0, affine)
    parts: tuple[tuple[str, NDArray[np.bool_]], ...] = (
        ("transmural", labels > 0),
        ("endo", layers == 1),
        ("epi", layers == 2),
    )
    segments = np.unique(labels[labels > 0]).tolist()
    return [((k, layer), where & (labels == k)) for layer, where in parts for k in segments]


def segment_curve(
    curves: NDArray[np.floating], percentiles: tuple[float, float] = CURVE_PERCENTILES
) -> NDArray[np.float64]:
    """Mean of what lies between two percentiles of curves (n, t) at each time, missing samples left out.

    Blood, whose concentration is ten times that of muscle, is left in voxels where breathing moves it in and out; it
    would decide a mean of all; what lies above the upper percentile has no say. Noise is averaged before the fit.

    Parameters
    ----------
    curves : (n, t) array
    percentiles : (float, float)
        Lower and upper, 0 to 100. A sample that a percentile divides counts by its part between them (Bickel and
        Lehmann, Ann Stat 1975;3:1045: a trimmed mean).

    Returns
    -------
    (t,) array
        NaN where no curve has a sample.
    """
    ordered = np.sort(np.where(np.isfinite(curves), curves, np.nan).astype(np.float64), axis=0)
    count = np.isfinite(ordered).sum(axis=0)
    low, high = percentiles
    rank = np.arange(len(ordered))[:, None]
    part = np.minimum(rank + 1, high / 100 * count) - np.maximum(rank, low / 100 * count)
    share = np.maximum(part, 0.0)
    return np.asarray(np.nansum(share * ordered, axis=0) / np.where(count > 0, share.sum(axis=0), np.nan))


def mean_log_sd(
    flow: NDArray[np.floating], labels: NDArray[np.integer], regions: Sequence[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Standard error of the mean log flow of each region, from how much its own voxels differ.

    The fit of a region's curve knows the noise of that curve and no more. That the outline took in something else here
    or there, that breathing moved blood through some voxels, shows in voxels that disagree. Those near each other
    disagree alike: with s the standard deviation within a segment and r the correlation of two voxels' deviations by
    their offset in the plane, the variance of a mean of n is s^2 / n^2 times the sum of r over all pairs.

    Parameters
    ----------
    flow : (x, y, z) array
        NaN where there is none.
    labels : (x, y, z) integer array
        AHA segment of each voxel, 0 for none.
    regions : (x, y, z) bool arrays

    Returns
    -------
    (len(regions),) array
        0 where a region has fewer than two values.
    """
    box = tuple(slice(int(at.min(initial=0)), int(at.max(initial=0)) + 1) for at in np.nonzero(labels))
    flow, labels, regions = flow[box], labels[box], [region[box] for region in regions]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where((flow > 0) & (labels > 0), np.log(flow.astype(np.float64)), np.nan)
    off = np.full(log.shape, np.nan)
    for segment in np.unique(labels[np.isfinite(log)]):
        inside = labels == segment
        off[inside] = log[inside] - np.nanmedian(log[inside])
    correlation, measured = _correlation_by_offset(off), np.isfinite(off)
    result = np.zeros(len(regions))
    for k, region in enumerate(regions):
        voxels = np.argwhere(region & measured)
        if len(voxels) < 2:
            continue
        values = log[tuple(voxels.T)]
        spread = _TO_SD * float(np.median(np.abs(values - np.median(values))))
        apart = voxels[:, None] - voxels
        near = (apart[..., 2] == 0) & (np.abs(apart[..., :2]).max(axis=-1) <= _REACH)
        pairs = correlation[tuple(apart[near][:, :2].T + _REACH)].sum()
        result[k] = spread * np.sqrt(pairs) / len(voxels)
    return result


def _correlation_by_offset(off: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of deviations (x, y, z) by their offset in the plane up to ``_REACH``, as far as it is positive."""
    known, found = np.isfinite(off), np.zeros((2 * _REACH + 1, 2 * _REACH + 1))
    found[_REACH, _REACH] = 1.0
    # Few voxels that are far off would decide a product: they count as far as three standard deviations.
    spread = _TO_SD * float(np.median(np.abs(off[known]))) if known.any() else 0.0
    if spread == 0.0:
        return found
    filled = np.where(known, np.clip(off / spread, -3.0, 3.0), 0.0)
    energy = float((filled**2).sum() / known.sum())
    for a in range(-_REACH, _REACH + 1):
        for b in range(-_REACH, _REACH + 1):
            pairs = _overlap(known, (a, b))
            if (a, b) == (0, 0) or not pairs:
                continue
            here, there = _shifted(filled.shape, (a, b))
            found[_REACH + a, _REACH + b] = max(0.0, float((filled[here] * filled[there]).sum()) / pairs / energy)
    return found


def _overlap(mask: NDArray[np.bool_], offset: tuple[int, int]) -> int:
    """Pairs of voxels of a mask at an offset in the plane."""
    here, there = _shifted(mask.shape, offset)
    return int((mask[here] & mask[there]).sum())


def _shifted(shape: tuple[int, ...], offset: tuple[int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Two views of an array, one the other at an offset in the plane."""
    here, there = (
        tuple(slice(max(0, sign * d), n + min(0, sign * d)) for d, n in zip(offset, shape, strict=False))
        for sign in (1, -1)
    )
    return here, there


def segment_medians(
    plugin: str,
    model: str,
    maps: Mapping[str, NDArray[np.floating]],
    units: Mapping[str, str],
    labels: NDArray[np.integer],
    regions: Sequence[Region],
) -> SegmentTable:
    """Median of every quantity over each segment, transmural and by layer; voxels without an estimate are left out.

    The median, since voxels at the wall's borders share their volume with blood, whose concentration is ten times that
    of muscle: few of them, with flows far too high, would decide a mean.

    Parameters
    ----------
    maps, units
        (x, y, z) values and their unit by quantity.
    labels : (x, y, z) integer array
        AHA segment of each voxel, 0 for none.
    regions
        Those of the labels (:func:`segment_regions`).

    Returns
    -------
    SegmentTable
        ``n_estimated`` counts the voxels that have the first quantity.
    """
    from qperf_app.geometry.segments import SEGMENT_NAMES

    wall, first = labels > 0, next(iter(maps))
    in_wall = {quantity: data[wall] for quantity, data in maps.items()}
    rows = []
    for (segment, layer), region in regions:
        inside = region[wall]
        values = {quantity: finite_median(data[inside]) for quantity, data in in_wall.items()}
        estimated = int(np.isfinite(in_wall[first][inside]).sum())
        rows.append(SegmentRow(segment, SEGMENT_NAMES[segment], layer, int(inside.sum()), estimated, values))
    return SegmentTable(plugin, model, tuple(rows), dict(units))


def finite_median(values: NDArray[np.floating]) -> float:
    """Median of the finite values; NaN where there is none."""
    # A segment has few voxels: to order them is a tenth of what ``numpy.median`` takes to prepare.
    finite = np.sort(values[np.isfinite(values)].astype(np.float64), axis=None)
    return float((finite[(len(finite) - 1) // 2] + finite[len(finite) // 2]) / 2) if len(finite) else float("nan")
