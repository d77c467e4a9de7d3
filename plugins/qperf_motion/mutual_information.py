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
    # A pixel's memberships add up to 1: what it shares with the last level is what is left.
    but_last, count = levels[:, :-1], inside.sum()
    size = [fft.next_fast_len(n, real=True) for n in crop.shape[:2]]
    moving, area = fft.rfft2(but_last, size), np.conj(fft.rfft2(inside.astype(np.float32), size))
    fixed = np.conj(fft.rfft2(but_last * inside, size))
    shifts = np.arange(-reach, reach + 1)
    rows, columns, scale = shifts % size[0], shifts % size[1], np.float32(1.0 / (np.prod(size) * count))

    def at_shifts(spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        # Back axis by axis: of the first, only the shifts that are looked for go on to the second.
        along = fft.ifft(spectra, axis=-2, norm="forward", overwrite_x=True)[..., rows, :]
        return np.asarray(fft.irfft(along, size[1], axis=-1, norm="forward")[..., columns])

    of_fixed = (levels * inside).sum(axis=(2, 3), dtype=np.float64).astype(np.float32) / np.float32(count)
    of_moving = np.empty((len(levels), bins, len(shifts), len(shifts)), np.float32)
    np.multiply(scale, at_shifts(area * moving), out=of_moving[:, :-1])
    np.subtract(1, of_moving[:, :-1].sum(axis=1), out=of_moving[:, -1])
    own, others = _entropy(of_fixed.copy(), 1), _entropy(of_moving.copy(), 1)
    surfaces = np.empty((len(pairs), len(shifts), len(shifts)), np.float32)
    joint = np.empty((bins, *of_moving.shape[1:]), np.float32)
    for k, (i, j) in enumerate(pairs):
        np.multiply(scale, at_shifts(fixed[i][:, None] * moving[j][None]), out=joint[:-1, :-1])
        np.subtract(of_fixed[i, :-1, None, None], joint[:-1, :-1].sum(axis=1), out=joint[:-1, -1])
        np.subtract(of_moving[j], joint[:-1].sum(axis=0), out=joint[-1])
        surfaces[k] = own[i] + others[j] - _entropy(joint.reshape(1, bins**2, *surfaces.shape[1:]), 1)[0]
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


def _entropy(shares: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Entropy over an axis, nats. The shares are overwritten."""
    np.maximum(shares, _EMPTY, out=shares)
    shares *= np.log(shares)
    return np.asarray(-shares.sum(axis=axis))
