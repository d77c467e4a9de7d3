"""Models that no matrix describes, by the classical Runge-Kutta method of order 4, with gradients.

For a carrier that saturates, say, or a rate that depends on concentration. Linear models belong to
:mod:`qperf_app.physics.linear_response`, which is exact and needs no steps. TensorFlow Probability has
adaptive methods, but their adjoint gradients of two curves took minutes; a fixed step is differentiated as any graph.
TensorFlow is imported when :func:`solve_nonlinear` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qperf_app.physics.backend import ArrayLike
from qperf_app.physics.convolution import interpolate

#: Change of the state per second, of state (..., m) and input (...,).
Slope = Callable[[Any, Any], Any]


def solve_nonlinear(
    slope: Slope,
    size: int,
    times: ArrayLike,
    concentration: ArrayLike,
    at: ArrayLike,
    Ta: Any = 0.0,
    step: float = 0.1,
) -> Any:
    """States of a nonlinear model that is empty before the first of the times ``at``.

    Parameters
    ----------
    slope : function
        Right-hand side, of tensors; gradients pass to the tensors that it uses.
    size : int
        m, the number of states.
    times, concentration : (t,) arrays of numbers
        Input, s and mmol/L; zero before its first sample, linear between, constant after the last.
    at : (n,) array of numbers
        When the states are wanted, s, increasing; the first before the bolus arrives.
    Ta : (...,) tensor
        Bolus delay, s; its shape is that of the batch.
    step : float
        Longest step, s. Must be well below the shortest time constant (stable up to 2.8 of them); the error falls
        with its square where the input bends, and with its fourth power elsewhere.

    Returns
    -------
    (n, ..., m) tensor
        Of the type of ``Ta``, float64 where that is a number.
    """
    import tensorflow as tf

    delay = Ta if tf.is_tensor(Ta) else tf.constant(np.asarray(Ta, dtype=np.float64))
    points = np.asarray(at, dtype=np.float64)
    counts = np.ceil(np.diff(points) / step - 1e-9).astype(int)
    starts = np.concatenate(
        [a + (b - a) * np.arange(n) / n for a, b, n in zip(points, points[1:], counts, strict=False)]
    )
    widths = np.repeat(np.diff(points) / counts, counts)
    knots, c = (tf.constant(np.asarray(values), delay.dtype) for values in (times, concentration))

    def advance(state: Any, item: Any) -> Any:
        start, h = item
        inputs = [interpolate(knots, c, (start + share * h - delay)[..., None])[..., 0] for share in (0.0, 0.5, 1.0)]
        first = slope(state, inputs[0])
        second = slope(state + 0.5 * h * first, inputs[1])
        third = slope(state + 0.5 * h * second, inputs[1])
        last = slope(state + h * third, inputs[2])
        return state + h / 6.0 * (first + 2.0 * second + 2.0 * third + last)

    empty = tf.zeros((*delay.shape, size), delay.dtype)
    states = tf.scan(advance, (tf.constant(starts, delay.dtype), tf.constant(widths, delay.dtype)), empty)
    return tf.gather(tf.concat([empty[None], states], 0), np.append(0, np.cumsum(counts)))
