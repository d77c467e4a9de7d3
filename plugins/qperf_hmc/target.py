"""The posterior density of many voxels at once, and the models it may be of.

Coordinates are unconstrained: the logarithm of what is positive, the rest as it is. They are kept as a list of tensors,
one per parameter, each (draws, voxels), so that everything is arithmetic on long rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

#: ``forward(tables, parameters)``: physical parameters, each (n,), to features (r, n).
Forward = Callable[[Any, Sequence[Any]], Any]


class Problem(NamedTuple):
    """What the posterior of v voxels rests on.

    Parameters
    ----------
    tables
        Arrays that the forward model reads.
    data, weight : (r, v)
        Features of the measured curves and the weight of their residuals: the root of effective samples per sample, 0
        where a frame is missing.
    rest : (v,)
        Weighted sum of squares of the curve outside the features.
    count : (v,)
        Effective sample size of the curve.
    mean, sd : (p, v)
        Normal prior of the coordinates.
    shape, scale : ()
        Inverse-gamma prior of the noise variance.
    turn : (v, r, r), or None
        What turns features of a whole curve into those of the samples that the curve has: R of the basis' rows there,
        Q R. The identity where none is missing; None where features are the samples themselves.
    """

    tables: Any
    data: Any
    weight: Any
    rest: Any
    count: Any
    mean: Any
    sd: Any
    shape: Any
    scale: Any
    turn: Any = None

    def turned(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Voxels with missing samples, and what turns their features."""
        if self.turn is not None:
            turns = self.turn.numpy()
            for v in np.flatnonzero((turns != np.eye(turns.shape[1])).any(axis=(1, 2))):
                yield int(v), turns[v]

    def own(self, features: Any) -> Any:
        """Features (r, ..., v) of the samples that each curve has."""
        return features if self.turn is None else tf.einsum("vrs,s...v->r...v", self.turn, features)


class Coordinates(NamedTuple):
    """How a model is sampled. Hashable: what is compiled for it is kept.

    Parameters
    ----------
    forward : Forward
    positive : tuple of bool
        Which parameters are positive: their coordinate is the logarithm.
    """

    forward: Forward
    positive: tuple[bool, ...]

    def physical(self, x: Sequence[Any]) -> list[Any]:
        """Parameters from coordinates."""
        return [tf.exp(v) if positive else v for v, positive in zip(x, self.positive, strict=True)]

    def features(self, tables: Any, x: Sequence[Any]) -> Any:
        """Features (r, n) of coordinates, each (n,)."""
        return self.forward(tables, self.physical(x))


def residuals(model: Coordinates, problem: Problem, x: Sequence[Any]) -> tuple[Any, Any]:
    """Features (r, draws, v) and the sum of squared residuals (draws, v)."""
    shape = x[0].shape
    found = model.features(problem.tables, [tf.reshape(v, [-1]) for v in x])
    found = tf.reshape(found, [-1, *shape])
    difference = (problem.data[:, None, :] - problem.own(found)) * problem.weight[:, None, :]
    return found, problem.rest + tf.reduce_sum(difference * difference, axis=0)


def log_posterior(model: Coordinates, problem: Problem, x: Sequence[Any]) -> Any:
    r"""Log density (draws, v), up to a constant, the noise level integrated out.

    With noise variance s ~ IG(a, b), :math:`\int p(y | x, s) p(s) ds \propto (b + RSS / 2)^{-(a + n / 2)}`: a
    Student-t.
    """
    squares = residuals(model, problem, x)[1]
    likelihood = -(problem.shape + 0.5 * problem.count) * tf.math.log(problem.scale + 0.5 * squares)
    return likelihood + log_prior(problem, x)


def log_prior(problem: Problem, x: Sequence[Any]) -> Any:
    """Log prior density of the coordinates, up to a constant."""
    return sum(-0.5 * ((v - problem.mean[i]) / problem.sd[i]) ** 2 for i, v in enumerate(x))
