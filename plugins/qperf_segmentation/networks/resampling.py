"""From a series' own grid to a network's and back: one matrix for each axis, exact means where it gets coarser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class PlaneGrid:
    """A network's grid over a slice.

    Parameters
    ----------
    shape : tuple of two ints
    pixel : float
        Edge of a pixel, mm.
    centre : tuple of two floats
        Middle of the grid, in voxels of the slice.
    voxel : tuple of two floats
        Edges of a voxel of the slice, mm.
    """

    shape: tuple[int, int]
    pixel: float
    centre: tuple[float, float]
    voxel: tuple[float, float]

    def positions(self, axis: int) -> Array:
        """Centres of the grid's pixels along an axis, in voxels of the slice."""
        steps = np.arange(self.shape[axis]) - (self.shape[axis] - 1) / 2.0
        return self.centre[axis] + steps * self.pixel / self.voxel[axis]

    def bring(self, data: Array) -> NDArray[np.float32]:
        """A slice (x, y, ...) on the grid, zero outside."""
        first, second = (self._weights(axis, data.shape[axis]) for axis in (0, 1))
        half = np.tensordot(first, np.asarray(data, np.float32), 1)
        return np.moveaxis(np.tensordot(second, half, ([1], [1])), 0, 1)

    def back(self, values: Array, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Values (gx, gy, ...) on the grid, linear in between, on a slice of this shape; zero outside."""
        result = np.asarray(values, np.float32)
        for axis in (0, 1):
            where = (np.arange(shape[axis]) - self.centre[axis]) * self.voxel[axis] / self.pixel
            weights = _hat(where + (self.shape[axis] - 1) / 2.0, self.shape[axis], 1.0)
            result = np.moveaxis(np.tensordot(weights, result, ([1], [axis])), 0, axis)
        return result

    def _weights(self, axis: int, size: int) -> NDArray[np.float32]:
        weights = _hat(self.positions(axis), size, max(self.pixel / self.voxel[axis], 1.0))
        total = weights.sum(axis=1, keepdims=True)
        return np.asarray((weights / np.maximum(total, 1.0)).astype(np.float32))


def _hat(where: Array, size: int, width: float) -> NDArray[np.float32]:
    """Triangles (n, size) about places ``where`` (n,), ``width`` voxels from middle to end."""
    distance = np.abs(np.arange(size)[None] - where[:, None])
    return np.maximum(1.0 - distance / width, 0.0).astype(np.float32)


def on_time_grid(data: Array, times: Array, wanted: Array) -> NDArray[np.float32]:
    """A series (..., t) at other times, linear in between, its first and last frames kept beyond its ends."""
    at = np.interp(wanted, times, np.arange(len(times)))
    lower = np.minimum(at.astype(np.intp), len(times) - 1)
    upper, part = np.minimum(lower + 1, len(times) - 1), (at - lower).astype(np.float32)
    return (np.asarray(data[..., lower], np.float32) * (1 - part)) + np.asarray(data[..., upper], np.float32) * part


def without_coils(series_data: Array, proton_density: Array | None, voxel: Array) -> NDArray[np.float32]:
    """A series (x, y, z, t) divided by its smoothed proton-density image (x, y, z), which shows the coils."""
    data = np.nan_to_num(np.asarray(series_data, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if proton_density is None:
        return data
    from scipy.ndimage import gaussian_filter

    reference = np.nan_to_num(np.asarray(proton_density, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    sigma = [15.0 / voxel[0], 15.0 / voxel[1], 0.0]
    smooth = gaussian_filter(reference, sigma)
    level = float(np.percentile(smooth, 95))
    return data / np.maximum(smooth / level, 0.15)[..., None] if level > 0 else data
