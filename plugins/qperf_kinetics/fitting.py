"""From curves to estimates for any model: starts from a dictionary of shapes, refinement, what the data determine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.noise import effective_sample_fraction
from qperf_app.methods.priors import Priors
from qperf_app.methods.sobol import sobol
from qperf_kinetics.least_squares import Fit, Model, Objective, Observations, Prior, minimise

Array = NDArray[np.float64]

# Problems refined together: their intermediate arrays then stay in the processor's cache.
_CHUNK = 128
# Iterations that every start gets before only the best one of each curve goes on.
_RACE = 4
# A residual below this fraction of a curve's largest value is taken for rounding, not noise.
_FLOOR = 1e-4
# A coordinate within this part of its range of a bound lies on it.
_AT_BOUND = 1e-6
# Where delay and transit time are split into early and late, short and long, in parts of their ranges.
_SPLIT_DELAY, _SPLIT_TRANSIT = 0.4, 0.5
# Shapes made at a time, for the cache as well.
_SHAPES_AT_ONCE = 256
# What stands for an infinite or a vanishing precision, or division by nothing.
_FIXED, _RIDGE, _TINY = 1e12, 1e-12, 1e-300

Bounds = tuple[tuple[float, ...], tuple[float, ...]]


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


def build_problem(
    evaluate: Model,
    priors: Priors,
    bounds: Bounds,
    delays: tuple[float, float],
    shape_bounds: Bounds,
    n_shapes: int,
    split_by: int,
    *,
    amplitudes: int,
    regularised: bool,
) -> Problem:
    """Problem whose coordinates are logarithms, the first that of flow, and last the bolus delay.

    Parameters
    ----------
    evaluate : Model
    priors : Priors
    bounds : two tuples of p - 1 numbers
        Smallest and largest of the positive parameters.
    delays : (smallest, largest)
        s; the delay is fixed where both are the same.
    shape_bounds : two tuples of p - 2 numbers
        Range of the dictionary: the parameters but flow, which is 1, and the delay.
    n_shapes, split_by : int
        Shapes of the dictionary, and which of its axes tells short from long transit times among them.
    amplitudes : int
        So many of the first coordinates take the logarithm of a shape's scale.
    regularised : bool
        Whether the priors count.
    """
    lower, upper = (np.append(np.log(bound), delay) for bound, delay in zip(bounds, delays, strict=True))
    low, high = (np.append(np.log(bound), delay) for bound, delay in zip(shape_bounds, delays, strict=True))
    draws = sobol(n_shapes, len(low))
    shapes = np.column_stack([np.zeros(n_shapes), low + draws * (high - low)])
    groups = 2 * (draws[:, -1] > _SPLIT_DELAY) + (draws[:, split_by] > _SPLIT_TRANSIT)
    prior = Prior(priors.mean, priors.sd if regularised else np.full(len(priors.sd), np.inf))
    amplitude = (np.arange(len(lower)) < amplitudes).astype(np.float64)
    return Problem(evaluate, lower, upper, prior, shapes, groups, amplitude)


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
    shapes = np.concatenate(
        [problem.evaluate(part, derivatives=False)[0] for part in _chunks(problem.shapes, _SHAPES_AT_ONCE)]
    )
    found = [_estimate_chunk(problem, shapes, part, max_iterations) for part in _chunks(data, _CHUNK)]
    return Estimates(*(np.concatenate(fields) for fields in zip(*found, strict=True)))


def _chunks(values: Array, size: int) -> list[Array]:
    return [values[i : i + size] for i in range(0, max(len(values), 1), size)]


def _estimate_chunk(problem: Problem, shapes: Array, data: Array, max_iterations: int) -> tuple[NDArray[Any], ...]:
    starts = pick_starts(problem, shapes, data)
    n, k, p = starts.shape
    race = _refine(problem, np.repeat(data, k, axis=0), starts.reshape(-1, p), np.ones(n * k), _RACE)
    best = np.arange(n) * k + np.argmin(race.value.reshape(n, k), axis=1)
    present = np.isfinite(data)
    residual = np.where(present, data - problem.evaluate(race.x[best], derivatives=False)[0], 0.0)
    efficiency = effective_sample_fraction(residual)
    fit = _refine(problem, data, race.x[best], efficiency, max_iterations)
    fitted, jacobian = problem.evaluate(fit.x)
    assert jacobian is not None
    variance = (fit.rss / np.maximum(present.sum(axis=1) - p, 1) + _floor(data) ** 2) / efficiency
    margin = _AT_BOUND * (problem.upper - problem.lower)
    at_bound = (fit.x <= problem.lower + margin) | (fit.x >= problem.upper - margin)
    sd, sd_data = laplace_sd(jacobian * present[:, None, :], variance, problem)
    return fit.x, fitted, fit.rss, sd, sd_data, at_bound, fit.converged


def _floor(data: Array) -> Array:
    return np.asarray(np.maximum(_FLOOR * np.nanmax(np.abs(data), axis=1, initial=0.0), 1e-30))


def _refine(problem: Problem, data: Array, start: Array, efficiency: Array, max_iterations: int) -> Fit:
    objective = Objective(problem.evaluate, problem.lower, problem.upper, problem.prior)
    return minimise(objective, Observations(data, _floor(data), efficiency), start, max_iterations)


def pick_starts(problem: Problem, shapes: Array, data: Array) -> Array:
    """Return for each curve (n, t) the best scaled shape of each group, (n, groups, p)."""
    present = np.isfinite(data)
    similarity = np.where(present, data, 0.0) @ shapes.T
    energy = (shapes**2).sum(axis=1) if present.all() else present @ (shapes**2).T
    similarity /= np.sqrt(energy) + _TINY
    energy = np.broadcast_to(energy, similarity.shape)
    starts = []
    for group in np.unique(problem.groups):
        members = np.flatnonzero(problem.groups == group)
        chosen = members[np.argmax(similarity[:, members], axis=1)]
        rows = np.arange(len(data))
        scale = similarity[rows, chosen] / (np.sqrt(energy[rows, chosen]) + _TINY)
        log_scale = np.log(np.maximum(scale, 1e-6))
        starts.append(problem.shapes[chosen] + log_scale[:, None] * problem.amplitude)
    return np.stack(starts, axis=1)


def laplace_sd(jacobian: Array, variance: Array, problem: Problem) -> tuple[Array, Array]:
    """Standard deviation (m, p) of each coordinate, the others free, from the curvature at the solution.

    Under data and prior, and under the data alone. A coordinate that the problem fixes has none and takes none from the
    others.
    """
    information = jacobian @ jacobian.transpose(0, 2, 1) / variance[:, None, None]
    information = information + np.diag(np.where(problem.lower < problem.upper, 0.0, _FIXED))
    return _marginal_sd(information + problem.prior.precision()), _marginal_sd(information)


def _marginal_sd(information: Array) -> Array:
    # Scaled to unit diagonal, so that one ridge serves coordinates of any size; what nothing touches gets ~1e6.
    scale = np.sqrt(np.maximum(np.einsum("mii->mi", information), _RIDGE))
    scaled = information / (scale[:, :, None] * scale[:, None, :]) + _RIDGE * np.eye(information.shape[-1])
    return np.asarray(np.sqrt(np.maximum(np.einsum("mii->mi", np.linalg.inv(scaled)), 0.0)) / scale)
