"""A slice seen from the centre of the ventricle: rays and radii."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PolarGrid:
    """Rays from a centre, evenly spaced over the full turn, sampled at even radii.

    Parameters
    ----------
    centre : (2,) float array
        Voxels.
    voxel : (2,) float array
        Edge lengths of a voxel, mm.
    n_rays, n_radii : int
    step : float
        Between radii, mm; the first radius is half a step.
    """

    centre: Array
    voxel: Array
    n_rays: int = 96
    n_radii: int = 70
    step: float = 1.0

    @property
    def angles(self) -> Array:
        """Direction of each ray, radians from the first image axis to the second."""
        return np.arange(self.n_rays, dtype=np.float64) * (2 * np.pi / self.n_rays)

    @property
    def radii(self) -> Array:
        """Radius of each sample, mm."""
        return (np.arange(self.n_radii, dtype=np.float64) + 0.5) * self.step

    def points(self, radius: Array) -> Array:
        """Positions, voxels (ray, 2), of one radius (mm) on each ray."""
        direction = np.stack([np.cos(self.angles), np.sin(self.angles)], axis=1)
        return self.centre + direction * radius[:, None] / self.voxel

    def sample(self, image: Array) -> Array:
        """Read an image (x, y) along the rays, (ray, radius), linearly; 0 outside of it."""
        from scipy.ndimage import map_coordinates

        direction = np.stack([np.cos(self.angles), np.sin(self.angles)])
        place = self.centre[:, None, None] + direction[..., None] * self.radii / self.voxel[:, None, None]
        return np.asarray(map_coordinates(np.asarray(image, dtype=float), place, order=1, mode="constant"))

    def fill(self, inner: Array, outer: Array, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Voxels (x, y) whose centres lie between two borders, radii (ray,) in mm."""
        x, y = np.indices(shape, dtype=float)
        dx, dy = (x - self.centre[0]) * self.voxel[0], (y - self.centre[1]) * self.voxel[1]
        radius, ray = np.hypot(dx, dy), np.arctan2(dy, dx) % (2 * np.pi)
        low, high = (np.interp(ray, self.angles, border, period=2 * np.pi) for border in (inner, outer))
        return np.asarray((radius > low) & (radius <= high))
