"""Batched, bounded Levenberg-Marquardt for many small problems of one shape.

Each problem minimises

    n_eff / 2 log(RSS(x) / n + floor^2) + 1 / 2 sum(((x - mean) / sd)^2)

inside a box: the least-squares fit with the noise's standard deviation profiled out, plus an optional Gaussian prior.
n_eff is the effective sample size of the n samples. Without a prior this is ordinary least squares. Problems are
independent of one another, so the result does not depend on which ones share a batch, and those that have converged
drop out of the work.

Tracer-kinetic parameters trade against each other along narrow curved valleys, where plain Levenberg-Marquardt crawls;
geodesic acceleration (Transtrum and Sethna 2012, arXiv:1201.5885) bends each step along the valley.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_DAMPING_START, _DAMPING_MIN, _DAMPING_MAX = 1e-3, 1e-9, 1e8
# Gain over what the quadratic model promised: a step is taken from the first on, and the model trusted as much or more
# from the others on (Nocedal and Wright 2006, doi:10.1007/978-0-387-40065-5, algorithm 4.1).
_LEAST_GAIN, _FAIR_GAIN, _GOOD_GAIN = 1e-4, 0.25, 0.75
# Damping that is none, and what is added to a diagonal so that it can be solved with.
_UNDAMPED, _RIDGE = 1e-10, 1e-12
# The second derivative along a step is taken over this fraction of it; the bend it gives is trusted up to this size.
_PROBE, _MAX_BEND = 0.1, 0.75


class Model(Protocol):
    """Values (m, t) for parameters (m, p), and their Jacobian (m, p, t) where it is asked for."""

    def __call__(self, x: Array, derivatives: bool = True) -> tuple[Array, Array | None]: ...


@dataclass(frozen=True)
class Prior:
    """Independent Gaussian prior, (p,) each; an infinite ``sd`` leaves a parameter free."""

    mean: Array
    sd: Array

    def penalty(self, x: Array) -> Array:
        """Negative log density (m,), up to a constant."""
        return np.asarray(0.5 * (((x - self.mean) / self.sd) ** 2).sum(axis=-1))

    def gradient(self, x: Array) -> Array:
        """Gradient (m, p) of the penalty."""
        return (x - self.mean) / self.sd**2

    def precision(self) -> Array:
        """Hessian (p, p) of the penalty."""
        return np.diag(self.sd**-2.0)


@dataclass(frozen=True)
class Fit:
    """Solutions of m problems: parameters (m, p); objective, residual sum of squares and whether converged, (m,)."""

    x: Array
    value: Array
    rss: Array
    converged: Bools


@dataclass(frozen=True)
class Objective:
    """What all problems share: model, bounds (p,) and prior."""

    model: Model
    lower: Array
    upper: Array
    prior: Prior


@dataclass(frozen=True)
class Observations:
    """Measured curves (m, t), NaN where a sample is missing.

    ``floor`` (m,) is the standard deviation below which a residual means nothing, in the data's unit; ``efficiency``
    (m,) is n_eff / n, 1 for white noise.
    """

    data: Array
    floor: Array
    efficiency: Array

    def subset(self, chosen: NDArray[Any]) -> Observations:
        """Some of the curves."""
        return Observations(self.data[chosen], self.floor[chosen], self.efficiency[chosen])


def minimise(
    objective: Objective, observed: Observations, start: Array, max_iterations: int, tolerance: float = 1e-3
) -> Fit:
    """Minimise the objective of every problem from its start.

    Parameters
    ----------
    objective : Objective
    observed : Observations
    start : (m, p) array
    max_iterations : int
    tolerance : float
        A problem has converged where the undamped step promises to lower the objective by less than this. The
        objective is a negative log-likelihood: the parameters are then within sqrt(2 tolerance) of a standard
        deviation of the optimum, in every direction.

    Returns
    -------
    Fit
    """
    count = len(observed.data)
    here = _Point.at(objective, observed, np.clip(start, objective.lower, objective.upper))
    damping, converged, active = np.full(count, _DAMPING_START), np.zeros(count, dtype=bool), np.arange(count)
    for _ in range(max_iterations):
        local = _Quadratic.at(objective, here.subset(active))
        done = local.newton_decrement() < tolerance
        converged[active[done]] = True
        active, local = active[~done], local.subset(~done)
        if not len(active):
            break
        step, predicted = local.step(damping[active])
        there = _Point.at(objective, observed.subset(active), local.point.x + step)
        gain = (local.point.value - there.value) / np.maximum(predicted, 1e-300)
        better = gain > _LEAST_GAIN
        here.replace(active[better], there.subset(better))
        damping[active] = np.maximum(damping[active] * _damping_factor(gain), _DAMPING_MIN)
        active = active[damping[active] < _DAMPING_MAX]
    return Fit(here.x, here.value, here.rss, converged)


def _damping_factor(gain: Array) -> Array:
    """Trust the quadratic model more where it foretold the fall well, less where it did not."""
    return np.select([gain > _GOOD_GAIN, gain > _FAIR_GAIN, gain > _LEAST_GAIN], [0.1, 0.5, 2.0], 8.0)


@dataclass(frozen=True)
class _Point:
    """Where each problem stands: parameters, model, residuals and objective."""

    x: Array
    values: Array
    residual: Array
    jacobian: Array
    rss: Array
    weight: Array
    value: Array

    @classmethod
    def at(cls, objective: Objective, observed: Observations, x: Array) -> _Point:
        data, efficiency = observed.data, observed.efficiency
        values, jacobian = objective.model(x)
        assert jacobian is not None
        residual = values - data
        missing = np.isnan(data)
        if missing.any():
            residual = np.where(missing, 0.0, residual)
            jacobian = np.where(missing[:, None, :], 0.0, jacobian)
        n = data.shape[1] - missing.sum(axis=1)
        rss = np.einsum("mt,mt->m", residual, residual)
        variance = rss / n + observed.floor**2
        value = 0.5 * efficiency * n * np.log(variance) + objective.prior.penalty(x)
        return cls(x.copy(), values, residual, jacobian, rss, efficiency / variance, value)

    def subset(self, chosen: NDArray[Any]) -> _Point:
        return _Point(*(field[chosen] for field in self.__dict__.values()))

    def replace(self, index: NDArray[np.intp], other: _Point) -> None:
        for name, field in self.__dict__.items():
            field[index] = getattr(other, name)


@dataclass(frozen=True)
class _Quadratic:
    """Gauss-Newton model of the objective around a point. ``free`` (m, p) marks what its bound does not hold."""

    objective: Objective
    point: _Point
    gradient: Array
    hessian: Array
    free: Bools

    @classmethod
    def at(cls, objective: Objective, point: _Point) -> _Quadratic:
        weight, prior = point.weight, objective.prior
        gradient = weight[:, None] * np.einsum("mpt,mt->mp", point.jacobian, point.residual) + prior.gradient(point.x)
        hessian = weight[:, None, None] * (point.jacobian @ point.jacobian.transpose(0, 2, 1)) + prior.precision()
        held = (point.x <= objective.lower) & (gradient > 0.0)
        held |= (point.x >= objective.upper) & (gradient < 0.0)
        return cls(objective, point, gradient, hessian, ~held)

    def subset(self, chosen: Bools) -> _Quadratic:
        parts = (self.point.subset(chosen), self.gradient[chosen], self.hessian[chosen], self.free[chosen])
        return _Quadratic(self.objective, *parts)

    def newton_decrement(self) -> Array:
        """What the undamped step promises (m,): all that is left to gain, however ill-conditioned the problem."""
        step = self._solve(self.gradient, np.full(len(self.gradient), _UNDAMPED), self.free)
        return np.asarray(-0.5 * np.einsum("mi,mi->m", self.gradient * self.free, step))

    def step(self, damping: Array) -> tuple[Array, Array]:
        """Accelerated step (m, p) inside the box, and the fall (m,) that the quadratic model promises without bend."""
        x, free, lower, upper = self.point.x, self.free, self.objective.lower, self.objective.upper
        step = self._solve(self.gradient, damping, free)
        # Parameters that the step takes out of the box go to their bounds, and the others are solved for again.
        leaves = free & ((x + step < lower) | (x + step > upper))
        if leaves.any():
            to_bound = np.where(leaves, np.clip(x + step, lower, upper) - x, 0.0)
            gradient_there = self.gradient + np.einsum("mij,mj->mi", self.hessian, to_bound)
            free = free & ~leaves
            step = np.clip(x + to_bound + self._solve(gradient_there, damping, free), lower, upper) - x
        predicted = -np.einsum("mi,mi->m", self.gradient, step)
        predicted -= 0.5 * np.einsum("mi,mij,mj->m", step, self.hessian, step)
        bend = self._bend(step, damping, free)
        return np.clip(x + step + 0.5 * bend, lower, upper) - x, predicted

    def _bend(self, step: Array, damping: Array, free: Bools) -> Array:
        """Second-order correction (m, p) of the step, 0 where it is too large to trust."""
        point = self.point
        slope = (self.objective.model(point.x + _PROBE * step, derivatives=False)[0] - point.values) / _PROBE
        curvature = 2.0 / _PROBE * (slope - np.einsum("mpt,mp->mt", point.jacobian, step))
        pull = np.einsum("mpt,mt->mp", point.jacobian, curvature) * point.weight[:, None]
        bend = self._solve(pull, damping, free)
        scale = np.sqrt(np.einsum("mii->mi", self.hessian))
        size, length = np.linalg.norm(bend * scale, axis=1), np.linalg.norm(step * scale, axis=1)
        return np.where((size < _MAX_BEND * length)[:, None], bend, 0.0)

    def _solve(self, gradient: Array, damping: Array, free: Bools) -> Array:
        """Damped Newton step (m, p) in the free parameters, 0 in the others."""
        matrix = self.hessian * (free[:, :, None] & free[:, None, :])
        diagonal = damping[:, None] * np.einsum("mii->mi", matrix) + ~free + _RIDGE
        index = np.arange(free.shape[1])
        matrix[:, index, index] += diagonal
        return np.asarray(-np.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0], dtype=np.float64)
