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

from qperf_app.methods.smoothing import gaussian
from qperf_motion.grid import WHOLE

#: Smoothing before the gradient is taken, pixels.
_SCALE = 1.0
#: A gradient of this part of the frame's root mean square counts half.
_FAINT = 0.15


def edge_tensors(
    frames: NDArray[np.float32], box: tuple[slice, slice] = WHOLE, energy: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Tensors of frames (t, x, y) within a rectangle: (t, 3, ., .), the elements xx, xy times the root of 2, and yy.

    Where the frames are parts of larger ones, ``energy`` (t,) is the :func:`gradient_energy` of these.
    """
    gx, gy = _gradients(frames)
    faint = _FAINT**2 * (_mean_square(gx, gy) if energy is None else energy)
    gx, gy = gx[:, *box], gy[:, *box]
    tensors = np.empty((len(frames), 3, *gx.shape[1:]), np.float32)
    xx, yy = np.square(gx, out=tensors[:, 0]), np.square(gy, out=tensors[:, 2])
    weight = xx + yy
    weight += np.maximum(faint, np.finfo(np.float32).tiny)[:, None, None]
    tensors[:, 1] = np.sqrt(2) * gx * gy / weight
    xx /= weight
    yy /= weight
    return tensors


def gradient_energy(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean square of the gradient of frames (t, x, y), by which a gradient in one of them counts as faint: (t,)."""
    return _mean_square(*_gradients(frames))


def _gradients(frames: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    along, across = (gaussian(frames, (0, _SCALE, _SCALE), order) for order in ((0, 1, 0), (0, 0, 1)))
    return along, across


def _mean_square(gx: NDArray[np.float32], gy: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((gx * gx).mean(axis=(1, 2)) + (gy * gy).mean(axis=(1, 2)))


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


@dataclass(frozen=True)
class ComparedEdges:
    """Edge tensors of frames, ready to be compared with the mean of all others for every whole shift.

    Parameters
    ----------
    tensors : (t, 3, x, y) array
    inside : (x, y) bool array
        Region of the mean; at least ``reach`` pixels from the array's edge.
    use : (t,) bool array
        Frames that the mean is made of.
    reach : int
        Largest shift, pixels.
    spectra, with_itself : (t, 3, ., .) and (t, ., .) arrays
        Fourier transforms of the tensors, and of each frame's correlation with itself in the region.
    energy : (t, 2 reach + 1, 2 reach + 1) array
        Sum of the tensors' squares in the region for every shift.
    """

    tensors: NDArray[np.float32]
    inside: NDArray[np.bool_]
    use: NDArray[np.bool_]
    reach: int
    spectra: NDArray[np.complex64]
    with_itself: NDArray[np.complex64]
    energy: NDArray[np.float32]

    @classmethod
    def of(
        cls, tensors: NDArray[np.float32], inside: NDArray[np.bool_], use: NDArray[np.bool_], reach: int
    ) -> ComparedEdges:
        """Transform tensors."""
        from scipy import fft

        size = _size(inside)
        spectra, area = fft.rfft2(tensors, size), np.conj(fft.rfft2(inside.astype(np.float32), size))
        with_itself = (np.conj(fft.rfft2(tensors * inside, size)) * spectra).sum(axis=1)
        energy = _at_shifts(area * fft.rfft2((tensors**2).sum(axis=1), size), inside, reach)
        return cls(tensors, inside, use, reach, spectra, with_itself, energy)

    def put(self, frames: NDArray[np.bool_], tensors: NDArray[np.float32]) -> None:
        """Take other tensors (n, 3, x, y) for n of the frames (t,)."""
        new = self.of(tensors, self.inside, self.use[frames], self.reach)
        self.tensors[frames], self.spectra[frames] = new.tensors, new.spectra
        self.with_itself[frames], self.energy[frames] = new.with_itself, new.energy

    def agreement(self) -> NDArray[np.float64]:
        """Correlation of each frame's tensors with the mean of all others for every shift.

        Returns
        -------
        (t, 2 reach + 1, 2 reach + 1) array
            0 to 1. Entry ``[t, reach + a, reach + b]`` pairs pixel p of the mean with pixel p + (a, b).
        """
        from scipy import fft

        own = self.use.astype(np.float32)
        total = np.tensordot(own, self.tensors, 1) * self.inside
        # What all frames share with this one, less what it shares with itself.
        product = (np.conj(fft.rfft2(total, _size(self.inside))) * self.spectra).sum(axis=1)
        shared = _at_shifts(product - own[:, None, None] * self.with_itself, self.inside, self.reach)
        others = total[:, self.inside] - own[:, None, None] * self.tensors[..., self.inside]
        size = (others**2).sum(axis=(1, 2))[:, None, None]
        found = shared.astype(np.float64) / np.sqrt(np.maximum(self.energy * size, 1e-12))
        return np.asarray(np.clip(found, 0.0, 1.0))


def _size(inside: NDArray[np.bool_]) -> list[int]:
    from scipy import fft

    return [fft.next_fast_len(n, real=True) for n in inside.shape]


def _at_shifts(spectra: NDArray[np.complex64], inside: NDArray[np.bool_], reach: int) -> NDArray[np.float32]:
    """Correlations from their transforms (t, ., .), for shifts of up to ``reach``."""
    from scipy import fft

    size, shifts = _size(inside), np.arange(-reach, reach + 1)
    found = fft.irfft2(spectra, size)
    return np.asarray(found[np.ix_(np.arange(len(found)), shifts % size[0], shifts % size[1])])
