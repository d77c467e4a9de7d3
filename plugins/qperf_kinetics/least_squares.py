"""Batched, bounded Levenberg-Marquardt for many small problems of one shape.

Each problem minimises

    n / 2 log(RSS(x) / n + floor^2) + 1 / 2 sum(((x - mean) / sd)^2)

inside a box: the least-squares fit with the noise's standard deviation integrated out (up to a constant), plus an
optional Gaussian prior. Without a prior this is ordinary least squares. Problems are independent of one another, so the
result does not depend on which ones share a batch, and those that have converged drop out of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Model values (m, t) and their Jacobian (m, p, t) for parameters (m, p).
Model = Callable[[Array], tuple[Array, Array]]

_DAMPING_START, _DAMPING_MIN, _DAMPING_MAX = 1e-3, 1e-9, 1e8


@dataclass(frozen=True)
class Prior:
    """Independent Gaussian prior, (p,) each; an infinite ``sd`` leaves a parameter free."""

    mean: Array
    sd: Array

    def terms(self, x: Array) -> tuple[Array, Array]:
        """Value (m,) of the penalty and its gradient (m, p)."""
        deviation = (x - self.mean) / self.sd
        return 0.5 * (deviation**2).sum(axis=-1), deviation / self.sd


@dataclass(frozen=True)
class Fit:
    """Solutions of m problems: parameters (m, p), objective and residual sum of squares (m,), whether converged."""

    x: Array
    objective: Array
    rss: Array
    converged: NDArray[np.bool_]


def minimise(
    model: Model,
    data: Array,
    start: Array,
    bounds: tuple[Array, Array],
    prior: Prior,
    floor: Array,
    max_iterations: int,
    tolerance: float = 1e-3,
) -> Fit:
    """Minimise the objective of every problem from its start.

    Parameters
    ----------
    model : callable
        Values and Jacobian for parameters (m, p).
    data : (m, t) array
    start : (m, p) array
    bounds : two (p,) arrays
    prior : Prior
    floor : (m,) array
        Standard deviation below which a residual means nothing, in the data's unit.
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
    n = data.shape[1]
    state = _State.begin(model, data, np.clip(start, lower, upper), prior, floor)
    damping = np.full(len(data), _DAMPING_START)
    converged = np.zeros(len(data), dtype=bool)
    active = np.arange(len(data))
    for _ in range(max_iterations):
        if not len(active):
            break
        gradient, hessian = state.derivatives(active, prior, n)
        here = state.x[active]
        held = ((here <= lower) & (gradient > 0.0)) | ((here >= upper) & (gradient < 0.0))
        done = _newton_decrement(hessian, gradient, ~held) < tolerance
        converged[active[done]] = True
        active, gradient, hessian, held = active[~done], gradient[~done], hessian[~done], held[~done]
        step, predicted = _damped_step(state.x[active], gradient, hessian, damping[active], held, bounds)
        if GEO:
            x0=state.x[active]; h=.1
            J=state.jacobian[active]
            fv=(model(x0+h*step)[0]-state.residual[active]-data[active])/h-np.einsum('mpt,mp->mt',J,step)
            fvv=2/h*fv
            gg=np.einsum('mpt,mt->mp',J,fvv)/state.scale[active][:,None]
            acc=_solve(hessian,gg,damping[active],~held)
            sc=np.sqrt(np.einsum('mii->mi',hessian))
            ok=2*np.linalg.norm(acc*sc,axis=1)<.75*np.linalg.norm(step*sc,axis=1)*2
            step=np.where(ok[:,None],np.clip(x0+step+.5*acc,lower,upper)-x0,step)
        COUNT[0]+=len(active)
        new = _State.begin(model, data[active], state.x[active] + step, prior, floor[active])
        gain = (state.objective[active] - new.objective) / np.maximum(predicted, 1e-300)
        better = gain > 1e-4
        state.update(active[better], new, better)
        # Trust the quadratic model more where it foretold the fall well, less where it did not.
        factor = np.select([gain > 0.75, gain > 0.25, better], [0.1, 0.5, 2.0], 8.0)
        damping[active] = np.maximum(damping[active] * factor, _DAMPING_MIN)
        active = active[damping[active] < _DAMPING_MAX]
    return Fit(state.x, state.objective, state.rss, converged)


@dataclass
class _State:
    """Residuals, Jacobian and objective where each problem stands."""

    x: Array
    residual: Array
    jacobian: Array
    rss: Array
    scale: Array
    objective: Array

    @classmethod
    def begin(cls, model: Model, data: Array, x: Array, prior: Prior, floor: Array) -> _State:
        values, jacobian = model(x)
        residual = values - data
        rss = np.einsum("mt,mt->m", residual, residual)
        n = data.shape[1]
        variance = rss / n + floor**2
        objective = 0.5 * n * np.log(variance) + prior.terms(x)[0]
        return cls(x.copy(), residual, jacobian, rss, variance, objective)

    def derivatives(self, index: NDArray[np.intp], prior: Prior, n: int) -> tuple[Array, Array]:
        """Gradient (m, p) and Gauss-Newton Hessian (m, p, p) of the objective."""
        jacobian, weight = self.jacobian[index], 1.0 / self.scale[index]
        gradient = weight[:, None] * np.einsum("mpt,mt->mp", jacobian, self.residual[index])
        hessian = weight[:, None, None] * (jacobian @ jacobian.transpose(0, 2, 1))
        gradient += prior.terms(self.x[index])[1]
        hessian += np.diag(prior.sd**-2.0)
        return gradient, hessian

    def update(self, index: NDArray[np.intp], new: _State, chosen: NDArray[np.bool_]) -> None:
        for name in ("x", "residual", "jacobian", "rss", "scale", "objective"):
            getattr(self, name)[index] = getattr(new, name)[chosen]


def _damped_step(
    x: Array,
    gradient: Array,
    hessian: Array,
    damping: Array,
    held: NDArray[np.bool_],
    bounds: tuple[Array, Array],
) -> tuple[Array, Array]:
    """Projected step (m, p) and the fall of the objective that the quadratic model promises (m,)."""
    lower, upper = bounds
    step = _solve(hessian, gradient, damping, ~held)
    # Parameters that the step takes out of the box go to their bounds, and the others are solved for again.
    leaves = ~held & ((x + step < lower) | (x + step > upper))
    if leaves.any():
        to_bound = np.where(leaves, np.clip(x + step, lower, upper) - x, 0.0)
        gradient_there = gradient + np.einsum("mij,mj->mi", hessian, to_bound)
        step = to_bound + _solve(hessian, gradient_there, damping, ~held & ~leaves)
        step = np.clip(x + step, lower, upper) - x
    predicted = -np.einsum("mi,mi->m", gradient, step) - 0.5 * np.einsum("mi,mij,mj->m", step, hessian, step)
    return step, predicted


def _newton_decrement(hessian: Array, gradient: Array, free: NDArray[np.bool_]) -> Array:
    """Half the gradient times the undamped step (m,): what is left to gain, however ill-conditioned the problem."""
    step = _solve(hessian, gradient, np.full(len(gradient), 1e-10), free)
    return -0.5 * np.einsum("mi,mi->m", gradient * free, step)


def _solve(hessian: Array, gradient: Array, damping: Array, free: NDArray[np.bool_]) -> Array:
    """Damped Newton step (m, p) in the free parameters, 0 in the others."""
    matrix = hessian * (free[:, :, None] & free[:, None, :])
    diagonal = damping[:, None] * np.einsum("mii->mi", matrix) + ~free + 1e-12
    matrix[:, np.arange(free.shape[1]), np.arange(free.shape[1])] += diagonal
    return -np.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0]

GEO=True
COUNT=[0]
