"""Independent draws near the exchange model's posterior, from a grid over its two rates and the delay.

With the amplitudes taken out (:mod:`qperf_hmc.amplitudes`) three coordinates are left, log K+, log K- and Ta, and on a
grid over them the curves' members are the same for every voxel of a scan: a voxel costs a few thousand products of 18
numbers and some arithmetic. The grid's heaviest cells are divided once more. What results is a density, constant in
each cell, from which draws are made and weighed by the posterior: no start, no mode, no iteration that could miss a
hump or a bend.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.physics.backend import common_arrays
from qperf_app.physics.conversion import per_second
from qperf_app.physics.models import exchange_response
from qperf_hmc import amplitudes, table
from qperf_hmc.amplitudes import Evidence
from qperf_hmc.target import Problem

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Cells along log K+, log K- and Ta at first; how often the heaviest are halved along every axis.
CELLS, HALVINGS = (24, 24, 22), 3
# Part of every cell's mass that goes to its surroundings, for what the cells' centres miss.
_SPREAD = 0.3
_FREEDOM = 5
_STEPS = 5
# Draws that are weighed together.
_AT_ONCE = 4096


class Level(NamedTuple):
    """One grid: the cells' centres along each axis and the members there.

    ``first`` (fast * delay, r) and ``second`` (slow * delay, r); ``width`` of a cell along each axis.
    """

    fast: Array
    slow: Array
    delay: Array
    first: Array
    second: Array
    width: tuple[float, ...]


class Cells(NamedTuple):
    """The grids of a scan, from coarse to fine; ``nodes`` (3, n) are the coarse cells that hold K+ > K-."""

    levels: tuple[Level, ...]
    nodes: Index


class Leaves(NamedTuple):
    """Cells of one level in every voxel: their indices (3, n, v) and share of the draws (n, v)."""

    at: Index
    share: Array


class Pool(NamedTuple):
    """Weighed draws: p arrays (n, v) of coordinates and their log weights (n, v)."""

    x: list[NDArray[np.float32]]
    log_weight: NDArray[np.float32]


def build(tables: table.Table, draws: Array) -> Cells:
    """Lay the grids over where draws of the prior's coordinates (5, n) lie."""
    Fp, PS, vp, ve = (tf.constant(np.exp(v)) for v in draws[:4])
    fast, slow, _ = exchange_response(common_arrays(Fp)[0], per_second(Fp), per_second(PS), vp, ve)
    limits = [(v.min(), v.max()) for v in (np.log(fast), np.log(slow), draws[4])]
    levels = tuple(_level(tables, limits, 2**h) for h in range(HALVINGS + 1))
    coarse = levels[0]
    upper, lower = coarse.fast + 0.5 * coarse.width[0], coarse.slow - 0.5 * coarse.width[1]
    nodes = np.nonzero(np.repeat((upper[:, None] > lower)[..., None], CELLS[2], axis=2))
    return Cells(levels, np.array(nodes))


def _level(tables: table.Table, limits: list[tuple[Any, Any]], split: int) -> Level:
    width = [(high - low) / (n * split) for (low, high), n in zip(limits, CELLS, strict=True)]
    centres = [low + (np.arange(n * split) + 0.5) * w for (low, _), n, w in zip(limits, CELLS, width, strict=True)]
    fast, slow, delay = centres

    def members(log_rate: Array) -> Array:
        k, Ta = (tf.constant(v.ravel()) for v in np.meshgrid(np.exp(log_rate), delay, indexing="ij"))
        found = table.members(tables, [table.rate_factors(tables, k)], Ta)[0]
        return np.ascontiguousarray(found.numpy().T, dtype=np.float32)

    return Level(fast, slow, delay, members(fast), members(slow), tuple(float(w) for w in width))


def propose(cells: Cells, problem: Problem, count: int, halved: int, seed: int) -> Pool:
    """Draw ``count`` points of every voxel and weigh them; ``halved`` cells are divided on each level.

    The same random numbers serve every voxel: what is drawn for a curve does not depend on the curves beside it.
    """
    leaves = _divide(cells, problem, halved)
    share = np.concatenate([leaf.share for leaf in leaves]).T
    rng = np.random.default_rng(seed)
    running = np.cumsum(share, axis=1, dtype=np.float64)
    at = rng.random(count)
    picked = np.stack([np.searchsorted(row, at * row[-1], side="right") for row in running])
    picked = np.minimum(picked, share.shape[1] - 1)
    log_height = np.log(np.take_along_axis(share, picked, axis=1)).T
    point = _places(cells, leaves, picked.T, rng.random((3, count, 1)), log_height)
    arrays = [np.asarray(a, np.float32) for a in (*point, log_height, *_student(rng, count))]
    parts = [_weigh(problem, *(a[k : k + _AT_ONCE] for a in arrays)) for k in range(0, count, _AT_ONCE)]
    x, weight = zip(*parts, strict=True)
    return Pool([np.concatenate(a) for a in zip(*x, strict=True)], np.concatenate(weight))


def _divide(cells: Cells, problem: Problem, halved: int) -> list[Leaves]:
    """Share the draws among cells: all coarse ones, and level by level the halves of the heaviest."""
    v = problem.rest.shape[0]
    mass = _share(_log_masses(cells.levels[0], problem, cells.nodes[..., None]))
    leaves = [Leaves(np.broadcast_to(cells.nodes[..., None], (*cells.nodes.shape, v)), _dilate(cells, mass))]
    for level in cells.levels[1:]:
        at, share = leaves[-1]
        chosen = np.argpartition(-share, halved, axis=0)[:halved]
        offsets = np.indices((2, 2, 2)).reshape(3, 1, 8, 1)
        parts = 2 * np.take_along_axis(at, chosen[None], axis=1)[:, :, None] + offsets
        mass = _share(_log_masses(level, problem, parts.reshape(3, -1, v))).reshape(halved, 8, v)
        of_cell, before = mass.sum(axis=1), np.take_along_axis(share, chosen, axis=0)
        # What the parts weigh together is known better than by the centre of the whole.
        after = (1.0 - _SPREAD) * of_cell * before.sum(axis=0) + _SPREAD * before
        inner = (1.0 - _SPREAD) * mass / np.maximum(of_cell, 1e-30)[:, None] + _SPREAD / 8.0
        np.put_along_axis(share, chosen, 0.0, axis=0)
        leaves.append(Leaves(parts.reshape(3, -1, v), (after[:, None] * inner).reshape(-1, v)))
    return leaves


def _share(level: Array) -> Array:
    share = np.exp(level - level.max(axis=0))
    return share / share.sum(axis=0)


def _dilate(cells: Cells, mass: Array) -> Array:
    """Spread a part of every coarse cell's mass (n, v) over the cells around it."""
    from scipy.ndimage import uniform_filter

    dense = np.zeros((*CELLS, mass.shape[1]), dtype=np.float32)
    dense[tuple(cells.nodes)] = mass
    around = uniform_filter(dense, (3, 3, 3, 0), mode="nearest")[tuple(cells.nodes)]
    return (1.0 - _SPREAD) * mass + _SPREAD * around


def _log_masses(level: Level, problem: Problem, at: Index) -> Array:
    """Log density at the centres of cells (3, n, v or 1)."""
    i, j, k = at
    first, second = (m[a * len(level.delay) + k] for m, a in ((level.first, i), (level.second, j)))
    place = (np.asarray(c[a], np.float32) for c, a in zip(level[:3], at, strict=True))
    return _marginal(problem, *_products(problem.data, first, second), *place).numpy()


# Apart from what uses them: joined, every product would be summed again for every use.
@functools.partial(tf.function, jit_compile=True, autograph=False)
def _products(data: Any, first: Any, second: Any) -> tuple[Any, ...]:
    """Products with the data (r, v) of members (n, v or 1, r), and of the members: (n, v or 1) each."""
    if first.shape[1] == 1:
        with_data = [tf.matmul(m[:, 0], data) for m in (first, second)]
    else:
        with_data = [tf.reduce_sum(m * tf.transpose(data), axis=2) for m in (first, second)]
    pairs = ((first, first), (first, second), (second, second))
    return (*with_data, *(tf.reduce_sum(a * b, axis=2) for a, b in pairs))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _marginal(
    problem: Problem, y1: Any, y2: Any, h11: Any, h12: Any, h22: Any, fast: Any, slow: Any, delay: Any
) -> Any:
    """Log density of rates and delay, (n, v), the amplitudes integrated out by Laplace's method."""
    peak = amplitudes.climb(_evidence(problem, y1, y2, h11, h12, h22), _prior(problem), fast, slow, _STEPS)
    late = (delay - problem.mean[4]) / problem.sd[4]
    found = peak.value - tf.math.log(peak.l11 * peak.l22) - 0.5 * late * late
    return tf.where(tf.math.is_finite(found), found, -1e30)


def _evidence(problem: Problem, *products: Any) -> Evidence:
    """Weighed products of data and members (y1, y2, h11, h12, h22). All features of a curve weigh the same."""
    worth = problem.weight[0] ** 2
    yy = problem.rest + worth * tf.reduce_sum(problem.data * problem.data, axis=0)
    y1, y2, h11, h12, h22 = (worth * a for a in products)
    return Evidence(y1, y2, h11, h12, h22, yy)


def _prior(problem: Problem) -> amplitudes.Prior:
    mean = tf.unstack(problem.mean)
    mean = [mean[0] - np.log(60.0), mean[1] - np.log(60.0), mean[2], mean[3]]
    return amplitudes.Prior(mean, tf.unstack(problem.sd)[:4], problem.shape + 0.5 * problem.count, problem.scale)


def _places(cells: Cells, leaves: list[Leaves], picked: Index, jitter: Array, log_height: Array) -> list[Array]:
    """Coordinates (n, v) within picked leaves (n, v); takes the log of the cells' sizes off the log heights."""
    point, first = [np.zeros(picked.shape) for _ in range(3)], 0
    for depth, (level, leaf) in enumerate(zip(cells.levels, leaves, strict=True)):
        here = (picked >= first) & (picked < first + len(leaf.share))
        n, v = np.nonzero(here)
        for axis in range(3):
            centre = level[axis][leaf.at[axis, picked[n, v] - first, v]]
            point[axis][n, v] = centre + (jitter[axis, n, 0] - 0.5) * level.width[axis]
        log_height[n, v] += depth * np.log(8.0)
        first += len(leaf.share)
    return point


def _student(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Bivariate Student-t noise, (n, 1) each, and its log density up to a constant."""
    z = rng.standard_normal((2, count, 1)) / np.sqrt(rng.chisquare(_FREEDOM, (count, 1)) / _FREEDOM)
    return z[0], z[1], -0.5 * (_FREEDOM + 2) * np.log1p((z**2).sum(axis=0) / _FREEDOM)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _weigh(
    problem: Problem, fast: Any, slow: Any, delay: Any, log_height: Any, z1: Any, z2: Any, log_noise: Any
) -> tuple[list[Any], Any]:
    """Draw the amplitudes at points (n, v); coordinates of the model's parameters and log weights."""
    shape = fast.shape
    flat = lambda a: tf.reshape(a, [-1])  # noqa: E731
    factors = [table.rate_factors(problem.tables, tf.exp(flat(rate))) for rate in (fast, slow)]
    h1, h2 = (tf.reshape(h, [-1, *shape]) for h in table.members(problem.tables, factors, flat(delay)))
    data = problem.data[:, None, :]
    sums = [tf.reduce_sum(a * b, axis=0) for a, b in ((data, h1), (data, h2), (h1, h1), (h1, h2), (h2, h2))]
    prior = _prior(problem)
    peak = amplitudes.climb(_evidence(problem, *sums), prior, fast, slow, _STEPS)
    # a = mode + L'^-1 z
    d2 = z2 / peak.l22
    d1 = (z1 - peak.l21 * d2) / peak.l11
    first, second = peak.first + d1, peak.second + d2
    residual = problem.weight[:, None, :] * (data - tf.exp(first) * h1 - tf.exp(second) * h2)
    squares = problem.rest + tf.reduce_sum(residual * residual, axis=0)
    x = list(amplitudes.parameters(fast, slow, first, second))
    off = sum(((a - m) / s) ** 2 for a, m, s in zip(x, prior.mean, prior.sd, strict=True))
    off += ((delay - problem.mean[4]) / problem.sd[4]) ** 2
    value = -prior.exponent * tf.math.log(prior.scale + 0.5 * squares) - 0.5 * off
    weight = value - log_height - log_noise - tf.math.log(peak.l11 * peak.l22)
    weight = tf.where(tf.math.is_finite(weight) & (fast > slow), weight, -1e30)
    minute = np.float32(np.log(60.0))
    return [x[0] + minute, x[1] + minute, x[2], x[3], delay], weight
