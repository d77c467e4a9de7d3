"""The 2CXM with its Jacobian in fitting coordinates: log Fp, log PS, log vp, log ve and Ta."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.conversion import per_second
from qperf_app.physics.convolution import convolution_and_input
from qperf_app.physics.models import exchange_response

Array = NDArray[np.float64]
NAMES = ("Fp", "PS", "vp", "ve", "Ta")
_STEP = 1e-6


def exchange_model(times: Array, input_times: Array, cp: Array) -> Callable[[Array], tuple[Array, Array]]:
    """Return the function that maps coordinates (m, 5) to curves (m, t) at ``times`` and their Jacobian (m, 5, t).

    The derivatives with respect to rates are forward differences of the exact convolution, those of the rates with
    respect to the parameters central ones; that to Ta is exact. Relative errors are near 1e-6.
    """

    def evaluate(x: Array) -> tuple[Array, Array]:
        (fast, slow, weight), chain = _rates_and_chain(x[:, :4])
        step_fast, step_slow = _STEP * (fast + 1e-3), _STEP * (slow + 1e-3)
        rates = np.stack([fast, slow, fast + step_fast, slow + step_slow])
        convolved, c = convolution_and_input(rates, input_times, cp, times - x[:, 4:])
        flow, weight = per_second(np.exp(x[:, :1])), weight[:, None]
        by_rate = np.stack(
            [
                (1.0 - weight) * (convolved[2] - convolved[0]) / step_fast[:, None],
                weight * (convolved[3] - convolved[1]) / step_slow[:, None],
                convolved[1] - convolved[0],
            ],
            axis=1,
        )
        shape = (1.0 - weight) * convolved[0] + weight * convolved[1]
        jacobian = np.empty((len(x), 5, len(times)))
        jacobian[:, :4] = chain @ by_rate
        jacobian[:, 0] += shape
        jacobian[:, 4] = (1.0 - weight) * fast[:, None] * convolved[0] + weight * slow[:, None] * convolved[1] - c
        return flow * shape, flow[:, :, None] * jacobian

    return evaluate


def _rates_and_chain(x: Array) -> tuple[tuple[Array, Array, Array], Array]:
    """K+, K- and E (m,) and their derivatives (m, 4, 3) with respect to the four log parameters."""
    shift = _STEP * np.concatenate([np.zeros((1, 4)), np.eye(4), -np.eye(4)])
    Fp, PS, vp, ve = np.moveaxis(np.exp(x[None] + shift[:, None, :]), -1, 0)
    rates = exchange_response(NumpyOps, per_second(Fp), per_second(PS), vp, ve)
    stacked = np.stack(rates, axis=-1)
    chain = (stacked[1:5] - stacked[5:]) / (2.0 * _STEP)
    return (rates[0][0], rates[1][0], rates[2][0]), np.moveaxis(chain, 0, 1)
