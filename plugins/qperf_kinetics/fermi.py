"""``fermi``: deconvolution of the first pass with a Fermi response."""

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

# Fb in mL/min/mL, width in s, rate in 1/s.
_LOWER, _UPPER = (0.01, 0.1, 0.02), (20.0, 60.0, 10.0)
# Normal priors on log Fb, log width, log rate and Ta: flow and delay as in nlls; the shape as it is fitted to
# two-compartment and plug-flow responses of the heart, a factor of e either way.
_PRIOR_MEAN, _PRIOR_SD = (np.log(1.4), np.log(5.0), np.log(0.3), 1.0), (1.0, 1.0, 1.0, 1.5)
_SHAPES, _SHAPE_LOWER, _SHAPE_UPPER = 2048, (0.2, 0.05), (20.0, 3.0)


@dataclass(frozen=True)
class FermiOptions:
    """Options of ``fermi``."""

    first_pass_only: bool = field(
        default=True,
        metadata={
            "help": "fit up to the input function's valley only, before recirculation; all volumes where the series "
            "ends before it"
        },
    )
    regularisation: Literal["physiological", "none"] = field(
        default="physiological",
        metadata={
            "help": "physiological: weak priors (median, factor either way at one standard deviation) on Fb "
            "(1.4 mL/min/mL, 2.7), the response's width (5 s, 2.7) and rate (0.3 /s, 2.7), and on Ta (1.0 +- 1.5 s); "
            "none: least squares only"
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
            "help": "flow is NaN where its standard error on a log scale exceeds this (0.7: factor 2 either way)"
        },
    )
    max_delay_sd: float = field(default=1.5, metadata={"help": "Ta is NaN where its standard error exceeds this, s"})
    max_iterations: int = field(default=60, metadata={"help": "iterations of the last fit of each curve"})


class FermiDeconvolution(KineticsPlugin):
    """Plugin ``fermi``."""

    name = "fermi"
    version = "1.0"
    model = "Fermi"
    summary = "Fermi-function deconvolution of the first pass"
    citations = (
        "Jerosch-Herold M, Wilke N, Stillman AE. Magnetic resonance quantification of the myocardial perfusion reserve "
        "with a Fermi function model for constrained deconvolution. Med Phys 1998;25:73-84. doi:10.1118/1.598163",
    )
    Options = FermiOptions

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate Fb, MBF and Ta of every curve."""
        from qperf_app.plugins import kinetic_inputs as inputs
        from qperf_kinetics import judging

        features = inputs.check(curves, aif)
        times = np.asarray(curves.times, dtype=np.float64)
        window = np.ones(len(times), dtype=bool)
        if self.options.first_pass_only and np.isfinite(features.valley):
            window = times <= features.valley
        if (window & (times > features.foot)).sum() < inputs.MIN_FRAMES // 2:
            raise ValueError(
                f"{int(window.sum())} volumes up to the end of the first pass, which starts at {features.foot:.1f} s; "
                f"a Fermi fit needs at least {inputs.MIN_FRAMES // 2} after its start"
            )
        problem = self._problem(times[window], aif, constants)
        limits = np.array([self.options.max_log_sd, np.inf, np.inf, self.options.max_delay_sd])
        names = ("Fb", "width", "rate", "Ta")
        data = np.asarray(curves.concentration)[:, window]
        judged = judging.fit_and_judge(problem, data, names, limits, self.options.max_iterations)
        fitted = np.full((len(window), len(judged.code)), np.nan)
        fitted[window] = judged.fitted.T
        Fb = np.exp(judged.x[:, 0])
        maps = (
            ParameterMap("MBF", "mL/min/g", conversion.myocardial_blood_flow(Fb, constants.density)),
            ParameterMap("Fb", "mL/min/mL", Fb),
            ParameterMap("Ta", "s", judged.x[:, 3]),
        )
        return KineticMaps(self.model, maps, judged.code, judging.legend(judged.code), fitted.T)

    def _problem(self, times: Array, aif: InputFunction, constants: TissueConstants):  # type: ignore[no-untyped-def]
        from qperf_app.plugins.kinetic_inputs import even_input
        from qperf_kinetics.fermi_response import fermi_model
        from qperf_kinetics.fitting import Problem, sobol
        from qperf_kinetics.least_squares import Prior

        delays = self.options.min_delay, self.options.max_delay
        if not delays[0] <= delays[1]:
            raise ValueError(f"min_delay {delays[0]} s is above max_delay {delays[1]} s")
        grid, cb = even_input(aif.times, aif.in_blood(constants.haematocrit), times[-1] - delays[0])
        lower, upper = (np.append(np.log(bound), delay) for bound, delay in zip((_LOWER, _UPPER), delays, strict=True))
        box = [np.append(np.log(b), d) for b, d in zip((_SHAPE_LOWER, _SHAPE_UPPER), delays, strict=True)]
        draws = sobol(_SHAPES, 3)
        shapes = np.column_stack([np.zeros(_SHAPES), box[0] + draws * (box[1] - box[0])])
        groups = 2 * (draws[:, 2] > 0.4) + (draws[:, 0] > 0.5)
        weak = self.options.regularisation == "physiological"
        prior = Prior(np.array(_PRIOR_MEAN), np.array(_PRIOR_SD) if weak else np.full(4, np.inf))
        amplitude = np.array([1.0, 0.0, 0.0, 0.0])
        return Problem(fermi_model(times, grid, cb), lower, upper, prior, shapes, groups, amplitude)
