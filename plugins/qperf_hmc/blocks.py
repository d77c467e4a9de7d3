"""Sample one block of voxels: weighted draws where the octree gives them, trajectories where it does not."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_hmc import chains, importance, mixture, weights
from qperf_hmc.diagnostics import diagnose
from qperf_hmc.setting import Setting
from qperf_hmc.target import Coordinates, Problem

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

CHAINS = 4
# Effective number of the dictionary's draws under the tempered likelihood, bisections that find its power, and modes
# that are climbed to.
_TEMPERED_SIZE, _BISECTIONS, _STARTS = 60.0, 12, 4
# Draws at first that only find a chain's start.
_BURN_IN = 32


@dataclass(frozen=True)
class Independent:
    """Draw points of the octree's density; cells that may hold more than ``least`` of it are divided."""

    points: int
    least: float


@dataclass(frozen=True)
class Hamiltonian:
    """Rounds and draws of the adaptive importance sampling, draws of each chain, acceptance aimed at."""

    rounds: int
    importance_draws: int
    draws: int
    acceptance: float


class Sampled(NamedTuple):
    """Coordinates (draws, v, p) float32 that stand for each posterior, and what all draws are worth.

    ``ess`` (v, p) are effective sample sizes, ``rhat`` (v, p) split R-hat of chains, ``shape`` (v,) the Pareto shape of
    importance weights, ``bfmi`` (v,) the least energy fraction of missing information and ``divergences`` (v,) the part
    of the trajectories that diverged; ``log_evidence`` (v,) is that of :class:`~qperf_hmc.importance.Pool` where the
    draws are enough for it; NaN where there is no such thing.
    """

    x: FloatArray
    ess: Array
    rhat: Array
    shape: Array
    bfmi: Array
    divergences: Array
    log_evidence: Array


def independent(setting: Setting, problem: Problem, how: Independent, kept: int, seed: int) -> Sampled:
    """Draws of the octree's density, taken again in proportion to their importance weights.

    Sampling importance resampling (Rubin 1988). Draws are independent: their weights say what they are worth, and no
    chain has to mix.
    """
    assert setting.octree is not None
    pool = importance.propose(setting.octree, problem, how.points, how.least, seed)
    worth = weights.judge(pool.x, pool.log_weight)
    index = weights.resample(worth.weight, kept, np.random.default_rng([seed, 1]).random())
    x = np.stack([np.take_along_axis(values, index, axis=1).T for values in pool.x], axis=-1)
    unknown = np.full(len(index), np.nan)
    evidence = np.where(worth.shape < weights.largest_shape(how.points), pool.log_evidence, np.nan)
    return Sampled(x, worth.ess, np.full(worth.ess.shape, np.nan), worth.shape, unknown, unknown, evidence)


def hamiltonian(
    setting: Setting, problem: Problem, how: Hamiltonian, kept: int, seed: int, before: FloatArray | None
) -> Sampled:
    """Trajectories and global moves (:mod:`qperf_hmc.chains`), from ``before`` (v, n, p), what was drawn so far."""
    model = setting.model
    if before is None:
        centres, mean, lower = _first_centres(setting, problem)
    else:
        # What was drawn so far, badly mixed as it may be, says more than any approximation.
        every = np.linspace(0, before.shape[1] - 1, mixture.PIECES).astype(int)
        centres = [_tensor(before[:, every, i].T) for i in range(before.shape[2])]
        mean, lower = _moments(before)
    seeds = [tf.constant([seed % 2**31, k], tf.int32) for k in range(how.rounds + 1)]
    for key in seeds[:-1]:
        proposal = _around(model, problem, centres, mean, lower)
        moments = _population_step(model, problem, proposal, how.importance_draws, key)
        centres, mean, lower = moments.starts, moments.mean, moments.lower
    proposal = _around(model, problem, centres, mean, lower)
    found = chains.run(model, problem, proposal, moments, CHAINS, how.draws, how.acceptance, seeds[-1])
    x = tf.stack(found.x, axis=-1)
    ess, rhat = (a.numpy() for a in diagnose(x))
    flat = x.numpy().reshape(-1, *x.shape[2:])
    thin = flat[np.linspace(0, len(flat) - 1, kept).astype(int)]
    unknown = np.full(flat.shape[1], np.nan)
    return Sampled(thin, ess, rhat, unknown, found.bfmi.numpy(), found.divergences.numpy(), unknown)


def _first_centres(setting: Setting, problem: Problem) -> tuple[list[Any], list[Any], list[list[Any]]]:
    """Modes climbed to from the best of the dictionary, and draws of the tempered posterior."""
    y, efficiency = problem.data.numpy().T.astype(np.float64), problem.weight.numpy().T.astype(np.float64) ** 2
    x, features = setting.dictionary, setting.features
    rest, exponent = problem.rest.numpy()[:, None], (problem.shape + 0.5 * problem.count).numpy()[:, None]
    squares = (efficiency * y**2).sum(axis=1)[:, None] + efficiency @ features**2
    squares = squares - 2.0 * (efficiency * y) @ features + rest
    level = -exponent * np.log(problem.scale.numpy() + 0.5 * np.maximum(squares, 0.0))
    # Starts differ in the first and the last parameter, flow and delay, which trade most against each other.
    group = 2 * (x[-1] > np.median(x[-1])) + (x[0] > np.median(x[0]))
    best = np.stack([np.flatnonzero(group == g)[level[:, group == g].argmax(axis=1)] for g in range(_STARTS)])
    modes = _climb(setting.model, problem, [_tensor(v[best]) for v in x])
    tempered = _temper(level, mixture.PIECES - _STARTS)
    centres = [tf.concat([m, _tensor(v[tempered])], axis=0) for m, v in zip(modes, x, strict=True)]
    zero = tf.zeros_like(problem.sd[0])
    lower = [[problem.sd[i] if i == j else zero for j in range(i + 1)] for i in range(len(x))]
    return centres, list(tf.unstack(problem.mean)), lower


def _temper(level: Array, count: int) -> NDArray[np.intp]:
    """Systematic draws (count, v) from powers of likelihoods (v, k), tempered to one effective number."""
    level = level - level.max(axis=1, keepdims=True)
    low, high = np.zeros(len(level)), np.ones(len(level))
    for _ in range(_BISECTIONS):
        power = 0.5 * (low + high)
        weight = np.exp(power[:, None] * level)
        size = weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1)
        low, high = np.where(size > _TEMPERED_SIZE, power, low), np.where(size > _TEMPERED_SIZE, high, power)
    weight = np.exp(low[:, None] * level)
    running = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
    at = (np.arange(count) + 0.5) / count
    return np.stack([np.minimum(np.searchsorted(row, at), level.shape[1] - 1) for row in running], axis=1)


def _moments(draws: FloatArray) -> tuple[list[Any], list[list[Any]]]:
    """Mean and covariance factor, entry by entry, of draws (v, n, p)."""
    mean = draws.mean(axis=1)
    centred = draws - mean[:, None]
    covariance = np.einsum("vni,vnj->vij", centred, centred) / draws.shape[1]
    lower = np.linalg.cholesky(covariance + 1e-6 * np.eye(draws.shape[2]))
    p = draws.shape[2]
    return [_tensor(m) for m in mean.T], [[_tensor(lower[:, i, j]) for j in range(i + 1)] for i in range(p)]


@functools.partial(tf.function, autograph=False)
def _climb(model: Coordinates, problem: Problem, starts: Sequence[Any]) -> Any:
    return mixture.find_modes(model, problem, starts)


@functools.partial(tf.function, autograph=False)
def _around(model: Coordinates, problem: Problem, centres: Any, mean: Any, lower: Any) -> mixture.Mixture:
    return mixture.around(model, problem, centres, mean, lower)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _population_step(model: Coordinates, problem: Problem, proposal: Any, draws: int, seed: Any) -> mixture.Moments:
    return mixture.population_step(model, problem, proposal, draws, seed)


def _tensor(value: Any) -> Any:
    return tf.constant(np.asarray(value, dtype=np.float32))
