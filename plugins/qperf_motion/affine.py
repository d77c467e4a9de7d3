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
        return np.tensordot(self._basis(x, y), self.coefficients, axes=(-1, 1))

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
    points = np.argwhere(region).astype(float)
    basis = start._basis(points[:, 0], points[:, 1])
    images = _with_slopes(edge_tensors(frames))
    weights = reference_weights(use, window, floor)
    elastic = np.zeros((3, 3))
    elastic[1:, 1:] = basis[:, 1:].T @ basis[:, 1:] / len(points)
    first = found = start.coefficients
    for _ in range(_SWEEPS):
        where = points + np.einsum("mk,tka->tma", basis, found)
        read = np.stack([_between(*each) for each in zip(images, where, strict=True)])
        reference = np.tensordot(weights, read[:, 0], 1)
        steps = _steps(read, reference, found, basis, elastic, stiffness)
        moved = found + _DAMPING * steps
        moved = moved - np.median((moved - first)[use], axis=0)
        near = np.abs(moved[:, 0] - first[:, 0]).max(axis=1) < _FARTHEST
        found = np.where(near[:, None, None], moved, first)
    return Deformation(found, start.centre, start.radius, start.spacing)


def _with_slopes(tensors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of every frame the tensors (t, 3, x, y) and their slopes along x and y, (t, 3, 3, x, y): central differences."""
    images = np.empty((len(tensors), 3, *tensors.shape[1:]), np.float32)
    images[:, 0] = tensors
    for slope, axis in ((images[:, 1], -2), (images[:, 2], -1)):
        along, value = np.moveaxis(slope, axis, 0), np.moveaxis(tensors, axis, 0)
        np.subtract(value[2:], value[:-2], out=along[1:-1])
        along[1:-1] *= 0.5
        along[0], along[-1] = value[1] - value[0], value[-1] - value[-2]
    return images


def _between(images: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Images (..., x, y) of one frame read at points (m, 2), pixels, linear in between; edges repeat outside."""
    last = np.array(images.shape[-2:]) - 1
    within = np.clip(at, 0, last)
    below = within.astype(np.intp)
    (i, j), (right, up) = below.T, np.minimum(below + 1, last).T
    x, y = (within - below).astype(np.float32).T
    flat, width = images.reshape(*images.shape[:-2], -1), images.shape[-1]
    corners = (np.take(flat, p * width + q, axis=-1) for p, q in ((i, j), (i, up), (right, j), (right, up)))
    here, above, beside, across = corners
    first = here * (1 - y) + above * y
    second = beside * (1 - y) + across * y
    return np.asarray(first * (1 - x) + second * x)


def _steps(
    read: NDArray[np.float32],
    reference: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    basis: NDArray[np.float64],
    elastic: NDArray[np.float64],
    stiffness: float,
) -> NDArray[np.float64]:
    """One Gauss-Newton step (t, 3, 2) of every frame; ``read`` (t, 3, 3, m) are tensors and slopes at the points."""
    value, (m, k) = read[:, 0], basis.shape
    scale = (value * reference).sum(axis=(1, 2)) / np.maximum((reference**2).sum(axis=(1, 2)), 1e-12)
    misfit = scale[:, None, None] * reference - value
    slopes = read[:, 1:].astype(np.float64)
    # Sums over the tensor's elements, point by point, then over the points.
    shared = np.einsum("tacm,tbcm->tabm", slopes, slopes) @ (basis[:, :, None] * basis[:, None]).reshape(m, k * k)
    normal = shared.reshape(-1, 2, 2, k, k).swapaxes(2, 3).reshape(-1, 2 * k, 2 * k)
    right = (np.einsum("tacm,tcm->tam", slopes, misfit) @ basis).reshape(-1, 2 * k)
    still = np.kron(np.eye(2), elastic)
    hold = (stiffness * m / 4 * (misfit**2).mean(axis=(1, 2)))[:, None, None] * still
    ridge = (1e-6 * np.trace(normal, axis1=1, axis2=2) / k + 1e-9)[:, None, None] * np.eye(2 * k)
    present = coefficients.swapaxes(1, 2).reshape(-1, 2 * k, 1)
    step = np.linalg.solve(normal + hold + ridge, right[..., None] - hold @ present)
    return np.clip(step, -_LONGEST, _LONGEST).reshape(-1, 2, k).swapaxes(1, 2)
