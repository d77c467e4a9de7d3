"""Apply the displacement of motion correction to a series, a volume or a mask.

The displacement is that of the contract: world mm (RAS+), and the corrected voxel at p is read from p + displacement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def warp(
    data: NDArray,
    affine: ArrayLike,
    displacement: NDArray[np.floating],
    order: int = 1,
    fill: float | None = None,
    in_plane: bool = True,
) -> NDArray:
    """Read every corrected voxel from where the displacement says it was.

    Parameters
    ----------
    data : (x, y, z, t) array
        Series to correct; a (x, y, z) volume is repeated for every frame. A boolean or integer array is taken for
        labels, read by nearest neighbour, and keeps its type.
    affine : (4, 4) array
        Voxel index to world mm.
    displacement : (x, y, z, t, 3) array
        World mm.
    order : {0, 1, 3}
        Nearest neighbour, linear or cubic spline.
    fill : float, optional
        Value for what lies outside; the nearest edge voxel where it is None.
    in_plane : bool
        Leave out the part of the displacement across the slices: perfusion slices have gaps, and are no volume to
        interpolate through.

    Returns
    -------
    (x, y, z, t) array
        Floats keep their type (float32 stays float32).

    Raises
    ------
    ValueError
        Where shapes don't fit or the order is another.
    """
    from scipy.ndimage import map_coordinates, spline_filter

    data = np.asarray(data)
    shift = voxel_displacement(affine, displacement)
    shape = shift.shape[:4]
    if data.shape not in (shape, shape[:3]):
        raise ValueError(f"displacement of shape {displacement.shape} does not fit data of shape {data.shape}")
    if order not in (0, 1, 3):
        raise ValueError(f"interpolation order is {order}; it must be 0, 1 or 3")
    labels = data.dtype.kind in "bui"
    order = 0 if labels else order
    kind = data.dtype if labels or data.dtype == np.float32 else np.dtype(np.float64)
    mode, value = ("nearest", 0.0) if fill is None else ("constant", float(fill))
    grid = np.indices(shape[:3], dtype=np.float64)
    result = np.empty(shape, kind)
    axes = slice(0, 2) if in_plane else slice(0, 3)
    for t in range(shape[3]):
        where = grid + np.moveaxis(shift[..., t, :], -1, 0)
        volume = data if data.ndim == 3 else data[..., t]
        blocks = [np.s_[:, :, z] for z in range(shape[2])] if in_plane else [np.s_[:, :, :]]
        for block in blocks:
            source = volume[block].astype(np.float64) if order else volume[block]
            if order == 3:
                source = spline_filter(source, order=3, mode="nearest" if fill is None else "mirror")
            result[(*block, t)] = map_coordinates(
                source, where[axes][(slice(None), *block)], order=order, mode=mode, cval=value, prefilter=False
            )
    return result


def voxel_displacement(affine: ArrayLike, displacement: NDArray[np.floating]) -> NDArray[np.float64]:
    """Displacement (..., 3) in world mm as voxel indices of the affine's grid.

    Raises
    ------
    ValueError
        Where it isn't (x, y, z, t, 3), or the affine can't be inverted.
    """
    displacement = np.asarray(displacement)
    if displacement.ndim != 5 or displacement.shape[-1] != 3:
        raise ValueError(f"displacement has shape {displacement.shape}; it must be (x, y, z, t, 3)")
    return displacement @ np.linalg.inv(_linear_part(affine)).T


def world_displacement(affine: ArrayLike, voxel_shift: NDArray[np.floating]) -> NDArray[np.float64]:
    """Displacement (..., 3) in voxel indices of the affine's grid as world mm."""
    return np.asarray(voxel_shift) @ _linear_part(affine).T


def _linear_part(affine: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(affine, np.float64)[:3, :3]
