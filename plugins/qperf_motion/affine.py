"""Stretch, shear and rotation of the heart from frame to frame, by Gauss-Newton on edge tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import rectangle_around
from qperf_motion.edges import edge_tensors, reference_weights

_SWEEPS = 6
#: Part of a Gauss-Newton step that is taken, and its largest value, pixels at the region's edge.
_DAMPING, _LONGEST = 0.8, 1.0
#: A frame that leaves its translation by more than this, pixels, was mistaken.
_FARTHEST = 2.0
#: Frames are read no farther from their region than the first translation and this, pixels: what a deformation may add.
_BEYOND = 8
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
    first = found = start.coefficients
    box = rectangle_around(region, int(np.ceil(np.abs(first[:, 0]).max() + _BEYOND)))
    images = _with_slopes(edge_tensors(frames, box))
    inside = points - [part.start for part in box]
    weights = reference_weights(use, window, floor)
    elastic = np.zeros((3, 3))
    elastic[1:, 1:] = basis[:, 1:].T @ basis[:, 1:] / len(points)
    for _ in range(_SWEEPS):
        x, y = (along + found[..., axis] @ basis.T for axis, along in enumerate(inside.T))
        read = _between(images, x, y)
        steps = _steps(read, weights @ read[0], found, basis, elastic, stiffness)
        moved = found + _DAMPING * steps
        moved = moved - np.median((moved - first)[use], axis=0)
        near = np.abs(moved[:, 0] - first[:, 0]).max(axis=1) < _FARTHEST
        found = np.where(near[:, None, None], moved, first)
    return Deformation(found, start.centre, start.radius, start.spacing)


def _with_slopes(tensors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tensors (t, 3, x, y), and their slopes along x and y, central differences: (3, 3, t, x, y)."""
    images = np.empty((3, 3, len(tensors), *tensors.shape[2:]), np.float32)
    images[0] = np.moveaxis(tensors, 1, 0)
    for slope, axis in ((images[1], -2), (images[2], -1)):
        along, value = np.moveaxis(slope, axis, 0), np.moveaxis(images[0], axis, 0)
        np.subtract(value[2:], value[:-2], out=along[1:-1])
        along[1:-1] *= 0.5
        along[0], along[-1] = value[1] - value[0], value[-1] - value[-2]
    return images


def _between(images: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    """Images (..., t, x, y) read at points x and y (t, m), pixels, linear in between; edges repeat outside.

    Each value is a sum over four pixels: all of them are one product with a sparse matrix.
    """
    from scipy.sparse import csr_array

    rows, columns = images.shape[-2:]
    x, y = np.clip(x, 0, rows - 1), np.clip(y, 0, columns - 1)
    i, j = x.astype(np.int32), y.astype(np.int32)
    u, v = (x - i).astype(np.float32), (y - j).astype(np.float32)
    pixels, shares = np.empty((*x.shape, 4), np.int32), np.empty((*x.shape, 4), np.float32)
    pixels[..., 0] = np.arange(len(x), dtype=np.int32)[:, None] * (rows * columns) + i * columns + j
    pixels[..., 1] = pixels[..., 0] + (j < columns - 1)
    pixels[..., 2:] = pixels[..., :2] + (columns * (i < rows - 1))[..., None]
    for k, share in enumerate(((1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v)):
        shares[..., k] = share
    ends = np.arange(0, shares.size + 1, 4, dtype=np.int32)
    reading = csr_array((shares.ravel(), pixels.ravel(), ends), shape=(x.size, len(x) * rows * columns))
    read = [reading @ each for each in images.reshape(-1, len(x) * rows * columns)]
    return np.stack(read).reshape(*images.shape[:-2], -1)


def _steps(
    read: NDArray[np.float32],
    reference: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    basis: NDArray[np.float64],
    elastic: NDArray[np.float64],
    stiffness: float,
) -> NDArray[np.float64]:
    """One Gauss-Newton step (t, 3, 2) of every frame; ``read`` (3, 3, t, m) are tensors and slopes at the points."""
    value, (m, k) = read[0], basis.shape
    scale = (value * reference).sum(axis=(0, 2)) / np.maximum((reference**2).sum(axis=(0, 2)), 1e-12)
    misfit = scale[:, None] * reference - value
    # Sums over the tensor's elements, point by point, then over the points.
    along, across = read[1:].astype(np.float64)
    shared = np.stack([(a * b).sum(axis=0) for a, b in ((along, along), (along, across), (across, across))], axis=1)
    shared = shared[:, [0, 1, 1, 2]] @ (basis[:, :, None] * basis[:, None]).reshape(m, k * k)
    normal = shared.reshape(-1, 2, 2, k, k).swapaxes(2, 3).reshape(-1, 2 * k, 2 * k)
    right = np.concatenate([(slope * misfit).sum(axis=0) @ basis for slope in (along, across)], axis=1)
    still = np.kron(np.eye(2), elastic)
    hold = (stiffness * m / 4 * (misfit**2).mean(axis=(0, 2)))[:, None, None] * still
    ridge = (1e-6 * np.trace(normal, axis1=1, axis2=2) / k + 1e-9)[:, None, None] * np.eye(2 * k)
    present = coefficients.swapaxes(1, 2).reshape(-1, 2 * k, 1)
    step = np.linalg.solve(normal + hold + ridge, right[..., None] - hold @ present)
    return np.clip(step, -_LONGEST, _LONGEST).reshape(-1, 2, k).swapaxes(1, 2)
