"""Responses of the exchange models on a grid of lags, and curves from them, for thousands of voxels at once.

A response is written as a sum of tents about the lags. Second derivatives of tents are impulses, so that averages of
exponentials over tents, and convolutions of a piecewise-linear input with tents, are second differences of closed
forms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel, extracted_flow
from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.physics.conversion import per_second
from qperf_app.physics.models import exchange_response

Array = NDArray[np.float64]

# s: lags of a curve; the error is of second order in their spacing, some 1e-4 of the input function's peak. Later on
# only the slow decay is left, for which wider ones do.
_SPACING = 0.25
_EARLIEST, _SLOW = -2.0, 12.0
_GROWTH, _WIDEST = 1.06, 1.5


class CurveMaker(NamedTuple):
    """What makes a model's curves of a scan's parameters: ``nodes`` (l,), s, and ``forward`` (t, l), mmol/L s."""

    nodes: Array
    forward: Array
    model: ExchangeModel

    @classmethod
    def of(cls, times: Array, input_times: Array, plasma: Array, model: ExchangeModel = "2CXM") -> CurveMaker:
        """Maker of curves at ``times`` (t,), s, with the input function (m,) in plasma, mmol/L, at ``input_times``."""
        last = times[-1] - input_times[0]
        steps = np.minimum(_SPACING * _GROWTH ** np.arange(1, 2 + max(int(last / _SPACING), 0)), _WIDEST)
        lags = np.concatenate([np.arange(_EARLIEST, _SLOW + 1e-9, _SPACING), _SLOW + np.cumsum(steps)])
        lags = lags[: np.searchsorted(lags, last) + 1]
        grid, cp = even_input(input_times, plasma, times[-1] - _EARLIEST)
        nodes = _nodes(lags)
        return cls(nodes, tent_convolutions(grid, cp, times, lags) @ _average(nodes).T, model)

    def __call__(self, parameters: Array) -> Array:
        """Curves (n, t), mmol/L, of parameters (n, 5): Fp, PS (mL/min/mL), vp, ve, Ta (s).

        Good to 1e-3 of the input function's peak, and many times quicker than :mod:`qperf_app.physics.models`, which
        is exact.
        """
        curves: Array = _double_integrals(parameters, self.nodes, self.model) @ self.forward.T
        return curves


def tent_averages(parameters: Array, lags: Array, model: ExchangeModel = "2CXM") -> Array:
    """Averages (n, l) of the responses, 1/s, over tents about the lags, s."""
    nodes = _nodes(lags)
    found: Array = _double_integrals(parameters, nodes, model) @ _average(nodes)
    return found


def _double_integrals(parameters: Array, nodes: Array, model: ExchangeModel) -> Array:
    """Double integrals (n, l) of the responses up to the nodes, s."""
    return (_distributed if model == "ATH" else _exchanged)(parameters, nodes)


def _distributed(parameters: Array, nodes: Array) -> Array:
    """Of plug flow: Fp until the transit time has passed, then E Fp exp(-k u) of what was extracted."""
    Fp, PS, vp, ve, Ta = parameters.T
    flow, extracted = per_second(Fp), per_second(extracted_flow("ATH", Fp, PS))
    arrived = np.maximum(nodes - Ta[:, None], 0.0)
    left = np.maximum(arrived - (vp / flow)[:, None], 0.0)
    k = np.maximum(extracted / ve, 1e-5)
    found: Array = (0.5 * flow)[:, None] * (arrived * arrived - left * left)
    found += (extracted / (k * k))[:, None] * (np.expm1(left * -k[:, None]) + k[:, None] * left)
    return found


def _exchanged(parameters: Array, nodes: Array) -> Array:
    """Of two compartments: two exponentials."""
    Fp, PS, vp, ve, Ta = parameters.T
    flow = per_second(Fp)
    fast, slow, weight = exchange_response(np, flow, per_second(PS), vp, ve)
    u = np.maximum(nodes - Ta[:, None], 0.0)
    # Of w exp(-k u): w / k^2 (expm1(-k u) + k u).
    found: Array = np.zeros_like(u)
    slope = np.zeros_like(flow)
    for rate, amplitude in ((fast, flow * (1.0 - weight)), (slow, flow * weight)):
        k = np.maximum(rate, 1e-5)
        part = np.expm1(u * -k[:, None])
        part *= (amplitude / (k * k))[:, None]
        found += part
        slope += amplitude / k
    u *= slope[:, None]
    found += u
    return found


def _average(nodes: Array) -> Array:
    """Matrix (l + 2, l) that makes averages over the tents between nodes of double integrals at them."""
    slope = np.diff(np.eye(len(nodes)), axis=1) / np.diff(nodes)
    found: Array = np.diff(slope, axis=1) / (0.5 * (nodes[2:] - nodes[:-2]))
    return found


def tent_convolutions(input_times: Array, plasma: Array, times: Array, lags: Array) -> Array:
    """Convolutions (t, l) of the piecewise-linear input with tents about the lags, exact."""
    nodes = _nodes(lags)
    double = _double_integral(input_times, plasma, times[:, None] - nodes)
    return np.diff(np.diff(double, axis=1) / np.diff(nodes), axis=1)


def _nodes(lags: Array) -> Array:
    """Lags and one more at either end."""
    return np.concatenate([[2.0 * lags[0] - lags[1]], lags, [2.0 * lags[-1] - lags[-2]]])


def _double_integral(knots: Array, values: Array, at: Array) -> Array:
    """Double integral of a piecewise-linear input from its first sample; 0 before, its last value kept after."""
    width, rise = np.diff(knots), np.diff(values)
    first = np.concatenate([[0.0], np.cumsum(width * (values[:-1] + 0.5 * rise))])
    second = np.concatenate([[0.0], np.cumsum(first[:-1] * width + width**2 * (values[:-1] / 2.0 + rise / 6.0))])
    index = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 1)
    slope = np.append(rise / width, 0.0)[index]
    u = at - knots[index]
    found = second[index] + u * (first[index] + u * (values[index] / 2.0 + u * slope / 6.0))
    return np.where(at < knots[0], 0.0, found)
