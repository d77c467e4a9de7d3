"""Exact convolution of a piecewise-linear input with an exponential, on any time grid, at any delay.

An arterial input is known at its samples and taken as linear between them. Its convolution with exp(-rate t) then
has a closed form on every interval, so nothing is resampled and the spacing may be irregular (Flouri et al. 2016,
doi:10.1002/mrm.25991, appendix, treat the same integral).

The input is **zero before its first sample** and keeps its last value after the last one.
"""

from __future__ import annotations

from typing import Any

from qperf_app.physics.backend import ArrayLike, common_arrays

# Below this the closed forms of phi lose digits to cancellation and the series takes over: the series' last term,
# x^11 / 13!, and the cancellation, eps / x, are then both near 1e-15.
_SERIES_BELOW = 0.25
_SERIES_ORDER = 11


def phi_functions(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    """Return exp(-x), phi1(x) = (1 - exp(-x)) / x and phi2(x) = (x - 1 + exp(-x)) / x^2 for x >= 0.

    phi1 and phi2 are the zeroth and first moments of exp(-x (1 - u)) over u in [0, 1]; at x = 0 they are 1 and 1/2.
    Value and derivative are accurate to a few units in the last place for every x >= 0.
    """
    small = x < _SERIES_BELOW
    # Each branch is fed only what it can take: a NaN in the branch not chosen would still poison the gradient.
    low = xp.where(small, x, 0.0 * x)
    high = xp.where(small, 0.0 * x + 1.0, x)
    series = 0.0 * x + 1.0
    for n in range(_SERIES_ORDER, 0, -1):
        # In place where arrays are NumPy's: it is the making of them that takes the time.
        series *= low
        series /= n + 2.0
        series = 1.0 - series
    series *= 0.5
    lost = -xp.expm1(-high)
    phi1 = lost / high
    return (
        xp.exp(-x),
        xp.where(small, 1.0 - low * series, phi1),
        xp.where(small, series, (1.0 - phi1) / high),
    )


def exponential_convolution(
    rate: ArrayLike, times: ArrayLike, concentration: ArrayLike, at: ArrayLike | None = None
) -> Any:
    r"""Convolve a piecewise-linear input with an exponential.

    .. math:: I(t) = \int_{t_0}^{t} e^{-k (t - u)} c(u) \, du

    Parameters
    ----------
    rate : (...,) array
        k, 1/s, not negative; 0 gives the running integral.
    times : (t,) array
        Sample times of the input, s, strictly increasing.
    concentration : (t,) or (..., t) array
        The input at ``times``. Zero before the first time, constant after the last.
    at : (..., n) array, optional
        Times at which the result is wanted, s; ``times`` where it is not given.

    Returns
    -------
    (..., n) array
        In units of the input times s. Exact up to rounding; differentiable in ``rate``, ``concentration`` and ``at``.
    """
    at = times if at is None else at
    return convolution_and_input(rate, times, concentration, at)[0]


def convolution_and_input(
    rate: ArrayLike, times: ArrayLike, concentration: ArrayLike, at: ArrayLike
) -> tuple[Any, Any]:
    """Return :func:`exponential_convolution` and the interpolated input, both at ``at``.

    Together they give the derivative in time, dI/dt = c - k I.
    """
    xp, k, knots, c, points = common_arrays(rate, times, concentration, at)
    k = k[..., None]
    width, rise = knots[1:] - knots[:-1], c[..., 1:] - c[..., :-1]
    step = xp.common_width(width)
    decay, phi1, phi2 = phi_functions(xp, k * step)
    at_knots = xp.linear_recurrence(decay, step * (c[..., :-1] * phi1 + rise * phi2))

    index = xp.interval(knots, points)
    elapsed = xp.maximum(points - xp.take(knots, index), 0.0)
    start, slope = xp.take(c, index), xp.take(xp.append_zero(rise / width), index)
    decay, phi1, phi2 = phi_functions(xp, k * elapsed)
    convolved = xp.take(at_knots, index) * decay + elapsed * (start * phi1 + slope * elapsed * phi2)
    return convolved, xp.where(points < knots[0], 0.0 * start, start + slope * elapsed)


def interpolate(times: ArrayLike, concentration: ArrayLike, at: ArrayLike) -> Any:
    """Piecewise-linear input (t,) or (..., t) at the times ``at`` (..., n), s.

    Zero before the first sample and constant after the last, as in :func:`exponential_convolution`.
    """
    xp, knots, c, points = common_arrays(times, concentration, at)
    index = xp.interval(knots, points)
    start = xp.take(c, index)
    slope = xp.take(xp.append_zero((c[..., 1:] - c[..., :-1]) / (knots[1:] - knots[:-1])), index)
    return xp.where(points < knots[0], 0.0 * start, start + slope * (points - xp.take(knots, index)))


def running_integral(times: ArrayLike, concentration: ArrayLike, at: ArrayLike) -> Any:
    """Integral of the piecewise-linear input from its first sample to each of the times ``at`` (..., n)."""
    return exponential_convolution(0.0, times, concentration, at)
