"""What a curve says of the two coefficients of a separable model, and climbs to the modes of their density.

Given the grid's three numbers a curve is linear in the coefficients, so that all that the data say of them is two
products and three norms. Everything here is arithmetic, point by point, on tensors of one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from qperf_app.physics.conversion import SECONDS_PER_MINUTE

#: Logarithm of what turns a rate per second into one per minute.
LOG_MINUTE = np.float32(np.log(SECONDS_PER_MINUTE))
# Standard deviations of flow's prior within which a climb starts.
_REACH = 2.5
# Coefficients of least squares are kept within these factors of one coefficient for both members, and not used where
# the members' Gram determinant is below this part of its largest.
_RANGE, _COLLINEAR = (0.1, 100.0), 1e-4
# Longest Gauss-Newton step in either logarithm, and steps to a mode.
_LONGEST_STEP, _STEPS = 1.5, 3
# Least pivot of the curvature, as a part of its diagonal.
_LEAST_PIVOT = 1e-6


class Evidence(NamedTuple):
    """What a curve y says of the coefficients of the members h1, h2 (curves at unit coefficient).

    ``y1``, ``y2`` are y'h1 and y'h2, ``h11``, ``h12``, ``h22`` the members' products, ``yy`` is y'y.
    """

    y1: Any
    y2: Any
    h11: Any
    h12: Any
    h22: Any
    yy: Any


class Prior(NamedTuple):
    """Normal prior of the logarithms of the first four parameters, flow and PS in 1/s, and the noise's weight.

    The likelihood is (scale + squares / 2) ** -exponent.
    """

    mean: Sequence[Any]
    sd: Sequence[Any]
    exponent: Any
    scale: Any


class Peak(NamedTuple):
    """Mode of the two logarithms, the lower factor (l11, l21, l22) of the curvature there, the log density."""

    first: Any
    second: Any
    l11: Any
    l21: Any
    l22: Any
    value: Any


class Expansion(NamedTuple):
    """A log density of two logarithms, its gradient, and the Gauss-Newton curvature, up to the second order."""

    value: Any
    gradient: tuple[Any, Any]
    curvature: tuple[Any, Any, Any]


def weighted(evidence: Evidence, efficiency: Any) -> Evidence:
    """The members' evidence where samples count for less than independent ones; y'y has been weighted."""
    y1, y2, h11, h12, h22 = (efficiency * value for value in evidence[:-1])
    return Evidence(y1, y2, h11, h12, h22, evidence.yy)


def prior_per_second(mean: Sequence[Any], sd: Sequence[Any], exponent: Any, scale: Any) -> Prior:
    """Prior per second from that of the model's coordinates, whose flow and PS are per minute."""
    minute = np.log(SECONDS_PER_MINUTE)
    return Prior([mean[0] - minute, mean[1] - minute, mean[2], mean[3]], sd[:4], exponent, scale)


def climb(expand: Callable[[Any, Any], Expansion], first: Any, second: Any) -> Peak:
    """Climb to a mode by Gauss-Newton steps of bounded length."""

    # A loop is compiled once for all steps; in its last turn it stays where it is and looks around.
    def step(k: Any, first: Any, second: Any, *_: Any) -> tuple[Any, ...]:
        value, (g1, g2), (c11, c21, c22) = expand(first, second)
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


def likely_flow(flow: Any, prior: Prior) -> Any:
    """A curve that is hardly more than noise may say anything: a start is one that the prior of flow knows."""
    reach = _REACH * prior.sd[0]
    return tf.clip_by_value(flow, tf.exp(prior.mean[0] - reach), tf.exp(prior.mean[0] + reach))


def least_squares(evidence: Evidence, prior: Prior) -> list[Any]:
    """Logarithms of the coefficients of the least squares, where they are positive, or near it."""
    determinant = evidence.h11 * evidence.h22 - evidence.h12 * evidence.h12
    both = likely_flow((evidence.y1 + evidence.y2) / (evidence.h11 + 2.0 * evidence.h12 + evidence.h22), prior)
    least = [
        tf.where(determinant > _COLLINEAR * evidence.h11 * evidence.h22, a / determinant, both)
        for a in (
            evidence.h22 * evidence.y1 - evidence.h12 * evidence.y2,
            evidence.h11 * evidence.y2 - evidence.h12 * evidence.y1,
        )
    ]
    return [tf.math.log(tf.clip_by_value(a, _RANGE[0] * both, _RANGE[1] * both)) for a in least]


def likelihood(evidence: Evidence, prior: Prior, a1: Any, a2: Any) -> Expansion:
    """Log likelihood of coefficients, the noise's level integrated out, by their logarithms."""
    r1 = evidence.y1 - a1 * evidence.h11 - a2 * evidence.h12
    r2 = evidence.y2 - a1 * evidence.h12 - a2 * evidence.h22
    squares = tf.maximum(evidence.yy - a1 * (evidence.y1 + r1) - a2 * (evidence.y2 + r2), 0.0)
    level = prior.scale + 0.5 * squares
    precision = prior.exponent / level
    curvature = (
        precision * a1 * a1 * evidence.h11, precision * a1 * a2 * evidence.h12, precision * a2 * a2 * evidence.h22
    )  # fmt: skip
    return Expansion(-prior.exponent * tf.math.log(level), (precision * a1 * r1, precision * a2 * r2), curvature)


def with_prior(
    expansion: Expansion, prior: Prior, found: Sequence[Any], slopes: Sequence[tuple[Any, Any]]
) -> Expansion:
    """Add the prior of the parameters' logarithms, of which ``slopes`` are the derivatives."""
    value, (g1, g2), (c11, c21, c22) = expansion
    for at, (s1, s2), mean, sd in zip(found, slopes, prior.mean, prior.sd, strict=True):
        precision = 1.0 / (sd * sd)
        off = mean - at
        z = off * precision
        value -= 0.5 * off * z
        g1, g2 = g1 + z * s1, g2 + z * s2
        c11, c21, c22 = c11 + s1 * s1 * precision, c21 + s1 * s2 * precision, c22 + s2 * s2 * precision
    return Expansion(value, (g1, g2), (c11, c21, c22))
