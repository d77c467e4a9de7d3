"""The tissue's curves as witness of the input: how well each of several input functions explains them.

All regions of a heart have one input. One whose first pass is too high for its tail leaves a residual, or wants volumes
that no heart has: blind estimation of the input function (Fluckiger, Schabel and DiBella, Magn Reson Med 2009;62:1477)
with the blood's own signal as first witness. Each curve's parameters are integrated out by Laplace's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.priors import Priors
from qperf_app.physics.backend import common_arrays
from qperf_app.physics.conversion import per_second
from qperf_app.physics.convolution import exponential_convolution
from qperf_app.physics.models import exchange_response

Array = NDArray[np.float64]

#: Curves that the regions of a heart count for together, as many as it has coronary territories. Errors that they share
#: (blood at the borders, scale, a model only nearly right) make the product of their likelihoods too sure: a composite
#: likelihood (Varin, Reid and Firth, Stat Sin 2011;21:5).
INDEPENDENT = 3.0
# Spacing of the input's grid, s.
_SPACING = 0.5
# Step of the derivatives in the coordinates, longest step, and steps of the first climb and of those that start there.
_DERIVATIVE, _LONGEST, _FIRST, _FURTHER = 1e-4, 1.0, 40, 20
# Flows, relative to the prior's median, that the first climb starts from.
_STARTS = (0.5, 1.5, 4.0)
# Gain of the log density below which all curves have arrived.
_ENOUGH = 1e-6


def log_evidence(times: Array, curves: Array, plasma: Array, priors: Priors) -> Array:
    """Log evidence (k,) of all tissue curves together for each input, as of :data:`INDEPENDENT` curves.

    Parameters
    ----------
    times : (t,) array
        Of curves and inputs, s.
    curves : (n, t) array
        mmol/L, NaN where a frame is missing.
    plasma : (k, t) array
        Inputs, mmol/L.
    priors : Priors
        Of the exchange model's Fp, PS, vp, ve and Ta.
    """
    from scipy.interpolate import CubicSpline

    k, n = len(plasma), len(curves)
    grid = np.linspace(times[0], times[-1], int(np.ceil((times[-1] - times[0]) / _SPACING)) + 1)
    inputs = CubicSpline(times, plasma, axis=1)(grid)
    middle = np.median(inputs, axis=0)
    known = np.isfinite(curves)
    scale = (priors.noise_scale * float(middle.max())) ** 2
    problem = _Tissue(times, np.where(known, curves, 0.0), known.astype(float), grid, priors, scale)
    tried = []
    for factor in _STARTS:
        start = np.tile(priors.mean, (n, 1))
        start[:, 0] += np.log(factor)
        tried.append(problem.climb(np.tile(middle, (n, 1)), np.arange(n), start, _FIRST))
    best = np.stack([mode.value for mode in tried]).argmin(axis=0)
    start = np.stack([mode.x for mode in tried])[best, np.arange(n)]
    found = problem.climb(np.repeat(inputs, n, axis=0), np.tile(np.arange(n), k), np.tile(start, (k, 1)), _FURTHER)
    each = -found.value - 0.5 * np.linalg.slogdet(found.curvature)[1]
    return np.asarray(INDEPENDENT * each.reshape(k, n).mean(axis=1))


@dataclass(frozen=True)
class _Modes:
    """Modes (m, 5), their negative log densities (m,) and the curvatures there (m, 5, 5)."""

    x: Array
    value: Array
    curvature: Array


@dataclass(frozen=True)
class _Tissue:
    """Curves (n, t), 0 where ``weight`` is, the input's times, priors, and the scale of the noise's variance."""

    times: Array
    data: Array
    weight: Array
    grid: Array
    priors: Priors
    scale: float

    def model(self, inputs: Array, x: Array) -> Array:
        """Curves (m, t) of the exchange model at coordinates (m, 5) for inputs (m, grid)."""
        Fp, PS, vp, ve, Ta = self.priors.parameters(x).T
        xp, flow, exchange, v, e = common_arrays(per_second(Fp), per_second(PS), vp, ve)
        fast, slow, share = exchange_response(xp, flow, exchange, v, e)
        at = self.times - Ta[:, None]
        one, other = (exponential_convolution(rate, self.grid, inputs, at) for rate in (fast, slow))
        return np.asarray(flow[:, None] * ((1.0 - share[:, None]) * one + share[:, None] * other))

    def climb(self, inputs: Array, rows: NDArray[np.intp], x: Array, steps: int) -> _Modes:
        """Modes by damped Gauss-Newton steps, the noise's variance integrated out."""
        data, weight = self.data[rows], self.weight[rows]
        damping = np.full(len(x), 1e-3)
        curve = self.model(inputs, x)
        value = self._value(x, curve, data, weight)
        for _ in range(steps):
            gradient, curvature = self._slopes(inputs, x, curve, data, weight)
            damped = curvature + np.einsum("m,mi,ij->mij", damping, np.einsum("mii->mi", curvature), np.eye(x.shape[1]))
            step = np.linalg.solve(damped, gradient[..., None])[..., 0]
            trial = x - np.clip(step, -_LONGEST, _LONGEST)
            new = self.model(inputs, trial)
            gain = value - self._value(trial, new, data, weight)
            better = gain > 0.0
            x, curve = (np.where(better[:, None], a, b) for a, b in ((trial, x), (new, curve)))
            value = np.where(better, value - gain, value)
            damping = np.where(better, np.maximum(0.1 * damping, 1e-8), 10.0 * damping)
            if better.any() and gain.max() < _ENOUGH:
                break
        return _Modes(x, value, self._slopes(inputs, x, curve, data, weight)[1])

    def _shape(self, weight: Array) -> Array:
        return np.asarray(self.priors.noise_shape + 0.5 * weight.sum(axis=1))

    def _value(self, x: Array, curve: Array, data: Array, weight: Array) -> Array:
        half = 0.5 * (weight * (curve - data) ** 2).sum(axis=1)
        z = (x - self.priors.mean) / self.priors.sd
        return np.asarray(self._shape(weight) * np.log(self.scale + half) + 0.5 * (z * z).sum(axis=1))

    def _slopes(self, inputs: Array, x: Array, curve: Array, data: Array, weight: Array) -> tuple[Array, Array]:
        moved = [self.model(inputs, x + _DERIVATIVE * unit) for unit in np.eye(x.shape[1])]
        jacobian = (np.stack(moved, axis=1) - curve[:, None]) / _DERIVATIVE
        residual = weight * (curve - data)
        half = 0.5 * (residual**2).sum(axis=1)
        precision = self._shape(weight) / (self.scale + half)
        gradient = precision[:, None] * np.einsum("mpt,mt->mp", jacobian, residual)
        curvature = precision[:, None, None] * np.einsum("mpt,mt,mqt->mpq", jacobian, weight, jacobian)
        return gradient + (x - self.priors.mean) / self.priors.sd**2, curvature + np.diag(self.priors.sd**-2)
