r"""The two-compartment exchange model in coordinates in which two of its parameters can be taken out.

Its response is A1 exp(-K+ t) + A2 exp(-K- t) with positive amplitudes, and with M = A1 K+ + A2 K-

.. math:: F_p = A_1 + A_2, \quad v_p = F_p^2 / M, \quad PS = F_p A_1 A_2 (K_+ - K_-)^2 / M^2, \quad
          v_e = A_1 A_2 (K_+ - K_-)^2 / (M K_+ K_-)

(from :func:`qperf_app.physics.models.exchange_response`). Between the logarithms of the four parameters and of K+, K-,
A1, A2 the determinant of the derivatives is 1, everywhere. The grid is over log K+, log K- and Ta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.physics.backend import common_arrays
from qperf_app.physics.conversion import per_second
from qperf_app.physics.models import exchange_response
from qperf_hmc import table
from qperf_hmc.amplitudes import (
    Evidence,
    Expansion,
    Peak,
    Prior,
    climb,
    least_squares,
    likelihood,
    likely_flow,
    with_prior,
)
from qperf_hmc.separable import FloatArray, Interpolant, Members, Separable

Array = NDArray[np.float64]

# How far from where two modes part a climb starts at least, and least log K- below log K+.
_APART, _LEAST_GAP = 1.0, 1e-4


class _Rates(NamedTuple):
    """K+ and K- (1/s), twice the logarithm of their difference, the sum of their logarithms."""

    fast: Any
    slow: Any
    gap: Any
    log_product: Any


class Exchange(Separable):
    """The 2CXM; ``first`` and ``second`` are the logarithms of A1 and A2."""

    ranks = (12, 16, 18)
    peaks = 3
    stored = 4
    reach = 1.0

    def forward(self, tables: table.Table, parameters: Sequence[Any]) -> Any:
        """Features (r, n) of Fp, PS (mL/min/mL), vp, ve (mL/mL) and Ta (s), each (n,)."""
        Fp, PS, vp, ve, Ta = parameters
        xp = common_arrays(Fp)[0]
        fast, slow, weight = exchange_response(xp, per_second(Fp), per_second(PS), vp, ve)
        flow = per_second(Fp)
        mix = table.rate_factors(tables, fast) * ((1.0 - weight) * flow)
        return table.members(tables, [mix + table.rate_factors(tables, slow) * (weight * flow)], Ta)[0]

    def delays(self, delays: tuple[float, float], longest: float) -> tuple[float, float]:
        """Those of Ta."""
        return delays

    def place(self, x: Array) -> tuple[Array, Array, Array]:
        """Logarithms of K+ and K-, 1/s, and Ta."""
        Fp, PS, vp, ve = (tf.constant(np.exp(v)) for v in x[:4])
        fast, slow, _ = exchange_response(common_arrays(Fp)[0], per_second(Fp), per_second(PS), vp, ve)
        return np.log(fast), np.log(slow), x[4]

    def allowed(self, u: Any, v: Any) -> Any:
        """K+ is the faster one."""
        return u > v

    def members(self, tables: table.Table, u: Array, v: Array, delay: Array) -> Members:
        """Of both rates at the one delay."""
        first, second = (table.family(tables, np.exp(c), delay).astype(np.float32) for c in (u, v))
        return Members(first, second, np.tile(np.arange(len(delay)), (len(u), 1)))

    def interpolants(self, tables: table.Table, u: Array, v: Array, delay: Array) -> tuple[Interpolant, Interpolant]:
        """Of the fast and of the slow member."""
        return Interpolant.of(tables, u, delay), Interpolant.of(tables, v, delay)

    def members_at(self, interpolants: tuple[Interpolant, Interpolant], point: FloatArray) -> tuple[Any, Any]:
        """Of both rates at the one delay."""
        fast, slow, delay = point
        return interpolants[0].at(fast, delay), interpolants[1].at(slow, delay)

    def start(self, evidence: Evidence, prior: Prior) -> Any:
        """Least squares, for each mode."""
        return tf.repeat(tf.stack(least_squares(evidence, prior)), self.peaks, axis=0)

    def modes(self, evidence: Evidence, prior: Prior, u: Any, v: Any, start: Sequence[Any]) -> Peak:
        """The modes with much, with some and with little of the fast member, which may be the same: each (3, n).

        Given the rates, the parameters are other powers of the amplitudes on either side of A1 = A2 and of A1 K+ = A2
        K-, and their priors may pull to another place in each of the three ranges. Each mode is climbed to within its
        own, from the ``start``, log amplitudes (3, n) and (3, n), where that is in it.
        """
        (much, some, little), seconds = map(tf.unstack, start)
        alone = tf.math.log(likely_flow(evidence.y2 / evidence.h22, prior))
        own = (
            much > seconds[0],
            (some < seconds[1]) & (some > seconds[1] + v - u),
            little < seconds[2] + v - u,
        )
        known, other = zip(
            (much, seconds[0] + _APART),
            (some, _some_of_the_fast(prior, u, v, alone)),
            (little, _little_of_the_fast(prior, u, v, alone)),
            strict=True,
        )
        first = tf.where(own, known, other)
        second = tf.where(own, seconds, [seconds[0], alone, alone])
        rates = _Rates(tf.exp(u), tf.exp(v), 2.0 * _log_gap(u, v), u + v)
        return climb(lambda a, b: _expand(evidence, prior, rates, a, b), first, second)

    def coefficients(self, first: Any, second: Any) -> tuple[Any, Any]:
        """A1 and A2."""
        return tf.exp(first), tf.exp(second)

    def parameters(self, u: Any, v: Any, first: Any, second: Any) -> tuple[Any, Any, Any, Any]:
        """Logarithms of Fp (1/s), PS (1/s), vp, ve from those of K+, K- (1/s) and of the amplitudes (1/s)."""
        flow = tf.math.log(tf.exp(first) + tf.exp(second))
        moment = tf.math.log(tf.exp(first + u) + tf.exp(second + v))
        return _parameters(flow, moment, first + second + 2.0 * _log_gap(u, v), u + v)


EXCHANGE = Exchange()


def _log_gap(fast: Any, slow: Any) -> Any:
    """Logarithm of K+ - K-."""
    return fast + tf.math.log(-tf.math.expm1(tf.minimum(slow - fast, -_LEAST_GAP)))


def _parameters(flow: Any, moment: Any, product: Any, rates: Any) -> tuple[Any, Any, Any, Any]:
    return flow, flow + product - 2.0 * moment, 2.0 * flow - moment, product - moment - rates


def _some_of_the_fast(prior: Prior, fast: Any, slow: Any, second: Any) -> Any:
    """Log A1 between A2 K- / K+ and A2, given log A2.

    There PS is near A2^2 / A1 (1 - K- / K+)^2 and v_p near A2^2 / (A1 K+): A1 is where their priors meet.
    """
    apart = tf.minimum(0.5 * (fast - slow), _APART)
    first = 2.0 * second - _where_priors_meet(prior, (1, 2.0 * (fast - _log_gap(fast, slow))), (2, fast))
    return tf.clip_by_value(first, second + slow - fast + apart, second - apart)


def _little_of_the_fast(prior: Prior, fast: Any, slow: Any, second: Any) -> Any:
    """Log A1 below A2 K- / K+, given log A2, which is then the slow member's alone.

    There PS is near A1 (K+ / K- - 1)^2 and v_e near A1 (K+ / K- - 1)^2 / K+: A1 is where their priors meet.
    """
    stretch = 2.0 * (_log_gap(fast, slow) - slow)
    first = _where_priors_meet(prior, (1, 0.0), (3, fast)) - stretch
    return tf.minimum(first, second + slow - fast - _APART)


def _where_priors_meet(prior: Prior, *parameters: tuple[int, Any]) -> Any:
    """Where two parameters' priors of one quantity agree best, whose logarithm is theirs and a number more."""
    weights = [1.0 / (prior.sd[i] * prior.sd[i]) for i, _ in parameters]
    places = [prior.mean[i] + more for i, more in parameters]
    return sum(w * p for w, p in zip(weights, places, strict=True)) / sum(weights)


def _expand(evidence: Evidence, prior: Prior, rates: _Rates, first: Any, second: Any) -> Expansion:
    """Likelihood and prior about log amplitudes."""
    a1, a2 = tf.exp(first), tf.exp(second)
    flow, moment = a1 + a2, a1 * rates.fast + a2 * rates.slow
    share, lever = a2 / flow, a2 * rates.slow / moment
    # How the logarithms of Fp, PS, vp and ve change with those of the amplitudes.
    slopes = (
        (1.0 - share, share),
        (2.0 * lever - share, 1.0 + share - 2.0 * lever),
        (1.0 - 2.0 * share + lever, 2.0 * share - lever),
        (lever, 1.0 - lever),
    )
    found = _parameters(tf.math.log(flow), tf.math.log(moment), first + second + rates.gap, rates.log_product)
    return with_prior(likelihood(evidence, prior, a1, a2), prior, found, slopes)
