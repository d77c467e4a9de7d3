"""Chains of a block of voxels: Hamiltonian Monte Carlo in whitened coordinates, a global move after every trajectory.

The trajectory explores a hump; the global move chooses among the present state and fresh draws of the mixture of
:mod:`qperf_hmc.mixture` by their importance weights and carries chains between humps and along bananas. Both leave the
posterior invariant; together they mix where either alone does not (Samsonov et al. 2022, arXiv:2111.02702).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from qperf_hmc import sampler
from qperf_hmc import small_matrices as small
from qperf_hmc.mixture import Mixture, Moments, draw, log_density
from qperf_hmc.target import Coordinates, Problem, log_posterior

LEAPFROGS = 3
CANDIDATES = 16
#: Iterations that adapt the step, and are dropped.
ADAPTATION = 40
_FIRST_STEP = 0.4
# Gain of the adaptation's first iteration (Robbins and Monro 1951, doi:10.1214/aoms/1177729586; it falls with the root
# of their number), and range of the logarithm of the step.
_GAIN, _LOG_STEP = 2.0, (-5.0, 0.25)
# A trajectory that loses this much energy has diverged.
_DIVERGENCE = 50.0


class Chains(NamedTuple):
    """What a run leaves: coordinates, p tensors (draws, chains, v); figures of each voxel, (v,).

    ``divergences`` is the part of all trajectories; ``bfmi`` the least energy fraction of missing information of the
    chains (Betancourt 2016, arXiv:1604.00695).
    """

    x: Any
    bfmi: Any
    divergences: Any


class _Trace(NamedTuple):
    """What is written down of every iteration: whitened coordinates, energy, and the sum of divergences."""

    position: list[Any]
    energy: Any
    diverged: Any


def from_whitened(moments: Moments, z: Any) -> list[Any]:
    """Coordinates x = mean + L z."""
    return [m + v for m, v in zip(moments.mean, small.multiply_lower(moments.lower, z), strict=True)]


def to_whitened(moments: Moments, x: Any) -> list[Any]:
    """Inverse of :func:`from_whitened`."""
    return small.solve_lower(moments.lower, [v - m for v, m in zip(x, moments.mean, strict=True)])


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _log_weight(model: Coordinates, problem: Problem, mixture: Mixture, x: Any) -> Any:
    """Logarithm of posterior over mixture at draws, p tensors (n, v)."""
    return log_posterior(model, problem, x) - log_density(mixture, x)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _log_mixture(mixture: Mixture, moments: Moments, z: Any) -> Any:
    return log_density(mixture, from_whitened(moments, z))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _log_posterior(model: Coordinates, problem: Problem, moments: Moments, z: Any) -> Any:
    """Log posterior at whitened coordinates."""
    return log_posterior(model, problem, from_whitened(moments, z))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _value_and_gradient(model: Coordinates, problem: Problem, moments: Moments, z: Any) -> tuple[Any, list[Any]]:
    """Log posterior at whitened coordinates and its gradient."""
    return _differentiate(lambda w: log_posterior(model, problem, from_whitened(moments, w)), z)


def _differentiate(function: Callable[[Any], Any], z: list[Any]) -> tuple[Any, list[Any]]:
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = function(z)
    return value, tape.gradient(value, z)


@functools.partial(tf.function, autograph=False)
def run(
    model: Coordinates,
    problem: Problem,
    mixture: Mixture,
    moments: Moments,
    chains: int,
    draws: int,
    target: float,
    seed: Any,
) -> Chains:
    """Adapt the step of each voxel to the acceptance ``target``, then draw.

    Chains start at resampled draws of the mixture.
    """
    v, p = problem.rest.shape[0], len(moments.mean)

    def density(z: Sequence[Any]) -> tuple[Any, list[Any]]:
        found: tuple[Any, list[Any]] = _value_and_gradient(model, problem, moments, list(z))
        return found

    def along(z: Sequence[Any]) -> tuple[Any, list[Any]]:
        # Through the compiled value, and not compiled with it: the same but for rounding, which versions share.
        return _differentiate(lambda w: _log_posterior(model, problem, moments, w), list(z))

    def fresh(key: Any, count: int) -> tuple[list[Any], Any]:
        x = draw(mixture, count, key)
        return to_whitened(moments, x), _log_weight(model, problem, mixture, x)

    proposal = sampler.Proposal(fresh, lambda z: _log_mixture(mixture, moments, z))
    resampling = sampler.iterated_resampling(density, proposal, CANDIDATES)

    def advance(k: Any, state: sampler.State, log_step: Any, trace: _Trace) -> tuple[Any, ...]:
        keys = tf.unstack(tf.random.experimental.stateless_split(tf.random.experimental.stateless_fold_in(seed, k), 2))
        state, trajectory = sampler.hamiltonian(along, tf.exp(log_step), LEAPFROGS).step(keys[0], state)
        state, _ = resampling.step(keys[1], state)
        log_step = _adapt(k, log_step, trajectory.log_ratio, target)
        return k + 1, state, log_step, _write(k, trace, state, trajectory)

    array = functools.partial(tf.TensorArray, tf.float32, draws, element_shape=[chains, v])
    every = moments.starts[0].shape[0] // chains
    start = resampling.init(to_whitened(moments, [c[: every * chains : every] for c in moments.starts]))
    trace = _Trace([array() for _ in range(p)], array(), tf.zeros([v]))
    first = (tf.constant(0), start, tf.fill([v], tf.math.log(_FIRST_STEP)), trace)
    *_, trace = tf.while_loop(lambda k, *_: k < ADAPTATION + draws, advance, first)
    z = [tf.reshape(a.stack(), [draws * chains, v]) for a in trace.position]
    x = [tf.reshape(a, [draws, chains, v]) for a in from_whitened(moments, z)]
    return Chains(x, _missing_information(trace.energy.stack()), trace.diverged / draws)


def _adapt(k: Any, log_step: Any, log_ratio: Any, target: float) -> Any:
    """Logarithm of the step (v,) after iteration k: longer where more was accepted than aimed at."""
    acceptance = tf.exp(tf.minimum(tf.where(tf.math.is_finite(log_ratio), log_ratio, -1e3), 0.0))
    gain = tf.where(k < ADAPTATION, _GAIN / tf.sqrt(1.0 + tf.cast(k, tf.float32)), 0.0)
    return tf.clip_by_value(log_step + gain * (tf.reduce_mean(acceptance, axis=0) - target), *_LOG_STEP)


def _write(k: Any, trace: _Trace, state: sampler.State, trajectory: sampler.Trajectory) -> _Trace:
    """Write an iteration down; while the step adapts, the first place is written over again and again."""
    place, count = tf.maximum(k - ADAPTATION, 0), tf.cast(k >= ADAPTATION, tf.float32)
    diverged = tf.cast(~(trajectory.log_ratio > -_DIVERGENCE), tf.float32)
    return _Trace(
        [a.write(place, value) for a, value in zip(trace.position, state.position, strict=True)],
        trace.energy.write(place, trajectory.energy),
        trace.diverged + count * tf.reduce_mean(diverged, axis=0),
    )


def _missing_information(energy: Any) -> Any:
    """Least energy fraction of missing information (v,) of energies (draws, chains, v)."""
    spread = tf.reduce_sum((energy - tf.reduce_mean(energy, axis=0)) ** 2, axis=0)
    return tf.reduce_min(tf.reduce_sum((energy[1:] - energy[:-1]) ** 2, axis=0) / spread, axis=0)
