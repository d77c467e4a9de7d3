"""The sampler: Hamiltonian Monte Carlo in whitened coordinates, with a global move after every trajectory.

The trajectory explores a hump; the global move chooses among the present state and fresh draws of the mixture of
:mod:`qperf_hmc.approximation` by their importance weights (iterated sampling importance resampling) and carries chains
between humps and along bananas. Both leave the posterior invariant; together they mix where either alone does not
(Samsonov et al. 2022, arXiv:2111.02702).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from qperf_hmc import small_matrices as small
from qperf_hmc.approximation import Mixture, Moments, draw, log_density
from qperf_hmc.target import Coordinates, Problem, log_posterior

LEAPFROGS = 3
CANDIDATES = 16
#: Iterations that adapt the step, and are dropped.
ADAPTATION = 40
_FIRST_STEP, _JITTER = 0.4, 0.25
# A trajectory that loses this much energy has diverged.
_DIVERGENCE = 50.0


class Chains(NamedTuple):
    """What a run leaves: coordinates, p tensors (draws, chains, v); figures of each voxel, (v,).

    ``divergences`` is the part of all trajectories; ``bfmi`` the least energy fraction of missing information of the
    chains (Betancourt 2016, arXiv:1604.00695).
    """

    x: Any
    step: Any
    acceptance: Any
    global_acceptance: Any
    divergences: Any
    bfmi: Any


def from_whitened(moments: Moments, z: Any) -> list[Any]:
    """Coordinates x = mean + L z."""
    return [m + v for m, v in zip(moments.mean, small.multiply_lower(moments.lower, z), strict=True)]


def to_whitened(moments: Moments, x: Any) -> list[Any]:
    """Inverse of :func:`from_whitened`."""
    return small.solve_lower(moments.lower, [v - m for v, m in zip(x, moments.mean, strict=True)])


@functools.partial(tf.function, jit_compile=True, autograph=False)
def log_weight(model: Coordinates, problem: Problem, mixture: Mixture, x: Any) -> Any:
    """Logarithm of posterior over mixture at draws, p tensors (n, v)."""
    return log_posterior(model, problem, x) - log_density(mixture, x)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _log_mixture(mixture: Mixture, moments: Moments, z: Any) -> Any:
    return log_density(mixture, from_whitened(moments, z))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _value(model: Coordinates, problem: Problem, moments: Moments, z: Any) -> Any:
    return log_posterior(model, problem, from_whitened(moments, z))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _value_and_slopes(model: Coordinates, problem: Problem, moments: Moments, z: Any) -> tuple[Any, list[Any]]:
    """Log posterior at whitened coordinates and its gradient."""
    return tfp.math.value_and_gradient(lambda *w: log_posterior(model, problem, from_whitened(moments, w)), list(z))


class _State(NamedTuple):
    """Where the chains are: whitened coordinates, log posterior and gradient there, log step of each voxel."""

    z: Any
    value: Any
    slopes: Any
    log_step: Any


class _Record(NamedTuple):
    """What one iteration says of itself, each (chains, v)."""

    energy: Any
    acceptance: Any
    moved: Any
    diverged: Any


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

    Chains start at resampled draws of the approximation.
    """
    v, p = problem.rest.shape[0], len(moments.mean)
    every = moments.starts[0].shape[0] // chains
    z = to_whitened(moments, [c[: every * chains : every] for c in moments.starts])
    value, slopes = _value_and_slopes(model, problem, moments, z)
    first = _State(z, value, slopes, tf.fill([v], tf.math.log(_FIRST_STEP)))
    arrays = [tf.TensorArray(tf.float32, draws, element_shape=[chains, v]) for _ in range(p + 1)]
    zero = tf.zeros([v])

    def advance(k: Any, state: _State, kept: Any, energies: Any, sums: Any) -> tuple[Any, ...]:
        key = tf.random.experimental.stateless_fold_in(seed, k)
        state, record = _iterate(model, problem, mixture, moments, state, key)
        gain = tf.where(k < ADAPTATION, 2.0 / tf.sqrt(1.0 + tf.cast(k, tf.float32)), 0.0)
        log_step = state.log_step + gain * (tf.reduce_mean(record.acceptance, axis=0) - target)
        state = state._replace(log_step=tf.clip_by_value(log_step, -5.0, 0.25))
        # While the step adapts, the first place is written over again and again.
        place, count = tf.maximum(k - ADAPTATION, 0), tf.cast(k >= ADAPTATION, tf.float32)
        kept = [a.write(place, value) for a, value in zip(kept, state.z, strict=True)]
        sums = [a + count * tf.reduce_mean(b, axis=0) for a, b in zip(sums, record[1:], strict=True)]
        return k + 1, state, kept, energies.write(place, record.energy), sums

    _, state, kept, energies, sums = tf.while_loop(
        lambda k, *_: k < ADAPTATION + draws,
        advance,
        (tf.constant(0), first, arrays[:p], arrays[p], [zero, zero, zero]),
    )
    z = [tf.reshape(a.stack(), [draws * chains, v]) for a in kept]
    x = [tf.reshape(a, [draws, chains, v]) for a in from_whitened(moments, z)]
    energy = energies.stack()
    spread = tf.reduce_sum((energy - tf.reduce_mean(energy, axis=0)) ** 2, axis=0)
    bfmi = tf.reduce_min(tf.reduce_sum((energy[1:] - energy[:-1]) ** 2, axis=0) / spread, axis=0)
    acceptance, moved, diverged = (s / draws for s in sums)
    return Chains(x, tf.exp(state.log_step), acceptance, moved, diverged, bfmi)


def _iterate(
    model: Coordinates, problem: Problem, mixture: Mixture, moments: Moments, state: _State, key: Any
) -> tuple[_State, _Record]:
    """One trajectory and one global move."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    state, energy, ratio = _trajectory(model, problem, moments, state, seeds[0])
    chosen, z = _global_move(model, problem, mixture, moments, state, seeds[1])
    value, slopes = _value_and_slopes(model, problem, moments, z)
    acceptance = tf.exp(tf.minimum(tf.where(tf.math.is_finite(ratio), ratio, -1e3), 0.0))
    diverged = tf.cast(~(ratio > -_DIVERGENCE), tf.float32)
    record = _Record(energy, acceptance, tf.cast(chosen > 0, tf.float32), diverged)
    return _State(z, value, slopes, state.log_step), record


def _trajectory(
    model: Coordinates, problem: Problem, moments: Moments, state: _State, key: Any
) -> tuple[_State, Any, Any]:
    """Hamiltonian Monte Carlo: the new state, the energy at the start, the log acceptance ratio.

    The momentum and the test's threshold are the same for every voxel, as the draws of :func:`approximation.draw` are.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(key, 3))
    shape = state.z[0].shape
    # A length that varies keeps no direction in step with the trajectory.
    step = tf.exp(state.log_step) * (1.0 + _JITTER * tf.random.stateless_uniform([], seeds[0], -1.0, 1.0))
    noise = tf.random.stateless_normal([len(state.z), shape[0], 1], seeds[1])
    momentum = [tf.broadcast_to(m, shape) for m in tf.unstack(noise)]
    integrator = tfp.mcmc.internal.leapfrog_integrator.SimpleLeapfrogIntegrator(
        lambda *w: _value(model, problem, moments, w), [step] * len(momentum), LEAPFROGS
    )
    end, z, value, slopes = integrator(momentum, state.z, state.value, state.slopes)
    energy = 0.5 * sum(m * m for m in momentum) - state.value
    ratio = energy - (0.5 * sum(m * m for m in end) - value)
    accepted = tf.math.log(tf.random.stateless_uniform([shape[0], 1], seeds[2], 1e-12, 1.0)) < ratio
    keep = lambda new, old: [tf.where(accepted, a, b) for a, b in zip(new, old, strict=True)]  # noqa: E731
    moved = _State(keep(z, state.z), tf.where(accepted, value, state.value), keep(slopes, state.slopes), state.log_step)
    return moved, energy, ratio


def _global_move(
    model: Coordinates, problem: Problem, mixture: Mixture, moments: Moments, state: _State, key: Any
) -> tuple[Any, list[Any]]:
    """The present state and fresh candidates, one of them chosen by its importance weight; index 0 is to stay."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    chains, v = state.value.shape
    fresh = draw(mixture, CANDIDATES * chains, seeds[0])
    here = state.value - _log_mixture(mixture, moments, state.z)
    there = tf.reshape(log_weight(model, problem, mixture, fresh), [CANDIDATES, chains, v])
    weight = tf.concat([here[None], there], axis=0)
    weight = tf.where(tf.math.is_finite(weight), weight, -1e30)
    uniform = tf.random.stateless_uniform([CANDIDATES + 1, chains, 1], seeds[1], 1e-12, 1.0)
    # The largest of weights with Gumbel noise is a draw in proportion to the weights.
    chosen = tf.argmax(weight - tf.math.log(-tf.math.log(uniform)), axis=0, output_type=tf.int32)
    picked = tf.one_hot(chosen, CANDIDATES + 1, axis=0, dtype=weight.dtype)
    candidates = to_whitened(moments, [tf.reshape(x, [CANDIDATES, chains, v]) for x in fresh])
    return chosen, [
        tf.reduce_sum(picked * tf.concat([old[None], new], axis=0), axis=0)
        for old, new in zip(state.z, candidates, strict=True)
    ]
