"""The Fermi response with its Jacobian in fitting coordinates: log Fb, log width, log rate and Ta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.conversion import per_second
from qperf_app.physics.fermi import response_integrals
from qperf_kinetics.least_squares import Model

Array = NDArray[np.float64]
_STEP = 1e-5


def fermi_model(times: Array, input_times: Array, cb: Array) -> Model:
    """Return the function that maps coordinates (m, 4) to curves (m, t) at ``times`` and their Jacobian (m, 4, t).

    ``input_times`` are evenly spaced. The lags between their knots are then the same for every delay: the tissue
    curve and its slope come exactly at the knots by one matrix product with the response's integrals, and between
    knots, where the curve is smooth, from the cubic through both.
    """
    lags = input_times - input_times[0]
    spacing = lags[1]
    first, ramps = cb[0], _changes_of_slope(lags, cb)

    def curves(width: Array, rate: Array) -> tuple[Array, Array]:
        response, single, double = response_integrals(NumpyOps, lags, width[:, None], rate[:, None])
        # With the input's first value and its changes of slope: c R1 + sum m R2, and the slope c R + sum m R1, R1 and
        # R2 being the single and double integral of the response R.
        return first * single + double @ ramps, first * response + single @ ramps

    def evaluate(x: Array, derivatives: bool = True) -> tuple[Array, Array | None]:
        flow, width, rate = per_second(np.exp(x[:, :1])), np.exp(x[:, 1]), np.exp(x[:, 2])
        position = np.clip((times - x[:, 3:] - input_times[0]) / spacing, 0.0, len(lags) - 1.0)
        shape, slope = _hermite(*curves(width, rate), position, spacing)
        if not derivatives:
            return flow * shape, None
        up = 1.0 + _STEP
        wider, steeper = curves(width * up, rate), curves(width, rate * up)
        jacobian = np.stack(
            [
                shape,
                (_hermite(*wider, position, spacing)[0] - shape) / np.log(up),
                (_hermite(*steeper, position, spacing)[0] - shape) / np.log(up),
                -slope,
            ],
            axis=1,
        )
        return flow * shape, flow[:, :, None] * jacobian

    return evaluate


def _changes_of_slope(lags: Array, cb: Array) -> Array:
    """Matrix (lag, knot): the input's change of slope a lag before the knot, for a sum over lags."""
    n = len(lags)
    slope = np.diff(cb) / np.diff(lags)
    change = np.diff(slope, prepend=0.0)
    lag, knot = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    origin = knot - lag
    return np.where((origin >= 0) & (origin < n - 1), change[np.clip(origin, 0, n - 2)], 0.0)


def _hermite(values: Array, slopes: Array, position: Array, spacing: float) -> tuple[Array, Array]:
    """Cubic through values and slopes (m, n) of even knots at positions (m, t) in units of the spacing, and its slope.

    Positions before the first knot have been clipped to it; the curve is zero there.
    """
    index = np.minimum(position.astype(np.intp), values.shape[1] - 2)
    u = position - index
    y0, y1 = np.take_along_axis(values, index, 1), np.take_along_axis(values, index + 1, 1)
    d0, d1 = (spacing * np.take_along_axis(slopes, i, 1) for i in (index, index + 1))
    a, b = 2.0 * (y0 - y1) + d0 + d1, 3.0 * (y1 - y0) - 2.0 * d0 - d1
    return y0 + u * (d0 + u * (b + u * a)), np.where(position > 0.0, (d0 + u * (2.0 * b + 3.0 * u * a)) / spacing, 0.0)
