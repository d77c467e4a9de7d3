"""The 2CXM with its Jacobian in fitting coordinates: log Fp, log PS, log vp, log ve and Ta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.conversion import per_second
from qperf_app.physics.convolution import convolution_and_input
from qperf_app.physics.models import exchange_response
from qperf_kinetics.least_squares import Model

Array = NDArray[np.float64]
_STEP = 1e-6


def exchange_model(times: Array, input_times: Array, cp: Array) -> Model:
    """Return the function that maps coordinates (m, 5) to curves (m, t) at ``times`` and their Jacobian (m, 5, t).

    The derivatives with respect to rates are forward differences of the exact convolution, those of the rates with
    respect to the parameters central ones; that to Ta is exact. Relative errors are near 1e-6.
    """

    def evaluate(x: Array, derivatives: bool = True) -> tuple[Array, Array | None]:
        flow = per_second(np.exp(x[:, :1]))
        if not derivatives:
            fast, slow, weight = exchange_response(NumpyOps, *_physical(x))
            convolved, _ = convolution_and_input(np.stack([fast, slow]), input_times, cp, times - x[:, 4:])
            return flow * _mix(weight[:, None], convolved), None
        (fast, slow, weight), chain = _rates_and_chain(x)
        steps = _STEP * (np.stack([fast, slow]) + 1e-3)
        rates = np.concatenate([[fast, slow], np.stack([fast, slow]) + steps])
        convolved, c = convolution_and_input(rates, input_times, cp, times - x[:, 4:])
        weight, (by_fast, by_slow) = weight[:, None], (convolved[2:] - convolved[:2]) / steps[:, :, None]
        by_rates = np.stack([(1.0 - weight) * by_fast, weight * by_slow, convolved[1] - convolved[0]], axis=1)
        shape = _mix(weight, convolved)
        jacobian = np.empty((len(x), 5, len(times)))
        jacobian[:, :4] = chain @ by_rates
        jacobian[:, 0] += shape
        jacobian[:, 4] = _mix(weight, (fast[:, None] * convolved[0], slow[:, None] * convolved[1])) - c
        return flow * shape, flow[:, :, None] * jacobian

    return evaluate


def _mix(weight: Array, pair: tuple[Array, Array] | Array) -> Array:
    return (1.0 - weight) * pair[0] + weight * pair[1]


def _physical(x: Array) -> tuple[Array, Array, Array, Array]:
    """Fp and PS per second, vp and ve."""
    Fp, PS, vp, ve = np.moveaxis(np.exp(x[..., :4]), -1, 0)
    return per_second(Fp), per_second(PS), vp, ve


def _rates_and_chain(x: Array) -> tuple[Array, Array]:
    """K+, K- and E, (3, m), and their derivatives (m, 4, 3) with respect to the four log parameters."""
    shift = _STEP * np.concatenate([np.zeros((1, 4)), np.eye(4), -np.eye(4)])
    rates = np.stack(exchange_response(NumpyOps, *_physical(x[None, :, :4] + shift[:, None, :])))
    chain = (rates[:, 1:5] - rates[:, 5:]) / (2.0 * _STEP)
    return rates[:, 0], chain.transpose(2, 1, 0)
