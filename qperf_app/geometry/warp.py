"""Apply the displacement of motion correction to a series, a volume or a mask.

The displacement is that of the contract: world mm (RAS+), and the corrected voxel at p is read from p + displacement.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry.orientation import canonical_order

#: Voxels that are read at a time, for the processor's cache.
_AT_ONCE = 1 << 15


def warp(
    data: NDArray[Any],
    affine: ArrayLike,
    displacement: NDArray[np.floating],
    order: int = 1,
    fill: float | None = None,
    in_plane: bool = True,
) -> NDArray[Any]:
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
    data, displacement = np.asarray(data), _checked(displacement)
    shape = displacement.shape[:4]
    if data.shape not in (shape, shape[:3]):
        raise ValueError(f"displacement of shape {displacement.shape} does not fit data of shape {data.shape}")
    if order not in (0, 1, 3):
        raise ValueError(f"interpolation order is {order}; it must be 0, 1 or 3")
    labels = data.dtype.kind in "bui"
    order = 0 if labels else order
    kind = data.dtype if labels or data.dtype == np.float32 else np.dtype(np.float64)
    # In canonical order the rounding is the same however the image is stored.
    axes = canonical_order(affine)
    into_voxels = np.linalg.inv(_linear_part(axes.apply_to_affine(affine, shape))).T
    if order == 1 and fill is None and in_plane and data.ndim == 4:
        read = _linear(
            axes.apply(data.astype(np.float64)), axes.view(displacement), np.asarray(into_voxels, np.float64)
        )
        return axes.inverse.apply(read.astype(kind))
    result = np.empty(shape, kind)
    for t in range(shape[3]):
        shift = np.moveaxis(_transformed(axes.apply(displacement[..., t, :]), into_voxels), -1, 0)
        volume = axes.apply(data if data.ndim == 3 else data[..., t])
        result[..., t] = axes.inverse.apply(_read(volume, shift, order, fill, in_plane))
    return result


def _read(
    volume: NDArray[Any], shift: NDArray[np.float64], order: int, fill: float | None, in_plane: bool
) -> NDArray[Any]:
    """Volume (x, y, z) read at every voxel plus ``shift`` (3, x, y, z)."""
    from scipy.ndimage import map_coordinates, spline_filter

    where = np.indices(volume.shape, dtype=np.float64) + shift
    mode, value = ("nearest", 0.0) if fill is None else ("constant", float(fill))
    result = np.empty(volume.shape, volume.dtype if not order else np.float64)
    for block in [np.s_[:, :, z] for z in range(volume.shape[2])] if in_plane else [np.s_[:, :, :]]:
        source = volume[block].astype(np.float64) if order else volume[block]
        if order == 3:
            source = spline_filter(source, order=3, mode="nearest" if fill is None else "mirror")
        at = where[: source.ndim][(slice(None), *block)]
        result[block] = map_coordinates(source, at, order=order, mode=mode, cval=value, prefilter=False)
    return result


def _linear(
    series: NDArray[Any], displacement: NDArray[np.floating], into_voxels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Series (x, y, z, t) read linearly in the plane at every voxel plus its displacement; edges repeat outside.

    What ``map_coordinates`` reads frame by frame is read for a few rows of all frames at a time, as they lie in memory.
    """
    rows, columns, slices, frames = series.shape
    result = np.empty(series.shape, np.float64)
    step, t = max(1, _AT_ONCE // (columns * frames)), np.arange(frames)
    values = np.moveaxis(series, 2, 0).reshape(slices, -1)
    for z, first in ((z, first) for z in range(slices) for first in range(0, rows, step)):
        part = slice(first, first + step)
        moved = np.moveaxis(displacement[part, :, z], -1, 0).astype(np.float64, order="C")
        x, y = (into_voxels[:, :2].T @ moved.reshape(3, -1)).reshape(2, *moved.shape[1:])
        x = np.clip(x + np.arange(rows)[part, None, None], 0, rows - 1)
        y = np.clip(y + np.arange(columns)[:, None], 0, columns - 1)
        i, j = x.astype(np.intp), y.astype(np.intp)
        u, v = x - i, y - j
        # Beyond the last row and column is nothing, and it has no weight.
        here = (i * columns + j) * frames + t
        right, down = frames * (j < columns - 1), columns * frames * (i < rows - 1)
        read = values[z].take(here) * (1 - u) * (1 - v)
        read += values[z].take(here + right) * (1 - u) * v
        here += down
        read += values[z].take(here) * u * (1 - v)
        read += values[z].take(here + right) * u * v
        result[part, :, z] = read
    return result


def voxel_displacement(affine: ArrayLike, displacement: NDArray[np.floating]) -> NDArray[np.float64]:
    """Displacement (..., 3) in world mm as voxel indices of the affine's grid.

    Raises
    ------
    ValueError
        Where it isn't (x, y, z, t, 3), or the affine can't be inverted.
    """
    return _transformed(_checked(displacement), np.linalg.inv(_linear_part(affine)).T)


def longest(displacement: NDArray[np.floating]) -> NDArray[np.float64]:
    """Largest length (z, t) of displacements (x, y, z, t, 3) in each slice and volume."""
    kind = np.result_type(displacement, np.float32)
    squared = np.einsum("...k,...k->...", displacement, displacement, dtype=kind, casting="same_kind")
    return np.asarray(np.sqrt(squared.max(axis=(0, 1), initial=0.0).astype(np.float64)))


def world_displacement(affine: ArrayLike, voxel_shift: NDArray[np.floating]) -> NDArray[np.float64]:
    """Displacement (..., 3) in voxel indices of the affine's grid as world mm."""
    return _transformed(np.asarray(voxel_shift), _linear_part(affine).T)


def _transformed(vectors: NDArray[np.floating], matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Vectors (..., 3) times a matrix (3, 3), as one product and not one for every few of them."""
    return np.asarray((vectors.reshape(-1, 3) @ matrix).reshape(vectors.shape))


def _linear_part(affine: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(affine, np.float64)[:3, :3]


def _checked(displacement: NDArray[np.floating]) -> NDArray[np.floating]:
    displacement = np.asarray(displacement)
    if displacement.ndim != 5 or displacement.shape[-1] != 3:
        raise ValueError(f"displacement has shape {displacement.shape}; it must be (x, y, z, t, 3)")
    return displacement
