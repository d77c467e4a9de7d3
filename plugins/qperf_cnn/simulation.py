"""Studies to learn from: an input function, sample times, and curves of an exchange model with noise.

Wider than any heart, so that a patient's study lies inside: frames, their spacing and gaps, shape and arrival of the
bolus, parameters and noise are all drawn. The fit sees what a scan would: the input function at the frames only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel
from qperf_app.physics.models import MODELS

Array = NDArray[np.float64]

#: Parameters of either model, in the order of every array.
NAMES = ("Fp", "PS", "vp", "ve", "Ta")
#: Widest range of each: flows, mL/min/mL, and volumes evenly in the logarithm, the delay, s, evenly.
RANGES = {"Fp": (0.1, 6.0), "PS": (0.1, 5.0), "vp": (0.015, 0.2), "ve": (0.04, 0.6), "Ta": (-1.0, 4.5)}
#: Noise's standard deviation as a part of the input function's peak.
NOISE = (0.0005, 0.02)
# Medians and logarithmic spread of half of the draws: hearts, rather than all that might be.
_CENTRE, _SPREAD = {"Fp": 0.8, "PS": 0.8, "vp": 0.06, "ve": 0.18}, {"Fp": 1.0, "PS": 1.0, "vp": 0.5, "ve": 1.0}
# Mean and standard deviation of those delays, s, and the grid that curves are simulated on, s.
_DELAY = (1.0, 1.5)
_FINE = 0.1
# Part of the curves whose noise is autocorrelated, as after interpolation, with these weights of three samples, and
# part of the studies with irregular beats.
_COLOURED, _SMOOTHING, _IRREGULAR = 0.2, (0.25, 0.5, 0.25), 0.5
# Noise of the input function, up to this part of its peak.
_INPUT_NOISE = 0.004
# Heart beats, s; length of a study, s, and its frames; how far beats vary; part that is missed; shortest gap, s.
_BEAT, _LENGTH, _FRAMES, _VARIES, _MISSED, _SHORTEST = (0.5, 1.4), (30.0, 90.0), (32, 110), 0.06, 0.06, 0.3
# First pass: rise to its peak, s, and shape of its gamma variate; earliest arrival, s, and latest, as a part of the
# study. Second pass: later by so many rises, broader by this factor, up to this part of the first. What stays: part of
# the first, and how fast it leaves, 1/s. Peak, mmol/L in plasma.
_RISE, _SHAPE, _ARRIVES, _LATEST = (2.0, 9.0), (1.2, 6.0), 1.0, 0.45
_LATER, _BROADER, _SECOND = (1.5, 3.0), (1.2, 2.5), 0.35
_STAYS, _LEAVES, _PEAK = (0.05, 0.4), (0.001, 0.01), (3.0, 15.0)


@dataclass(frozen=True)
class Study:
    """Curves of one scan.

    Parameters
    ----------
    times : (t,) array
        s.
    plasma : (t,) array
        Input function, mmol/L in plasma.
    tissue : (n, t) array
        mmol/L, with noise.
    truth : (n, 5) array
        :data:`NAMES`.
    noise : (n,) array
        Standard deviation as a part of the input function's peak.
    model : str
        What the curves follow, or are taken to.
    """

    times: Array
    plasma: Array
    tissue: Array
    truth: Array
    noise: Array
    model: ExchangeModel = "2CXM"


def concentration(model: ExchangeModel, times: Any, plasma: Any, parameters: dict[str, Any]) -> Any:
    """Curves (n, t), mmol/L, of parameters by name, (n,) each; arrays or tensors."""
    return MODELS[model](times, plasma, *(parameters[p.name] for p in MODELS[model].parameters))


def simulate(seed: int, number: int, count: int, model: ExchangeModel = "2CXM") -> Study:
    """Draw a study of ``count`` curves; the same seed and number, the same study."""
    rng = np.random.default_rng([seed, number])
    times = _frames(rng)
    fine = np.arange(0.0, times[-1] + _FINE, _FINE)
    plasma = _bolus(rng, fine, times[-1])
    truth = draw_parameters(rng, count)
    joined = np.union1d(fine, times)
    named = dict(zip(NAMES, truth.T, strict=True))
    clean = np.asarray(concentration(model, joined, np.interp(joined, fine, plasma), named))
    clean = clean[:, np.searchsorted(joined, times)]
    noise = np.exp(rng.uniform(np.log(NOISE[0]), np.log(NOISE[1]), count))
    white = rng.standard_normal((count, len(times) + 2))
    before, at, after = _SMOOTHING
    smooth = before * white[:, :-2] + at * white[:, 1:-1] + after * white[:, 2:]
    smooth /= np.sqrt(before**2 + at**2 + after**2)
    error = np.where(rng.random((count, 1)) < _COLOURED, smooth, white[:, 1:-1])
    seen = np.interp(times, fine, plasma)
    # An input function is the mean of many voxels: its noise is small, and the fit knows nothing of it.
    seen = seen + rng.uniform(0.0, _INPUT_NOISE) * plasma.max() * rng.standard_normal(len(times))
    return Study(times, seen, clean + noise[:, None] * plasma.max() * error, truth, noise, model)


def _frames(rng: np.random.Generator) -> Array:
    """One frame a heartbeat, with beats that vary and are missed, as slices of 30 to 90 s."""
    beat = np.exp(rng.uniform(*np.log(_BEAT)))
    count = int(np.clip(rng.uniform(*_LENGTH) / beat, *_FRAMES))
    gaps = beat * (1.0 + rng.uniform(0.0, _VARIES) * rng.standard_normal(count - 1))
    if rng.random() < _IRREGULAR:
        gaps = np.where(rng.random(count - 1) < rng.uniform(0.0, _MISSED), 2.0 * gaps, gaps)
    return np.concatenate([[0.0], np.cumsum(np.maximum(gaps, _SHORTEST))])


def _bolus(rng: np.random.Generator, t: Array, last: float) -> Array:
    """First pass, a second one that is later and broader, and what stays, mmol/L in plasma."""
    rise, shape = np.exp(rng.uniform(*np.log(_RISE))), rng.uniform(*_SHAPE)
    arrival = rng.uniform(_ARRIVES, max(2.0 * _ARRIVES, _LATEST * last - rise))
    first = _gamma_variate(t - arrival, rise, shape)
    second = _gamma_variate(t - arrival - rise * rng.uniform(*_LATER), rise * rng.uniform(*_BROADER), shape)
    stays = np.cumsum(first) * _FINE
    stays = stays / stays[-1] * np.exp(-np.maximum(t - arrival, 0.0) * rng.uniform(*_LEAVES))
    curve = first + rng.uniform(0.0, _SECOND) * second + rng.uniform(*_STAYS) * stays
    return np.asarray(rng.uniform(*_PEAK) * curve / curve.max())


def _gamma_variate(t: Array, rise: float, shape: float) -> Array:
    """Gamma variate with its peak of 1 at ``rise`` (Thompson 1964, doi:10.1161/01.res.14.6.502)."""
    u = np.maximum(t, 0.0) / rise
    return np.where(u > 0.0, np.exp(shape * (np.log(np.maximum(u, 1e-9)) + 1.0 - u)), 0.0)


def draw_parameters(rng: np.random.Generator, count: int) -> Array:
    """Parameters (count, 5): half of hearts, half evenly over the whole range."""
    wide = rng.random(count) < 0.5
    columns = []
    for name in NAMES:
        low, high = RANGES[name]
        if name == "Ta":
            even, normal = rng.uniform(low, high, count), rng.normal(*_DELAY, count)
        else:
            even = np.exp(rng.uniform(np.log(low), np.log(high), count))
            normal = _CENTRE[name] * np.exp(_SPREAD[name] * rng.standard_normal(count))
        columns.append(np.clip(np.where(wide, even, normal), low, high))
    return np.stack(columns, axis=1)
