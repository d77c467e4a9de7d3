"""The input function's posterior where the blood's signal saturates: its signal is modelled, not inverted.

Near saturation a percent of signal is many percent of concentration, for the noise of a frame as for the scale of
all. So the blood's *signal* has a Gaussian likelihood about the signal equation of a smooth curve. The curve's prior is
an integrated Wiener process, whose posterior mean is a cubic spline between the samples (Wahba, J R Stat Soc B
1978;40:364); the scale is integrated over a grid, and the curve given the scale by Laplace's method (Rue, Martino and
Chopin, J R Stat Soc B 2009;71:319).

A smaller scale makes a more peaked curve, which the prior finds rougher. How smooth a curve is must not say how high
it is: the scale's posterior rests on proton density, baseline and native R1 alone, a cut (Plummer, Stat Comput
2015;25:37).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.linalg import solve_triangular

from qperf_app.methods.wider_intervals import NINETY
from qperf_app.physics.baseline import baseline_frames
from qperf_app.physics.noise import white_noise_sd
from qperf_app.plugins.records import Series, SignalEquation

Array = NDArray[np.float64]

#: Relative standard deviation of the scale of prepared volumes against that of proton-density volumes, beside noise:
#: ringing at the pool's border, voxels chosen for their brightness, flip angles not quite what the header says.
SCALE_SD = 0.02
#: Relative standard deviation of blood's native R1 between persons, by haematocrit and oxygenation (Sharma et al., J
#: Magn Reson Imaging 2006;23:323).
NATIVE_SD = 0.08
#: Draws of the curve at each scale that its quantiles are taken from.
DRAWS = 400
# Samples without which a curve is not estimated.
_LEAST_SAMPLES = 12
# Width of a normal distribution's 90 % interval in standard deviations.
_INTERVAL = 2 * NINETY
# Least noise, relative to the largest signal: rounding of stored images, and what keeps a noise-free series regular.
_LEAST_NOISE = 3e-4
# Nodes of the scale's grid, and how many standard deviations they reach from its mean.
_NODES, _REACH = 15, 3.0
# Standard deviations of the slope's change in a second that are tried, 1/s^2, relative to the curve's height.
_ROUGHNESS = np.geomspace(0.015, 0.5, 8)
# Logarithm of the factor within which the roughness changes from one scale to the next.
_NEAR = 0.6
# Standard deviation, relative to the curve's height, of the first two samples, which come before the contrast agent.
_AT_START = 1e-3
# Gauss-Newton: steps at most, gain that ends them, and the damping beyond which there is none.
_STEPS, _ENOUGH, _STUCK = 40, 1e-4, 1e8
# The height is that of the largest signal, or of this part of the most that the equation gives.
_BELOW_MOST = 0.97
# The scale's posterior is first looked for within this factor's logarithm of the reference.
_WIDE = 0.4


@dataclass(frozen=True)
class BloodSignal:
    """Mean signal of the input function's voxels, and the equation that it follows.

    Parameters
    ----------
    times, signal : (t,) arrays
        Of the saturation-prepared volumes: s, and signal, NaN where a frame is left out.
    proton_density : (p,) array
        Signal of the volumes before them; may be empty.
    equation : SignalEquation
    n_baseline : int
        Prepared volumes before the contrast agent.
    """

    times: Array
    signal: Array
    proton_density: Array
    equation: SignalEquation
    n_baseline: int

    @classmethod
    def of(cls, curve: Series, equation: SignalEquation, left_out: NDArray[np.bool_] | None = None) -> BloodSignal:
        """From the mean signal, a series of one voxel; ``left_out`` (t,) marks prepared volumes that don't count."""
        dynamic, n = curve.dynamic(), curve.n_proton_density
        signal = np.asarray(dynamic.data[0, 0, 0], np.float64)
        weighted = np.asarray(curve.data[0, 0, 0, : 0 if np.isnan(equation.relaxed).any() else n], np.float64)
        measured = signal if left_out is None else np.where(left_out, np.nan, signal)
        return cls(dynamic.times, measured, weighted, equation, baseline_frames(signal))

    @property
    def usable(self) -> bool:
        """Whether there are samples enough, and signal before the contrast agent that a scale can be told from."""
        before = self.signal[: self.n_baseline]
        scales = [np.nanmean(before) if np.isfinite(before).any() else 0.0, *self.proton_density]
        return bool(np.isfinite(self.signal).sum() >= _LEAST_SAMPLES and min(scales) > 0.0)


#: From curves (k, t), mmol/L, to how likely each makes what else is known, as a logarithm (k,).
Witness = Callable[[Array], Array]


def weighted_draws(
    blood: BloodSignal, rng: np.random.Generator, witness: Witness | None = None, count: int = DRAWS
) -> tuple[Array, Array]:
    """Draws (n, t) of the blood's concentration, mmol/L, ``count`` at each scale, and their posterior weights (n,).

    Every scale has the same random numbers: what is made of the draws is then a smooth function of the data. A witness,
    such as the tissue (:mod:`qperf_app.methods.tissue_witness`), is asked of the mode at each scale.
    """
    curves = _Curves(blood, flat_noise(blood))
    log_scales, log_density = curves.scale_posterior()
    modes = curves.modes(log_scales)
    if witness is not None:
        log_density = log_density + witness(np.stack([curves.height * mode.mode[1:] for mode in modes]))
    weight = np.exp(log_density - log_density.max())
    noise = rng.standard_normal((len(modes[0].mode), count))
    drawn = np.concatenate([mode.draw(noise) for mode in modes])
    return curves.height * drawn[:, 1:], np.repeat(weight / (count * weight.sum()), count)


@dataclass(frozen=True)
class InputEstimate:
    """Posterior of an input function.

    Parameters
    ----------
    concentration : (t,) array
        Median at each sample, mmol/L.
    peak : (3,) array
        Quantiles 0.05, 0.5 and 0.95 of the height of its first pass, mmol/L.
    log_peak_sd : float
        Standard deviation of the height's logarithm, from these quantiles.
    """

    concentration: Array
    peak: Array
    log_peak_sd: float


def estimate_input(blood: BloodSignal, rng: np.random.Generator, witness: Witness | None = None) -> InputEstimate:
    """Median curve, and how well its height is known.

    Raises
    ------
    ValueError
        Where noise can't be told.
    """
    drawn, weight = weighted_draws(blood, rng, witness)
    (peak,) = _quantiles(drawn.max(axis=1, keepdims=True), weight, (0.05, 0.5, 0.95)).T
    peak = np.maximum(peak, np.finfo(float).tiny)
    (median,) = _quantiles(drawn, weight, (0.5,))
    return InputEstimate(median, peak, float(np.log(peak[2] / peak[0]) / _INTERVAL))


def _quantiles(values: Array, weight: Array, levels: tuple[float, ...]) -> Array:
    """Quantiles (levels, t) over weighted draws (n, t), interpolated at the middle of each draw's weight."""
    order = np.argsort(values, axis=0)
    result = np.empty((len(levels), values.shape[1]))
    for column, rows in enumerate(order.T):
        share = weight[rows]
        result[:, column] = np.interp(levels, np.cumsum(share) - 0.5 * share, values[rows, column])
    return result


def flat_noise(blood: BloodSignal) -> float:
    """Standard deviation of the signal's noise where the curve is flat: before the bolus, and after its first pass."""
    signal, n = blood.signal, blood.n_baseline
    after = min(2 * int(np.nanargmax(signal)) - n, len(signal) - 8)
    parts = [part[np.isfinite(part)] for part in (signal[:n], signal[max(after, n) :])]
    known = [(float(white_noise_sd(part, robust=False)) ** 2, len(part) - 2) for part in parts if len(part) > 3]
    if not known:
        raise ValueError("the input function's signal has no flat part to tell its noise from")
    variance = np.average([v for v, _ in known], weights=[m for _, m in known])
    return max(float(np.sqrt(variance)), _LEAST_NOISE * float(np.nanmax(signal)))


@dataclass(frozen=True)
class _Mode:
    """Mode (1 + t,) of log native R1 and curve at one scale, its precision, and the log evidence."""

    mode: Array
    precision: Array
    evidence: float
    roughness: float

    def draw(self, noise: Array) -> Array:
        """Draws (count, 1 + t) of the normal distribution about the mode, from standard normal noise (1 + t, count)."""
        lower = np.linalg.cholesky(self.precision)
        return np.asarray(self.mode + solve_triangular(lower, noise, lower=True, trans="T").T)


class _Curves:
    """Posterior of the curve, relative to a height, and of the native R1, given the scale."""

    def __init__(self, blood: BloodSignal, noise: float) -> None:
        self.blood, self.noise = blood, noise
        self.known = np.isfinite(blood.signal)
        self.data = np.where(self.known, blood.signal, 0.0)
        self.prepared = PchipInterpolator(blood.equation.r1, blood.equation.prepared)
        self.relaxed = PchipInterpolator(blood.equation.r1, np.nan_to_num(blood.equation.relaxed))
        self.slope = self.prepared.derivative()
        self.limits = float(blood.equation.r1[0]), float(blood.equation.r1[-1])
        self.baseline = float(np.nanmean(blood.signal[: blood.n_baseline]))
        self.reference = self._reference()
        self.height = self._height()
        rows = _slope_changes(blood.times)
        self.roughness = rows.T @ rows

    def _reference(self) -> float:
        """Scale by the proton-density volumes and the R1 that the baseline then has, or by baseline and native R1."""
        equation, weighted = self.blood.equation, self.blood.proton_density
        r1 = equation.native_r1
        if not len(weighted):
            return self.baseline / float(self.prepared(r1))
        scale = 1.0
        for _ in range(4):
            scale = float(weighted.mean() / self.relaxed(r1))
            r1 = float(np.interp(self.baseline / scale, equation.prepared, equation.r1))
        return scale

    def _height(self) -> float:
        equation = self.blood.equation
        most = min(self.data.max() / self.reference, _BELOW_MOST * float(equation.prepared.max()))
        r1 = float(np.interp(most, equation.prepared, equation.r1))
        return max(r1 - equation.native_r1, 0.1 * equation.native_r1) / equation.relaxivity

    def scale_posterior(self) -> tuple[Array, Array]:
        """Nodes of the log scale about the reference, and the posterior's log density there."""
        wide = np.linspace(-_WIDE, _WIDE, 801)
        log_density = self._scale_density(wide)
        weight = np.exp(log_density - log_density.max())
        mean = np.average(wide, weights=weight)
        spread = np.sqrt(np.average((wide - mean) ** 2, weights=weight))
        nodes = mean + _REACH * spread * np.linspace(-1.0, 1.0, _NODES)
        return nodes, self._scale_density(nodes)

    def _scale_density(self, log_scale: Array) -> Array:
        """Log density of the scale by proton density, baseline and native R1, which is integrated out.

        No signal may exceed what the scale allows by more than noise does.
        """
        blood, scale = self.blood, self.reference * np.exp(log_scale)[:, None]
        off = np.linspace(-4.0, 4.0, 81)
        r1 = np.clip(blood.equation.native_r1 * np.exp(NATIVE_SD * off), *self.limits)
        error = self.noise / np.sqrt(max(blood.n_baseline, 1))
        terms = -0.5 * off**2 - 0.5 * ((scale * self.prepared(r1) - self.baseline) / error) ** 2
        if len(blood.proton_density):
            mean = blood.proton_density.mean()
            error = np.hypot(self.noise / np.sqrt(len(blood.proton_density)), SCALE_SD * mean)
            terms = terms - 0.5 * ((scale * self.relaxed(r1) - mean) / error) ** 2
        excess = np.maximum(self.data - scale * float(blood.equation.prepared.max()), 0.0) / self.noise
        return np.asarray(np.logaddexp.reduce(terms, axis=1) - 0.5 * (excess**2).sum(axis=1))

    def modes(self, log_scales: Array) -> list[_Mode]:
        """Mode at each scale, with the roughness that is likeliest there; each starts from the one beside it."""
        found: dict[int, _Mode] = {}
        middle = len(log_scales) // 2
        for k in sorted(range(len(log_scales)), key=lambda k: abs(k - middle)):
            beside = found.get(k - 1 if k > middle else k + 1)
            scale = self.reference * float(np.exp(log_scales[k]))
            if beside is None:
                tried = [self._climb(scale, roughness, self._guess(scale)) for roughness in _ROUGHNESS]
            else:
                near = _ROUGHNESS[np.abs(np.log(_ROUGHNESS / beside.roughness)) < _NEAR]
                tried = [self._climb(scale, roughness, beside.mode) for roughness in near]
            found[k] = max(tried, key=lambda mode: mode.evidence)
        return [found[k] for k in range(len(log_scales))]

    def _guess(self, scale: float) -> Array:
        """Each signal inverted, as far as it can be."""
        equation = self.blood.equation
        r1 = np.interp(
            np.minimum(self.data / scale, _BELOW_MOST * equation.prepared.max()), equation.prepared, equation.r1
        )
        curve = np.interp(self.blood.times, self.blood.times[self.known], r1[self.known] - equation.native_r1)
        return np.concatenate([[0.0], curve / (equation.relaxivity * self.height)])

    def _climb(self, scale: float, roughness: float, x: Array) -> _Mode:
        """Mode by damped Gauss-Newton steps, and Laplace's evidence."""
        penalty = np.zeros((len(x), len(x)))
        penalty[0, 0] = NATIVE_SD**-2
        penalty[1:, 1:] = self.roughness / roughness**2 + np.diag([_AT_START**-2] * 2 + [0.0] * (len(x) - 3))
        value, gradient, curvature = self._density(x, scale, penalty)
        damping = 1e-4
        for _ in range(_STEPS):
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
            trial = self._density(x - step, scale, penalty)
            gain = value - trial[0]
            if gain > 0.0:
                x, (value, gradient, curvature) = x - step, trial
            damping *= 0.1 if gain > 0.0 else 10.0
            if 0.0 <= gain < _ENOUGH or damping > _STUCK:
                break
        evidence = -value - 0.5 * np.linalg.slogdet(curvature)[1] - (len(x) - 3) * np.log(roughness)
        return _Mode(x, curvature, float(evidence), roughness)

    def _density(self, x: Array, scale: float, penalty: Array) -> tuple[float, Array, Array]:
        """Negative log density, its gradient, and Gauss-Newton's curvature."""
        equation = self.blood.equation
        native = equation.native_r1 * np.exp(np.clip(x[0], -1.0, 1.0))
        per_height = equation.relaxivity * self.height
        r1 = np.clip(native + per_height * x[1:], *self.limits)
        residual = np.where(self.known, scale * self.prepared(r1) - self.data, 0.0) / self.noise
        slope = np.where(self.known, scale * self.slope(r1), 0.0) / self.noise
        jacobian = np.column_stack([slope * native, np.diag(slope * per_height)])
        value = 0.5 * x @ penalty @ x + 0.5 * residual @ residual
        return float(value), penalty @ x + jacobian.T @ residual, penalty + jacobian.T @ jacobian


def _slope_changes(times: Array) -> Array:
    """Matrix (t - 2, t) to the change of slope at each inner sample over the root of the variance that time gives it.

    White for an integrated Wiener process, but for the correlation of neighbours (a quarter), which is neglected.
    """
    gaps = np.diff(times)
    rows = np.zeros((len(times) - 2, len(times)))
    for i, (before, after) in enumerate(itertools.pairwise(gaps)):
        change = np.array([1.0 / before, -1.0 / before - 1.0 / after, 1.0 / after])
        rows[i, i : i + 3] = change / np.sqrt((before + after) / 3.0)
    return rows
