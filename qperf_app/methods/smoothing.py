"""Gaussian smoothing and its slopes as products of matrices: many frames at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", np.float32, np.float64)


def gaussian(
    values: NDArray[Real], sigma: Sequence[float], order: Sequence[int] | None = None, mode: str = "reflect"
) -> NDArray[Real]:
    """Smooth an array as ``scipy.ndimage.gaussian_filter`` does, to the rounding of its type and several times faster.

    Smoothing along an axis is a matrix, banded, of the axis' own length. To multiply with all of it is more arithmetic
    than to slide a window, and a processor is faster at it nevertheless, up to a few hundred samples.

    Parameters
    ----------
    values : (...) array
        float32 or float64.
    sigma : sequence of float
        Standard deviation along each axis, samples; 0 leaves an axis as it is.
    order : sequence of int, optional
        Derivative along each axis, 0 where it is not given.
    mode : str
        What lies outside, by SciPy's names.
    """
    result: NDArray[Real] = np.ascontiguousarray(values)
    for axis, (width, slope) in enumerate(zip(sigma, order or [0] * len(sigma), strict=True)):
        if width > 0:
            matrix = _matrix(values.shape[axis], float(width), slope, mode).astype(values.dtype)
            result = _along(result, matrix, axis)
    return result


def _along(values: NDArray[Real], matrix: NDArray[Real], axis: int) -> NDArray[Real]:
    """Multiply each line along an axis with a matrix."""
    shape = values.shape
    if axis == values.ndim - 1:
        return np.asarray((values.reshape(-1, shape[-1]) @ matrix.T).reshape(shape))
    before = int(np.prod(shape[:axis]))
    return np.asarray((matrix @ values.reshape(before, shape[axis], -1)).reshape(shape))


@lru_cache(maxsize=64)
def _matrix(n: int, sigma: float, order: int, mode: str) -> NDArray[np.float64]:
    """The (n, n) matrix that smooths n samples, from SciPy's filter itself."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(n), sigma, axis=0, order=order, mode=mode))
