"""Mutual information of two frames for every whole-pixel shift at once.

The joint histogram of a frame inside the heart region with another, shifted by u, is a correlation of their maps of
grey-level membership: all shifts come from one Fourier transform, so that nothing can be caught in a local optimum
(Maes et al., IEEE Trans Med Imaging 1997;16:187, for mutual information of images).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Surfaces = NDArray[np.float32]


def membership(frames: NDArray[np.floating], region: NDArray[np.bool_], bins: int) -> NDArray[np.float32]:
    """Share of every pixel in each grey level, (t, bins, x, y); levels span each frame's range inside the region."""
    n = frames.shape[2]
    shares = np.zeros((n, bins, *frames.shape[:2]), dtype=np.float32)
    rows, columns = np.indices(frames.shape[:2])
    for t in range(n):
        frame = frames[:, :, t]
        low, high = np.percentile(frame[region], (1.0, 99.5))
        level = np.clip((frame - low) / max(float(high - low), 1e-9), 0.0, 1.0) * (bins - 1)
        below = np.minimum(level.astype(int), bins - 2)
        share = (level - below).astype(np.float32)
        shares[t, below, rows, columns] = 1.0 - share
        shares[t, below + 1, rows, columns] += share
    return shares


def similarity(
    frames: NDArray[np.floating], region: NDArray[np.bool_], pairs: Sequence[tuple[int, int]], reach: int, bins: int
) -> Surfaces:
    """Mutual information (nat) of pairs of frames of one slice.

    Parameters
    ----------
    frames : (x, y, t) array
    region : (x, y) bool array
        Where the first frame of each pair is looked at.
    pairs : sequence of (i, j)
    reach : int
        Largest shift, pixels.
    bins : int
        Grey levels.

    Returns
    -------
    (pairs, 2 reach + 1, 2 reach + 1) float32 array
        At [k, reach + u, reach + v]: frame j read at p + (u, v), beside frame i read at p.
    """
    import scipy.fft

    padded = np.pad(np.asarray(frames, dtype=np.float32), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    inside = np.pad(region, reach)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1 + 2 * reach), slice(columns[0], columns[-1] + 1 + 2 * reach))
    padded, inside = padded[box], inside[box]
    shares = membership(padded, inside, bins)
    size = [scipy.fft.next_fast_len(n, real=True) for n in padded.shape[:2]]
    moving = scipy.fft.rfft2(shares, size)
    fixed = np.conj(scipy.fft.rfft2(shares * inside, size))
    shifts = np.arange(-reach, reach + 1)
    corner = np.ix_(np.arange(bins), np.arange(bins), shifts % size[0], shifts % size[1])
    surfaces = np.empty((len(pairs), len(shifts), len(shifts)), dtype=np.float32)
    for k, (i, j) in enumerate(pairs):
        joint = scipy.fft.irfft2(fixed[i][:, None] * moving[j][None], size)[corner] / inside.sum()
        joint = np.maximum(joint, 1e-7)
        surfaces[k] = _entropy(joint.sum(axis=1), 0) + _entropy(joint.sum(axis=0), 0) - _entropy(joint, (0, 1))
    return surfaces


def peak(surface: NDArray[np.floating]) -> NDArray[np.float64]:
    """Shift (2,) of the surface's maximum from its middle, refined by a parabola along each axis."""
    top = np.unravel_index(int(surface.argmax()), surface.shape)
    found = np.array(top, dtype=np.float64) - np.array(surface.shape) // 2
    for axis in (0, 1):
        if 0 < top[axis] < surface.shape[axis] - 1:
            step = np.eye(2, dtype=int)[axis]
            before, after = surface[tuple(top - step)], surface[tuple(top + step)]
            bend = before - 2.0 * surface[top] + after
            if bend < 0:
                found[axis] += 0.5 * float(before - after) / float(bend)
    return found


def _entropy(share: NDArray[np.floating], axis: int | tuple[int, ...]) -> NDArray[np.floating]:
    return -(share * np.log(share)).sum(axis=axis)
