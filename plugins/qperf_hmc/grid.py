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
FloatArray = NDArray[np.float32]
Index = NDArray[np.intp]

#: Cells along log K+, log K- and Ta at first; how often the heaviest are halved along every axis.
CELLS, HALVINGS = (24, 24, 22), 3
# Part of every cell's mass that goes to its surroundings, for what the cells' centres miss.
_SPREAD = 0.3
_FREEDOM = 5
_STEPS = 5
# Rows of cells that are looked at together, and draws that are weighed together.
_AT_ONCE, _DRAWN = 4096, 2048


class Level(NamedTuple):
    """One grid: the cells' centres along each axis, and the members there with their products.

    ``first`` (fast * delay, r) and ``second`` (slow * delay, r) are members, ``both`` (fast * slow * delay,) products
    of one with the other; ``width`` of a cell along each axis.
    """

    fast: Array
    slow: Array
    delay: Array
    first: FloatArray
    second: FloatArray
    both: FloatArray
    width: tuple[float, ...]


class Cells(NamedTuple):
    """The grids of a scan, from coarse to fine; ``nodes`` (3, n) are the coarse cells that hold K+ > K-.

    ``first`` and ``second`` (cells, 6 * r) are the members in the finest cells, as polynomials about the centres.
    """

    levels: tuple[Level, ...]
    nodes: Index
    first: Any
    second: Any


class Leaves(NamedTuple):
    """Cells of one level in every voxel: their indices (3, n, v) and share of the draws (n, v)."""

    at: Index
    share: FloatArray


class Pool(NamedTuple):
    """Weighed draws: p arrays (n, v) of coordinates and their log weights (n, v)."""

    x: list[FloatArray]
    log_weight: FloatArray


def build(tables: table.Table, draws: Array) -> Cells:
    """Lay the grids over where draws of the prior's coordinates (5, n) lie."""
    Fp, PS, vp, ve = (tf.constant(np.exp(v)) for v in draws[:4])
    fast, slow, _ = exchange_response(common_arrays(Fp)[0], per_second(Fp), per_second(PS), vp, ve)
    limits = [(v.min(), v.max()) for v in (np.log(fast), np.log(slow), draws[4])]
    levels = tuple(_level(tables, limits, 2**h) for h in range(HALVINGS + 1))
    coarse = levels[0]
    upper, lower = coarse.fast + 0.5 * coarse.width[0], coarse.slow - 0.5 * coarse.width[1]
    nodes = np.nonzero(np.repeat((upper[:, None] > lower)[..., None], CELLS[2], axis=2))
    fine = levels[-1]
    local = [tf.constant(_polynomials(tables, axis, fine.delay)) for axis in (fine.fast, fine.slow)]
    return Cells(levels, np.array(nodes), *local)


def _polynomials(tables: table.Table, log_rate: Array, delay: Array) -> FloatArray:
    """Coefficients (cells, 6 * r) of 1, x, y, x^2, y^2 and xy, where x and y reach from -1 to 1 within a cell.

    They go through the members at the centre and the middles of a cell's sides; with xy through those at its corners.
    """
    rates, delays = (
        np.linspace(c[0] - 0.5 * (c[1] - c[0]), c[-1] + 0.5 * (c[1] - c[0]), 2 * len(c) + 1) for c in (log_rate, delay)
    )
    h = table.family(tables, np.exp(rates), delays)
    centre, left, right = h[1::2, 1::2], h[:-1:2, 1::2], h[2::2, 1::2]
    below, above = h[1::2, :-1:2], h[1::2, 2::2]
    twist = h[2::2, 2::2] - h[2::2, :-1:2] - h[:-1:2, 2::2] + h[:-1:2, :-1:2]
    parts = (
        centre, 0.5 * (right - left), 0.5 * (above - below), 0.5 * (right + left) - centre,
        0.5 * (above + below) - centre, 0.25 * twist,
    )  # fmt: skip
    return np.stack(parts, axis=2).reshape(centre.shape[0] * centre.shape[1], -1).astype(np.float32)


def _level(tables: table.Table, limits: list[tuple[Any, Any]], split: int) -> Level:
    width = [(high - low) / (n * split) for (low, high), n in zip(limits, CELLS, strict=True)]
    centres = [low + (np.arange(n * split) + 0.5) * w for (low, _), n, w in zip(limits, CELLS, width, strict=True)]
    fast, slow, delay = centres

    first, second = (table.family(tables, np.exp(c), delay).astype(np.float32) for c in (fast, slow))
    # A matrix product for each delay.
    both = np.matmul(first.transpose(1, 0, 2), second.transpose(1, 2, 0)).transpose(1, 2, 0)
    first, second = (m.reshape(-1, m.shape[2]) for m in (first, second))
    return Level(fast, slow, delay, first, second, both.reshape(-1), tuple(float(w) for w in width))


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
    parts = [_weigh_at(cells, problem, [a[k : k + _DRAWN] for a in arrays]) for k in range(0, count, _DRAWN)]
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


def _share(level: FloatArray) -> FloatArray:
    share = np.exp(level - level.max(axis=0))
    found: FloatArray = share / share.sum(axis=0)
    return found


def _dilate(cells: Cells, mass: FloatArray) -> FloatArray:
    """Spread a part of every coarse cell's mass (n, v) over the cells around it."""
    from scipy.ndimage import uniform_filter

    dense = np.zeros((*CELLS, mass.shape[1]), dtype=np.float32)
    dense[tuple(cells.nodes)] = mass
    around = uniform_filter(dense, (3, 3, 3, 0), mode="nearest")[tuple(cells.nodes)]
    return (1.0 - _SPREAD) * mass + _SPREAD * around


def _log_masses(level: Level, problem: Problem, at: Index) -> FloatArray:
    """Log density at the centres of cells (3, n, v or 1)."""
    fast, slow, delay = (np.asarray(c[a], np.float32) for c, a in zip(level[:3], at, strict=True))
    sums = _products(level, problem.data.numpy(), at)
    shape = sums[0].shape
    arrays = [np.broadcast_to(a, shape) for a in (*sums, fast, slow, delay)]
    parts = (slice(k, k + _AT_ONCE) for k in range(0, shape[0], _AT_ONCE))
    return np.concatenate([_padded(problem, [a[part] for a in arrays]) for part in parts])


def _padded(problem: Problem, arrays: list[FloatArray]) -> FloatArray:
    """:func:`_marginal` of at most so many rows, always compiled for as many."""
    count = len(arrays[0])
    filled = [np.pad(a, ((0, _AT_ONCE - count), (0, 0)), mode="edge") for a in arrays]
    found: FloatArray = _marginal(problem, *filled).numpy()[:count]
    return found


def _products(level: Level, data: FloatArray, at: Index) -> tuple[FloatArray, ...]:
    """Products with the data (r, v) of the members of cells (3, n, v or 1), (n, v), and of the members."""
    i, j, k = at
    at_first, at_second = i * len(level.delay) + k, j * len(level.delay) + k
    v = data.shape[1]
    voxel = np.arange(v)
    with_data = ((m @ data).take(a * v + voxel) for m, a in ((level.first, at_first), (level.second, at_second)))
    y1, y2 = with_data
    h11, h22 = ((m * m).sum(axis=1).take(a) for m, a in ((level.first, at_first), (level.second, at_second)))
    return y1, y2, h11, level.both.take(i * len(level.second) + at_second), h22


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


def _weigh_at(cells: Cells, problem: Problem, arrays: list[FloatArray]) -> tuple[list[Any], Any]:
    """:func:`_weigh` with the members at the points, (n * v, 6 * r) polynomials and places (n, v) in the cells."""
    fine, found = cells.levels[-1], []
    place = [_locate(value, axis) for value, axis in zip(arrays, fine[:3], strict=False)]
    for rows, (at, _) in ((cells.first, place[0]), (cells.second, place[1])):
        found.append(tf.gather(rows, (at * len(fine.delay) + place[2][0]).ravel()))
    return _weigh(problem, *found, *(offset for _, offset in place), *arrays)


def _locate(value: FloatArray, centres: Array) -> tuple[Index, FloatArray]:
    """Cell of every value, and where in it, -1 to 1."""
    position = (value - centres[0]) / (centres[1] - centres[0])
    at = np.clip(np.rint(position), 0, len(centres) - 1).astype(np.int32)
    return at, (2.0 * (position - at)).astype(np.float32)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _weigh(
    problem: Problem, rows1: Any, rows2: Any, x1: Any, x2: Any, late: Any,
    fast: Any, slow: Any, delay: Any, log_height: Any, z1: Any, z2: Any, log_noise: Any,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Draw the amplitudes at points (n, v); coordinates of the model's parameters and log weights."""
    h1, h2 = _member(rows1, x1, late), _member(rows2, x2, late)
    data = tf.transpose(problem.data)
    sums = [tf.reduce_sum(a * b, axis=-1) for a, b in ((data, h1), (data, h2), (h1, h1), (h1, h2), (h2, h2))]
    prior = _prior(problem)
    peak = amplitudes.climb(_evidence(problem, *sums), prior, fast, slow, _STEPS)
    # a = mode + L'^-1 z
    d2 = z2 / peak.l22
    d1 = (z1 - peak.l21 * d2) / peak.l11
    first, second = peak.first + d1, peak.second + d2
    residual = data - tf.exp(first)[..., None] * h1 - tf.exp(second)[..., None] * h2
    squares = problem.rest + problem.weight[0] ** 2 * tf.reduce_sum(residual * residual, axis=-1)
    x = list(amplitudes.parameters(fast, slow, first, second))
    off = sum(((a - m) / s) ** 2 for a, m, s in zip(x, prior.mean, prior.sd, strict=True))
    off += ((delay - problem.mean[4]) / problem.sd[4]) ** 2
    value = -prior.exponent * tf.math.log(prior.scale + 0.5 * squares) - 0.5 * off
    weight = value - log_height - log_noise - tf.math.log(peak.l11 * peak.l22)
    weight = tf.where(tf.math.is_finite(weight) & (fast > slow), weight, -1e30)
    minute = np.float32(np.log(60.0))
    return [x[0] + minute, x[1] + minute, x[2], x[3], delay], weight


def _member(rows: Any, x: Any, y: Any) -> Any:
    """Members (n, v, r) from polynomials (n * v, 6 * r) at x, y (n, v)."""
    c = tf.unstack(tf.reshape(rows, [*x.shape, 6, -1]), axis=2)
    x, y = x[..., None], y[..., None]
    return c[0] + x * (c[1] + x * c[3] + y * c[5]) + y * (c[2] + y * c[4])
