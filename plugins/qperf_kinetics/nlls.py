"""``nlls``: the two-compartment exchange model, or a distributed one, by bounded, multi-start least squares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qperf_app.methods.exchange_models import ExchangeModelOptions
from qperf_app.methods.neighbours import CITATION
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

_NAMES = ("Fp", "PS", "vp", "ve", "Ta")
# Wide enough for any tissue, in mL/min/mL and mL/mL: a bound that a fit ends on is never reported.
_BOUNDS = (0.01, 0.001, 0.001, 0.005), (10.0, 10.0, 0.4, 0.8)
# Shapes of the dictionary: PS, vp and ve at a flow of 1, so that scaling a shape moves along curves of one form.
_SHAPES, _SHAPE_BOUNDS = 4096, ((0.05, 0.005, 0.03), (5.0, 0.5, 2.0))
# Starts differ in delay and in vp, the transit time at a flow of 1: these trade most against flow.
_SPLIT_BY = 1


@dataclass(frozen=True)
class ExchangeOptions(ExchangeModelOptions, FitOptions):
    """Options of ``nlls``."""


class ExchangeLeastSquares(KineticsPlugin):
    """Plugin ``nlls``."""

    name = "nlls"
    version = "1.2"
    model = "2CXM"
    summary = "two-compartment exchange or distributed model, bounded multi-start least squares, spatial prior of flow"
    citations = (
        "Sourbron SP, Buckley DL. Classic models for dynamic contrast-enhanced MRI. NMR Biomed 2013;26:1004-1027. "
        "doi:10.1002/nbm.2940",
        "St. Lawrence KS, Lee TY. An adiabatic approximation to the tissue homogeneity model for water exchange in the "
        "brain: I. Theoretical derivation. J Cereb Blood Flow Metab 1998;18:1365-1377. "
        "doi:10.1097/00004647-199812000-00011",
        "Transtrum MK, Sethna JP. Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares "
        "minimization. arXiv:1201.5885 (2012).",
        CITATION,
    )
    Options = ExchangeOptions

    def loaded_files(self) -> Mapping[str, str]:
        """The priors."""
        from qperf_app.methods.priors import priors_file

        return file_digests(priors_file(""))

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate Fp, Fb, MBF, PS, vp, ve, vb and Ta of every curve."""
        from qperf_app.methods import kinetic_inputs
        from qperf_app.methods.exchange_quantities import exchange_quantities
        from qperf_app.plugins.quality import legend
        from qperf_kinetics.judging import fit_and_judge, informed_by_neighbours, interval

        kinetic_inputs.check(curves, aif)
        problem = self._problem(curves, aif, constants)
        limits = np.array([self.options.max_log_sd] * 4 + [self.options.max_delay_sd])
        judged = fit_and_judge(problem, curves.concentration, _NAMES, limits, self.options.max_iterations)
        if self.options.spatial:
            judged = informed_by_neighbours(judged, curves, self.options.model, _NAMES[0])
        Fp, PS, vp, ve = np.exp(judged.x[:, :4]).T
        quantities = exchange_quantities(Fp, PS, vp, ve, judged.x[:, 4], constants)
        # Ktrans is judged by nobody here: PS may be open where it is not.
        del quantities["Ktrans"]
        maps = [ParameterMap(name, units, values) for name, (units, values) in quantities.items()]
        maps += interval("MBF", *quantities["MBF"], judged.sd[:, 0])
        return KineticMaps(self.options.model, tuple(maps), judged.code, legend(judged.code), judged.fitted)

    def _problem(self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants) -> Problem:
        from qperf_app.methods import priors
        from qperf_app.methods.kinetic_inputs import even_input
        from qperf_kinetics.exchange import exchange_model
        from qperf_kinetics.fitting import build_problem
        from qperf_kinetics.homogeneity import homogeneity_model

        delays = self.options.delays
        times = np.asarray(curves.times, dtype=np.float64)
        grid, cp = even_input(aif.times, aif.in_plasma(constants.haematocrit), times[-1] - delays[0])
        evaluate = (homogeneity_model if self.options.model == "ATH" else exchange_model)(times, grid, cp)
        return build_problem(
            evaluate, priors.read("", self.options.model, _NAMES), _BOUNDS, delays, _SHAPE_BOUNDS,
            _SHAPES, _SPLIT_BY, amplitudes=4, regularised=self.options.regularisation == "physiological",
        )  # fmt: skip
