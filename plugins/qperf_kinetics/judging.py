"""Fit curves and judge the result: the codes of the qc map, and which values are given at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.kinetic_inputs import usable_curves
from qperf_kinetics.fitting import Estimates, Problem, estimate

Array = NDArray[np.float64]

FULL, FLOW, POOR_FIT, NOT_CONVERGED, NO_ENHANCEMENT, NOT_FINITE = 0, 16, 17, 18, 19, 20
#: Bits of the codes below 16: which parameters the data leave open while flow is known.
BITS = {"PS": 1, "vp": 2, "ve": 4, "Ta": 8}
_MEANINGS = {
    FULL: "full estimate",
    FLOW: "flow not identifiable",
    POOR_FIT: "the model does not describe the curve",
    NOT_CONVERGED: "the fit did not converge",
    NO_ENHANCEMENT: "no enhancement above the noise",
    NOT_FINITE: "too few finite frames",
}
# A fit must raise the log-likelihood over that of a curve of zeros by this much: 5 parameters gain it by chance in 1 of
# 10,000 curves of noise.
_MIN_GAIN = 12.0
# Lack of fit: less than half of the curve's variance explained, and residuals far above the frame-to-frame noise.
_MIN_EXPLAINED, _MAX_NOISE_RATIO = 0.5, 3.0
_MAX_OF_PRIOR = 0.7


def legend(codes: NDArray[np.uint8]) -> dict[int, str]:
    """Meaning of the codes that occur, and of 0."""
    meanings = dict(_MEANINGS)
    for size in range(1, len(BITS) + 1):
        for names in combinations(BITS, size):
            meanings[sum(BITS[name] for name in names)] = "not identifiable: " + ", ".join(names)
    return {code: meanings[code] for code in sorted({FULL, *np.unique(codes).tolist()})}


@dataclass(frozen=True)
class Judged:
    """Coordinates (n, p), NaN where not given; codes (n,); fitted curves (n, t)."""

    x: Array
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
        Those of :data:`BITS` have their own code.
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
    wide = fit.sd > np.minimum(limits, _MAX_OF_PRIOR * problem.prior.sd)
    wide[:, 1:] |= fit.sd_data[:, 1:] > limits[1:]
    undetermined = (problem.lower < problem.upper) & np.isfinite(limits) & (fit.at_bound | wide)
    some = _code(data[usable], fit, undetermined, names)
    undetermined |= (some > FLOW)[:, None]

    x, fitted = np.full((len(data), len(names)), np.nan), np.full(data.shape, np.nan)
    code = np.full(len(data), NOT_FINITE, dtype=np.uint8)
    x[usable], fitted[usable], code[usable] = np.where(undetermined, np.nan, fit.x), fit.fitted, some
    return Judged(x, code, fitted)


def _code(data: Array, fit: Estimates, undetermined: NDArray[np.bool_], names: Sequence[str]) -> NDArray[np.uint8]:
    """One code per curve; the gravest reason wins."""
    code = np.zeros(len(data), dtype=np.uint8)
    for name, mask in zip(names, undetermined.T, strict=True):
        code |= np.where(mask, BITS.get(name, 0), 0).astype(np.uint8)
    code[undetermined[:, 0]] = FLOW
    code[_poor(data, fit)] = POOR_FIT
    code[~fit.converged] = NOT_CONVERGED
    code[~_enhances(data, fit.rss)] = NO_ENHANCEMENT
    return code


def _enhances(data: Array, rss: Array) -> NDArray[np.bool_]:
    n, energy = np.isfinite(data).sum(axis=1), np.nansum(data**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (energy > 0.0) & (0.5 * n * np.log(energy / np.maximum(rss, 1e-12 * energy)) > _MIN_GAIN)


def _poor(data: Array, fit: Estimates) -> NDArray[np.bool_]:
    n = np.isfinite(data).sum(axis=1)
    spread = np.nansum((data - np.nanmean(data, axis=1, keepdims=True)) ** 2, axis=1)
    noise = 1.4826 * np.nanmedian(np.abs(np.diff(data, 2, axis=1)), axis=1) / np.sqrt(6.0)
    return (fit.rss > (1.0 - _MIN_EXPLAINED) * spread) & (np.sqrt(fit.rss / n) > _MAX_NOISE_RATIO * noise)
