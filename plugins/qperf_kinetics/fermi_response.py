"""The Fermi response with its Jacobian in fitting coordinates: log Fb, log width, log rate and Ta."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.conversion import per_second
from qperf_app.physics.fermi import response_integrals, tail_integrals
from qperf_kinetics.least_squares import Model

Array = NDArray[np.float64]


def fermi_model(times: Array, input_times: Array, cb: Array) -> Model:
    """Return the function that maps coordinates (m, 4) to curves (m, t) at ``times`` and their Jacobian (m, 4, t).

    ``input_times`` are evenly spaced. The lags between their knots are then the same for every delay: the tissue
    curve and its slope come exactly at the knots by one matrix product with the response's integrals, and between
    knots, where the curve is smooth, from the cubic through both.
    """
    lags = input_times - input_times[0]
    spacing = lags[1]
    first, ramps = cb[0], _changes_of_slope(lags, cb)

    def at_knots(response: Array, single: Array, double: Array) -> tuple[Array, Array]:
        # With the input's first value and its changes of slope: c R1 + sum m R2, and the slope c R + sum m R1, R1 and
        # R2 being the single and double integral of the response R.
        return first * single + double @ ramps, first * response + single @ ramps

    def evaluate(x: Array, derivatives: bool = True) -> tuple[Array, Array | None]:
        flow, width, rate = (np.exp(each) for each in (x[:, :1], x[:, 1:2], x[:, 2:3]))
        between = _Cubics.at(np.clip((times - x[:, 3:] - input_times[0]) / spacing, 0.0, len(lags) - 1.0), lags)
        flow = per_second(flow)
        if not derivatives:
            return flow * between.value(*at_knots(*response_integrals(NumpyOps, lags, width, rate))), None
        here, by_width, by_rate = (at_knots(*each) for each in _with_slopes(lags, width, rate))
        shape = between.value(*here)
        jacobian = np.stack([shape, between.value(*by_width), between.value(*by_rate), -between.slope(*here)], axis=1)
        return flow * shape, flow[:, :, None] * jacobian

    return evaluate


def _with_slopes(t: Array, width: Array, rate: Array) -> tuple[tuple[Array, Array, Array], ...]:
    """R / Fb with its single and double integral (m, n) at lags t (n,), and their slopes by log width and log rate.

    With f, a and b of :func:`tail_integrals`, each the last one's slope with its sign turned, at x = rate (t - width).
    """
    k, start = rate, -rate * width
    f0, a0, b0 = tail_integrals(NumpyOps, start)
    f, a, b = tail_integrals(NumpyOps, start + k * t)
    scale = 1.0 / (k * f0)
    response, single = f / f0, (a0 - a) * scale
    double = (t * a0 - (b0 - b) / k) * scale
    by_x = (-(1.0 - f) * response, response / k, -a * scale / k)
    rest = 1.0 - f0
    by_start = (rest * response, rest * single - 1.0 / k, rest * double + (a0 / k - t * f0) * scale)
    by_width = tuple(start * (one + other) for one, other in zip(by_x, by_start, strict=True))
    # Where x and its start stay, what is divided by the rate changes with it.
    explicit = (0.0, -single, (b0 - b) / k * scale - double)
    by_rate = tuple(
        (start + k * t) * one + start * other + own for one, other, own in zip(by_x, by_start, explicit, strict=True)
    )
    return (response, single, double), by_width, by_rate


def _changes_of_slope(lags: Array, cb: Array) -> Array:
    """Matrix (lag, knot): the input's change of slope a lag before the knot, for a sum over lags."""
    n = len(lags)
    slope = np.diff(cb) / np.diff(lags)
    change = np.diff(slope, prepend=0.0)
    lag, knot = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    origin = knot - lag
    return np.where((origin >= 0) & (origin < n - 1), change[np.clip(origin, 0, n - 2)], 0.0)


@dataclass(frozen=True)
class _Cubics:
    """Positions (m, t) between even knots (n,): the knot before each, counted over all rows, and the part after it.

    Positions before the first knot have been clipped to it; a curve is zero there.
    """

    before: NDArray[np.intp]
    part: Array
    spacing: float
    inside: NDArray[np.bool_]

    @classmethod
    def at(cls, position: Array, knots: Array) -> _Cubics:
        """``position`` is in units of the spacing."""
        index = np.minimum(position.astype(np.intp), len(knots) - 2)
        rows = np.arange(len(position))[:, None] * len(knots)
        return cls(rows + index, position - index, float(knots[1] - knots[0]), position > 0.0)

    def value(self, values: Array, slopes: Array) -> Array:
        """Cubic through values and slopes (m, n) of the knots."""
        u, (y, d, a, b) = self.part, self._coefficients(values, slopes)
        return np.asarray(y + u * (d + u * (b + u * a)))

    def slope(self, values: Array, slopes: Array) -> Array:
        """Its slope."""
        u, (_, d, a, b) = self.part, self._coefficients(values, slopes)
        return np.where(self.inside, (d + u * (2.0 * b + 3.0 * u * a)) / self.spacing, 0.0)

    def _coefficients(self, values: Array, slopes: Array) -> tuple[Array, Array, Array, Array]:
        (y0, y1), (d0, d1) = ((np.take(each, self.before), np.take(each, self.before + 1)) for each in (values, slopes))
        d0, d1 = self.spacing * d0, self.spacing * d1
        return y0, d0, 2.0 * (y0 - y1) + d0 + d1, 3.0 * (y1 - y0) - 2.0 * d0 - d1
