"""Draws of the octree's density, and their importance weights for the exchange model's posterior.

The rates and the delay are drawn from the leaves; given them the log amplitudes come from a Student-t about their mode,
and each draw has its importance weight, posterior over proposal. The same random numbers serve every voxel: what is
drawn for a curve does not depend on the curves beside it.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_hmc import amplitudes, octree
from qperf_hmc.amplitudes import Evidence, Peak
from qperf_hmc.octree import FURTHER_STEPS, LEAST_SHARE, NOTHING, OCTANTS, Leaves, Octree
from qperf_hmc.target import Problem

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
Index = NDArray[np.intp]

# Degrees of freedom of the amplitudes' proposal: heavier tails than the posterior's.
_FREEDOM = 5
# Draws of every voxel that are looked at together.
_AT_ONCE = 2048
# A slope below this is drawn as this one, which differs by nothing that single precision tells.
_LEAST_SLOPE = 1e-3


class Pool(NamedTuple):
    """Draws with importance weights: p arrays (n, v) of coordinates, and the weights' logarithms (n, v)."""

    x: list[FloatArray]
    log_weight: FloatArray


class _Cells(NamedTuple):
    """Cells that draws (n, v) fall in: centre, width and slope (3, n, v), log density, mode (2, n, v)."""

    centre: Any
    width: Any
    slope: Any
    log_density: Any
    mode: Any

    @classmethod
    def of(cls, rows: Any) -> _Cells:
        """From rows (12, n, v) in this order."""
        return cls(rows[:3], rows[3:6], rows[6:9], rows[9], rows[10:])


class _Places(NamedTuple):
    """Where draws lie: log K+, log K- and Ta (3, n, v), and the logarithm of the octree's density there."""

    point: Any
    log_density: Any


class _Polynomials(NamedTuple):
    """Those of both members (n * v, 6 r) about the draws, and where in their cells these lie, -1 to 1, (n, v)."""

    first: Any
    second: Any
    fast: Any
    slow: Any
    delay: Any


class _Noise(NamedTuple):
    """Bivariate Student-t noise, (n, 1) each, and its log density up to a constant."""

    first: Any
    second: Any
    log_density: Any

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> _Noise:
        z = rng.standard_normal((2, count, 1)) / np.sqrt(rng.chisquare(_FREEDOM, (count, 1)) / _FREEDOM)
        return cls(z[0], z[1], -0.5 * (_FREEDOM + 2) * np.log1p((z**2).sum(axis=0) / _FREEDOM))


def propose(tree: Octree, problem: Problem, count: int, least: float, seed: int) -> Pool:
    """Draw ``count`` points of every voxel and weight them; cells that may hold more than ``least`` are divided."""
    rng, levels = np.random.default_rng(seed), octree.refine(tree, problem, least)
    rows, leaves = _rows(tree, levels)
    picked = _pick(leaves, problem.data.shape[1], rng.random(count))
    noise = np.asarray([*rng.random((3, count, 1)), *_Noise.draw(rng, count)], np.float32)
    parts = [
        _importance(tree, problem, rows.take(picked[k : k + _AT_ONCE], axis=1), noise[:, k : k + _AT_ONCE])
        for k in range(0, count, _AT_ONCE)
    ]
    x, weight = zip(*parts, strict=True)
    return Pool([np.concatenate(a) for a in zip(*x, strict=True)], np.concatenate(weight))


def _rows(tree: Octree, levels: list[Leaves]) -> tuple[FloatArray, Leaves]:
    """Rows of :class:`_Cells` (12, n) of the leaves of all levels, one behind the other."""
    leaves = Leaves(*(np.concatenate(parts, axis=-1) for parts in zip(*levels, strict=True)))
    depth = np.repeat(np.arange(len(levels)), [len(part.voxel) for part in levels])
    centre = [
        np.concatenate([level.axes[axis][part.at[axis]] for level, part in zip(tree.levels, levels, strict=True)])
        for axis in range(3)
    ]
    width = np.array([level.width for level in tree.levels]).T[:, depth]
    log_density = np.log(np.maximum(leaves.share, LEAST_SHARE)) + depth * np.log(float(OCTANTS))
    return np.asarray([*centre, *width, *leaves.slope, log_density, *leaves.mode], np.float32), leaves


def _pick(leaves: Leaves, count: int, at: Array) -> Index:
    """Cells (n, v) in proportion to their shares, for random numbers (n,)."""
    order = np.argsort(leaves.voxel, kind="stable")
    share, bounds = leaves.share[order], np.append(0, np.bincount(leaves.voxel, minlength=count).cumsum())
    # Looked up in ascending order, which is many times faster.
    ascending = np.argsort(at)
    picked = np.empty((len(at), count), dtype=np.intp)
    for k, (first, last) in enumerate(pairwise(bounds)):
        running = np.cumsum(share[first:last])
        found = np.searchsorted(running, at[ascending] * running[-1], side="right")
        picked[ascending, k] = first + np.minimum(found, last - first - 1)
    return np.asarray(order[picked])


def _importance(tree: Octree, problem: Problem, rows: FloatArray, noise: FloatArray) -> tuple[list[Any], Any]:
    """Coordinates and log weights of draws in cells, for uniform and Student-t noise (6, n, 1)."""
    cells = _Cells.of(rows)
    places = _place(cells, noise[:3])
    (fast, x), (slow, y), (late, z) = (
        _locate(value, axis) for value, axis in zip(places.point.numpy(), tree.fine.axes, strict=True)
    )
    first, second = (
        tf.gather(table, (at * len(tree.fine.delay) + late).ravel())
        for table, at in ((tree.first, fast), (tree.second, slow))
    )
    polynomials = _Polynomials(first, second, x, y, z)
    found: tuple[list[Any], Any] = _log_weights(problem, polynomials, places, _Noise(*noise[3:]), list(cells.mode))
    return found


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _place(cells: _Cells, at: Any) -> _Places:
    """Points in cells where the density's logarithm rises by their slopes, for random numbers ``at`` (3, n, 1)."""
    slope = tf.where(tf.abs(cells.slope) < _LEAST_SLOPE, _LEAST_SLOPE, cells.slope)
    within = tf.math.log1p(at * tf.math.expm1(slope)) / slope - 0.5
    height = slope * within - tf.math.log(2.0 * tf.sinh(0.5 * slope) / slope)
    return _Places(cells.centre + within * cells.width, cells.log_density + tf.reduce_sum(height, axis=0))


def _locate(value: FloatArray, centres: Array) -> tuple[NDArray[np.int32], FloatArray]:
    """Cell of every value, and where in it, -1 to 1."""
    position = (value - np.float32(centres[0])) / np.float32(centres[1] - centres[0])
    at = np.clip(np.rint(position), 0, len(centres) - 1).astype(np.int32)
    return at, (2.0 * (position - at)).astype(np.float32)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _log_weights(
    problem: Problem, polynomials: _Polynomials, places: _Places, noise: _Noise, start: list[Any]
) -> tuple[list[Any], Any]:
    """Draw the amplitudes at places (n, v); coordinates of the model's parameters and log weights."""
    fast, slow, delay = tf.unstack(places.point)
    h1 = _member(polynomials.first, polynomials.fast, polynomials.delay)
    h2 = _member(polynomials.second, polynomials.slow, polynomials.delay)
    prior = amplitudes.prior_per_second(
        tf.unstack(problem.mean), tf.unstack(problem.sd), problem.shape + 0.5 * problem.count, problem.scale
    )
    peak = amplitudes.climb(_evidence(problem, h1, h2), prior, fast, slow, FURTHER_STEPS, start)
    first, second = _amplitudes(peak, noise)
    residual = tf.transpose(problem.data) - tf.exp(first)[..., None] * h1 - tf.exp(second)[..., None] * h2
    squares = problem.rest + problem.weight[0] ** 2 * tf.reduce_sum(residual * residual, axis=-1)
    x = list(amplitudes.parameters(fast, slow, first, second))
    off = sum(((a - m) / s) ** 2 for a, m, s in zip(x, prior.mean, prior.sd, strict=True))
    off += ((delay - problem.mean[4]) / problem.sd[4]) ** 2
    value = -prior.exponent * tf.math.log(prior.scale + 0.5 * squares) - 0.5 * off
    weight = value - places.log_density - noise.log_density - tf.math.log(peak.l11 * peak.l22)
    weight = tf.where(tf.math.is_finite(weight) & (fast > slow), weight, NOTHING)
    return [x[0] + amplitudes.LOG_MINUTE, x[1] + amplitudes.LOG_MINUTE, x[2], x[3], delay], weight


def _evidence(problem: Problem, h1: Any, h2: Any) -> Evidence:
    """What the curves say of the amplitudes of members (n, v, r)."""
    data = tf.transpose(problem.data)
    sums = [tf.reduce_sum(a * b, axis=-1) for a, b in ((data, h1), (data, h2), (h1, h1), (h1, h2), (h2, h2))]
    efficiency = problem.weight[0] ** 2
    yy = problem.rest + efficiency * tf.reduce_sum(problem.data * problem.data, axis=0)
    y1, y2, h11, h12, h22 = sums
    return amplitudes.weighted(Evidence(y1, y2, h11, h12, h22, yy), efficiency)


def _amplitudes(peak: Peak, noise: _Noise) -> tuple[Any, Any]:
    """Draw log amplitudes: mode + L'^-1 z, with L the factor of the curvature there."""
    second = noise.second / peak.l22
    first = (noise.first - peak.l21 * second) / peak.l11
    return peak.first + first, peak.second + second


def _member(rows: Any, x: Any, y: Any) -> Any:
    """Members (n, v, r) from polynomials (n * v, 6 * r) at x, y (n, v)."""
    c = tf.unstack(tf.reshape(rows, [*x.shape, 6, -1]), axis=2)
    x, y = x[..., None], y[..., None]
    return c[0] + x * (c[1] + x * c[3] + y * c[5]) + y * (c[2] + y * c[4])
