"""Fit curves and judge the result: the codes of the qc map, and which values are given at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods import priors
from qperf_app.methods.judging import MAX_OF_PRIOR, enhances, lacks_fit
from qperf_app.methods.kinetic_inputs import usable_curves
from qperf_app.methods.neighbours import share_flow
from qperf_app.methods.wider_intervals import NINETY
from qperf_app.plugins import ParameterMap, TissueCurves
from qperf_app.plugins.quality import OPEN_PARAMETERS, QualityCode
from qperf_app.plugins.records import Statistic
from qperf_kinetics.fitting import Estimates, Problem, estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Coordinates (n, p) and their standard deviations, NaN where not given; codes (n,); fitted curves (n, t)."""

    x: Array
    sd: Array
    code: NDArray[np.uint8]
    fitted: Array


def fit_and_judge(
    problem: Problem, concentration: Array, names: Sequence[str], limits: Array, max_iterations: int
) -> Judged:
    """Fit every curve and keep what the data determine.

    Parameters
    ----------
    problem : Problem
        Its first coordinate is the logarithm of flow.
    concentration : (n, t) array
        NaN where a frame is missing.
    names : p names
        Those of :data:`~qperf_app.plugins.quality.OPEN_PARAMETERS` have their own code.
    limits : (p,) array
        Largest standard deviation of each coordinate that is given, inf for those that don't matter. Where there is a
        prior it must also be at most 0.7 of the prior's: the data have then at least halved the variance. All but flow
        must keep to the limit by the data alone too, since a prior against which the data only lean would otherwise
        pass for an estimate. What ended on a bound is not given.
    max_iterations : int

    Returns
    -------
    Judged
    """
    data = np.asarray(concentration, dtype=np.float64)
    usable = usable_curves(data)
    fit = estimate(problem, data[usable], max_iterations)
    wide = fit.sd > np.minimum(limits, MAX_OF_PRIOR * problem.prior.sd)
    wide[:, 1:] |= fit.sd_data[:, 1:] > limits[1:]
    undetermined = (problem.lower < problem.upper) & np.isfinite(limits) & (fit.at_bound | wide)
    some = _code(data[usable], fit, undetermined, names)
    undetermined |= (some > QualityCode.FLOW_NOT_IDENTIFIABLE)[:, None]

    (x, sd), fitted = np.full((2, len(data), len(names)), np.nan), np.full(data.shape, np.nan)
    code = np.full(len(data), QualityCode.NOT_FINITE, dtype=np.uint8)
    x[usable], sd[usable] = (np.where(undetermined, np.nan, values) for values in (fit.x, fit.sd))
    fitted[usable], code[usable] = fit.fitted, some
    return Judged(x, sd, code, fitted)


def informed_by_neighbours(judged: Judged, curves: TissueCurves, model: str, flow: str) -> Judged:
    """The same with log flow, the first coordinate, given that of the neighbours, where the curves are of an image.

    The other parameters and the fitted curves stay what the voxel's own curve says. ``model`` and ``flow`` name the
    prior that tells how much neighbours differ.
    """
    if not curves.of_image:
        return judged
    between = float(priors.read("", model, [flow]).between[0])
    x, sd = judged.x.copy(), judged.sd.copy()
    x[:, 0], sd[:, 0] = share_flow(x[:, 0], sd[:, 0], curves.voxels, between)
    return replace(judged, x=x, sd=sd)


def interval(name: str, units: str, values: Array, log_sd: Array) -> list[ParameterMap]:
    """Bounds of a quantity's 90 % interval from the standard deviation (n,) of its logarithm (Laplace's method)."""
    bounds: tuple[tuple[Statistic, float], ...] = (("q05", -NINETY), ("q95", NINETY))
    return [ParameterMap(name, units, values * np.exp(z * log_sd), statistic) for statistic, z in bounds]


def _code(data: Array, fit: Estimates, undetermined: NDArray[np.bool_], names: Sequence[str]) -> NDArray[np.uint8]:
    """One code per curve; the gravest reason wins."""
    code = np.zeros(len(data), dtype=np.uint8)
    for name, mask in zip(names, undetermined.T, strict=True):
        code |= np.where(mask, OPEN_PARAMETERS.get(name, 0), 0).astype(np.uint8)
    code[undetermined[:, 0]] = QualityCode.FLOW_NOT_IDENTIFIABLE
    code[lacks_fit(data, fit.rss)] = QualityCode.POOR_FIT
    code[~fit.converged] = QualityCode.NOT_CONVERGED
    code[~enhances(data, fit.rss)] = QualityCode.NO_ENHANCEMENT
    return code
