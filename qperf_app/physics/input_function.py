"""Features of an arterial input function: where the first pass starts, peaks and ends.

One definition for the report, for the fits that use the first pass only and for the phantom's checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.physics.noise import white_noise_sd

Array = NDArray[np.float64]

#: The foot is where the upslope passes this fraction of the peak's height above the baseline.
FOOT_FRACTION = 0.1
#: A peak counts as a bolus where it stands this many noise standard deviations above the baseline.
DETECTION_SIGMA = 5.0
#: The first pass has ended where the curve has risen again by this fraction of the peak's height.
REBOUND_FRACTION = 0.02
#: The first pass has not ended before the curve has fallen below this fraction of the peak's height.
DECAYED_FRACTION = 0.5
#: Without a recirculation peak, the exponential through the decline ends where it falls to this fraction.
RESIDUAL_FRACTION = 0.05
_DECLINE_FROM, _DECLINE_TO = 0.8, 0.4
# A minimum later than this many times that decline is a dip of the recirculating blood or of the noise.
_LATEST_VALLEY = 2.0
_BASELINE_BELOW = 0.2


class NoBolusError(ValueError):
    """The curve shows no bolus; the message says why."""


@dataclass(frozen=True)
class InputFeatures:
    """Features of an input function.

    ``valley``, ``first_pass_duration`` and ``area`` are NaN where the series ends before the first pass does.

    Parameters
    ----------
    foot : float
        Time at which the upslope leaves the baseline, s.
    peak : float
        Time of the first-pass maximum, s.
    valley : float
        End of the first pass: time of the minimum before recirculation, s.
    first_pass_duration : float
        From foot to valley, s.
    area : float
        Area between curve and baseline from foot to valley, mmol/L*s (or the curve's unit times s).
    peak_value : float
        Height of the peak above the baseline, mmol/L.
    baseline : float
        Level before the bolus, mmol/L.
    noise : float
        Standard deviation of the curve's noise, from its second differences, mmol/L.
    """

    foot: float
    peak: float
    valley: float
    first_pass_duration: float
    area: float
    peak_value: float
    baseline: float
    noise: float


def find_features(times: ArrayLike, concentration: ArrayLike) -> InputFeatures:
    """Find the features of an arterial input function.

    The peak is the highest sample, single-sample spikes aside. Walking back from it, the foot is where the curve last
    crosses 10 % of the peak's height (linear between samples). Walking on from it, the valley is the lowest sample
    before the curve rises again by 2 % of the peak's height, or by 4 noise standard deviations where that is more.
    Where it never does, or only long after, the first pass ends where the exponential through its decline (80 % to
    40 % of the peak) has fallen to 5 %, the classical extrapolation of indicator dilution (Hamilton et al., Am J
    Physiol 1932;99:534).

    Parameters
    ----------
    times : (t,) array
        s, strictly increasing.
    concentration : (t,) array
        mmol/L, or any unit that is linear in concentration. Non-finite samples are left out.

    Returns
    -------
    InputFeatures

    Raises
    ------
    NoBolusError
        Where fewer than 4 samples are finite, the curve is constant or starts at its highest value, or its three-sample
        median never stands 5 noise standard deviations above the baseline.
    """
    t, c = np.asarray(times, dtype=float), np.asarray(concentration, dtype=float)
    if t.ndim != 1 or t.shape != c.shape:
        raise ValueError(f"times {t.shape} and concentration {c.shape} must be 1-D and of one length")
    finite = np.isfinite(c)
    t, c = t[finite], c[finite]
    if len(c) < 4:
        raise NoBolusError(f"the input function has {len(c)} finite samples; 4 are needed")
    if np.ptp(c) <= 1e-12 * np.abs(c).max():
        raise NoBolusError(f"the input function is constant ({c[0]:.3g})")
    smooth = _three_sample_median(c)
    peak = _peak_index(c, smooth)
    if peak == 0:
        raise NoBolusError("the input function is highest at its first sample: the bolus came before the series")
    baseline, noise = _baseline(c[:peak], c[peak]), float(white_noise_sd(c))
    height = c[peak] - baseline
    if smooth.max() - baseline <= DETECTION_SIGMA * noise:
        raise NoBolusError(
            f"the input function shows no bolus: its peak is {height:.3g} above the baseline, its noise {noise:.3g}"
        )
    foot = _foot(t, c, peak, baseline + FOOT_FRACTION * height)
    end = _first_pass_end(t, c, peak, baseline, max(REBOUND_FRACTION * height, 4.0 * noise))
    area = _area(t, c - baseline, foot, end) if np.isfinite(end) else np.nan
    return InputFeatures(foot, float(t[peak]), end, end - foot, area, float(height), baseline, noise)


def _three_sample_median(c: Array) -> Array:
    padded = np.concatenate([c[:1], c, c[-1:]])
    return np.asarray(np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0))


def _peak_index(c: Array, smooth: Array) -> int:
    """Index of the highest sample next to the maximum of the three-sample median."""
    centre = int(np.argmax(smooth))
    first = max(centre - 1, 0)
    return first + int(np.argmax(c[first : centre + 2]))


def _baseline(before: Array, peak_value: float) -> float:
    """Median of the samples before the peak that lie in the lowest fifth of its height."""
    lowest = float(np.percentile(before, 20))
    return float(np.median(before[before <= lowest + _BASELINE_BELOW * (peak_value - lowest)]))


def _foot(t: Array, c: Array, peak: int, threshold: float) -> float:
    below = np.flatnonzero(c[:peak] <= threshold)
    if not len(below):
        return float(t[0])
    i = below[-1]
    return float(t[i] + (t[i + 1] - t[i]) * (threshold - c[i]) / (c[i + 1] - c[i]))


def _first_pass_end(t: Array, c: Array, peak: int, baseline: float, threshold: float) -> float:
    """Time of the valley; without one, of the extrapolated decline's end; NaN where the series ends before."""
    tail, height = c[peak:] - baseline, c[peak] - baseline
    lowest = np.minimum.accumulate(tail)
    fallen = lowest < DECAYED_FRACTION * height
    if not fallen.any():
        return np.nan
    extrapolated = _decline_end(t[peak:], tail, lowest, height)
    risen = fallen & (tail - lowest > threshold)
    if risen.any():
        valley = float(t[peak + np.argmin(tail[: np.argmax(risen)])])
        if valley - t[peak] <= _LATEST_VALLEY * (extrapolated - t[peak]):
            return valley
    return extrapolated if extrapolated <= t[-1] else np.nan


def _decline_end(t: Array, tail: Array, lowest: Array, height: float) -> float:
    """Time at which the exponential through the decline has fallen to 5 %; infinite where it does not fall."""
    # From the last sample above 80 % to the first below 40 %: two samples at least, however steep the decline.
    start = int(np.argmax(lowest < _DECLINE_FROM * height)) - 1
    low = lowest < _DECLINE_TO * height
    decline = slice(start, int(np.argmax(low)) + 1 if low.any() else len(tail))
    positive = tail[decline] > 0.0
    if positive.sum() < 2:
        return float(t[decline.stop - 1])
    slope, intercept = np.polyfit(t[decline][positive], np.log(tail[decline][positive]), 1)
    return float((np.log(RESIDUAL_FRACTION * height) - intercept) / slope) if slope < 0.0 else np.inf


def _area(t: Array, c: Array, start: float, end: float) -> float:
    grid = np.unique(np.concatenate([[start, end], t[(t > start) & (t < end)]]))
    return float(np.trapezoid(np.interp(grid, t, c), grid))


def smooth_input(times: ArrayLike, concentration: ArrayLike, spacing: float) -> tuple[Array, Array]:
    """Resample an input function evenly along its shape-preserving cubic (PCHIP, Fritsch and Butland 1984).

    An input that is sampled once a heartbeat and taken as linear in between loses the top of its peak, and a fit makes
    up for it with too much flow. The cubic does not overshoot: what is zero before the bolus stays zero.

    Parameters
    ----------
    times, concentration : (t,) arrays
        s and any unit; all finite.
    spacing : float
        Largest spacing of the result, s.

    Returns
    -------
    times, concentration : (n,) arrays
    """
    from scipy.interpolate import PchipInterpolator

    t = np.asarray(times, dtype=float)
    even = np.linspace(t[0], t[-1], int(np.ceil((t[-1] - t[0]) / spacing)) + 1)
    return even, PchipInterpolator(t, np.asarray(concentration, dtype=float))(even)
