"""Whether a curve is like those that the network was trained on.

Three signs that it is not, each with a limit that one training curve in some hundred exceeds: what the network makes of
it lies far from what it made of any training curve (Mahalanobis distance; Lee et al. 2018, arXiv:1807.03888); the
curve of its answer misses the data by more than a deconvolution without a model does; the noise is of another order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qperf_cnn.features import LEVELS

Array = NDArray[np.float64]

#: Part of the training curves beyond each limit.
BEYOND = 0.004
_BINS = 12
_AUTOCORRELATION, _LEVEL = len(LEVELS), 0


class Scope(NamedTuple):
    """``mean`` (w,) and ``axes`` (w, w) whiten the network's last layer; ``distance`` (1,) is its limit.

    ``noise`` (b,) are sizes of the residual, ``misfit`` (b,) the limit of the misfit there.
    """

    mean: Array
    axes: Array
    distance: Array
    noise: Array
    misfit: Array


def learn(hidden: Array, scalars: NDArray[np.floating], missed: Array) -> Scope:
    """Learn the limits from held-out curves: last layers (n, w), scalars (n, s) and misfits (n,)."""
    mean = hidden.mean(axis=0)
    value, vector = np.linalg.eigh(np.cov(hidden.T))
    axes = vector / np.sqrt(np.maximum(value, 1e-4 * value.max()))
    far = (((hidden - mean) @ axes) ** 2).sum(axis=1)
    size = scalars[:, _LEVEL]
    edges = np.quantile(size, np.linspace(0.0, 1.0, _BINS + 1))
    where = np.clip(np.searchsorted(edges, size) - 1, 0, _BINS - 1)
    middle = np.array([np.median(size[where == b]) for b in range(_BINS)])
    limit = np.array([np.quantile(missed[where == b], 1.0 - BEYOND) for b in range(_BINS)])
    distance = np.array([np.quantile(far, 1.0 - BEYOND)])
    return Scope(mean, axes, distance, np.append(middle, edges[-1]), np.append(limit, limit[-1]))


def outside(scope: Scope, hidden: Array, scalars: NDArray[np.floating], missed: Array) -> NDArray[np.bool_]:
    """Curves (n,) that are unlike those of the training."""
    far = (((hidden - scope.mean) @ scope.axes) ** 2).sum(axis=1) > scope.distance[0]
    size = scalars[:, _LEVEL]
    found: NDArray[np.bool_] = far | (size > scope.noise[-1]) | (missed > np.interp(size, scope.noise, scope.misfit))
    return found


def misfit(curves: Array, fitted: Array, scalars: NDArray[np.floating], peak: float) -> Array:
    """Logarithm of the residual's size (n,) over that of a deconvolution that knows no model."""
    size = np.sqrt(np.nanmean((curves - fitted) ** 2, axis=1)) / peak
    found: Array = np.log(size + 1e-6) - (scalars[:, _LEVEL].astype(np.float64) - 6.0)
    return found
