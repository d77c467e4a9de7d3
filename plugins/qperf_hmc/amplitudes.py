r"""The exchange model in coordinates in which two of its parameters can be taken out.

Its response is A1 exp(-K+ t) + A2 exp(-K- t) with positive amplitudes, and with M = A1 K+ + A2 K-

.. math:: F_p = A_1 + A_2, \quad v_p = F_p^2 / M, \quad PS = F_p A_1 A_2 (K_+ - K_-)^2 / M^2, \quad
          v_e = A_1 A_2 (K_+ - K_-)^2 / (M K_+ K_-)

(from :func:`qperf_app.physics.models.exchange_response`). Between the logarithms of the four parameters and of K+, K-,
A1, A2 the determinant of the derivatives is 1, everywhere: densities carry over as they are. Given the rates and the
delay a curve is linear in the amplitudes, so that all that the data say of them is two products and three norms.
Everything here is arithmetic, point by point, on tensors of one shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from qperf_app.physics.conversion import SECONDS_PER_MINUTE

#: Logarithm of what turns a rate per second into one per minute.
LOG_MINUTE = np.float32(np.log(SECONDS_PER_MINUTE))
# Standard deviations of flow's prior within which a climb starts.
_REACH = 2.5
# Amplitudes of least squares are kept within these factors of one amplitude for both members, and not used where the
# members' Gram determinant is below this part of its largest.
_RANGE, _COLLINEAR = (0.1, 100.0), 1e-4
# Longest Gauss-Newton step in the logarithm of an amplitude.
_LONGEST_STEP = 1.5
# Gauss-Newton steps to a mode, and how far from where two modes part a climb starts at least.
_STEPS, _APART = 3, 1.0
# Least log K- below log K+, and least pivot of the curvature, as a part of its diagonal.
_LEAST_GAP, _LEAST_PIVOT = 1e-4, 1e-6


class Evidence(NamedTuple):
    """What a curve y says of the amplitudes of the members h1, h2 (curves of K+ and K- at unit amplitude).

    ``y1``, ``y2`` are y'h1 and y'h2, ``h11``, ``h12``, ``h22`` the members' products, ``yy`` is y'y.
    """

    y1: Any
    y2: Any
    h11: Any
    h12: Any
    h22: Any
    yy: Any


class Prior(NamedTuple):
    """Normal prior of the logarithms of Fp (1/s), PS (1/s), vp and ve, and the noise's weight.

    The likelihood is (scale + squares / 2) ** -exponent.
    """

    mean: Sequence[Any]
    sd: Sequence[Any]
    exponent: Any
    scale: Any


class Peak(NamedTuple):
    """Mode of the log amplitudes, the lower factor (l11, l21, l22) of the curvature there, the log density."""

    first: Any
    second: Any
    l11: Any
    l21: Any
    l22: Any
    value: Any


def parameters(fast: Any, slow: Any, first: Any, second: Any) -> tuple[Any, Any, Any, Any]:
    """Logarithms of Fp (1/s), PS (1/s), vp, ve from those of K+, K- (1/s) and of the amplitudes (1/s)."""
    flow = tf.math.log(tf.exp(first) + tf.exp(second))
    moment = tf.math.log(tf.exp(first + fast) + tf.exp(second + slow))
    return _parameters(flow, moment, first + second + 2.0 * _log_gap(fast, slow), fast + slow)


def _log_gap(fast: Any, slow: Any) -> Any:
    """Logarithm of K+ - K-."""
    return fast + tf.math.log(-tf.math.expm1(tf.minimum(slow - fast, -_LEAST_GAP)))


def _parameters(flow: Any, moment: Any, product: Any, rates: Any) -> tuple[Any, Any, Any, Any]:
    return flow, flow + product - 2.0 * moment, 2.0 * flow - moment, product - moment - rates


def weighted(evidence: Evidence, efficiency: Any) -> Evidence:
    """The members' evidence where samples count for less than independent ones; y'y has been weighted."""
    y1, y2, h11, h12, h22 = (efficiency * value for value in evidence[:-1])
    return Evidence(y1, y2, h11, h12, h22, evidence.yy)


def prior_per_second(mean: Sequence[Any], sd: Sequence[Any], exponent: Any, scale: Any) -> Prior:
    """Prior of amplitudes from that of the model's coordinates, whose flow and PS are per minute."""
    minute = np.log(SECONDS_PER_MINUTE)
    return Prior([mean[0] - minute, mean[1] - minute, mean[2], mean[3]], sd[:4], exponent, scale)


class _Rates(NamedTuple):
    """K+ and K- (1/s), twice the logarithm of their difference, the sum of their logarithms."""

    fast: Any
    slow: Any
    gap: Any
    log_product: Any


class _Expansion(NamedTuple):
    """Log density of the log amplitudes, its gradient, and the Gauss-Newton curvature, up to the second order."""

    value: Any
    gradient: tuple[Any, Any]
    curvature: tuple[Any, Any, Any]


def modes(evidence: Evidence, prior: Prior, fast: Any, slow: Any, start: Sequence[Any]) -> Peak:
    """The mode with much of the fast member and that with little, which may be the same: each (2, n).

    Given the rates PS falls to either side of A1 K+ = A2 K-, so that the density may have a mode on each. Each is
    climbed to on its own side by Gauss-Newton steps of bounded length, from the ``start``, log amplitudes (2, n) and
    (2, n), where that is on the right one.
    """
    (much, little), (second, beside) = map(tf.unstack, start)
    between, within = second + slow - fast, beside + slow - fast
    again, alone = _little_of_the_fast(evidence, prior, fast, slow)
    first = tf.stack([tf.where(much > between, much, between + _APART), tf.where(little < within, little, again)])
    second = tf.stack([second, tf.where(little < within, beside, alone)])
    rates = _Rates(tf.exp(fast), tf.exp(slow), 2.0 * _log_gap(fast, slow), fast + slow)

    # A loop is compiled once for all steps; in its last turn it stays where it is and looks around.
    def step(k: Any, first: Any, second: Any, *_: Any) -> tuple[Any, ...]:
        value, (g1, g2), (c11, c21, c22) = _expand(evidence, prior, rates, first, second)
        determinant = c11 * c22 - c21 * c21
        d1, d2 = (c22 * g1 - c21 * g2) / determinant, (c11 * g2 - c21 * g1) / determinant
        shorter = _LONGEST_STEP / tf.maximum(_LONGEST_STEP, tf.maximum(tf.abs(d1), tf.abs(d2)))
        moved = [tf.where(k < _STEPS, at + d * shorter, at) for at, d in ((first, d1), (second, d2))]
        return k + 1, *moved, value, c11, c21, c22

    state = (tf.constant(0), first, second, *[tf.zeros_like(first)] * 4)
    _, first, second, value, c11, c21, c22 = tf.while_loop(
        lambda k, *_: k <= _STEPS, step, state, maximum_iterations=_STEPS + 1
    )
    l11 = tf.sqrt(c11)
    l21 = c21 / l11
    return Peak(first, second, l11, l21, tf.sqrt(tf.maximum(c22 - l21 * l21, _LEAST_PIVOT * c22)), value)


def log_mass(peak: Peak) -> Any:
    """Logarithm of the mass about a mode, by Laplace's method, up to a constant."""
    return peak.value - tf.math.log(peak.l11 * peak.l22)


def _little_of_the_fast(evidence: Evidence, prior: Prior, fast: Any, slow: Any) -> tuple[Any, Any]:
    """Log amplitudes with little of the fast member.

    There PS is near A1 (K+ / K- - 1)^2 and v_e near A1 (K+ / K- - 1)^2 / K+: A1 is where their priors meet, and A2 is
    the slow member's alone.
    """
    stretch = 2.0 * (_log_gap(fast, slow) - slow)
    weights = [1.0 / (prior.sd[i] * prior.sd[i]) for i in (1, 3)]
    first = (weights[0] * prior.mean[1] + weights[1] * (prior.mean[3] + fast)) / (weights[0] + weights[1]) - stretch
    second = tf.math.log(_likely_flow(evidence.y2 / evidence.h22, prior))
    return tf.minimum(first, second + slow - fast - _APART), second


def _likely_flow(flow: Any, prior: Prior) -> Any:
    """A curve that is hardly more than noise may say anything: a start is one that the prior of flow knows."""
    reach = _REACH * prior.sd[0]
    return tf.clip_by_value(flow, tf.exp(prior.mean[0] - reach), tf.exp(prior.mean[0] + reach))


def least_squares(evidence: Evidence, prior: Prior) -> list[Any]:
    """Log amplitudes of the least squares, where they are positive, or near it."""
    determinant = evidence.h11 * evidence.h22 - evidence.h12 * evidence.h12
    both = _likely_flow((evidence.y1 + evidence.y2) / (evidence.h11 + 2.0 * evidence.h12 + evidence.h22), prior)
    least = [
        tf.where(determinant > _COLLINEAR * evidence.h11 * evidence.h22, a / determinant, both)
        for a in (
            evidence.h22 * evidence.y1 - evidence.h12 * evidence.y2,
            evidence.h11 * evidence.y2 - evidence.h12 * evidence.y1,
        )
    ]
    return [tf.math.log(tf.clip_by_value(a, _RANGE[0] * both, _RANGE[1] * both)) for a in least]


def _expand(evidence: Evidence, prior: Prior, rates: _Rates, first: Any, second: Any) -> _Expansion:
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
    value, (g1, g2), (c11, c21, c22) = _likelihood(evidence, prior, a1, a2)
    found = _parameters(tf.math.log(flow), tf.math.log(moment), first + second + rates.gap, rates.log_product)
    for at, (s1, s2), mean, sd in zip(found, slopes, prior.mean, prior.sd, strict=True):
        precision = 1.0 / (sd * sd)
        off = mean - at
        z = off * precision
        value -= 0.5 * off * z
        g1, g2 = g1 + z * s1, g2 + z * s2
        c11, c21, c22 = c11 + s1 * s1 * precision, c21 + s1 * s2 * precision, c22 + s2 * s2 * precision
    return _Expansion(value, (g1, g2), (c11, c21, c22))


def _likelihood(evidence: Evidence, prior: Prior, a1: Any, a2: Any) -> _Expansion:
    """Log likelihood of amplitudes, the noise's level integrated out, by their logarithms."""
    r1 = evidence.y1 - a1 * evidence.h11 - a2 * evidence.h12
    r2 = evidence.y2 - a1 * evidence.h12 - a2 * evidence.h22
    squares = tf.maximum(evidence.yy - a1 * (evidence.y1 + r1) - a2 * (evidence.y2 + r2), 0.0)
    level = prior.scale + 0.5 * squares
    precision = prior.exponent / level
    curvature = (
        precision * a1 * a1 * evidence.h11, precision * a1 * a2 * evidence.h12, precision * a2 * a2 * evidence.h22
    )  # fmt: skip
    return _Expansion(-prior.exponent * tf.math.log(level), (precision * a1 * r1, precision * a2 * r2), curvature)
