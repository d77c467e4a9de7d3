"""``nlls``: two-compartment exchange model by bounded, multi-start least squares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics import conversion
from qperf_app.plugins import (
    InputFunction,
    KineticMaps,
    KineticsPlugin,
    ParameterMap,
    RunContext,
    TissueConstants,
    TissueCurves,
)

Array = NDArray[np.float64]

_NAMES = ("Fp", "PS", "vp", "ve", "Ta")
# Wide enough for any tissue, in mL/min/mL and mL/mL: a bound that a fit ends on is never reported.
_LOWER, _UPPER = (0.01, 0.001, 0.001, 0.005), (10.0, 10.0, 0.4, 0.8)
# Log-normal priors on Fp, PS, vp and ve. Fp: from defects to stress, 0.2 to 3. PS: 0.5 in patients (van Herten et al.,
# Med Image Anal 2022;78:102399), 1.3 in healthy stress (Xue et al., doi:10.1002/mrm.27954). vp: blood volume 9 % at
# rest and 12 % under stress; ve: extracellular volume 27 % less plasma (doi:10.1186/s12968-019-0585-9), 12 % in
# the patients' fits.
_PRIOR_MEDIAN, _PRIOR_LOG_SD = (0.8, 0.8, 0.06, 0.18), (1.0, 1.0, 0.5, 1.0)
# From the left ventricle through the coronary arteries to the tissue, s; collaterals take longer.
_DELAY_MEAN, _DELAY_SD = 1.0, 1.5
# Shapes of the dictionary: PS, vp and ve at a flow of 1, so that scaling a shape moves along curves of one form.
_SHAPES, _SHAPE_LOWER, _SHAPE_UPPER = 4096, (0.05, 0.005, 0.03), (5.0, 0.5, 2.0)


@dataclass(frozen=True)
class ExchangeOptions:
    """Options of ``nlls``."""

    regularisation: Literal["physiological", "none"] = field(
        default="physiological",
        metadata={
            "help": "physiological: weak log-normal priors (median, factor either way at one standard deviation) on Fp "
            "(0.8 mL/min/mL, 2.7), PS (0.8 mL/min/mL, 2.7), vp (0.06, 1.65) and ve (0.18, 2.7) and a normal one on Ta "
            "(1.0 +- 1.5 s), which settle what noise leaves open; none: least squares only"
        },
    )
    min_delay: float = field(
        default=-1.0, metadata={"help": "smallest bolus delay Ta, s; negative where the input series is read out later"}
    )
    max_delay: float = field(
        default=6.0, metadata={"help": "largest bolus delay, s; the delay is fixed where both are the same"}
    )
    max_log_sd: float = field(
        default=0.7,
        metadata={
            "help": "a value is NaN where its standard error on a log scale exceeds this (0.7: factor 2 either way)"
        },
    )
    max_delay_sd: float = field(default=1.5, metadata={"help": "Ta is NaN where its standard error exceeds this, s"})
    max_iterations: int = field(default=60, metadata={"help": "iterations of the last fit of each curve"})


class ExchangeLeastSquares(KineticsPlugin):
    """Plugin ``nlls``."""

    name = "nlls"
    version = "1.0"
    model = "2CXM"
    summary = "two-compartment exchange model, bounded multi-start least squares"
    citations = (
        "Sourbron SP, Buckley DL. Classic models for dynamic contrast-enhanced MRI. NMR Biomed 2013;26:1004-1027. "
        "doi:10.1002/nbm.2940",
        "Transtrum MK, Sethna JP. Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares "
        "minimization. arXiv:1201.5885 (2012).",
    )
    Options = ExchangeOptions

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate Fp, Fb, MBF, PS, vp, ve, vb and Ta of every curve."""
        from qperf_app.plugins import kinetic_inputs as inputs
        from qperf_kinetics import judging

        inputs.check(curves, aif)
        problem = self._problem(curves, aif, constants)
        limits = np.array([self.options.max_log_sd] * 4 + [self.options.max_delay_sd])
        judged = judging.fit_and_judge(problem, curves.concentration, _NAMES, limits, self.options.max_iterations)
        Fp, PS, vp, ve = np.exp(judged.x[:, :4]).T
        Fb = conversion.blood_flow(Fp, constants.haematocrit)
        maps = (
            ParameterMap("MBF", "mL/min/g", conversion.myocardial_blood_flow(Fb, constants.density)),
            ParameterMap("Fb", "mL/min/mL", Fb),
            ParameterMap("Fp", "mL/min/mL", Fp),
            ParameterMap("PS", "mL/min/mL", PS),
            ParameterMap("vp", "mL/mL", vp),
            ParameterMap("vb", "mL/mL", conversion.blood_volume(vp, constants.haematocrit)),
            ParameterMap("ve", "mL/mL", ve),
            ParameterMap("Ta", "s", judged.x[:, 4]),
        )
        return KineticMaps(self.model, maps, judged.code, judging.legend(judged.code), judged.fitted)

    def _problem(self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants):  # type: ignore[no-untyped-def]
        from qperf_app.plugins.kinetic_inputs import even_input
        from qperf_kinetics.exchange import exchange_model
        from qperf_kinetics.fitting import Problem, sobol
        from qperf_kinetics.least_squares import Prior

        options = self.options
        delays = options.min_delay, options.max_delay
        if not delays[0] <= delays[1]:
            raise ValueError(f"min_delay {delays[0]} s is above max_delay {delays[1]} s")
        times = np.asarray(curves.times, dtype=np.float64)
        grid, cp = even_input(aif.times, aif.in_plasma(constants.haematocrit), times[-1] - delays[0])
        lower, upper = (np.append(np.log(bound), delay) for bound, delay in zip((_LOWER, _UPPER), delays, strict=True))
        box = [np.append(np.log(b), d) for b, d in zip((_SHAPE_LOWER, _SHAPE_UPPER), delays, strict=True)]
        draws = sobol(_SHAPES, 4)
        shapes = np.column_stack([np.zeros(_SHAPES), box[0] + draws * (box[1] - box[0])])
        # Starts differ in delay and transit time, the two that trade most against flow.
        groups = 2 * (draws[:, 3] > 0.4) + (draws[:, 1] > 0.5)
        prior = Prior(np.append(np.log(_PRIOR_MEDIAN), _DELAY_MEAN), np.append(_PRIOR_LOG_SD, _DELAY_SD))
        if options.regularisation == "none":
            prior = Prior(prior.mean, np.full(5, np.inf))
        amplitude = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
        return Problem(exchange_model(times, grid, cp), lower, upper, prior, shapes, groups, amplitude)
