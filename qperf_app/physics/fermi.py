r"""The Fermi response and its exact convolution with a piecewise-linear input.

The response of Jerosch-Herold et al. 1998 (doi:10.1118/1.598163), written with its value at time 0 as parameter:

.. math:: R(t) = F_b \frac{1 + e^{-k w}}{1 + e^{k (t - w)}}, \quad t \ge 0

w (``width``, s) is the length of the shoulder and k (``rate``, 1/s) the steepness of its fall.
"""

from __future__ import annotations

import math
from typing import Any

from qperf_app.physics.backend import ArrayLike, common_arrays
from qperf_app.physics.conversion import per_second

# -Li2(-z) = y + y^2/4 + y^3/36 - y^5/3600 + ... with y = log(1 + z): coefficients B_{2m} / (2m + 1)!, Bernoulli
# numbers B. For 0 <= z <= 1, y <= log 2 and the first term left out is below 2e-17.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_SERIES = tuple(b / math.factorial(2 * m + 3) for m, b in enumerate(_BERNOULLI))
_LOWEST_RATE = 1e-4


def tail_integrals(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    """Return f(x) = 1 / (1 + exp(x)), its integral from x to infinity, and that one's integral from x to infinity.

    They are f, log(1 + exp(-x)) and -Li2(-exp(-x)); Li2 is the dilogarithm (Lewin 1981, inversion formula for x < 0).
    Elementary operations only, so that tensors take the same way (TensorFlow's ``spence`` does not compile under XLA).
    """
    positive = x >= 0.0
    magnitude = xp.where(positive, x, -x)  # unlike abs, differentiable from one side at 0
    z = xp.exp(-magnitude)
    y = xp.log1p(z)
    square = y * y
    series = 0.0 * y
    for coefficient in reversed(_SERIES):
        series = coefficient + series * square
    dilogarithm = y + 0.25 * square + y * square * series
    fermi = xp.where(positive, z, 0.0 * z + 1.0) / (1.0 + z)
    first = xp.where(positive, y, y + magnitude)
    second = xp.where(positive, dilogarithm, math.pi**2 / 6.0 + 0.5 * magnitude * magnitude - dilogarithm)
    return fermi, first, second


def response_integrals(xp: Any, t: Any, width: Any, rate: Any) -> tuple[Any, Any, Any]:
    """Return R(t) / Fb for t >= 0, its integral from 0 to t (s), and that one's integral from 0 to t (s^2)."""
    k = xp.maximum(rate, _LOWEST_RATE)
    start = -k * width
    f0, first0, second0 = tail_integrals(xp, start)
    f, first, second = tail_integrals(xp, start + k * t)
    return f / f0, (first0 - first) / (k * f0), (t * first0 - (second0 - second) / k) / (k * f0)


def fermi(
    times: ArrayLike, cb: ArrayLike, Fb: ArrayLike, width: ArrayLike, rate: ArrayLike, Ta: ArrayLike = 0.0
) -> Any:
    """Tissue concentration under the Fermi response.

    The input is a sum of ramps, each starting at a sample with the change of slope there; the tissue curve is the sum
    of the response's second integral over them. The work is O(t^2) per curve.

    Parameters
    ----------
    times : (t,) array
        s.
    cb : (t,) or (..., t) array
        Concentration in whole blood, mmol/L.
    Fb : (...,) array
        Blood flow, mL/min/mL: the response at time 0.
    width : (...,) array
        Length of the shoulder, s, >= 0.
    rate : (...,) array
        Steepness of the fall, 1/s, > 0.
    Ta : (...,) array
        Bolus delay, s.

    Returns
    -------
    (..., t) array
        mmol/L.
    """
    xp, t, c, F, w, k, Ta = common_arrays(times, cb, Fb, width, rate, Ta)
    lag = xp.maximum(t[:, None] - Ta[..., None, None] - t, 0.0)
    _, integral, double_integral = response_integrals(xp, lag, w[..., None, None], k[..., None, None])
    slope = (c[..., 1:] - c[..., :-1]) / (t[1:] - t[:-1])
    # The last value is held, so the slope ends at zero there as it begins at zero before the first sample.
    slope_change = xp.append_zero(slope) - xp.prepend_zero(slope)
    shape = c[..., :1] * integral[..., 0] + xp.contract(double_integral, slope_change)
    return per_second(F)[..., None] * shape
