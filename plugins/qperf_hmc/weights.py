"""What weighted draws are worth, and draws without weights from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

# The tail that the shape is fitted to: so many of n weights, min(n / 5, 3 sqrt(n)) (Vehtari et al., section 3.1).
_TAIL_PART, _TAIL_ROOT = 0.2, 3.0
# Points of the fit's grid, and its prior's, which weighs like ten exceedances of shape 0.5 (Zhang and Stephens; Vehtari
# et al., appendix G).
_GRID, _GRID_PRIOR, _PRIOR_COUNT, _PRIOR_SHAPE = 30, 3.0, 10, 0.5
_LEAST_WEIGHT = 1e-300


class Worth(NamedTuple):
    """Normalised weights (v, n), effective sample size of each coordinate (v, p), Pareto shape of the tail (v,)."""

    weight: Array
    ess: Array
    shape: Array


def judge(x: FloatArray, log_weight: FloatArray) -> Worth:
    """Effective sample sizes and tails of draws x (p, v, n) with the logarithms of their weights (v, n).

    The effective sample size of a mean is the posterior's variance over that of the weighted mean (Owen 2013, Monte
    Carlo theory, methods and examples, section 9.3). It can't see what was not drawn; the shape k of a generalised
    Pareto distribution fitted to the largest weights can (:func:`largest_shape`).
    """
    weight = np.exp(log_weight.astype(np.float64) - log_weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    squares = weight * weight
    ess = []
    for values in x:
        off = values - np.einsum("vn,vn->v", weight, values)[:, None]
        off *= off
        ess.append(np.einsum("vn,vn->v", weight, off) / np.maximum(np.einsum("vn,vn->v", squares, off), _LEAST_WEIGHT))
    return Worth(weight, np.stack(ess, axis=1), _pareto_shapes(weight))


def largest_shape(count: int) -> float:
    """Shape up to which ``count`` draws are enough: they have to be 10^(1 / (1 - k)).

    Vehtari et al. 2024, Pareto smoothed importance sampling, J Mach Learn Res 25:72, section 3.2.4, arXiv:1507.02646.
    """
    return 1.0 - 1.0 / float(np.log10(count))


def resample(weight: Array, count: int, at: float) -> NDArray[np.intp]:
    """Places (v, count) of draws in proportion to weights (v, n), evenly from ``at`` in [0, 1) (systematic resampling).

    They are in the order of the draws, which is random.
    """
    running, n = np.cumsum(weight, axis=1), weight.shape[1]
    level = (np.arange(count) + at) / count
    found = [np.searchsorted(row, level * row[-1], side="right") for row in running]
    return np.asarray(np.minimum(np.stack(found), n - 1), dtype=np.intp)


def _pareto_shapes(weight: Array) -> Array:
    """Shape of the generalised Pareto distribution of each row's largest weights."""
    n = weight.shape[1]
    size = int(min(_TAIL_PART * n, _TAIL_ROOT * np.sqrt(n)))
    tail = np.sort(np.partition(weight, n - size - 1, axis=1)[:, n - size - 1 :], axis=1)
    return np.array([_pareto_shape(np.maximum(row[1:] - row[0], _LEAST_WEIGHT)) for row in tail])


def _pareto_shape(excess: Array) -> float:
    """Shape for ascending exceedances (m,) (Zhang and Stephens 2009, doi:10.1198/tech.2009.08017)."""
    m = len(excess)
    grid = np.arange(1, _GRID + int(np.sqrt(m)) + 1)
    scale = 1.0 / excess[-1] + (1.0 - np.sqrt(len(grid) / (grid - 0.5))) / (_GRID_PRIOR * excess[int(m / 4 + 0.5) - 1])
    shape = np.log1p(-scale[:, None] * excess).mean(axis=1)
    likelihood = m * (np.log(-scale / shape) - shape - 1.0)
    weight = np.exp(likelihood - likelihood.max())
    found = np.log1p(-np.average(scale, weights=weight) * excess).mean()
    return float((m * found + _PRIOR_COUNT * _PRIOR_SHAPE) / (m + _PRIOR_COUNT))
