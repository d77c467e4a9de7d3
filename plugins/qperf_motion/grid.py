"""The grid that a slice is registered on, its own or one with pixels of a usual size, and reading frames on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry import world_displacement

#: Pixel size, mm, that first-pass tissue series commonly have. Much finer costs time for no accuracy; coarser (the
#: input-function series) leaves too few pixels in a heart for a joint histogram.
_PIXEL = 2.2
_FINEST, _COARSEST = 1.6, 2.9
#: Every pixel of a slice.
WHOLE = (slice(None), slice(None))


def working_frames(
    frames: NDArray[np.floating], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Resample frames (x, y, t) of ``spacing`` (2,) mm; return them with the new spacing, mm."""
    from scipy.ndimage import gaussian_filter1d, zoom

    # Frame by frame in memory, as they are worked on.
    images = np.ascontiguousarray(np.moveaxis(np.asarray(frames, np.float32), -1, 0))
    frames = np.moveaxis(np.nan_to_num(images, copy=False, posinf=0.0, neginf=0.0), 0, -1)
    usable = (spacing >= _FINEST) & (spacing <= _COARSEST)
    factors = np.where(usable, 1.0, spacing / _PIXEL)
    if np.all(usable):
        return frames, spacing
    for axis, factor in enumerate(factors):
        if factor < 1:
            frames = gaussian_filter1d(frames, 0.5 * np.sqrt(1 / factor**2 - 1), axis=axis, mode="nearest")
    zoomed = zoom(frames, (*factors, 1.0), order=1, mode="nearest", grid_mode=True)
    return zoomed, spacing * np.array(frames.shape[:2]) / np.array(zoomed.shape[:2])


def splines_of(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cubic spline coefficients (t, x, y) of frames (x, y, t)."""
    from scipy.ndimage import spline_filter

    each = np.ascontiguousarray(np.moveaxis(frames, -1, 0))
    return np.stack([spline_filter(frame, order=3, mode="nearest", output=np.float32) for frame in each])


def read_at(
    splines: NDArray[np.float32], displacement: NDArray[np.float64], box: tuple[slice, slice] = WHOLE
) -> NDArray[np.float32]:
    """Read frames, given as splines (t, x, y), at p + displacement[p], pixels; edges repeat outside.

    ``displacement`` (x, y, t, 2) is that of the pixels of ``box``, and so is what is returned, (t, x, y).
    """
    from scipy.ndimage import map_coordinates

    grid = np.indices(splines.shape[1:], dtype=float)[(slice(None), *box)]
    where = np.moveaxis(displacement, -1, 0) + grid[..., None]
    return np.stack([
        map_coordinates(frame, where[..., t], order=3, mode="nearest", prefilter=False)
        for t, frame in enumerate(splines)
    ])  # fmt: skip


def read_shifted(
    splines: NDArray[np.float32], shift: NDArray[np.float64], x: NDArray[np.intp], y: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Read frames, given as splines (t, ., .), at rows ``x`` and columns ``y`` of pixels plus shift[t], (t, 2).

    What :func:`read_at` reads where all pixels of a frame are displaced alike: the same four coefficients then count
    along a whole row, with the same weights. Rows and columns may lie outside, where edges repeat.
    """
    frames = np.empty((len(splines), len(x), len(y)), np.float32)
    rows, columns = (_taps(along + shift[:, axis, None], splines.shape[axis + 1]) for axis, along in enumerate((x, y)))
    for t, spline in enumerate(splines):
        (r, row_weights), (c, column_weights) = ((index[:, t], weights[:, t]) for index, weights in (rows, columns))
        first = int(c.min())
        strip = spline[:, first : int(c.max()) + 1].astype(np.float64)
        lines = _summed([strip[k] for k in map(_run, r)], row_weights[:, :, None])
        frames[t] = _summed([lines[:, k] for k in map(_run, c - first)], column_weights[:, None])
    return frames


def _summed(parts: list[NDArray[np.float64]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total += part * weight
    return total


def _run(index: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Indices as a slice where they follow one another, as they do but at an edge: nothing is copied then."""
    first, last = int(index[0]), int(index[-1])
    in_a_row = last - first == len(index) - 1 and bool((index[1:] - index[:-1] == 1).all())
    return slice(first, last + 1) if in_a_row else index


def _taps(at: NDArray[np.float64], n: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Of n coefficients of a cubic spline those that count at places (t, m), and their weights, (4, t, m) each."""
    before = np.floor(at)
    u = at - before
    v = 1 - u
    middle = (4 - 3 * u * u * (2 - u), 4 - 3 * v * v * (2 - v))
    index = np.clip(before.astype(np.intp) + np.arange(-1, 3)[:, None, None], 0, n - 1)
    return index, np.stack([v**3, *middle, u**3]) / 6


def shifted_back(frames: NDArray[np.float32], shift: NDArray[np.intp]) -> NDArray[np.float32]:
    """Read pixel p of frame t from p + shift[t] (whole pixels); edge pixels repeat outside."""
    if not shift.any():
        return frames
    images = np.moveaxis(frames, -1, 0)
    moved = np.empty(images.shape, frames.dtype)
    rows, columns = (
        np.clip(np.arange(n) + by[:, None], 0, n - 1) for n, by in zip(frames.shape[:2], shift.T, strict=True)
    )
    for t, image in enumerate(images):
        np.take(image[rows[t]], columns[t], axis=1, out=moved[t])
    return np.moveaxis(moved, 0, -1)


def working_positions(shape: tuple[int, int], working_shape: tuple[int, int]) -> tuple[NDArray[np.float64], ...]:
    """Where the pixels of a slice's own grid lie on its working grid: x and y, each of ``shape``, working pixels."""
    ratio = np.array(working_shape) / np.array(shape)
    return tuple((g + 0.5) * r - 0.5 for g, r in zip(np.indices(shape, dtype=float), ratio, strict=True))


def in_plane_displacement(affine: ArrayLike, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """World displacement (..., 3), mm, of in-plane shifts (..., 2), voxels."""
    return world_displacement(affine, np.concatenate([shift, np.zeros((*shift.shape[:-1], 1))], axis=-1))


def peak_offsets(surfaces: NDArray[np.floating]) -> NDArray[np.float64]:
    """Positions (k, 2) of the largest values of surfaces (k, n, m) against their centres.

    To a fraction of a pixel, by a parabola on each axis.
    """
    size, flat = np.array(surfaces.shape[1:])[:, None], surfaces.reshape(len(surfaces), -1)
    each, top = np.arange(len(flat)), flat.argmax(axis=1)
    place = np.stack(np.divmod(top, surfaces.shape[2]))
    step = np.array([[surfaces.shape[2]], [1]]) * ((place > 0) & (place < size - 1))
    before, here, after = (flat[each, top + k * step].astype(np.float64, copy=False) for k in (-1, 0, 1))
    curvature = before - 2 * here + after
    return np.asarray((place - size // 2 + 0.5 * (before - after) / np.where(curvature < 0, curvature, -1.0)).T)
