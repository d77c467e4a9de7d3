"""Closed smooth curves through handles, and the masks within. Points are (column, row), pixel centres whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry.masks import largest_piece

#: Points that a curve is drawn with between two handles.
POINTS_PER_SPAN = 12
#: Numbers of handles that are tried, fewest first.
HANDLES = (12, 16, 24)
#: A mask knows its border to half a pixel: a curve nearer than this on average is as good.
TOLERANCE = 0.5


def span_weights() -> NDArray[np.float64]:
    """Weights (points, 4) of the handle before a span, its two ends and the handle behind it.

    Between two handles runs a uniform Catmull-Rom spline (Catmull and Rom, Computer Aided Geometric Design 1974:317):
    it goes through the handles, its tangent is continuous, and a handle that is moved moves the four spans next to it
    and no others.
    """
    t = np.arange(POINTS_PER_SPAN) / POINTS_PER_SPAN
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2.0
    return np.asarray(np.stack([t**0, t, t**2, t**3], axis=1) @ basis)


def closed_curve(handles: ArrayLike) -> NDArray[np.float64]:
    """Polygon (n, 2) of the closed curve through handles (k, 2)."""
    points = np.asarray(handles, np.float64)
    around = np.stack([np.roll(points, shift, axis=0) for shift in (1, 0, -1, -2)], axis=1)
    return np.asarray(np.einsum("pw,kwc->kpc", span_weights(), around).reshape(-1, 2))


def inside(handles: ArrayLike, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (rows, columns) whose centres lie within the closed curve."""
    from skimage.draw import polygon2mask

    return np.asarray(polygon2mask(shape, closed_curve(handles)[:, ::-1]), bool)


def fit_handles(mask: NDArray[np.bool_]) -> list[tuple[float, float]] | None:
    """Handles of a curve around a mask (rows, columns); None where it is empty.

    Of a mask in several parts the largest is taken, without its holes. Its border, a staircase, is smoothed by the
    lowest harmonics of its Fourier descriptors.
    """
    from scipy.ndimage import binary_fill_holes

    border = _border(np.asarray(binary_fill_holes(largest_piece(mask)), bool))
    if border is None:
        return None
    handles = np.zeros((0, 2))
    for count in HANDLES:
        handles = _low_pass(border, count // 2 - 1)[:: len(border) // count][:count]
        if _distance(border, closed_curve(handles)) <= TOLERANCE:
            break
    return [(round(float(x), 3), round(float(y), 3)) for x, y in handles]


def brushed(
    mask: NDArray[np.bool_], path: Sequence[Sequence[float]], radius: float, spacing: tuple[float, float], add: bool
) -> NDArray[np.bool_]:
    """A mask (rows, columns) with what a round brush has painted or wiped away.

    Parameters
    ----------
    mask : (rows, columns) bool array
    path : sequence of (column, row)
        Places of the brush.
    radius : float
        mm.
    spacing : (float, float)
        mm of a row and of a column.
    """
    from scipy.spatial import KDTree

    steps = np.asarray(path, np.float64).reshape(-1, 2)
    pixels = np.indices(mask.shape).reshape(2, -1).T * spacing
    away, _ = KDTree(_dense(steps)[:, ::-1] * spacing).query(pixels)
    touched = (away <= radius).reshape(mask.shape)
    return np.asarray(mask | touched if add else mask & ~touched)


def to_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Start and length of each run of set pixels, row by row, one after another."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, np.int8).ravel(), [0]])))
    starts, ends = edges[::2], edges[1::2]
    return [int(v) for pair in zip(starts, ends - starts, strict=True) for v in pair]


def from_runs(runs: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of :func:`to_runs`.

    Raises
    ------
    ValueError
        Where a run lies outside the image.
    """
    flat = np.zeros(shape[0] * shape[1], bool)
    if len(runs) % 2:
        raise ValueError("runs come in pairs of start and length")
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        if start < 0 or length < 1 or start + length > flat.size:
            raise ValueError(f"the run {start}, {length} lies outside an image of {shape}")
        flat[start : start + length] = True
    return flat.reshape(shape)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Border of one part as 240 points (x, y) at equal steps, clockwise or not as found; None where it is empty."""
    from skimage.measure import find_contours

    found: list[Any] = find_contours(np.pad(mask, 1).astype(np.float64), 0.5)
    if not found:
        return None
    points = max(found, key=len)[:, ::-1] - 1.0
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    # Divisible by every number of handles.
    at = np.linspace(0.0, lengths[-1], 240, endpoint=False)
    return np.stack([np.interp(at, lengths, points[:, axis]) for axis in (0, 1)], axis=1)


def _low_pass(border: NDArray[np.float64], harmonics: int) -> NDArray[np.float64]:
    spectrum = np.fft.fft(border[:, 0] + 1j * border[:, 1])
    spectrum[harmonics + 1 : -harmonics] = 0.0
    smooth = np.fft.ifft(spectrum)
    return np.stack([smooth.real, smooth.imag], axis=1)


def _distance(border: NDArray[np.float64], curve: NDArray[np.float64]) -> float:
    """Root mean square distance of a border's points from a curve, pixels."""
    apart = np.linalg.norm(border[:, None] - curve[None], axis=2).min(axis=1)
    return float(np.sqrt((apart**2).mean()))


def _dense(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path with a step of half a pixel at most."""
    pieces = [steps[:1]]
    for start, end in pairwise(steps):
        count = max(1, int(np.ceil(2 * np.linalg.norm(end - start))))
        pieces.append(start + (end - start) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(pieces)
