"""Edges as structure tensors: what two frames share whatever contrast has done to their intensities.

An edge keeps its place and its direction when blood turns from dark to bright; its sign and height change. The
tensor n n' of the normalised gradient n forgets both, so that the mean over all frames is one reference for every
frame, and no frame need be compared with one of another contrast.

Source: normalised gradient fields, Haber & Modersitzki 2006 (MICCAI, Lect Notes Comput Sci 4191:726).
"""

from __future__ import annotations

from dataclasses import dataclass

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
    tensors = np.empty((len(frames), 3, *frames.shape[1:]), np.float32)
    xx, yy = np.square(gx, out=tensors[:, 0]), np.square(gy, out=tensors[:, 2])
    weight = xx + yy
    weight += np.maximum(_FAINT**2 * weight.mean(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    tensors[:, 1] = np.sqrt(2) * gx * gy / weight
    xx /= weight
    yy /= weight
    return tensors


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
    return EdgeSpectra.of(tensors, inside, reach).agreement(reference)


@dataclass(frozen=True)
class EdgeSpectra:
    """Tensors (t, 3, ., .) transformed, with what else :func:`agreement_surfaces` needs whatever the reference.

    ``spectra`` are those of the tensors; ``energy`` (t, 2 reach + 1, 2 reach + 1) is the sum of their squares in the
    region for every shift.
    """

    spectra: NDArray[np.complex128]
    energy: NDArray[np.float64]
    inside: NDArray[np.bool_]
    reach: int

    @classmethod
    def of(cls, tensors: NDArray[np.floating], inside: NDArray[np.bool_], reach: int) -> EdgeSpectra:
        """Transform tensors (t, 3, x, y) of a region (x, y)."""
        from scipy import fft

        size, moving = _size(inside), np.asarray(tensors, np.float64)
        area = np.conj(fft.rfft2(inside.astype(np.float64), size))
        energy = fft.irfft2(area * fft.rfft2((moving**2).sum(axis=1), size), size)
        return cls(fft.rfft2(moving, size), energy[_window(len(moving), size, reach)], inside, reach)

    def put(self, frames: NDArray[np.bool_], tensors: NDArray[np.floating]) -> None:
        """Take other tensors (n, 3, x, y) for n of the frames (t,)."""
        new = self.of(tensors, self.inside, self.reach)
        self.spectra[frames], self.energy[frames] = new.spectra, new.energy

    def agreement(self, reference: NDArray[np.floating]) -> NDArray[np.float64]:
        """Agreement surfaces with a reference (t, 3, x, y)."""
        from scipy import fft

        size, fixed = _size(self.inside), np.asarray(reference, np.float64) * self.inside
        shared = fft.irfft2((np.conj(fft.rfft2(fixed, size)) * self.spectra).sum(axis=1), size)
        shared = shared[_window(len(fixed), size, self.reach)]
        own = (fixed**2).sum(axis=(1, 2, 3))[:, None, None]
        return np.asarray(np.clip(shared / np.sqrt(np.maximum(self.energy * own, 1e-12)), 0.0, 1.0))


def _size(inside: NDArray[np.bool_]) -> list[int]:
    from scipy import fft

    return [fft.next_fast_len(n, real=True) for n in inside.shape]


def _window(count: int, size: list[int], reach: int) -> tuple[NDArray[np.intp], ...]:
    """Where shifts of up to ``reach`` stand in correlations (count, ., .)."""
    shifts = np.arange(-reach, reach + 1)
    return np.ix_(np.arange(count), shifts % size[0], shifts % size[1])
