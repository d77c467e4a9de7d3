"""Where the posterior of each voxel lies: a mixture of local Student-t pieces, fitted by adaptive importance sampling.

Posteriors of the exchange model are bananas, some have two humps. A single covariance fits neither, but the curvature
at a point, by Gauss and Newton, fits the neighbourhood of that point: a few dozen such pieces along the banana make a
mixture that serves the sampler three times, as the chains' starts, as the whitening and as the proposal of global
moves.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from qperf_hmc import small_matrices as small
from qperf_hmc.target import Coordinates, Problem, log_posterior

# Levenberg-Marquardt steps to the modes, none longer than so many prior standard deviations in any coordinate; damping
# at first, after a step that was taken and after one that was not.
_CLIMBS, _LONGEST_STEP = 8, 2.0
_DAMPING, _LESS, _MORE = 0.1, 0.15, 6.0
# Pieces of the mixture, their size in local standard deviations; share of one that is as broad as the posterior.
PIECES, _PIECE_SIZE = 64, 0.85
_BROAD_SHARE, _BROAD_SIZE = 0.1, 1.5
# A few draws of great importance weight would leave a covariance far too small: weights are cut at so many times their
# mean (Ionides 2008, doi:10.1198/106186008X320456), and the variances enlarged.
_CUT, _ENLARGED, _LEAST_VARIANCE = 10.0, 1.02, 1e-9
# What keeps a density from 0, a uniform number from a logarithm of 0, and stands for the log weight of nothing.
_LEAST_DENSITY, _LEAST_UNIFORM, _NOTHING = 1e-37, 1e-12, -1e30


class Mixture(NamedTuple):
    """Student-t pieces for each of v voxels.

    ``centres`` are p tensors (c, v); ``precision`` is the lower factor P, entries (c, v), of each piece's inverse
    covariance P P'; ``share`` (c,).
    """

    centres: Any
    precision: Any
    share: Any


class Moments(NamedTuple):
    """Moments of each posterior; ``lower`` is the covariance's factor, ``size`` (v,) the effective number of importance
    draws, ``starts`` p tensors (PIECES, v) of resampled draws."""

    mean: Any
    lower: Any
    starts: Any
    size: Any


def find_modes(model: Coordinates, problem: Problem, starts: Sequence[Any]) -> list[Any]:
    """Climb from every start, p tensors (s, v), by Levenberg-Marquardt steps on the posterior."""

    def body(k: Any, x: list[Any], value: Any, damping: Any) -> tuple[Any, ...]:
        information, gradient = curvature(model, problem, x)
        for i, row in enumerate(information):
            row[i] *= 1.0 + damping
        lower = small.cholesky(information)
        step = small.solve_upper(lower, small.solve_lower(lower, gradient))
        reach = tf.reduce_max(tf.stack([tf.abs(s) / problem.sd[i] for i, s in enumerate(step)]), axis=0)
        trial = [a + b * tf.minimum(1.0, _LONGEST_STEP / tf.maximum(reach, 1e-6)) for a, b in zip(x, step, strict=True)]
        found = log_posterior(model, problem, trial)
        better = found > value
        x = [tf.where(better, b, a) for a, b in zip(x, trial, strict=True)]
        return k + 1, x, tf.where(better, found, value), tf.where(better, damping * _LESS, damping * _MORE)

    first = list(starts)
    state = (tf.constant(0), first, log_posterior(model, problem, first), tf.fill(first[0].shape, _DAMPING))
    modes: list[Any] = tf.while_loop(lambda k, *_: k < _CLIMBS, body, state, maximum_iterations=_CLIMBS)[1]
    return modes


def curvature(model: Coordinates, problem: Problem, x: Sequence[Any]) -> tuple[list[list[Any]], list[Any]]:
    """Gauss-Newton information (lower triangle) and gradient of the log posterior at points, p tensors (n, v)."""
    p, shape = len(x), x[0].shape
    flat = [tf.tile(tf.reshape(v, [-1]), [p]) for v in x]
    n = flat[0].shape[0] // p
    directions = [tf.concat([tf.fill([n], float(i == j)) for i in range(p)], 0) for j in range(p)]
    with tf.autodiff.ForwardAccumulator(flat, directions) as forward:
        found = model.features(problem.tables, flat)
    slopes = problem.own(tf.reshape(forward.jvp(found), [-1, p, *shape])) * problem.weight[:, None, None]
    features = problem.own(tf.reshape(found, [-1, p, *shape])[:, 0])
    residual = (problem.data[:, None, :] - features) * problem.weight[:, None]
    squares = problem.rest + tf.reduce_sum(residual * residual, axis=0)
    # Expected precision of the noise.
    precision = (problem.shape + 0.5 * problem.count) / (problem.scale + 0.5 * squares)
    information = [[precision * tf.reduce_sum(slopes[:, i] * slopes[:, j], 0) for j in range(i + 1)] for i in range(p)]
    gradient = [
        precision * tf.reduce_sum(slopes[:, i] * residual, 0) - (x[i] - problem.mean[i]) / problem.sd[i] ** 2
        for i in range(p)
    ]
    for i in range(p):
        information[i][i] += 1.0 / problem.sd[i] ** 2
    return information, gradient


def freedom(p: int) -> int:
    """Degrees of freedom of every piece: heavier tails than the posterior's; (freedom + p) / 2 is a whole number."""
    return 7 if p % 2 else 6


def draw(mixture: Mixture, count: int, seed: Any) -> list[Any]:
    """Draws, p tensors (count, v).

    A draw takes the same piece and the same noise in every voxel. That changes none of their laws, each by itself,
    and what is drawn for a curve does not depend on the curves beside it.
    """
    which = tf.random.stateless_uniform([count, 1], _seed(seed, 0))
    index = _pick(mixture.share[:, None], which)[:, 0]
    own = [[tf.gather(entry, index) for entry in row] for row in mixture.precision]
    noise = small.solve_upper(own, _student([count, 1], len(own), seed))
    return [tf.gather(centre, index) + d for centre, d in zip(mixture.centres, noise, strict=True)]


def log_density(mixture: Mixture, x: Sequence[Any]) -> Any:
    """Log density (draws, v), up to the constant of the Student-t."""
    p, nu = len(x), freedom(len(x))
    height = functools.reduce(lambda a, b: a * b, [row[-1] for row in mixture.precision]) * mixture.share[:, None]

    # Piece by piece: all at once would need memory for draws times pieces, and time to fill it.
    def add(k: Any, total: Any) -> tuple[Any, Any]:
        offset = [a - c[k] for a, c in zip(x, mixture.centres, strict=True)]
        z = [sum(mixture.precision[j][i][k] * offset[j] for j in range(i, p)) for i in range(p)]
        tail = 1.0 / (1.0 + sum(v * v for v in z) / nu)
        # A whole power, by multiplication.
        return k + 1, total + height[k] * functools.reduce(lambda a, b: a * b, [tail] * ((nu + p) // 2))

    pieces = mixture.share.shape[0]
    state = (tf.constant(0), tf.zeros_like(x[0]))
    total = tf.while_loop(lambda k, _: k < pieces, add, state, maximum_iterations=pieces)[1]
    return tf.math.log(total + _LEAST_DENSITY)


def around(model: Coordinates, problem: Problem, centres: Sequence[Any], mean: Sequence[Any], lower: Any) -> Mixture:
    """Pieces at centres, p tensors (PIECES, v), with the local curvature, and a broad one by the moments."""
    information, _ = curvature(model, problem, centres)
    precision = small.cholesky([[e / _PIECE_SIZE**2 for e in row] for row in information])
    broad = small.cholesky([[e / _BROAD_SIZE**2 for e in row] for row in small.inverse(lower)])
    share = tf.constant([(1.0 - _BROAD_SHARE) / PIECES] * PIECES + [_BROAD_SHARE])
    return Mixture(
        [tf.concat([c, m[None]], 0) for c, m in zip(centres, mean, strict=True)],
        [
            [tf.concat([a, b[None]], 0) for a, b in zip(row, wide, strict=True)]
            for row, wide in zip(precision, broad, strict=True)
        ],
        share,
    )


def population_step(model: Coordinates, problem: Problem, mixture: Mixture, draws: int, seed: Any) -> Moments:
    """Draw from a mixture and take the importance weights' moments: one round of population Monte Carlo.

    Cappe et al. 2008, doi:10.1007/s11222-008-9059-x.
    """
    x = draw(mixture, draws, _seed(seed, 0))
    log_weight = log_posterior(model, problem, x) - log_density(mixture, x)
    weight = tf.nn.softmax(tf.where(tf.math.is_finite(log_weight), log_weight, _NOTHING), axis=0)
    size = 1.0 / tf.reduce_sum(weight * weight, axis=0)
    weight = tf.minimum(weight, _CUT / draws)
    weight /= tf.reduce_sum(weight, axis=0)
    mean = [tf.reduce_sum(weight * v, axis=0) for v in x]
    centred = [v - m for v, m in zip(x, mean, strict=True)]
    covariance = [[tf.reduce_sum(weight * a * b, 0) for b in centred[: i + 1]] for i, a in enumerate(centred)]
    for i, row in enumerate(covariance):
        row[i] = row[i] * _ENLARGED + _LEAST_VARIANCE
    lower = small.cholesky(covariance)
    at = tf.random.stateless_uniform([1, size.shape[0]], _seed(seed, 1))
    index = _pick(weight, (tf.range(PIECES, dtype=at.dtype)[:, None] + at) / PIECES)
    starts = [take(v, index) for v in x]
    return Moments(mean, lower, starts, size)


def _pick(weight: Any, at: Any) -> Any:
    """Index (n, v) of where the running sum of weights (c, v) passes the places (n, v) in [0, 1)."""
    # A product with a triangle of ones: XLA's own running sum takes quadratic time on processors, without vector code.
    running = tf.matmul(tf.linalg.band_part(tf.ones([weight.shape[0]] * 2), -1, 0), weight)
    passed = at[:, None] > running[None]
    return tf.minimum(tf.reduce_sum(tf.cast(passed, tf.int32), axis=1), weight.shape[0] - 1)


def take(values: Any, index: Any) -> Any:
    """Values (c, v) at indices (n, v): (n, v)."""
    return tf.transpose(tf.gather(tf.transpose(values), tf.transpose(index), batch_dims=1))


def _student(shape: Sequence[int], p: int, seed: Any) -> list[Any]:
    """Multivariate Student-t noise: p tensors of this shape that share their divisor."""
    nu = freedom(p)
    normal = tf.random.stateless_normal([p + nu % 2, *shape], _seed(seed, 1))
    # A chi-square of an even number of degrees is minus twice the logarithm of a product of uniforms.
    uniform = tf.random.stateless_uniform([nu // 2, *shape], _seed(seed, 2), _LEAST_UNIFORM, 1.0)
    chi = -2.0 * tf.reduce_sum(tf.math.log(uniform), axis=0)
    if nu % 2:
        chi += normal[p] ** 2
    return list(tf.unstack(normal[:p] * tf.sqrt(nu / chi)))


def _seed(seed: Any, k: Any) -> Any:
    return tf.random.experimental.stateless_fold_in(seed, k)
