"""Independent draws near the exchange model's posterior, from a grid over its two rates and the delay.

With the amplitudes taken out (:mod:`qperf_hmc.amplitudes`) three coordinates are left, log K+, log K- and Ta, and on a
grid over them the curves' members are the same for every voxel of a scan: a cell costs a few products and some
arithmetic. Cells are halved along every axis where the curve puts its mass, until none has much of it. What results is
a density, constant in each cell, from which draws are made and weighed by the posterior: no start, no mode, no
iteration that could miss a hump or a bend.
"""

from __future__ import annotations

import functools
from itertools import pairwise
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

#: Cells along log K+, log K- and Ta at first, how many of them are halved in any case, and how often what has mass is.
CELLS, FIRST, HALVINGS = (12, 12, 11), 224, 5
# The level up to which products of members are stored, and whose cells hold the polynomials.
_STORED = 4
# Part of every cell's mass that goes to its surroundings, for what the cells' centres miss.
_SPREAD = 0.3
# The density rises or falls within a cell as it does between halves, a little less, and at most by the exponential of
# this.
_SLOPE, _STEEPEST = 0.8, 2.0
_FREEDOM = 5
# Steps to the amplitudes' mode, from least squares and from that of the cell around.
_STEPS, _FURTHER_STEPS = 5, 2
# Cells that are looked at together, and draws of every voxel that are weighed together.
_AT_ONCE, _DRAWN = 32768, 2048
_NOTHING = -1e9


class Level(NamedTuple):
    """One grid: the cells' centres along each axis, and the members there with their products.

    ``first`` (fast * delay, r) and ``second`` (slow * delay, r) are members, ``norms`` their products with themselves,
    ``both`` (fast * slow * delay,) with each other, None where they are too many; ``width`` of a cell along each axis.
    """

    fast: Array
    slow: Array
    delay: Array
    first: FloatArray
    second: FloatArray
    norms: tuple[FloatArray, FloatArray]
    both: FloatArray | None
    width: tuple[float, ...]

    @property
    def axes(self) -> tuple[Array, Array, Array]:
        """Centres along log K+, log K- and Ta."""
        return self.fast, self.slow, self.delay


class Cells(NamedTuple):
    """The grids of a scan, from coarse to fine; ``nodes`` (3, n) are the coarse cells that hold K+ > K-.

    ``first`` and ``second`` (cells, 6 * r) are the members in the cells of ``fine``, as polynomials about the centres.
    """

    levels: tuple[Level, ...]
    nodes: Index
    fine: Level
    first: Any
    second: Any


class Leaves(NamedTuple):
    """Cells of one level, voxel after voxel.

    ``voxel`` (n,) says whose they are, ``at`` (3, n) where; ``log_mass`` (n,) is the log density at the centre,
    ``mode`` (2, n) the log amplitudes there, ``slope`` (3, n) by how much the density's logarithm rises through the
    cell along each axis; ``share`` (n,) of the draws.
    """

    voxel: Index
    at: Index
    log_mass: FloatArray
    mode: FloatArray
    slope: FloatArray
    share: Array

    def where(self, chosen: NDArray[np.bool_]) -> Leaves:
        """Those that are chosen."""
        rows = np.flatnonzero(chosen)
        taken: list[Any] = [a.take(rows, axis=-1) for a in self]
        return Leaves(*taken)


class Pool(NamedTuple):
    """Weighed draws: p arrays (n, v) of coordinates and their log weights (n, v)."""

    x: list[FloatArray]
    log_weight: FloatArray


def build(tables: table.Table, draws: Array) -> Cells:
    """Lay the grids over where draws of the prior's coordinates (5, n) lie."""
    Fp, PS, vp, ve = (tf.constant(np.exp(v)) for v in draws[:4])
    fast, slow, _ = exchange_response(common_arrays(Fp)[0], per_second(Fp), per_second(PS), vp, ve)
    limits = [(v.min(), v.max()) for v in (np.log(fast), np.log(slow), draws[4])]
    levels = tuple(_level(tables, limits, 2**h, h <= _STORED) for h in range(HALVINGS + 1))
    coarse = levels[0]
    upper, lower = coarse.fast + 0.5 * coarse.width[0], coarse.slow - 0.5 * coarse.width[1]
    nodes = np.nonzero(np.repeat((upper[:, None] > lower)[..., None], CELLS[2], axis=2))
    fine = levels[_STORED]
    local = [tf.constant(_polynomials(tables, axis, fine.delay)) for axis in (fine.fast, fine.slow)]
    return Cells(levels, np.array(nodes), fine, *local)


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


def _level(tables: table.Table, limits: list[tuple[Any, Any]], split: int, stored: bool) -> Level:
    width = [(high - low) / (n * split) for (low, high), n in zip(limits, CELLS, strict=True)]
    centres = [low + (np.arange(n * split) + 0.5) * w for (low, _), n, w in zip(limits, CELLS, width, strict=True)]
    fast, slow, delay = centres

    first, second = (table.family(tables, np.exp(c), delay).astype(np.float32) for c in (fast, slow))
    # A matrix product for each delay.
    both = (
        np.matmul(first.transpose(1, 0, 2), second.transpose(1, 2, 0)).transpose(1, 2, 0).reshape(-1)
        if stored
        else None
    )
    first, second = (m.reshape(-1, m.shape[2]) for m in (first, second))
    norms = (first * first).sum(axis=1), (second * second).sum(axis=1)
    return Level(fast, slow, delay, first, second, norms, both, tuple(float(w) for w in width))


def propose(cells: Cells, problem: Problem, count: int, least: float, seed: int) -> Pool:
    """Draw ``count`` points of every voxel and weigh them; cells that may hold more than ``least`` are halved.

    The same random numbers serve every voxel: what is drawn for a curve does not depend on the curves beside it.
    """
    rng, levels = np.random.default_rng(seed), _divide(cells, problem, least)
    every = Leaves(*(np.concatenate(parts, axis=-1) for parts in zip(*levels, strict=True)))
    depth = np.repeat(np.arange(len(levels)), [len(leaves.voxel) for leaves in levels])
    centre = [
        np.concatenate([level.axes[axis][leaves.at[axis]] for level, leaves in zip(cells.levels, levels, strict=True)])
        for axis in range(3)
    ]
    width = np.array([level.width for level in cells.levels]).T[:, depth]
    log_height = np.log(np.maximum(every.share, 1e-300)) + depth * np.log(8.0)
    columns = np.asarray([*centre, *width, *every.slope, log_height, *every.mode], np.float32)
    picked = _pick(every, problem.data.shape[1], rng.random(count))
    noise = np.asarray([*rng.random((3, count, 1)), *_student(rng, count)], np.float32)
    parts = [
        _weigh_at(cells, problem, columns.take(picked[k : k + _DRAWN], axis=1), noise[:, k : k + _DRAWN])
        for k in range(0, count, _DRAWN)
    ]
    x, weight = zip(*parts, strict=True)
    return Pool([np.concatenate(a) for a in zip(*x, strict=True)], np.concatenate(weight))


def _divide(cells: Cells, problem: Problem, least: float) -> list[Leaves]:
    """Share the draws among cells: all coarse ones, and level by level the halves of those that may have mass."""
    v, n = problem.data.shape[1], cells.nodes.shape[1]
    voxel, at = np.repeat(np.arange(v), n), np.tile(cells.nodes, v)
    log_mass, mode = _look(cells.levels[0], problem, voxel, at, None)
    share = _dilate(cells, _shares(voxel, log_mass, v).reshape(v, n)).ravel()
    leaves = [Leaves(voxel, at, log_mass, mode, np.zeros((3, v * n), np.float32), share)]
    ranked = np.partition(log_mass.reshape(v, n), n - FIRST, axis=1)
    wanted = log_mass >= np.repeat(ranked[:, n - FIRST], n)
    for level in cells.levels[1:]:
        wanted |= leaves[-1].share > least
        whole, leaves[-1] = leaves[-1].where(wanted), leaves[-1].where(~wanted)
        parts = _halve(level, problem, whole)
        leaves.append(parts)
        # A cell may hold more than its centre says, by as much as it differs from those beside it.
        hope = np.repeat(parts.log_mass.reshape(-1, 8).std(axis=1), 8)
        wanted = np.log(np.maximum(_shares(parts.voxel, parts.log_mass, v), 1e-300)) + hope > np.log(least)
    return leaves


def _halve(level: Level, problem: Problem, whole: Leaves) -> Leaves:
    """Halve cells along every axis."""
    v, offsets = problem.data.shape[1], np.indices((2, 2, 2)).reshape(3, 1, 8)
    at, voxel = (2 * whole.at[..., None] + offsets).reshape(3, -1), np.repeat(whole.voxel, 8)
    log_mass, mode = _look(level, problem, voxel, at, np.repeat(whole.mode, 8, axis=1))
    cube = log_mass.reshape(-1, 2, 2, 2)
    rise = np.stack([np.broadcast_to(np.diff(cube, axis=axis), cube.shape).ravel() for axis in (1, 2, 3)])
    slope = np.clip(_SLOPE * rise, -_STEEPEST, _STEEPEST)
    # Mean of the exponential over the cell, along each axis: sinh(s / 2) / (s / 2) to fourth order in s.
    mass = _shares(voxel, log_mass + np.log1p(slope * slope / 24.0).sum(axis=0), v).reshape(-1, 8)
    # What the parts weigh together is known better than by the centre of the whole.
    of_cell, together = mass.sum(axis=1), np.bincount(whole.voxel, whole.share, v)[whole.voxel]
    after = (1.0 - _SPREAD) * of_cell * together + _SPREAD * whole.share
    inner = (1.0 - _SPREAD) * mass / np.maximum(of_cell, 1e-30)[:, None] + _SPREAD / 8.0
    return Leaves(voxel, at, log_mass, mode, slope, (after[:, None] * inner).ravel())


def _shares(voxel: Index, log_mass: FloatArray, count: int) -> Array:
    """Share of every cell (n,) in the mass of its voxel; ``voxel`` (n,) ascends."""
    largest = np.zeros(count, dtype=np.float32)
    own, first = np.unique(voxel, return_index=True)
    largest[own] = np.maximum.reduceat(log_mass, first) if len(own) else 0.0
    mass = np.exp(log_mass - largest[voxel], dtype=np.float64)
    found: Array = mass / np.bincount(voxel, mass, count)[voxel]
    return found


def _dilate(cells: Cells, mass: Array) -> Array:
    """Spread a part of every coarse cell's mass (v, n) over the cells around it."""
    from scipy.ndimage import uniform_filter

    dense = np.zeros((len(mass), *CELLS))
    dense[:, *cells.nodes] = mass
    around = uniform_filter(dense, (0, 3, 3, 3), mode="nearest")[:, *cells.nodes]
    return np.asarray((1.0 - _SPREAD) * mass + _SPREAD * around)


def _look(
    level: Level, problem: Problem, voxel: Index, at: Index, start: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Log density at the centres of cells (3, n) of voxels (n,) and the log amplitudes there (2, n)."""
    data, worth = problem.data.numpy(), problem.weight[0].numpy() ** 2
    squares = problem.rest.numpy() + worth * (data * data).sum(axis=0)
    exponent = (problem.shape + 0.5 * problem.count).numpy()
    rows = [*_products(level, data, voxel, at), squares.take(voxel), exponent.take(voxel), worth.take(voxel)]
    rows += [centres.astype(np.float32).take(a) for centres, a in zip(level.axes, at, strict=True)]
    # Always compiled for as many.
    filled = -len(voxel) % _AT_ONCE
    columns = np.pad(np.stack(rows if start is None else [*rows, *start]), ((0, 0), (0, filled)), mode="edge")
    # The prior is one for all voxels.
    prior = tf.concat([problem.mean[:, 0], problem.sd[:, 0], [problem.scale]], axis=0)
    parts = [_marginal(prior, columns[:, k : k + _AT_ONCE]).numpy() for k in range(0, columns.shape[1], _AT_ONCE)]
    found = np.concatenate(parts, axis=1)[:, : len(voxel)] if parts else np.empty((3, 0), np.float32)
    return found[0], found[1:]


def _products(level: Level, data: FloatArray, voxel: Index, at: Index) -> list[FloatArray]:
    """Products with the data (r, v) of the members of cells (3, n), and of the members: y1, y2, h11, h12, h22."""
    i, j, k = at
    first, second, count = i * len(level.delay) + k, j * len(level.delay) + k, data.shape[1]
    if level.both is None:
        # So many members that most belong to no cell that is looked at.
        h1, h2, y = level.first[first], level.second[second], np.ascontiguousarray(data.T)[voxel]
        return [np.einsum("nr,nr->n", a, b) for a, b in ((y, h1), (y, h2), (h1, h1), (h1, h2), (h2, h2))]
    with_data = [(m @ data).take(a * count + voxel) for m, a in ((level.first, first), (level.second, second))]
    both = level.both.take(i * len(level.second) + second)
    return [*with_data, level.norms[0].take(first), both, level.norms[1].take(second)]


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _marginal(prior: Any, columns: Any) -> Any:
    """Log density of rates and delay, the amplitudes integrated out by Laplace's method, and their logarithms, (3, n).

    ``prior`` (11,) holds means, standard deviations and the noise's scale; ``columns`` what :func:`_look` puts there.
    """
    y1, y2, h11, h12, h22, yy, exponent, worth, fast, slow, delay, *start = tf.unstack(columns)
    mean, sd = tf.unstack(prior[:5]), tf.unstack(prior[5:10])
    steps = _FURTHER_STEPS if start else _STEPS
    evidence = Evidence(worth * y1, worth * y2, worth * h11, worth * h12, worth * h22, yy)
    peak = amplitudes.climb(evidence, _prior(mean, sd, exponent, prior[10]), fast, slow, steps, start)
    late = (delay - mean[4]) / sd[4]
    found = peak.value - tf.math.log(peak.l11 * peak.l22) - 0.5 * late * late
    return tf.stack([tf.where(tf.math.is_finite(found), found, _NOTHING), peak.first, peak.second])


def _prior(mean: list[Any], sd: list[Any], exponent: Any, scale: Any) -> amplitudes.Prior:
    mean = [mean[0] - np.log(60.0), mean[1] - np.log(60.0), mean[2], mean[3]]
    return amplitudes.Prior(mean, sd[:4], exponent, scale)


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
    return order[picked]


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _place(centre: Any, width: Any, slope: Any, log_height: Any, at: Any) -> tuple[Any, Any]:
    """Points (3, n, v) in cells, where the density rises by ``slope``, and its logarithm, for random numbers ``at``."""
    slope = tf.where(tf.abs(slope) < 1e-3, 1e-3, slope)
    within = tf.math.log1p(at * tf.math.expm1(slope)) / slope - 0.5
    height = slope * within - tf.math.log(2.0 * tf.sinh(0.5 * slope) / slope)
    return centre + within * width, log_height + tf.reduce_sum(height, axis=0)


def _student(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Bivariate Student-t noise, (n, 1) each, and its log density up to a constant."""
    z = rng.standard_normal((2, count, 1)) / np.sqrt(rng.chisquare(_FREEDOM, (count, 1)) / _FREEDOM)
    return z[0], z[1], -0.5 * (_FREEDOM + 2) * np.log1p((z**2).sum(axis=0) / _FREEDOM)


def _weigh_at(cells: Cells, problem: Problem, drawn: FloatArray, noise: FloatArray) -> tuple[list[Any], Any]:
    """:func:`_weigh` with the members at the points, (n * v, 6 * r) polynomials and places (n, v) in the cells."""
    point, log_height = _place(drawn[:3], drawn[3:6], drawn[6:9], drawn[9], noise[:3])
    fine, found = cells.fine, []
    place = [_locate(value, axis) for value, axis in zip(point.numpy(), fine.axes, strict=True)]
    for rows, (at, _) in ((cells.first, place[0]), (cells.second, place[1])):
        found.append(tf.gather(rows, (at * len(fine.delay) + place[2][0]).ravel()))
    return _weigh(problem, *found, *(offset for _, offset in place), point, log_height, *noise[3:], *drawn[10:])


def _locate(value: FloatArray, centres: Array) -> tuple[Index, FloatArray]:
    """Cell of every value, and where in it, -1 to 1."""
    position = (value - np.float32(centres[0])) / np.float32(centres[1] - centres[0])
    at = np.clip(np.rint(position), 0, len(centres) - 1).astype(np.int32)
    return at, (2.0 * (position - at)).astype(np.float32)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _weigh(
    problem: Problem, rows1: Any, rows2: Any, x1: Any, x2: Any, late: Any,
    point: Any, log_height: Any, z1: Any, z2: Any, log_noise: Any, first: Any, second: Any,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Draw the amplitudes at points (n, v); coordinates of the model's parameters and log weights."""
    fast, slow, delay = tf.unstack(point)
    h1, h2 = _member(rows1, x1, late), _member(rows2, x2, late)
    data = tf.transpose(problem.data)
    sums = [tf.reduce_sum(a * b, axis=-1) for a, b in ((data, h1), (data, h2), (h1, h1), (h1, h2), (h2, h2))]
    worth = problem.weight[0] ** 2
    yy = problem.rest + worth * tf.reduce_sum(problem.data * problem.data, axis=0)
    y1, y2, h11, h12, h22 = (worth * a for a in sums)
    evidence = Evidence(y1, y2, h11, h12, h22, yy)
    prior = _prior(tf.unstack(problem.mean), tf.unstack(problem.sd), problem.shape + 0.5 * problem.count, problem.scale)
    peak = amplitudes.climb(evidence, prior, fast, slow, _FURTHER_STEPS, (first, second))
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
    weight = tf.where(tf.math.is_finite(weight) & (fast > slow), weight, _NOTHING)
    minute = np.float32(np.log(60.0))
    return [x[0] + minute, x[1] + minute, x[2], x[3], delay], weight


def _member(rows: Any, x: Any, y: Any) -> Any:
    """Members (n, v, r) from polynomials (n * v, 6 * r) at x, y (n, v)."""
    c = tf.unstack(tf.reshape(rows, [*x.shape, 6, -1]), axis=2)
    x, y = x[..., None], y[..., None]
    return c[0] + x * (c[1] + x * c[3] + y * c[5]) + y * (c[2] + y * c[4])
