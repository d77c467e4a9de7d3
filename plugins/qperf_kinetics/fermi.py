"""``fermi``: deconvolution of the first pass with a Fermi response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.neighbours import CITATION
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
from qperf_app.plugins.digests import file_digests
from qperf_kinetics.options import FitOptions

if TYPE_CHECKING:
    from qperf_kinetics.fitting import Problem

Array = NDArray[np.float64]

_NAMES = ("Fb", "width", "rate", "Ta")
# Fb in mL/min/mL, width in s, rate in 1/s.
_BOUNDS = (0.01, 0.1, 0.02), (20.0, 60.0, 10.0)
# Shapes of the dictionary: width, s, and rate, 1/s, at a flow of 1.
_SHAPES, _SHAPE_BOUNDS = 2048, ((0.2, 0.05), (20.0, 3.0))
# Starts differ in delay and in width, the transit time.
_SPLIT_BY = 0


@dataclass(frozen=True)
class FermiOptions(FitOptions):
    """Options of ``fermi``."""

    first_pass_only: bool = field(
        default=True,
        metadata={
            "help": "fit up to the input function's valley only, before recirculation; all volumes where the series "
            "ends before it"
        },
    )


class FermiDeconvolution(KineticsPlugin):
    """Plugin ``fermi``."""

    name = "fermi"
    version = "1.1"
    model = "Fermi"
    summary = "Fermi-function deconvolution of the first pass, spatial prior of flow"
    citations = (
        "Jerosch-Herold M, Wilke N, Stillman AE. Magnetic resonance quantification of the myocardial perfusion reserve "
        "with a Fermi function model for constrained deconvolution. Med Phys 1998;25:73-84. doi:10.1118/1.598163",
        CITATION,
    )
    Options = FermiOptions

    def loaded_files(self) -> Mapping[str, str]:
        """The priors."""
        from qperf_app.methods.priors import priors_file

        return file_digests(priors_file(""))

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate Fb, MBF and Ta of every curve."""
        from qperf_app.methods import kinetic_inputs
        from qperf_app.plugins.quality import legend
        from qperf_kinetics.judging import fit_and_judge, informed_by_neighbours

        features = kinetic_inputs.check(curves, aif)
        times = np.asarray(curves.times, dtype=np.float64)
        window = np.ones(len(times), dtype=bool)
        if self.options.first_pass_only and np.isfinite(features.valley):
            window = times <= features.valley
        least = kinetic_inputs.MIN_FRAMES // 2
        if (window & (times > features.foot)).sum() < least:
            raise ValueError(
                f"{int(window.sum())} volumes up to the end of the first pass, which starts at {features.foot:.1f} s; "
                f"a Fermi fit needs at least {least} after its start"
            )
        problem = self._problem(times[window], aif, constants)
        limits = np.array([self.options.max_log_sd, np.inf, np.inf, self.options.max_delay_sd])
        data = np.asarray(curves.concentration)[:, window]
        judged = fit_and_judge(problem, data, _NAMES, limits, self.options.max_iterations)
        if self.options.spatial:
            judged = informed_by_neighbours(judged, curves, self.model, _NAMES[0])
        fitted = np.full((len(window), len(judged.code)), np.nan)
        fitted[window] = judged.fitted.T
        Fb = np.exp(judged.x[:, 0])
        flow = conversion.myocardial_blood_flow(Fb, constants.density)
        maps = (
            ParameterMap("MBF", "mL/min/g", flow),
            ParameterMap("Fb", "mL/min/mL", Fb),
            ParameterMap("Ta", "s", judged.x[:, 3]),
        )
        return KineticMaps(self.model, maps, judged.code, legend(judged.code), fitted.T)

    def _problem(self, times: Array, aif: InputFunction, constants: TissueConstants) -> Problem:
        from qperf_app.methods import priors
        from qperf_app.methods.kinetic_inputs import even_input
        from qperf_kinetics.fermi_response import fermi_model
        from qperf_kinetics.fitting import build_problem

        delays = self.options.delays
        grid, cb = even_input(aif.times, aif.in_blood(constants.haematocrit), times[-1] - delays[0])
        return build_problem(
            fermi_model(times, grid, cb), priors.read("", self.model, _NAMES), _BOUNDS, delays, _SHAPE_BOUNDS,
            _SHAPES, _SPLIT_BY, amplitudes=1, regularised=self.options.regularisation == "physiological",
        )  # fmt: skip
