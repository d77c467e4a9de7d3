"""Whether a curve is like those that the network was trained on.

Signs that it is not, each with a limit that three training curves in two hundred exceed: its features, or what the
network makes of them, lie far from those of any training curve (Mahalanobis distance; Lee et al. 2018,
arXiv:1807.03888); the curve of the answer misses the data by more than a deconvolution without a model does; what that
leaves of the curve is more autocorrelated than noise is; the noise is of another order. Or the delay is one that no
training curve had, or the flow higher than any had.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qperf_cnn.features import LEVELS, RESIDUAL_SHIFT, Features, log_size
from qperf_cnn.simulation import RANGES

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

#: Part of the training curves beyond each limit.
BEYOND = 0.015
# What a misfit may lie above its limit, in the logarithm: the autocorrelation of real noise is not that of the
# simulated one.
_MISFIT_MARGIN = 0.2
# The same for the autocorrelation of what a deconvolution leaves.
_AUTOCORRELATION_MARGIN = 0.1
_BINS = 12
# Residuals whose size tells of the model, and of the noise: after the least and the strongest smoothing.
_MODEL, _NOISE = 0, len(LEVELS) - 1
# Where the features have that autocorrelation.
_AUTOCORRELATION = len(LEVELS)


class Distance(NamedTuple):
    """``mean`` (w,) and ``axes`` (w, w) whiten vectors; ``limit`` (1,) of their squared length.

    Single precision is enough to tell whether a vector is beyond it, and twice as quick.
    """

    mean: FloatArray
    axes: FloatArray
    limit: FloatArray


class Scope(NamedTuple):
    """Distances of the features and of the network's last layer.

    ``size`` (b,) are sizes of the residual, ``misfit`` (b,) the limit of the misfit there, ``noise`` (1,) that of
    the noise, ``autocorrelation`` (1,) that of the autocorrelation.
    """

    seen: Distance
    hidden: Distance
    size: Array
    misfit: Array
    noise: Array
    autocorrelation: Array


def learn(features: Features, hidden: Array, missed: Array) -> Scope:
    """Learn the limits from held-out curves: features, last layers (n, w) and misfits (n,)."""
    size = features.scalars[:, _MODEL].astype(np.float64)
    edges = np.quantile(size, np.linspace(0.0, 1.0, _BINS + 1))
    where = np.clip(np.searchsorted(edges, size) - 1, 0, _BINS - 1)
    middle = np.array([np.median(size[where == b]) for b in range(_BINS)])
    limit = np.array([np.quantile(missed[where == b], 1.0 - BEYOND) for b in range(_BINS)])
    noise, autocorrelation = np.quantile(
        features.scalars[:, [_NOISE, _AUTOCORRELATION]].astype(np.float64), 1.0 - BEYOND, axis=0
    )
    return Scope(_distance(_vectors(features)), _distance(hidden), middle, limit, noise[None], autocorrelation[None])


def outside(scope: Scope, features: Features, hidden: FloatArray, missed: Array, values: Array) -> NDArray[np.bool_]:
    """Curves (n,) that are unlike those of the training; ``values`` (n, 6) of QUANTITIES are the network's answer."""
    flow, delay = values[:, 0], values[:, -1]
    low, high = RANGES["Ta"]
    size = features.scalars[:, _MODEL]
    return np.asarray(
        _beyond(scope.seen, _vectors(features))
        | _beyond(scope.hidden, hidden)
        | (features.scalars[:, _NOISE] > scope.noise[0])
        | (features.scalars[:, _AUTOCORRELATION] > scope.autocorrelation[0] + _AUTOCORRELATION_MARGIN)
        | (missed > np.interp(size, scope.size, scope.misfit) + _MISFIT_MARGIN)
        | (delay < low)
        | (delay > high)
        | (flow > RANGES["Fp"][1])
    )


def misfit(curves: Array, fitted: Array, features: Features, peak: float) -> Array:
    """Logarithm of the residual's size (n,) over that of a deconvolution that knows no model."""
    without_model = features.scalars[:, _MODEL].astype(np.float64) - RESIDUAL_SHIFT
    return np.asarray(log_size((curves - fitted) / peak) - without_model)


def to_arrays(scope: Scope) -> list[Array]:
    """Arrays of a scope, in the order in which :func:`from_arrays` takes them."""
    return [np.asarray(a, np.float64) for a in (*scope.seen, *scope.hidden, *scope[2:])]


def from_arrays(arrays: list[Array]) -> Scope:
    """Scope of :func:`to_arrays`."""
    single = [np.asarray(a, np.float32) for a in arrays[:6]]
    return Scope(Distance(*single[:3]), Distance(*single[3:]), *arrays[6:])


#: Arrays of a scope.
COUNT = 10


def _vectors(features: Features) -> FloatArray:
    """Responses at every level and the numbers of the curve (not of the scan), (n, w)."""
    n, lags, levels = len(features.scalars), features.responses.shape[1], len(LEVELS)
    found = np.empty((n, lags * levels + levels + 2), dtype=np.float32)
    found[:, : lags * levels].reshape(n, lags, levels)[...] = features.responses[..., :levels]
    found[:, lags * levels :] = features.scalars[:, : levels + 2]
    return found


def _distance(vectors: NDArray[np.floating]) -> Distance:
    vectors = vectors.astype(np.float64)
    mean = vectors.mean(axis=0)
    value, vector = np.linalg.eigh(np.cov(vectors.T))
    axes = vector / np.sqrt(np.maximum(value, 1e-4 * value.max()))
    squares = (((vectors - mean) @ axes) ** 2).sum(axis=1)
    limit = np.array([np.quantile(squares, 1.0 - BEYOND)])
    return Distance(mean.astype(np.float32), axes.astype(np.float32), limit.astype(np.float32))


def _beyond(distance: Distance, vectors: FloatArray) -> NDArray[np.bool_]:
    white = (vectors - distance.mean) @ distance.axes
    return np.asarray(np.einsum("nw,nw->n", white, white) > distance.limit[0])
