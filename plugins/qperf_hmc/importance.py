"""Draws of the octree's density, and their importance weights for a separable model's posterior.

u, v and the delay are drawn from the leaves; given them the logarithms of the coefficients come from Student-t
densities about their modes, and each draw has its importance weight, posterior over proposal. The same random numbers
serve every voxel: what is drawn for a curve does not depend on the curves beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_hmc import amplitudes, octree
from qperf_hmc.amplitudes import Evidence, Peak
from qperf_hmc.octree import AT_ONCE, LEAST_SHARE, NOTHING, OCTANTS, Leaves, Octree
from qperf_hmc.separable import Separable
from qperf_hmc.target import Problem

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
Index = NDArray[np.intp]

# The logarithms are drawn from Student-t densities about their modes, of so many degrees of freedom, and with these
# shares from one as wide as the curvature says and from one that is wider: a mode can have a long tail (the defensive
# mixture of Hesterberg 1995, doi:10.1080/00401706.1995.10484303).
_FREEDOM = 5
_SHARES, _WIDTHS = (0.6, 0.4), (1.0, 3.5)
# Least share of the draws about any of the modes.
_LEAST_OF_MODE = 0.1
# A slope below this is drawn as this one, which differs by nothing that single precision tells.
_LEAST_SLOPE = 1e-3
# Logarithm of the constant of a bivariate normal or Student-t density.
_LOG_TAU = float(np.log(2.0 * np.pi))
# What keeps a density from 0.
_LEAST_DENSITY = 1e-37


class Pool(NamedTuple):
    """Draws with importance weights.

    Coordinates (p, v, n), the weights' logarithms (v, n), and the log marginal likelihood (v,), up to what the curve,
    its effective samples and the noise's prior alone say: the same for every model.
    """

    x: FloatArray
    log_weight: FloatArray
    log_evidence: Array


class _Cells(NamedTuple):
    """Cells that draws (n,) fall in: centre, width and slope (3, n), log density, modes (2 * peaks, n)."""

    centre: Any
    width: Any
    slope: Any
    log_density: Any
    mode: Any

    @classmethod
    def of(cls, rows: Any) -> _Cells:
        """From rows (10 + 2 * peaks, n) in this order."""
        return cls(rows[:3], rows[3:6], rows[6:9], rows[9], rows[10:])


class _Draw(NamedTuple):
    """Rows of what :func:`_log_weights` is told of each draw.

    Of its curve the sum of squares outside the features, the likelihood's exponent and the effective samples per
    sample; its u, v and delay, and the logarithm of the octree's density there; Student-t noise, and a number in
    [0, 1) that chooses between the modes.
    """

    rest: Any
    exponent: Any
    efficiency: Any
    u: Any
    v: Any
    delay: Any
    log_density: Any
    noise_first: Any
    noise_second: Any
    which: Any


def propose(tree: Octree, problem: Problem, count: int, least: float, seed: int) -> Pool:
    """Draw ``count`` points of every voxel and weight them; cells that may hold more than ``least`` are divided."""
    rng, levels = np.random.default_rng(seed), octree.refine(tree, problem, least)
    rows, leaves = _rows(tree, levels)
    v = problem.data.shape[1]
    picked = _pick(leaves, v, rng.random(count)).T.ravel()
    voxel = np.repeat(np.arange(v), count)
    noise = np.tile(np.concatenate([rng.random((3, count)), _noise(rng, count)]).astype(np.float32), v)
    parts = [
        _importance(tree, problem, rows.take(picked[part], axis=1), voxel[part], noise[:, part])
        for part in (slice(k, k + AT_ONCE) for k in range(0, len(voxel), AT_ONCE))
    ]
    found = np.concatenate(parts, axis=1).reshape(-1, v, count)
    share = np.bincount(leaves.voxel, leaves.share, v).astype(np.float64)
    return Pool(found[:-1], found[-1], _log_evidence(tree, problem, found[-1].astype(np.float64), share))


def _log_evidence(tree: Octree, problem: Problem, log_weight: Array, share: Array) -> Array:
    """Log mean of the weights (v, n), with the constants that they lack.

    These are the priors' and the Student-t's, the volume of a coarse cell, and the sum of the leaves' shares (v,).
    """
    largest = log_weight.max(axis=1)
    mean = np.log(np.exp(log_weight - largest[:, None]).mean(axis=1))
    sd = problem.sd.numpy().astype(np.float64)
    prior = -np.log(sd).sum(axis=0) - 0.5 * len(sd) * _LOG_TAU
    return np.asarray(largest + mean + np.log(share) + np.log(tree.levels[0].width).sum() + _LOG_TAU + prior)


def _noise(rng: np.random.Generator, count: int) -> Array:
    """Bivariate noise of the wider and the narrower Student-t, and a uniform number, (3, count)."""
    t = rng.standard_normal((2, count)) / np.sqrt(rng.chisquare(_FREEDOM, count) / _FREEDOM)
    return np.concatenate([t * rng.choice(_WIDTHS, count, p=_SHARES), rng.random((1, count))])


def _rows(tree: Octree, levels: list[Leaves]) -> tuple[FloatArray, Leaves]:
    """Rows of :class:`_Cells` of the leaves of all levels, one behind the other."""
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


def _importance(tree: Octree, problem: Problem, rows: FloatArray, voxel: Index, noise: FloatArray) -> FloatArray:
    """Coordinates and log weights (p + 1, n) of draws in cells, for uniform and Student-t noise (6, n)."""
    count, filled = len(voxel), ((0, 0), (0, AT_ONCE - len(voxel)))
    rows, noise = np.pad(rows, filled, mode="edge"), np.pad(noise, filled, mode="edge")
    voxel = np.pad(voxel, filled[1], mode="edge")
    cells = _Cells.of(rows)
    point, log_density = (a.numpy() for a in _place(cells, noise[:3]))
    members: list[Any] = list(tree.model.members_at(tree.interpolants, point))
    if turned := list(problem.turned()):
        members = [m.numpy() for m in members]
        for v, turn in turned:
            own = slice(*np.searchsorted(voxel, (v, v + 1)))
            for m in members:
                m[own] = m[own] @ turn.T
    _, *of_voxel = octree.voxel_rows(problem, voxel)
    draws = np.stack([problem.rest.numpy().take(voxel), *of_voxel, *point, log_density, *noise[3:]])
    data = np.ascontiguousarray(problem.data.numpy().T).take(voxel, axis=0)
    found: FloatArray = _log_weights(tree.model, octree.prior_row(problem), draws, cells.mode, data, *members).numpy()
    return found[:, :count]


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _place(cells: _Cells, at: Any) -> tuple[Any, Any]:
    """Points (3, n) in cells where the density's logarithm rises by their slopes, for random numbers ``at`` (3, n), and
    the logarithm of the octree's density there."""
    slope = tf.where(tf.abs(cells.slope) < _LEAST_SLOPE, _LEAST_SLOPE, cells.slope)
    within = tf.math.log1p(at * tf.math.expm1(slope)) / slope - 0.5
    height = slope * within - tf.math.log(2.0 * tf.sinh(0.5 * slope) / slope)
    return cells.centre + within * cells.width, cells.log_density + tf.reduce_sum(height, axis=0)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _log_weights(model: Separable, prior_row: Any, rows: Any, start: Any, data: Any, h1: Any, h2: Any) -> Any:
    """Draw the coefficients; coordinates of the model's parameters and log weights, (p + 1, n).

    ``rows`` (10, n) are a :class:`_Draw`, ``start`` (2 * peaks, n) the modes of its cell, ``data``, ``h1`` and ``h2``
    (n, r) the curves' features and the members'.
    """
    draw = _Draw(*tf.unstack(rows))
    prior = octree.amplitude_prior(prior_row, draw.exponent)
    evidence = _evidence(draw, data, h1, h2)
    peaks = model.modes(evidence, prior, draw.u, draw.v, tf.split(start, 2))
    rest = 1.0 - model.peaks * _LEAST_OF_MODE
    share = _LEAST_OF_MODE + rest * tf.nn.softmax(amplitudes.log_mass(peaks), axis=0)

    def given(peak: Peak, second: Any) -> Peak:
        return model.given(evidence, prior, draw.u, draw.v, peaks, peak, second)

    first, second = _about(given, peaks, share, draw)
    density = tf.reduce_sum(share * _density(given(peaks, second), first, second), axis=0)
    a1, a2 = model.coefficients(first, second)
    residual = data - a1[:, None] * h1 - a2[:, None] * h2
    squares = draw.rest + draw.efficiency * tf.reduce_sum(residual * residual, axis=-1)
    x = list(model.parameters(draw.u, draw.v, first, second))
    off = sum(((a - m) / s) ** 2 for a, m, s in zip(x, prior.mean, prior.sd, strict=True))
    off += ((draw.delay - prior_row[4]) / prior_row[9]) ** 2
    value = -prior.exponent * tf.math.log(prior.scale + 0.5 * squares) - 0.5 * off
    weight = value - draw.log_density - tf.math.log(density + _LEAST_DENSITY)
    counts = tf.math.is_finite(weight) & model.allowed(draw.u, draw.v)
    x = [tf.where(counts, a, m) for a, m in zip(x, prior.mean, strict=True)]
    weight = tf.where(counts, weight, NOTHING)
    return tf.stack([x[0] + amplitudes.LOG_MINUTE, x[1] + amplitudes.LOG_MINUTE, x[2], x[3], draw.delay, weight])


def _evidence(draw: _Draw, data: Any, h1: Any, h2: Any) -> Evidence:
    """What the curves say of the coefficients of members (n, r)."""

    def product(a: Any, b: Any) -> Any:
        return tf.reduce_sum(a * b, axis=-1)

    rest = draw.rest + draw.efficiency * product(data, data)
    evidence = Evidence(product(data, h1), product(data, h2), product(h1, h1), product(h1, h2), product(h2, h2), rest)
    return amplitudes.weighted(evidence, draw.efficiency)


def _about(given: Callable[[Peak, Any], Peak], peaks: Peak, share: Any, draw: _Draw) -> tuple[Any, Any]:
    """Draw both logarithms about one of the modes: mode + L'^-1 z, with L the factor of the curvature there."""
    peak, passed = Peak(*(values[0] for values in peaks)), share[0]
    for k in range(1, share.shape[0]):
        beyond = draw.which >= passed
        peak = Peak(*(tf.where(beyond, values[k], value) for values, value in zip(peaks, peak, strict=True)))
        passed += share[k]
    off = draw.noise_second / peak.l22
    second = peak.second + off
    peak = given(peak, second)
    return peak.first + (draw.noise_first - peak.l21 * off) / peak.l11, second


def _density(peak: Peak, first: Any, second: Any) -> Any:
    """Density of draws (n,) about modes (peaks, n), up to a constant."""
    a, b = first - peak.first, second - peak.second
    radius = (peak.l11 * a + peak.l21 * b) ** 2 + (peak.l22 * b) ** 2
    # (freedom + 2) / 2 is no whole number.
    tails = [
        share / width**2 * tf.math.pow(1.0 + radius / (width**2 * _FREEDOM), -0.5 * (_FREEDOM + 2))
        for share, width in zip(_SHARES, _WIDTHS, strict=True)
    ]
    return peak.l11 * peak.l22 * sum(tails)
