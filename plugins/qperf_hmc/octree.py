"""An octree over three coordinates of a separable model, refined where the posterior's mass lies.

With the coefficients integrated out three coordinates are left (:mod:`qperf_hmc.separable`), and on a grid over them
the curves' members are the same for every voxel of a scan: a cell costs a few products and some arithmetic. A cell is
divided into eight where the curve puts its mass, until none has much of it. The leaves make a density of exponential
slope in each, which :mod:`qperf_hmc.importance` draws from: no start, no mode, no iteration that could miss a hump or a
bend.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_hmc import amplitudes, table
from qperf_hmc.amplitudes import Evidence, weighted
from qperf_hmc.separable import Interpolant, Separable
from qperf_hmc.target import Problem

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
Index = NDArray[np.intp]

#: Cells along u, v and Ta at first, how many of them are divided in any case, and how often those with mass.
CELLS, FIRST, DIVISIONS = (12, 12, 11), 224, 5
#: Cells that one is divided into: two halves along each axis.
OCTANTS = 8
# The level whose cells the polynomials are laid over.
_FINE = 4
# Part of every cell's mass that goes to its surroundings, for what the cells' centres miss.
_SPREAD = 0.3
# Cells along each axis that a coarse one spreads its part over.
_SURROUNDINGS = 3
# The density rises or falls within a cell as it does between octants, a little less, and at most by the exponential of
# this.
_SLOPE, _STEEPEST = 0.8, 2.0
# Climbs to the amplitudes' modes from least squares; from those of the cell around one is enough.
_CLIMBS = 2
#: Cells, or draws, that are looked at together: compiled for so many.
AT_ONCE = 32768
_WIDTH = 64
# What stands for the logarithm of a density of 0, and what keeps shares from 0.
NOTHING = -1e9
LEAST_SHARE, _LEAST_MASS = 1e-300, 1e-30


class Level(NamedTuple):
    """One grid: the cells' centres along each axis, and the members there with their products.

    ``axes`` are the centres along u, v and Ta, ``width`` that of a cell. ``first`` (u * delay, r) and ``second`` (v *
    late, r) are members, ``late`` (u, delay) is where among its own delays, so many as ``lates``, the second of a cell
    lies; ``norms`` are their products with themselves, ``both`` (u * v * delay,) with each other, None where they are
    too many.
    """

    axes: tuple[Array, Array, Array]
    width: tuple[float, ...]
    first: FloatArray
    second: FloatArray
    late: Index
    lates: int
    norms: tuple[FloatArray, FloatArray]
    both: FloatArray | None

    def rows(self, at: Index) -> tuple[Index, Index]:
        """Rows of ``first`` and ``second`` that belong to cells (3, n)."""
        i, j, k = at
        own = i * len(self.axes[2]) + k
        return own, j * self.lates + self.late.take(own)


class Octree(NamedTuple):
    """The grids of a scan, from coarse to fine; ``roots`` (3, n) are the coarse cells in which there is a model.

    ``interpolants`` give the members between the centres.
    """

    model: Separable
    levels: tuple[Level, ...]
    roots: Index
    interpolants: tuple[Interpolant, Interpolant]


class Leaves(NamedTuple):
    """Cells of one level that are not divided further, voxel after voxel.

    ``voxel`` (n,) says whose they are, ``at`` (3, n) where; ``log_mass`` (n,) is the log density at the centre,
    ``mode`` (2 * peaks, n) ``first`` of the modes there, then ``second``, ``slope`` (3, n) by how much the density's
    logarithm rises through the cell along each axis; ``share`` (n,) of the draws.
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


def build(model: Separable, tables: table.Table, draws: Array) -> Octree:
    """Lay the grids over where draws of the prior's coordinates (5, n) lie."""
    limits = [(v.min(), v.max()) for v in model.place(draws)]
    levels = tuple(_level(model, tables, limits, h) for h in range(DIVISIONS + 1))
    (u, v, _), width = levels[0].axes, levels[0].width
    roots = model.allowed((u + 0.5 * width[0])[:, None], v - 0.5 * width[1])
    roots = np.nonzero(np.repeat(roots[..., None], CELLS[2], axis=2))
    return Octree(model, levels, np.array(roots), model.interpolants(tables, *levels[_FINE].axes))


def _level(model: Separable, tables: table.Table, limits: list[tuple[Any, Any]], height: int) -> Level:
    split = 2**height
    width = [(high - low) / (n * split) for (low, high), n in zip(limits, CELLS, strict=True)]
    u, v, delay = (low + (np.arange(n * split) + 0.5) * w for (low, _), n, w in zip(limits, CELLS, width, strict=True))
    first, second, late = model.members(tables, u, v, delay)
    both = _products_of(first, second, late) if height <= model.stored else None
    lates = second.shape[1]
    first, second = (m.reshape(-1, m.shape[2]) for m in (first, second))
    norms = (first * first).sum(axis=1), (second * second).sum(axis=1)
    return Level((u, v, delay), tuple(float(w) for w in width), first, second, late, lates, norms, both)


def _products_of(first: FloatArray, second: FloatArray, late: Index) -> FloatArray:
    """Products (u * v * delay,) of members (u, delay, r) with those that belong to them of (v, late, r)."""
    if late.shape[1] == second.shape[1] and (late == np.arange(late.shape[1])).all():
        # One delay for both: a matrix product for each.
        products = np.matmul(first.transpose(1, 0, 2), second.transpose(1, 2, 0))
        return np.asarray(products.transpose(1, 2, 0).reshape(-1))
    return np.stack([np.einsum("kr,vkr->vk", own, second[:, at]) for own, at in zip(first, late, strict=True)]).ravel()


def refine(octree: Octree, problem: Problem, least: float) -> list[Leaves]:
    """Leaves of each level: all roots, and level by level the octants of those that may hold more than ``least``."""
    v, n = problem.data.shape[1], octree.roots.shape[1]
    voxel, at = np.repeat(np.arange(v), n), np.tile(octree.roots, v)
    log_mass, mode = _evaluate(octree.model, octree.levels[0], problem, voxel, at, None)
    share = _dilate(octree, _shares(voxel, log_mass, v).reshape(v, n)).ravel()
    leaves = [Leaves(voxel, at, log_mass, mode, np.zeros((3, v * n), np.float32), share)]
    ranked = np.partition(log_mass.reshape(v, n), n - FIRST, axis=1)
    wanted = log_mass >= np.repeat(ranked[:, n - FIRST], n)
    for level in octree.levels[1:]:
        wanted |= leaves[-1].share > least
        whole, leaves[-1] = leaves[-1].where(wanted), leaves[-1].where(~wanted)
        parts = _octants(octree.model, level, problem, whole)
        leaves.append(parts)
        # A cell may hold more than its centre says, by some of what it differs by from those beside it.
        hope = np.repeat(octree.model.reach * parts.log_mass.reshape(-1, OCTANTS).std(axis=1), OCTANTS)
        share = np.maximum(_shares(parts.voxel, parts.log_mass, v), LEAST_SHARE)
        wanted = np.log(share) + hope > np.log(least)
    return leaves


def _octants(model: Separable, level: Level, problem: Problem, whole: Leaves) -> Leaves:
    """Divide cells into eight."""
    offsets = np.indices((2, 2, 2)).reshape(3, 1, OCTANTS)
    at, voxel = (2 * whole.at[..., None] + offsets).reshape(3, -1), np.repeat(whole.voxel, OCTANTS)
    log_mass, mode = _evaluate(model, level, problem, voxel, at, np.repeat(whole.mode, OCTANTS, axis=1))
    cube = log_mass.reshape(-1, 2, 2, 2)
    rise = np.stack([np.broadcast_to(np.diff(cube, axis=axis), cube.shape).ravel() for axis in (1, 2, 3)])
    slope = np.clip(_SLOPE * rise, -_STEEPEST, _STEEPEST)
    # Mean of the exponential over the cell, along each axis: sinh(s / 2) / (s / 2) to fourth order in s.
    mean = np.log1p(slope * slope / 24.0).sum(axis=0)
    return Leaves(voxel, at, log_mass, mode, slope, _divided(whole, voxel, log_mass + mean, problem.data.shape[1]))


def _divided(whole: Leaves, voxel: Index, log_mass: FloatArray, count: int) -> Array:
    """Shares (8 n,) of octants in the draws, from those of the n cells that they are parts of and their own masses."""
    mass = _shares(voxel, log_mass, count).reshape(-1, OCTANTS)
    # The mass of all parts is known better than by the centre of the whole.
    of_cell, together = mass.sum(axis=1), np.bincount(whole.voxel, whole.share, count)[whole.voxel]
    after = (1.0 - _SPREAD) * of_cell * together + _SPREAD * whole.share
    inner = (1.0 - _SPREAD) * mass / np.maximum(of_cell, _LEAST_MASS)[:, None] + _SPREAD / OCTANTS
    return np.asarray((after[:, None] * inner).ravel())


def _shares(voxel: Index, log_mass: FloatArray, count: int) -> Array:
    """Share of every cell (n,) in the mass of its voxel; ``voxel`` (n,) ascends."""
    largest = np.zeros(count, dtype=np.float32)
    own, first = np.unique(voxel, return_index=True)
    largest[own] = np.maximum.reduceat(log_mass, first) if len(own) else 0.0
    mass = np.exp(log_mass - largest[voxel], dtype=np.float64)
    found: Array = mass / np.bincount(voxel, mass, count)[voxel]
    return found


def _dilate(octree: Octree, mass: Array) -> Array:
    """Spread a part of every coarse cell's mass (v, n) over the cells around it."""
    from scipy.ndimage import uniform_filter

    dense = np.zeros((len(mass), *CELLS))
    dense[:, *octree.roots] = mass
    around = uniform_filter(dense, (0, *[_SURROUNDINGS] * 3), mode="nearest")[:, *octree.roots]
    return np.asarray((1.0 - _SPREAD) * mass + _SPREAD * around)


def _evaluate(
    model: Separable, level: Level, problem: Problem, voxel: Index, at: Index, start: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Log density at the centres of cells (3, n) of voxels (n,) and the modes there (2 * peaks, n)."""
    rows = [*_products(level, problem, voxel, at), *voxel_rows(problem, voxel)]
    rows += [centres.astype(np.float32).take(a) for centres, a in zip(level.axes, at, strict=True)]
    modes = 2 * model.peaks
    rows += [np.zeros_like(rows[0])] * modes if start is None else [*start]
    prior = prior_row(problem)
    parts = []
    for columns in chunks(np.stack(rows)):
        if start is None:
            columns[-modes:] = _start(model, prior, columns)
            for _ in range(_CLIMBS - 1):
                columns[-modes:] = _marginal(model, prior, columns)[1:]
        parts.append(_marginal(model, prior, columns).numpy())
    found = np.concatenate(parts, axis=1)[:, : len(voxel)] if parts else np.empty((1 + modes, 0), np.float32)
    return found[0], found[1:]


def chunks(columns: FloatArray) -> Iterator[FloatArray]:
    """Columns (k, n), so many at once as is compiled for; the last are filled up."""
    for k in range(0, columns.shape[1], AT_ONCE):
        part = columns[:, k : k + AT_ONCE]
        yield np.pad(part, ((0, 0), (0, AT_ONCE - part.shape[1])), mode="edge")


def voxel_rows(problem: Problem, voxel: Index) -> list[FloatArray]:
    """Weighted y'y, the likelihood's exponent and the effective samples per sample of voxels (n,)."""
    efficiency = problem.weight[0].numpy() ** 2
    # In double precision, so that the order of the sum does not show.
    energy = (problem.data.numpy().astype(np.float64) ** 2).sum(axis=0)
    squares = (problem.rest.numpy() + efficiency * energy).astype(np.float32)
    exponent = (problem.shape + 0.5 * problem.count).numpy()
    return [row.take(voxel) for row in (squares, exponent, efficiency)]


def prior_row(problem: Problem) -> Any:
    """Means, standard deviations and the noise's scale (11,): the prior is one for all voxels."""
    return tf.concat([problem.mean[:, 0], problem.sd[:, 0], [problem.scale]], axis=0)


def amplitude_prior(prior: Any, exponent: Any) -> amplitudes.Prior:
    """That of the amplitudes, from :func:`prior_row`."""
    return amplitudes.prior_per_second(tf.unstack(prior[:4]), tf.unstack(prior[5:9]), exponent, prior[10])


def _products(level: Level, problem: Problem, voxel: Index, at: Index) -> list[FloatArray]:
    """Products with the data (r, v) of the members of cells (3, n), and of the members: y1, y2, h11, h12, h22."""
    first, second = level.rows(at)
    data = problem.data.numpy()
    if level.both is None:
        # So many members that most belong to no cell that is looked at.
        found = _inner(np.ascontiguousarray(data.T)[voxel], level.first[first], level.second[second])
    else:
        # A product of one width rounds alike, however many voxels there are.
        data_of_all = np.pad(data, ((0, 0), (0, -data.shape[1] % _WIDTH)))
        count = data_of_all.shape[1]
        y1, y2 = ((m @ data_of_all).take(a * count + voxel) for m, a in ((level.first, first), (level.second, second)))
        both = level.both.take((at[0] * len(level.axes[1]) + at[1]) * len(level.axes[2]) + at[2])
        found = [y1, y2, level.norms[0].take(first), both, level.norms[1].take(second)]
    for v, turn in problem.turned():
        own = slice(*np.searchsorted(voxel, (v, v + 1)))
        members = (m[a[own]] @ turn.T for m, a in ((level.first, first), (level.second, second)))
        for row, values in zip(found, _inner(data[None, :, v], *members), strict=True):
            row[own] = values
    return found


def _inner(y: FloatArray, h1: FloatArray, h2: FloatArray) -> list[FloatArray]:
    """y1, y2, h11, h12, h22 of data (n, r) or (1, r) and members (n, r)."""
    return [np.einsum("nr,nr->n", a, b) for a, b in ((h1, y), (h2, y), (h1, h1), (h1, h2), (h2, h2))]


class _Cell(NamedTuple):
    """Rows of what :func:`_marginal` is told of each cell beside its evidence: what the curve's counts for, centres."""

    exponent: Any
    efficiency: Any
    u: Any
    v: Any
    delay: Any


def _known(prior: Any, columns: Any) -> tuple[Evidence, amplitudes.Prior, _Cell, Any]:
    """Evidence, the amplitudes' prior, the cell and where to start, from the rows of :func:`_marginal`."""
    rows = tf.unstack(columns)
    cell = _Cell(*rows[6:11])
    return (
        weighted(Evidence(*rows[:6]), cell.efficiency),
        amplitude_prior(prior, cell.exponent),
        cell,
        tf.split(columns[11:], 2),
    )


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _start(model: Separable, prior: Any, columns: Any) -> Any:
    evidence, known, *_ = _known(prior, columns)
    return model.start(evidence, known)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _marginal(model: Separable, prior: Any, columns: Any) -> Any:
    """Log density of u, v and Ta, coefficients integrated out by Laplace's method, and the modes (1 + 2 * peaks, n).

    ``prior`` (11,) is that of :func:`prior_row`; ``columns`` (11 + 2 * peaks, n) are evidence, a :class:`_Cell` and
    where to start from. The mode with the most mass counts.
    """
    evidence, known, cell, start = _known(prior, columns)
    peaks = model.modes(evidence, known, cell.u, cell.v, start)
    late, mass = (cell.delay - prior[4]) / prior[9], amplitudes.log_mass(peaks)
    mass = tf.reduce_max(tf.where(tf.math.is_finite(mass), mass, NOTHING), axis=0)
    return tf.concat([(mass - 0.5 * late * late)[None], peaks.first, peaks.second], axis=0)
