"""Mutual information of two frames for every shift between them at once.

The joint histogram of two frames for all shifts is a set of cross-correlations, one for each pair of grey levels: the
membership of pixels in a level of one frame with that in a level of the other. By the Fourier transform that is exact
and exhaustive, so a sudden breath of ten pixels is found as surely as a small one, where a gradient ascent ends in the
nearest maximum.

Source: mutual information as a measure of alignment, Maes et al. 1997 (IEEE Trans Med Imaging 16:187), Viola & Wells
1997 (Int J Comput Vis 24:137).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Grey-level range inside the region, as quantiles: the brightest pixels (coil hot spots) are clipped.
_RANGE = (0.01, 0.995)
#: Keeps the logarithm finite where a cell of the histogram is empty (the transform leaves rounding errors there).
_EMPTY = 1e-7


def information_surfaces(
    frames: NDArray[np.float32],
    region: NDArray[np.bool_],
    pairs: Sequence[tuple[int, int]],
    reach: int,
    bins: int,
) -> NDArray[np.float32]:
    """Mutual information of frame i inside the region with frame j, for every shift of up to ``reach`` pixels.

    Parameters
    ----------
    frames : (x, y, t) array
    region : (x, y) bool array
        Fixed in frame i of each pair.
    pairs : sequence of (i, j)
    reach : int
        Largest shift along each axis, pixels.
    bins : int
        Grey levels of each frame's histogram.

    Returns
    -------
    (pairs, 2 reach + 1, 2 reach + 1) array
        Nats. Entry ``[k, reach + a, reach + b]`` pairs pixel p of frame i with pixel p + (a, b) of frame j.
    """
    from scipy import fft

    crop, inside = _around(frames, region, reach)
    levels = np.stack([_memberships(crop[..., t], inside, bins) for t in range(crop.shape[2])])
    size = [fft.next_fast_len(n, real=True) for n in crop.shape[:2]]
    moving = fft.rfft2(levels, size)
    fixed = np.conj(fft.rfft2(levels * inside, size))
    shifts = np.arange(-reach, reach + 1)
    rows, columns, scale = shifts % size[0], shifts % size[1], np.float32(1.0 / np.prod(size))
    surfaces = np.empty((len(pairs), len(shifts), len(shifts)), np.float32)
    joint, count = np.empty((bins, bins, *surfaces.shape[1:])), inside.sum()
    products = np.empty((bins, *fixed.shape[1:]), np.complex64)
    for k, (i, j) in enumerate(pairs):
        # Back axis by axis: of the first, only the shifts that are looked for go on to the second. To the last bit what
        # ``irfft2`` gives, which scales once.
        np.multiply(fixed[i][:, None], moving[j], out=products)
        along = fft.ifft(products, axis=-2, norm="forward", overwrite_x=True).take(rows, axis=-2)
        found = fft.irfft(along, size[1], axis=-1, norm="forward").take(columns, axis=-1)
        np.divide(np.multiply(found, scale, out=found), count, out=joint)
        surfaces[k] = _information(np.maximum(joint, _EMPTY, out=joint))
    return surfaces


def _around(
    frames: NDArray[np.float32], region: NDArray[np.bool_], reach: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut out the region's bounding box with ``reach`` pixels around it; edge pixels repeat outside the image."""
    first, last = np.argwhere(region).min(axis=0), np.argwhere(region).max(axis=0) + 1
    box = (slice(first[0], last[0] + 2 * reach), slice(first[1], last[1] + 2 * reach))
    padded = np.pad(frames, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return padded[box], np.pad(region, reach)[box]


def _memberships(frame: NDArray[np.float32], inside: NDArray[np.bool_], bins: int) -> NDArray[np.float32]:
    """Share of each pixel in each grey level, (bins, x, y): linear between the two levels nearest to its intensity."""
    low, high = np.quantile(frame[inside], _RANGE)
    level = np.clip((frame - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1) * (bins - 1)
    distance = np.abs(level[None] - np.arange(bins)[:, None, None])
    return np.asarray(np.maximum(1 - distance, 0).astype(np.float32))


def _information(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mutual information of joint histograms (bins, bins, ...), in nats. They are overwritten."""
    alone = _entropy(joint.sum(axis=0), 1) + _entropy(joint.sum(axis=1), 1)
    return alone - _entropy(joint, 2)


def _entropy(histogram: NDArray[np.float64], axes: int) -> NDArray[np.float64]:
    """Entropy over the first axes. The histogram is overwritten."""
    histogram *= np.log(histogram)
    return np.asarray(-histogram.sum(axis=tuple(range(axes))))
