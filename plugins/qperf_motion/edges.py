"""Edges as structure tensors: what two frames share whatever contrast has done to their intensities.

An edge keeps its place and its direction when blood turns from dark to bright; its sign and height change. The
tensor n n' of the normalised gradient n forgets both, so that the mean over all frames is one reference for every
frame, and no frame need be compared with one of another contrast.

Source: normalised gradient fields, Haber & Modersitzki 2006 (MICCAI, Lect Notes Comput Sci 4191:726).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Smoothing before the gradient is taken, pixels.
_SCALE = 1.0
#: A gradient of this part of the frame's root mean square counts half.
_FAINT = 0.15


def edge_tensors(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tensors of frames (t, x, y): (t, 3, x, y), the elements xx, xy times the root of 2, and yy."""
    from scipy.ndimage import gaussian_filter

    gx = gaussian_filter(frames, (0, _SCALE, _SCALE), order=(0, 1, 0))
    gy = gaussian_filter(frames, (0, _SCALE, _SCALE), order=(0, 0, 1))
    square = gx**2 + gy**2
    faint = np.maximum(_FAINT**2 * square.mean(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    tensors = np.stack([gx * gx, np.sqrt(2) * gx * gy, gy * gy], axis=1) / (square + faint)[:, None]
    return np.asarray(tensors.astype(np.float32))


def reference_weights(use: NDArray[np.bool_], window: float, floor: float) -> NDArray[np.float64]:
    """Weight of every frame (columns) in the reference of every frame (rows), which has no part in its own.

    Parameters
    ----------
    use : (t,) bool array
        Frames that a reference may be made of.
    window : float
        Standard deviation of the temporal window, frames; infinite for one reference of all.
    floor : float
        Weight of frames far away, as a part of that of the nearest: keeps the series from drifting.
    """
    t = np.arange(len(use))
    weights = (np.exp(-0.5 * ((t[:, None] - t) / window) ** 2) + floor) * use
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12))


def agreement_surfaces(
    reference: NDArray[np.floating], tensors: NDArray[np.floating], inside: NDArray[np.bool_], reach: int
) -> NDArray[np.float64]:
    """Correlation of each frame's tensors with its reference for every whole shift of up to ``reach`` pixels.

    Parameters
    ----------
    reference, tensors : (t, 3, x, y) arrays
    inside : (x, y) bool array
        Region of the reference; at least ``reach`` pixels from the array's edge.

    Returns
    -------
    (t, 2 reach + 1, 2 reach + 1) array
        0 to 1. Entry ``[t, reach + a, reach + b]`` pairs reference pixel p with pixel p + (a, b).
    """
    from scipy import fft

    size = [fft.next_fast_len(n, real=True) for n in inside.shape]
    shifts = np.arange(-reach, reach + 1)
    window = np.ix_(np.arange(len(tensors)), shifts % size[0], shifts % size[1])
    fixed = np.asarray(reference, np.float64) * inside
    moving = np.asarray(tensors, np.float64)
    shared = fft.irfft2((np.conj(fft.rfft2(fixed, size)) * fft.rfft2(moving, size)).sum(axis=1), size)[window]
    area = np.conj(fft.rfft2(inside.astype(np.float64), size))
    energy = fft.irfft2(area * fft.rfft2((moving**2).sum(axis=1), size), size)[window]
    own = (fixed**2).sum(axis=(1, 2, 3))[:, None, None]
    return np.asarray(np.clip(shared / np.sqrt(np.maximum(energy * own, 1e-12)), 0.0, 1.0))
