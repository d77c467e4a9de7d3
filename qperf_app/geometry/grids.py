"""Between voxel indices and world millimetres, and from one image grid to another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Places halfway between voxels are told with this many digits: the rounding of an affine must not decide.
_DIGITS = 6


def voxel_to_world(affine: ArrayLike, voxels: ArrayLike) -> NDArray[np.float64]:
    """World mm (..., 3) of voxel indices (..., 3), which may be fractional."""
    matrix, points = np.asarray(affine, np.float64), np.asarray(voxels, np.float64)
    # One product: of many axes NumPy would make one for every few points.
    return (points.reshape(-1, 3) @ matrix[:3, :3].T).reshape(points.shape) + matrix[:3, 3]


def world_to_voxel(affine: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Fractional voxel indices (..., 3) of world points (..., 3) in mm."""
    return voxel_to_world(np.linalg.inv(np.asarray(affine, np.float64)), points)


def resample(
    data: NDArray[Any],
    affine: ArrayLike,
    target_affine: ArrayLike,
    target_shape: tuple[int, int, int],
    project: bool = True,
) -> NDArray[Any]:
    """Read a volume or a mask on another grid, through world coordinates.

    Parameters
    ----------
    data : (x, y, z) array
        Floats are interpolated linearly in plane; a boolean mask likewise, and is True from 0.5 on, which keeps its
        outline smooth on a finer grid; other integers are labels and keep the nearest voxel's value.
    affine, target_affine : (4, 4) arrays
        Voxel index to world mm.
    target_shape : (int, int, int)
        Shape of the result.
    project : bool
        Take the nearest slice for what lies before the first or behind the last one, as seen along the normal of the
        source: an input-function slice then serves a whole stack. Otherwise it is empty there.

    Returns
    -------
    array of ``target_shape``
        0 or False outside the source's field of view.

    Raises
    ------
    ValueError
        Where the data isn't three-dimensional.
    """
    from scipy.ndimage import map_coordinates

    if data.ndim != 3:
        raise ValueError(f"a volume (x, y, z) is needed, not one of shape {data.shape}")
    grid = np.moveaxis(np.indices(target_shape), 0, -1)
    where = np.moveaxis(world_to_voxel(affine, voxel_to_world(target_affine, grid)), -1, 0)
    # Half a voxel around its centre belongs to a slice; rounding makes every slice a plane of its own.
    slices = np.rint(np.round(where[2], _DIGITS))
    inside = np.ones(target_shape, bool) if project else (slices >= 0) & (slices < data.shape[2])
    where[2] = np.clip(slices, 0, data.shape[2] - 1)
    for axis in (0, 1):
        at = np.round(where[axis], _DIGITS)
        inside &= (at >= -0.5) & (at <= data.shape[axis] - 0.5)
    smooth = data.dtype.kind in "bf"
    values = map_coordinates(
        data.astype(np.float64) if smooth else data, where, order=1 if smooth else 0, mode="nearest"
    )
    if data.dtype == np.bool_:
        return np.asarray((np.round(values, _DIGITS) >= 0.5) & inside)
    return np.where(inside, values, 0).astype(data.dtype)
