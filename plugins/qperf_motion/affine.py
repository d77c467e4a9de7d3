"""Stretch, shear and rotation of the heart from frame to frame, by Gauss-Newton on edge tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_motion.edges import edge_tensors, reference_weights

_SWEEPS = 6
#: Part of a Gauss-Newton step that is taken, and its largest value, pixels at the region's edge.
_DAMPING, _LONGEST = 0.8, 1.0
#: A frame that leaves its translation by more than this, pixels, was mistaken.
_FARTHEST = 2.0
#: Outside the region the deformation fades to a translation over this distance, mm.
_FADE = 12.0


@dataclass(frozen=True)
class Deformation:
    """Affine displacement of each frame around one centre.

    ``coefficients`` (t, 3, 2), pixels: shift, and displacement at ``radius`` mm from ``centre`` (2,) pixels along x
    and y. ``spacing`` (2,) mm.
    """

    coefficients: NDArray[np.float64]
    centre: NDArray[np.float64]
    radius: float
    spacing: NDArray[np.float64]

    def displacement(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacement (..., t, 2), pixels, at points (x, y)."""
        basis = self._basis(x, y)
        return np.asarray(np.einsum("...k,tka->...ta", basis, self.coefficients))

    def _basis(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = ((p - c) * s / self.radius for p, c, s in zip((x, y), self.centre, self.spacing, strict=True))
        beyond = np.maximum(np.hypot(u, v) - 1, 0) * self.radius
        fade = np.exp(-0.5 * (beyond / _FADE) ** 2)
        return np.stack([np.ones_like(u), u * fade, v * fade], axis=-1)


def translation_of(shift: NDArray[np.float64], region: NDArray[np.bool_], spacing: NDArray[np.float64]) -> Deformation:
    """Shifts (t, 2) as a deformation around the middle of a region."""
    points = np.argwhere(region)
    centre = points.mean(axis=0)
    radius = float(np.hypot(*((points - centre) * spacing).T).max()) + 1e-6
    coefficients = np.zeros((len(shift), 3, 2))
    coefficients[:, 0] = shift
    return Deformation(coefficients, centre, radius, spacing)


def refine_affine(
    frames: NDArray[np.float32],
    region: NDArray[np.bool_],
    start: Deformation,
    use: NDArray[np.bool_],
    window: float,
    floor: float,
    stiffness: float,
) -> Deformation:
    """Refine a deformation of frames (t, x, y) so that each one's edges fit the mean edges of the frames around it.

    Parameters
    ----------
    window, floor : float
        See :func:`~qperf_motion.edges.reference_weights`.
    stiffness : float
        Weight of the mean square displacement beyond a translation against the mean square misfit of the edges.
    """
    from scipy.ndimage import map_coordinates

    points = np.argwhere(region).astype(float)
    basis = start._basis(points[:, 0], points[:, 1])
    tensors = edge_tensors(frames)
    slopes = np.stack([*np.gradient(tensors, axis=(2, 3))], axis=2)
    images = np.concatenate([tensors[:, :, None], slopes], axis=2)
    weights = reference_weights(use, window, floor)
    elastic = np.zeros((3, 3))
    elastic[1:, 1:] = basis[:, 1:].T @ basis[:, 1:] / len(points)
    first = found = start.coefficients
    for _ in range(_SWEEPS):
        where = points + np.einsum("mk,tka->tma", basis, found)
        read = np.stack([
            [[map_coordinates(i, at.T, order=1, mode="nearest") for i in channel] for channel in frame]
            for frame, at in zip(images, where, strict=True)
        ])  # fmt: skip
        reference = np.tensordot(weights, read[:, :, 0], 1)
        steps = [_step(*each, basis, elastic, stiffness) for each in zip(read, reference, found, strict=True)]
        moved = found + _DAMPING * np.stack(steps)
        moved = moved - np.median((moved - first)[use], axis=0)
        near = np.abs(moved[:, 0] - first[:, 0]).max(axis=1) < _FARTHEST
        found = np.where(near[:, None, None], moved, first)
    return Deformation(found, start.centre, start.radius, start.spacing)


def _step(
    read: NDArray[np.float32],
    reference: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    basis: NDArray[np.float64],
    elastic: NDArray[np.float64],
    stiffness: float,
) -> NDArray[np.float64]:
    """One Gauss-Newton step (3, 2) of one frame; ``read`` (3, 3, m) are tensors and their slopes at the points."""
    scale = float((read[:, 0] * reference).sum() / max((reference**2).sum(), 1e-12))
    misfit = scale * reference - read[:, 0]
    k = basis.shape[1]
    normal, right = np.zeros((2 * k, 2 * k)), np.zeros(2 * k)
    for values, (_, x, y) in zip(misfit, read, strict=True):
        jacobian = np.concatenate([x[:, None] * basis, y[:, None] * basis], axis=1)
        normal += jacobian.T @ jacobian
        right += jacobian.T @ values
    hold = stiffness * float((misfit**2).mean()) * len(basis) / 4 * np.kron(np.eye(2), elastic)
    ridge = (1e-6 * np.trace(normal) / k + 1e-9) * np.eye(2 * k)
    step = np.linalg.solve(normal + hold + ridge, right - hold @ coefficients.T.ravel())
    return np.clip(step, -_LONGEST, _LONGEST).reshape(2, k).T
