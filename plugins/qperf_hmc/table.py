"""Curves of one input function as a small table, so that a gradient costs microseconds.

All voxels of a scan share the input function and the sample times. A 2CXM curve is then a sum of two members, K+ and
K-, of one family h(k, Ta)(t) = exp(-k t) * cp at delay Ta (:func:`qperf_app.physics.models.exchange_response`), and an
ATH curve of three, two of them at k = 0. The family depends smoothly on two numbers. It is computed once with the exact
convolution, as cubic B-splines in log(k + k0) and Ta, and compressed by a Tucker decomposition (De Lathauwer et al.
2000, doi:10.1137/S0895479896305696). Its basis in time compresses the data as well: outside it no curve of the model
has anything, so that the sum of squares there is a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.physics.convolution import exponential_convolution

Array = NDArray[np.float64]

# Knots of the rates, and distance of those of the delay, s. The same for every scan, so that what is compiled for one
# serves all.
RATE_KNOTS, DELAY_SPACING = 36, 0.25

# 1/s: below the first, a rate makes no difference within a scan; the second is (Fp + PS) / vp for 10 + 10 mL/min/mL
# in 0.005.
_SLOWEST, _FASTEST = 0.002, 65.0
# Members are stored times (k + this), which makes them of one size from the slowest to the fastest.
_SCALE = 1.0 / 30.0


class Table(NamedTuple):
    """Arrays that give a curve's features from its rates and delay; float64 until cast.

    ``rate`` (a, knots), ``delay`` (b, knots) turn B-spline weights into factors, ``core`` (b, a * r) joins them into r
    features; ``first_delay`` s, is where the first knot lies. ``basis`` (t, r), orthonormal, turns features into a
    curve.
    """

    rate: Any
    delay: Any
    core: Any
    first_delay: Any
    basis: Any


def build(
    times: Array, input_times: Array, cp: Array, delays: tuple[float, float], ranks: tuple[int, int, int]
) -> Table:
    """Tabulate the family for sample times (t,), an input function (plasma, mmol/L) and a range of delays, s.

    ``ranks`` are those of the bases over rates, delays and times: the same for every scan.
    """
    first, knots = delays[0] - DELAY_SPACING, delay_knots(delays)
    u = np.linspace(np.log(_SLOWEST), np.log(_FASTEST), 2 * RATE_KNOTS)
    at = np.linspace(*delays, 3 * knots)
    rate = np.exp(u) - _SLOWEST
    members = np.stack(
        [
            (k + _SCALE) * exponential_convolution(np.full(len(at), k), input_times, cp, times - at[:, None])
            for k in rate
        ]
    )
    in_rate = np.linalg.pinv(spline_weights(rate_position(tf.constant(rate)), RATE_KNOTS).numpy().T)
    in_delay = np.linalg.pinv(spline_weights(tf.constant((at - first) / DELAY_SPACING), knots).numpy().T)
    basis = _leading(members.reshape(-1, len(times)).T, ranks[2])
    core = np.einsum("ku,ld,udt,tr->klr", in_rate, in_delay, members, basis, optimize=True)
    by_rate = _leading(core.reshape(RATE_KNOTS, -1), ranks[0])
    by_delay = _leading(core.transpose(1, 0, 2).reshape(knots, -1), ranks[1])
    core = np.einsum("klr,ka,lb->bar", core, by_rate, by_delay, optimize=True)
    return Table(by_rate.T, by_delay.T, core.reshape(ranks[1], -1), np.float64(first), basis)


def delay_knots(delays: tuple[float, float]) -> int:
    """Number of B-splines that the range of delays takes."""
    return int(np.ceil((delays[1] - delays[0]) / DELAY_SPACING)) + 3


def family(table: Table, k: Array, Ta: Array) -> Array:
    """Features (rates, delays, r) of the members of every rate, 1/s, at every delay, s."""
    position = (tf.constant(Ta) - table.first_delay) / DELAY_SPACING
    by_delay = tf.matmul(table.delay, spline_weights(position, table.delay.shape[1])).numpy()
    core = np.reshape(table.core, (table.delay.shape[0], table.rate.shape[0], -1))
    joined = np.tensordot(by_delay, core, axes=(0, 0))
    return np.tensordot(rate_factors(table, tf.constant(k)).numpy(), joined, axes=(0, 1))


def members(table: Table, factors: Sequence[Any], Ta: Any) -> list[Any]:
    """Features (r, n) of curves at one delay, from their rates' factors (a, n)."""
    position = (Ta - table.first_delay) / DELAY_SPACING
    by_delay = tf.matmul(table.delay, spline_weights(position, table.delay.shape[1]))
    joined = tf.matmul(table.core, by_delay, transpose_a=True)
    joined = tf.reshape(joined, (table.rate.shape[0], table.core.shape[1] // table.rate.shape[0], -1))
    return [tf.reduce_sum(f[:, None, :] * joined, axis=0) for f in factors]


def rate_factors(table: Table, k: Any) -> Any:
    """Factors (a, n) of exp(-k t) for rates (n,), 1/s."""
    return tf.matmul(table.rate, spline_weights(rate_position(k), RATE_KNOTS)) / (k + _SCALE)


def rate_position(k: Any) -> Any:
    """Where a rate lies among the knots; knot 1 is the slowest, the last but one the fastest."""
    span = np.log(_FASTEST) - np.log(_SLOWEST)
    return 1.0 + (tf.math.log(k + _SLOWEST) - np.log(_SLOWEST)) * ((RATE_KNOTS - 3) / span)


def spline_weights(position: Any, knots: int) -> Any:
    """Uniform cubic B-splines (knots, n) at positions in units of the knots' distance, held at the ends."""
    position = tf.clip_by_value(position, 1.0, knots - 2.0)
    distance = tf.abs(position[None, :] - np.arange(knots, dtype=position.dtype.as_numpy_dtype)[:, None])
    outer, inner = tf.maximum(2.0 - distance, 0.0), tf.maximum(1.0 - distance, 0.0)
    return (outer * outer * outer - 4.0 * inner * inner * inner) / 6.0


def _leading(matrix: Array, count: int) -> Array:
    """Leading left singular vectors (m, count), filled up with zeros where there are fewer."""
    left = np.linalg.svd(matrix, full_matrices=False)[0][:, :count]
    return np.pad(left, ((0, 0), (0, count - left.shape[1])))
