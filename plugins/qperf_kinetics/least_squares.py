"""Batched, bounded Levenberg-Marquardt for many small problems of one shape.

Each problem minimises

    n_eff / 2 log(RSS(x) / n + floor^2) + 1 / 2 sum(((x - mean) / sd)^2)

inside a box: the least-squares fit with the noise's standard deviation profiled out, plus an optional Gaussian prior.
n samples are worth n_eff independent ones. Without a prior this is ordinary least squares. Problems are independent of
one another, so the result does not depend on which ones share a batch, and those that have converged drop out of the
work.

Tracer-kinetic parameters trade against each other along narrow curved valleys, where plain Levenberg-Marquardt crawls;
geodesic acceleration (Transtrum and Sethna 2012, arXiv:1201.5885) bends each step along the valley.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_DAMPING_START, _DAMPING_MIN, _DAMPING_MAX = 1e-3, 1e-9, 1e8
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
        return 0.5 * (((x - self.mean) / self.sd) ** 2).sum(axis=-1)

    def gradient(self, x: Array) -> Array:
        """Gradient (m, p) of the penalty."""
        return (x - self.mean) / self.sd**2

    def precision(self) -> Array:
        """Hessian (p, p) of the penalty."""
        return np.diag(self.sd**-2.0)


@dataclass(frozen=True)
class Fit:
    """Solutions of m problems: parameters (m, p), objective and residual sum of squares (m,), whether converged."""

    x: Array
    objective: Array
    rss: Array
    converged: Bools


def minimise(
    model: Model,
    data: Array,
    start: Array,
    bounds: tuple[Array, Array],
    prior: Prior,
    floor: Array,
    worth: Array,
    max_iterations: int,
    tolerance: float = 1e-3,
) -> Fit:
    """Minimise the objective of every problem from its start.

    Parameters
    ----------
    model : Model
    data : (m, t) array
        NaN where a sample is missing.
    start : (m, p) array
    bounds : two (p,) arrays
    prior : Prior
    floor : (m,) array
        Standard deviation below which a residual means nothing, in the data's unit.
    worth : (m,) array
        n_eff / n, what a sample is worth in independent ones: 1 for white noise.
    max_iterations : int
    tolerance : float
        A problem has converged where the undamped step promises to lower the objective by less than this. The
        objective is a negative log-likelihood: the parameters are then within sqrt(2 tolerance) of a standard
        deviation of the optimum, in every direction.

    Returns
    -------
    Fit
    """
    lower, upper = bounds
    here = _Point.at(model, data, np.clip(start, lower, upper), prior, floor, worth)
    damping = np.full(len(data), _DAMPING_START)
    converged = np.zeros(len(data), dtype=bool)
    active = np.arange(len(data))
    for _ in range(max_iterations):
        local = _Quadratic.at(here.subset(active), prior, lower, upper)
        done = local.newton_decrement() < tolerance
        converged[active[done]] = True
        active, local = active[~done], local.subset(~done)
        if not len(active):
            break
        step, predicted = local.step(model, damping[active], lower, upper)
        there = _Point.at(model, data[active], local.point.x + step, prior, floor[active], worth[active])
        gain = (local.point.objective - there.objective) / np.maximum(predicted, 1e-300)
        better = gain > 1e-4
        here.replace(active[better], there.subset(better))
        # Trust the quadratic model more where it foretold the fall well, less where it did not.
        factor = np.select([gain > 0.75, gain > 0.25, better], [0.1, 0.5, 2.0], 8.0)
        damping[active] = np.maximum(damping[active] * factor, _DAMPING_MIN)
        active = active[damping[active] < _DAMPING_MAX]
    return Fit(here.x, here.objective, here.rss, converged)


@dataclass(frozen=True)
class _Point:
    """Where each problem stands: parameters, model, residuals and objective."""

    x: Array
    values: Array
    residual: Array
    jacobian: Array
    rss: Array
    weight: Array
    objective: Array

    @classmethod
    def at(cls, model: Model, data: Array, x: Array, prior: Prior, floor: Array, worth: Array) -> _Point:
        values, jacobian = model(x)
        assert jacobian is not None
        residual = values - data
        missing = np.isnan(data)
        if missing.any():
            residual = np.where(missing, 0.0, residual)
            jacobian = np.where(missing[:, None, :], 0.0, jacobian)
        n = data.shape[1] - missing.sum(axis=1)
        rss = np.einsum("mt,mt->m", residual, residual)
        variance = rss / n + floor**2
        objective = 0.5 * worth * n * np.log(variance) + prior.penalty(x)
        return cls(x.copy(), values, residual, jacobian, rss, worth / variance, objective)

    def subset(self, chosen: NDArray) -> _Point:
        return _Point(*(field[chosen] for field in self.__dict__.values()))

    def replace(self, index: NDArray[np.intp], other: _Point) -> None:
        for name, field in self.__dict__.items():
            field[index] = getattr(other, name)


@dataclass(frozen=True)
class _Quadratic:
    """Gauss-Newton model of the objective around a point. ``free`` (m, p) marks what its bound does not hold."""

    point: _Point
    gradient: Array
    hessian: Array
    free: Bools

    @classmethod
    def at(cls, point: _Point, prior: Prior, lower: Array, upper: Array) -> _Quadratic:
        weight = point.weight
        gradient = weight[:, None] * np.einsum("mpt,mt->mp", point.jacobian, point.residual) + prior.gradient(point.x)
        hessian = weight[:, None, None] * (point.jacobian @ point.jacobian.transpose(0, 2, 1)) + prior.precision()
        held = ((point.x <= lower) & (gradient > 0.0)) | ((point.x >= upper) & (gradient < 0.0))
        return cls(point, gradient, hessian, ~held)

    def subset(self, chosen: Bools) -> _Quadratic:
        return _Quadratic(self.point.subset(chosen), self.gradient[chosen], self.hessian[chosen], self.free[chosen])

    def newton_decrement(self) -> Array:
        """What the undamped step promises (m,): all that is left to gain, however ill-conditioned the problem."""
        step = self._solve(self.gradient, np.full(len(self.gradient), 1e-10), self.free)
        return -0.5 * np.einsum("mi,mi->m", self.gradient * self.free, step)

    def step(self, model: Model, damping: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Accelerated step (m, p) inside the box, and the fall (m,) that the quadratic model promises without bend."""
        x, free = self.point.x, self.free
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
        bend = self._bend(model, step, damping, free)
        return np.clip(x + step + 0.5 * bend, lower, upper) - x, predicted

    def _bend(self, model: Model, step: Array, damping: Array, free: Bools) -> Array:
        """Second-order correction (m, p) of the step, 0 where it is too large to trust."""
        point = self.point
        slope = (model(point.x + _PROBE * step, derivatives=False)[0] - point.values) / _PROBE
        curvature = 2.0 / _PROBE * (slope - np.einsum("mpt,mp->mt", point.jacobian, step))
        pull = np.einsum("mpt,mt->mp", point.jacobian, curvature) * point.weight[:, None]
        bend = self._solve(pull, damping, free)
        scale = np.sqrt(np.einsum("mii->mi", self.hessian))
        size, length = np.linalg.norm(bend * scale, axis=1), np.linalg.norm(step * scale, axis=1)
        return np.where((size < _MAX_BEND * length)[:, None], bend, 0.0)

    def _solve(self, gradient: Array, damping: Array, free: Bools) -> Array:
        """Damped Newton step (m, p) in the free parameters, 0 in the others."""
        matrix = self.hessian * (free[:, :, None] & free[:, None, :])
        diagonal = damping[:, None] * np.einsum("mii->mi", matrix) + ~free + 1e-12
        index = np.arange(free.shape[1])
        matrix[:, index, index] += diagonal
        return np.asarray(-np.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0], dtype=np.float64)
