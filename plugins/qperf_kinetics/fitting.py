"""From curves to estimates for any model: starts from a dictionary of shapes, refinement, what the data determine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_kinetics.least_squares import Fit, Model, Prior, minimise

Array = NDArray[np.float64]

# Problems refined together: their intermediate arrays then stay in the processor's cache.
_CHUNK = 128
# Iterations that every start gets before only the best one of each curve goes on.
_RACE = 4
# A residual below this fraction of a curve's largest value is taken for rounding, not noise.
_FLOOR = 1e-4
_LEAST_WORTH = 0.1
_AT_BOUND = 1e-6


@dataclass(frozen=True)
class Problem:
    """A model to fit, in coordinates where a box and a Gaussian prior make sense (logarithms, mostly).

    Parameters
    ----------
    evaluate : Model
        Coordinates (m, p) to curves (m, t) and their Jacobian (m, p, t).
    lower, upper : (p,) arrays
        Bounds of the coordinates.
    prior : Prior
    shapes : (s, p) array
        Coordinates of the dictionary; each shape is scaled to a curve.
    groups : (s,) int array
        The best shape of each group becomes a start, so that starts differ in what the groups differ in.
    amplitude : (p,) array
        1 for the coordinates to which the logarithm of the scale is added, 0 elsewhere.
    """

    evaluate: Model
    lower: Array
    upper: Array
    prior: Prior
    shapes: Array
    groups: NDArray[np.intp]
    amplitude: Array


@dataclass(frozen=True)
class Estimates:
    """For n curves: coordinates (n, p), fitted curves (n, t), residual sum of squares and convergence (n,).

    ``sd`` (n, p) is the coordinates' standard deviation under data and prior, ``sd_data`` that under the data alone;
    ``at_bound`` (n, p) marks those that ended on a bound.
    """

    x: Array
    fitted: Array
    rss: Array
    sd: Array
    sd_data: Array
    at_bound: NDArray[np.bool_]
    converged: NDArray[np.bool_]


def estimate(problem: Problem, data: Array, max_iterations: int) -> Estimates:
    """Fit every curve (n, t), NaN where a frame is missing. What else is in the batch makes no difference to it."""
    shapes = np.concatenate([problem.evaluate(part, derivatives=False)[0] for part in _chunks(problem.shapes, 256)])
    parts = [_estimate_chunk(problem, shapes, part, max_iterations) for part in _chunks(data, _CHUNK)]
    return Estimates(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def _chunks(values: Array, size: int) -> list[Array]:
    return [values[i : i + size] for i in range(0, max(len(values), 1), size)]


def _estimate_chunk(problem: Problem, shapes: Array, data: Array, max_iterations: int) -> tuple[NDArray, ...]:
    starts = pick_starts(problem, shapes, data)
    n, k, p = starts.shape
    race = _refine(problem, np.repeat(data, k, axis=0), starts.reshape(-1, p), np.ones(n * k), _RACE)
    best = np.arange(n) * k + np.argmin(race.objective.reshape(n, k), axis=1)
    present = np.isfinite(data)
    worth = sample_worth(np.where(present, data - problem.evaluate(race.x[best], derivatives=False)[0], 0.0))
    fit = _refine(problem, data, race.x[best], worth, max_iterations)
    fitted, jacobian = problem.evaluate(fit.x)
    assert jacobian is not None
    variance = (fit.rss / np.maximum(present.sum(axis=1) - p, 1) + _floor(data) ** 2) / worth
    margin = _AT_BOUND * (problem.upper - problem.lower)
    at_bound = (fit.x <= problem.lower + margin) | (fit.x >= problem.upper - margin)
    sd, sd_data = laplace_sd(jacobian * present[:, None, :], variance, problem)
    return fit.x, fitted, fit.rss, sd, sd_data, at_bound, fit.converged


def sample_worth(residual: Array) -> Array:
    """Independent samples per sample (n,), (1 - r) / (1 + r), from the residuals' lag-one autocorrelation r.

    Interpolated or motion-filtered series and a model that is only nearly right leave residuals that hang together;
    counted as independent they would claim a precision that is not there (Bartlett 1946, doi:10.2307/2983611).
    """
    energy = np.einsum("nt,nt->n", residual, residual) + 1e-300
    r = np.einsum("nt,nt->n", residual[:, 1:], residual[:, :-1]) / energy
    return np.clip((1.0 - r) / (1.0 + r), _LEAST_WORTH, 1.0)


def _floor(data: Array) -> Array:
    return np.maximum(_FLOOR * np.nanmax(np.abs(data), axis=1, initial=0.0), 1e-30)


def _refine(problem: Problem, data: Array, start: Array, worth: Array, max_iterations: int) -> Fit:
    bounds = (problem.lower, problem.upper)
    return minimise(problem.evaluate, data, start, bounds, problem.prior, _floor(data), worth, max_iterations)


def pick_starts(problem: Problem, shapes: Array, data: Array) -> Array:
    """Return for each curve (n, t) the best scaled shape of each group, (n, groups, p)."""
    present = np.isfinite(data)
    similarity = np.where(present, data, 0.0) @ shapes.T
    energy = (shapes**2).sum(axis=1) if present.all() else present @ (shapes**2).T
    similarity /= np.sqrt(energy) + 1e-300
    energy = np.broadcast_to(energy, similarity.shape)
    starts = []
    for group in np.unique(problem.groups):
        members = np.flatnonzero(problem.groups == group)
        chosen = members[np.argmax(similarity[:, members], axis=1)]
        rows = np.arange(len(data))
        scale = similarity[rows, chosen] / (np.sqrt(energy[rows, chosen]) + 1e-300)
        log_scale = np.log(np.maximum(scale, 1e-6))
        starts.append(problem.shapes[chosen] + log_scale[:, None] * problem.amplitude)
    return np.stack(starts, axis=1)


def sobol(count: int, dimensions: int) -> Array:
    """Evenly spread points (count, dimensions) in the unit cube (Sobol's sequence, unscrambled: always the same)."""
    from scipy.stats import qmc

    return qmc.Sobol(dimensions, scramble=False).random(count)


def laplace_sd(jacobian: Array, variance: Array, problem: Problem) -> tuple[Array, Array]:
    """Standard deviation (m, p) of each coordinate, the others free, from the curvature at the solution.

    Under data and prior, and under the data alone. A coordinate that the problem fixes has none and takes none from the
    others.
    """
    information = jacobian @ jacobian.transpose(0, 2, 1) / variance[:, None, None]
    information = information + np.diag(np.where(problem.lower < problem.upper, 0.0, 1e12))
    return _marginal_sd(information + problem.prior.precision()), _marginal_sd(information)


def _marginal_sd(information: Array) -> Array:
    # Scaled to unit diagonal, so that one ridge serves coordinates of any size; what nothing touches gets ~1e6.
    scale = np.sqrt(np.maximum(np.einsum("mii->mi", information), 1e-12))
    scaled = information / (scale[:, :, None] * scale[:, None, :]) + 1e-12 * np.eye(information.shape[-1])
    return np.sqrt(np.maximum(np.einsum("mii->mi", np.linalg.inv(scaled)), 0.0)) / scale
