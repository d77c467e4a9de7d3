"""Where the heart is: the blood pools are what brightens much, for a short time, and smoothly.

Fat is bright all the time, and a moving edge flickers; a bolus rises once and falls again. Nothing here needs the
series to be still.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: s before and after its peak within which a first pass must rise and fall.
PASS_SECONDS = 12.0


def bolus_score(frames: NDArray[np.floating], times: NDArray[np.float64], voxel: tuple[float, float]) -> Plane:
    """How much every pixel looks like blood during a first pass.

    Parameters
    ----------
    frames : (x, y, t) array
        One slice.
    times : (t,) array
        s.
    voxel : pair of floats
        In-plane edges, mm.

    Returns
    -------
    (x, y) array
        Height of the largest rise and fall within :data:`PASS_SECONDS`, lowered where the curve flickers and where
        the height is small beside the brightness.
    """
    from scipy import ndimage

    sigma = (3.0 / voxel[0], 3.0 / voxel[1], 0.0)
    curves = ndimage.gaussian_filter(np.asarray(frames, dtype=np.float64), sigma)
    flicker = np.abs(np.diff(curves, axis=2)).sum(axis=2)
    # A median over three frames removes single frames in which something else moved in.
    curves = ndimage.median_filter(curves, size=(1, 1, 3))
    height = passing_height(curves, times).max(axis=2)
    smooth = np.minimum(1.0, 2.0 * height / np.maximum(flicker, 1e-9))
    return height * smooth * height / np.maximum(curves.max(axis=2), 1e-9)


def passing_height(curves: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of every sample over the lower of the valleys around it, (x, y, t); never negative."""
    from scipy import ndimage

    window = max(2, round(PASS_SECONDS / float(np.median(np.diff(times)))))

    def valley(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.minimum_filter1d(values, window + 1, axis=2, origin=window // 2, mode="nearest")

    before, after = valley(curves), valley(curves[..., ::-1])[..., ::-1]
    return np.maximum(np.minimum(curves - before, curves - after), 0.0)


def heart_centre(score: Plane, voxel: tuple[float, float]) -> Plane:
    """Pixel (2,) that the score gathers around, the middle of the image preferred."""
    from scipy import ndimage

    axes = [np.linspace(-1.0, 1.0, n) for n in score.shape]
    prior = np.exp(-(axes[0][:, None] ** 2 + axes[1][None, :] ** 2) / (2.0 * 0.5**2))
    weight = np.sqrt(score) * prior
    smooth = ndimage.gaussian_filter(weight, (15.0 / voxel[0], 15.0 / voxel[1]), mode="constant")
    centre = np.array(np.unravel_index(int(smooth.argmax()), score.shape), dtype=np.float64)
    for _ in range(10):
        near = weight * np.exp(-(distance(score.shape, centre, voxel) ** 2) / (2.0 * 25.0**2))
        total = near.sum()
        if total <= 0:
            break
        grid = np.indices(score.shape)
        centre = (grid * near).sum(axis=(1, 2)) / total
    return centre


def distance(shape: tuple[int, ...], centre: Plane, voxel: tuple[float, float]) -> Plane:
    """Distance, mm, of every pixel from a point given in pixels."""
    x, y = np.ogrid[: shape[0], : shape[1]]
    return np.hypot((x - centre[0]) * voxel[0], (y - centre[1]) * voxel[1])


def disc(shape: tuple[int, ...], centre: Plane, voxel: tuple[float, float], radius: float) -> Mask:
    """Pixels within ``radius`` mm of the centre."""
    return distance(shape, centre, voxel) <= radius


def left_ventricle(
    frames: NDArray[np.floating], times: NDArray[np.float64], voxel: tuple[float, float], centre: Plane
) -> Mask:
    """Core of the left ventricle in a roughly corrected slice; empty where there is none.

    Bright, compact regions near the centre whose blood arrives at one time; the later of two is the left one.
    """
    from scipy import ndimage

    score = bolus_score(frames, times, voxel)
    near = disc(score.shape, centre, voxel, 65.0)
    core = near & (score > 0.3 * np.percentile(score[near], 98))
    arrival = arrival_times(frames, times, voxel)
    # Neighbours whose blood arrives at different times belong to different ventricles.
    cross = ndimage.generate_binary_structure(2, 1)
    latest = ndimage.maximum_filter(np.where(core, arrival, -np.inf), footprint=cross)
    earliest = ndimage.minimum_filter(np.where(core, arrival, np.inf), footprint=cross)
    labels, count = ndimage.label(core & (latest - earliest < 1.6))
    pools = []
    for number in range(1, count + 1):
        pool = labels == number
        area = float(pool.sum()) * voxel[0] * voxel[1]
        if area < 60.0:
            continue
        middle = np.argwhere(pool).mean(axis=0)
        farthest = float(distance(pool.shape, middle, voxel)[pool].max()) + 0.5 * max(voxel)
        roundness = area / (np.pi * farthest**2)
        off = float(np.hypot(*((middle - centre) * voxel)))
        weight = float(score[pool].sum()) * roundness * float(np.exp(-(off**2) / (2.0 * 40.0**2)))
        pools.append((weight, float(np.median(arrival[pool])), roundness, pool))
    if not pools:
        return np.zeros(score.shape, dtype=bool)
    pools.sort(key=lambda entry: -entry[0])
    first = pools[0]
    later = [p for p in pools[1:] if 1.5 < p[1] - first[1] < 12.0 and p[0] > 0.1 * first[0] and p[2] > 0.35]
    return (later or [first])[0][3]


def arrival_times(frames: NDArray[np.floating], times: NDArray[np.float64], voxel: tuple[float, float]) -> Plane:
    """Time, s, at which every pixel reaches half its rise before its first pass."""
    from scipy import ndimage

    sigma = (3.0 / voxel[0], 3.0 / voxel[1], 0.0)
    curves = ndimage.median_filter(ndimage.gaussian_filter(np.asarray(frames, np.float64), sigma), size=(1, 1, 3))
    peak = passing_height(curves, times).argmax(axis=2)
    index = np.arange(len(times))
    window = times[None, None, :] >= times[peak][..., None] - PASS_SECONDS
    before = (index <= peak[..., None]) & window
    top = np.take_along_axis(curves, peak[..., None], axis=2)
    half = (top + np.where(before, curves, np.inf).min(axis=2, keepdims=True)) / 2.0
    last = np.where(before & (curves <= half), index, 0).max(axis=2).clip(0, len(times) - 2)
    low = np.take_along_axis(curves, last[..., None], axis=2)[..., 0]
    high = np.take_along_axis(curves, last[..., None] + 1, axis=2)[..., 0]
    share = np.clip((half[..., 0] - low) / np.where(high > low, high - low, np.inf), 0.0, 1.0)
    return times[last] + share * (times[last + 1] - times[last])


def grown(mask: Mask, voxel: tuple[float, float], margin: float) -> Mask:
    """The mask, filled, and all within ``margin`` mm of it."""
    from scipy import ndimage

    filled = ndimage.binary_fill_holes(mask)
    return ndimage.distance_transform_edt(~filled, sampling=voxel) <= margin
