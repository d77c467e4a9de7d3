"""The ATH model with its Jacobian in fitting coordinates: log Fp, log PS, log vp, log ve and Ta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.conversion import per_second
from qperf_app.physics.convolution import convolution_and_input
from qperf_kinetics.least_squares import Model

Array = NDArray[np.float64]
_STEP = 1e-6


def homogeneity_model(times: Array, input_times: Array, cp: Array) -> Model:
    """Return the function that maps coordinates (m, 5) to curves (m, t) at ``times`` and their Jacobian (m, 5, t).

    With a = t - Ta, the transit time Tc = vp / Fp, b = a - Tc, the extraction E = 1 - exp(-PS / Fp) and k = E Fp / ve
    the curve is Fp [I(a) - I(b) + E C(k; b)], where I is the input's integral and C its convolution with exp(-k t)
    (:func:`qperf_app.physics.models.adiabatic_tissue_homogeneity`). The derivative to k is a forward difference of the
    exact convolution, all others are exact.
    """

    def evaluate(x: Array, derivatives: bool = True) -> tuple[Array, Array | None]:
        Fp, PS, vp, ve = np.exp(x[:, :4]).T
        flow = per_second(Fp)
        transit, extraction = vp / flow, -np.expm1(-PS / Fp)
        rate = extraction * flow / ve
        after = times - x[:, 4:]
        leaving = after - transit[:, None]
        passed, entering = convolution_and_input(np.zeros_like(rate), input_times, cp, after)
        steps = _STEP * (rate + 1e-3)
        rates = np.stack([np.zeros_like(rate), rate, rate + steps] if derivatives else [np.zeros_like(rate), rate])
        convolved, out = convolution_and_input(rates, input_times, cp, leaving)
        E, F = extraction[:, None], flow[:, None]
        shape = passed - convolved[0] + E * convolved[1]
        if not derivatives:
            return F * shape, None
        by_rate = E * (convolved[2] - convolved[1]) / steps[:, None]
        by_leaving = -out + E * (out - rate[:, None] * convolved[1])
        # How much of E a relative change of PS changes; one of flow changes it the other way.
        change = (PS / Fp * np.exp(-PS / Fp))[:, None]
        by_extraction = convolved[1] * change + by_rate * (rate[:, None] * change / E)
        late = by_leaving * transit[:, None]
        jacobian = np.stack(
            [
                shape + late - by_extraction + by_rate * rate[:, None],
                by_extraction,
                -late,
                -by_rate * rate[:, None],
                -entering - by_leaving,
            ],
            axis=1,
        )
        return F * shape, F[:, :, None] * jacobian

    return evaluate
