"""The sampler's core: a sampler is two pure functions, ``init`` and ``step``, of a log density and random keys.

Nothing here knows of curves, models or a library of samplers. Positions are lists of tensors (chains, v), one for each
coordinate: v independent densities are sampled beside each other, each by the same number of chains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

#: Value (chains, v) and gradient, a list as the position is, of a log density at a position.
LogDensity = Callable[[Sequence[Any]], tuple[Any, list[Any]]]

# A step that varies by this part either way keeps no direction in step with the trajectory (Neal 2011,
# arXiv:1206.1901, section 5.4.2.2).
_JITTER = 0.25
# Smallest uniform number whose logarithm is taken, and what stands for the logarithm of a weight of nothing.
_LEAST_UNIFORM, _NOTHING = 1e-12, -1e30


class State(NamedTuple):
    """Where the chains are: position, log density and gradient there."""

    position: list[Any]
    log_density: Any
    gradient: list[Any]


class Sampler(NamedTuple):
    """``init(position)`` gives a state; ``step(key, state)`` the next one and what there is to tell of the step."""

    init: Callable[[Sequence[Any]], State]
    step: Callable[[Any, State], tuple[State, Any]]


class Trajectory(NamedTuple):
    """Energy at the start and logarithm of the acceptance ratio, (chains, v)."""

    energy: Any
    log_ratio: Any


class Proposal(NamedTuple):
    """A density to draw from beside the target.

    ``draw(key, n)`` gives a position of n draws, each tensor (n, v), and the logarithms of their importance weights,
    target over proposal; ``log_density(position)`` is the proposal's, both up to the same constants.
    """

    draw: Callable[[Any, int], tuple[list[Any], Any]]
    log_density: Callable[[Sequence[Any]], Any]


def leapfrog(log_density: LogDensity, step_size: Any, count: int, state: State, momentum: list[Any]) -> tuple[Any, ...]:
    """State and momentum after ``count`` leapfrog steps of a size (v,), with unit masses (Neal 2011, equation 2.28)."""
    momentum = [m + 0.5 * step_size * g for m, g in zip(momentum, state.gradient, strict=True)]
    for _ in range(count):
        position = [z + step_size * m for z, m in zip(state.position, momentum, strict=True)]
        state = State(position, *log_density(position))
        momentum = [m + step_size * g for m, g in zip(momentum, state.gradient, strict=True)]
    # The last step went half a step too far.
    return state, [m - 0.5 * step_size * g for m, g in zip(momentum, state.gradient, strict=True)]


def hamiltonian(log_density: LogDensity, step_size: Any, leapfrogs: int) -> Sampler:
    """Hamiltonian Monte Carlo with a step size (v,); its steps tell a :class:`Trajectory`.

    Momentum and threshold of acceptance are the same for every density, so that what is drawn for one does not depend
    on those beside it.
    """

    def step(key: Any, state: State) -> tuple[State, Trajectory]:
        keys = tf.unstack(tf.random.experimental.stateless_split(key, 3))
        shape = state.log_density.shape
        jitter = 1.0 + _JITTER * tf.random.stateless_uniform([], keys[0], -1.0, 1.0)
        noise = tf.random.stateless_normal([len(state.position), shape[0], 1], keys[1])
        momentum = [tf.broadcast_to(m, shape) for m in tf.unstack(noise)]
        there, end = leapfrog(log_density, step_size * jitter, leapfrogs, state, momentum)
        energy = _kinetic(momentum) - state.log_density
        log_ratio = energy - (_kinetic(end) - there.log_density)
        threshold = tf.math.log(tf.random.stateless_uniform([shape[0], 1], keys[2], _LEAST_UNIFORM, 1.0))
        return _choose(threshold < log_ratio, there, state), Trajectory(energy, log_ratio)

    return Sampler(_init(log_density), step)


def iterated_resampling(log_density: LogDensity, proposal: Proposal, candidates: int) -> Sampler:
    """Take the present state or one of fresh draws of a proposal, by their importance weights.

    Iterated sampling importance resampling (Andrieu, Lee and Vihola 2018, doi:10.3150/15-BEJ785); its steps tell
    whether a chain moved.
    """

    def step(key: Any, state: State) -> tuple[State, Any]:
        keys = tf.unstack(tf.random.experimental.stateless_split(key, 2))
        chains, v = state.log_density.shape
        fresh, log_weight = proposal.draw(keys[0], candidates * chains)
        here = state.log_density - proposal.log_density(state.position)
        every = tf.concat([here[None], tf.reshape(log_weight, [candidates, chains, v])], axis=0)
        every = tf.where(tf.math.is_finite(every), every, _NOTHING)
        uniform = tf.random.stateless_uniform([candidates + 1, chains, 1], keys[1], _LEAST_UNIFORM, 1.0)
        # The largest of log weights with Gumbel noise is a draw in proportion to the weights.
        chosen = tf.argmax(every - tf.math.log(-tf.math.log(uniform)), axis=0, output_type=tf.int32)
        picked = tf.one_hot(chosen, candidates + 1, axis=0, dtype=every.dtype)
        position = [
            tf.reduce_sum(picked * tf.concat([old[None], tf.reshape(new, [candidates, chains, v])], axis=0), axis=0)
            for old, new in zip(state.position, fresh, strict=True)
        ]
        return init(position), tf.cast(chosen > 0, every.dtype)

    init = _init(log_density)
    return Sampler(init, step)


def _init(log_density: LogDensity) -> Callable[[Sequence[Any]], State]:
    return lambda position: State(list(position), *log_density(position))


def _kinetic(momentum: Sequence[Any]) -> Any:
    return 0.5 * sum(m * m for m in momentum)


def _choose(new: Any, there: State, here: State) -> State:
    """The state there where ``new``, and here elsewhere."""

    def pick(a: Any, b: Any) -> Any:
        return tf.where(new, a, b)

    return State(
        [pick(a, b) for a, b in zip(there.position, here.position, strict=True)],
        pick(there.log_density, here.log_density),
        [pick(a, b) for a, b in zip(there.gradient, here.gradient, strict=True)],
    )
