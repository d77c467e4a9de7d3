"""How each voxel enhances: amplitude, steepest rise, when it comes, and how far that stands out of the noise.

Times are counted in widths of the first pass (:func:`~qperf_app.methods.heart.first_pass_width`): a slow bolus, or a
clock that runs otherwise, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.heart import first_pass_width
from qperf_app.methods.noise import white_noise_sd
from qperf_app.methods.smoothing import gaussian
from qperf_app.plugins import Series

#: Fewest dynamic volumes in which a bolus passage can be told from noise.
MIN_VOLUMES = 8

#: A rise that is steepest sooner than this after the start, widths, has no level before contrast to compare with.
MIN_BASELINE = 0.37

#: A first pass of fewer frames than this is smoothed less in time, in proportion: it would be smeared.
_FRAMES_TO_SMOOTH = 8.0

#: Part of its up-slope that a voxel keeps which does not wash out: the order is by up-slope alone where nothing does.
_WITHOUT_WASHOUT = 0.05
#: Enhancement over noise from which noise makes no difference any more.
_CLEAR_SNR = 10.0
#: The first-pass peak comes within the first time of the steepest rise, and the wash-out within the second of it,
#: widths of the first pass.
_RISE, _FALL = 1.55, 2.3
#: The level before contrast lies in the lowest part, of this size, of a curve's range.
_BASELINE_RANGE = 0.25


@dataclass(frozen=True)
class Enhancement:
    """Smoothed first-pass features of a series.

    Parameters
    ----------
    times : (t,) float array
        Even time grid that ``signal`` and ``curves`` are on, widths of the first pass.
    signal : (x, y, z, t) float array
        The series, not smoothed.
    curves : (x, y, z, t) float array
        Signal above the pre-contrast level, smoothed in plane and in time, in the units of the series.
    upslope : (x, y, z) float array
        Steepest rise, units of the series per width.
    arrival : (x, y, z) float array
        Time of the steepest rise, widths.
    snr : (x, y, z) float array
        Largest enhancement over the standard deviation of the temporal noise.
    washout : (x, y, z) float array
        Share of the first-pass peak that is lost again after it, 0 to 1. Blood has it; moving fat, liver and
        muscle hardly do.
    """

    times: NDArray[np.float64]
    signal: NDArray[np.float64]
    curves: NDArray[np.float64]
    upslope: NDArray[np.float64]
    arrival: NDArray[np.float64]
    snr: NDArray[np.float64]
    washout: NDArray[np.float64]

    @property
    def bolus(self) -> NDArray[np.float64]:
        """How much a voxel looks like the passage of a bolus through blood, (x, y, z), units of the series per width.

        The up-slope, lessened where the signal stays up or where noise is strong. A series that ends before the
        wash-out still leaves 5 %, so that its order is by up-slope alone. 0
        without a level before contrast.
        """
        from_baseline = self.arrival >= self.times[0] + MIN_BASELINE
        blood_like = _WITHOUT_WASHOUT + (1 - _WITHOUT_WASHOUT) * self.washout
        return np.asarray(self.upslope * blood_like * np.minimum(self.snr / _CLEAR_SNR, 1.0) * from_baseline)


def measure_enhancement(series: Series, time_sigma: float = 1.5, space_sigma: float = 2.5) -> Enhancement | None:
    """Measure how the voxels of a motion-corrected series enhance.

    Parameters
    ----------
    series : Series
        Proton-density volumes and volumes without a finite voxel are left out.
    time_sigma : float
        Standard deviation of the Gaussian smoothing in time, frames; less where the first pass has few of them.
    space_sigma : float
        Standard deviation of the Gaussian smoothing in plane, mm.

    Returns
    -------
    Enhancement or None
        None where fewer than ``MIN_VOLUMES`` volumes are left or their times don't increase.
    """
    prepared = _prepared(series)
    if prepared is None:
        return None
    even, data, noise = prepared
    step = even[1] - even[0]
    time_sigma *= min(1.0, 1.0 / (_FRAMES_TO_SMOOTH * step))
    sigma = (*(space_sigma / np.maximum(series.voxel_size[:2], 1e-3)), 0.0, time_sigma)
    smooth = gaussian(data, sigma, mode="nearest")
    slope = np.gradient(smooth, step, axis=-1)
    steepest = slope.argmax(axis=-1)
    curves = smooth - baseline(smooth, steepest, lead=int(np.ceil(2 * time_sigma)))[..., None]
    return Enhancement(
        times=even,
        signal=data,
        curves=curves,
        upslope=slope.max(axis=-1),
        arrival=even[steepest],
        snr=curves.max(axis=-1) / noise,
        washout=washout(curves, steepest, step),
    )


_kept: WeakKeyDictionary[Series, tuple[NDArray[np.float64], ...] | None] = WeakKeyDictionary()


def _prepared(series: Series) -> tuple[NDArray[np.float64], ...] | None:
    """Even times in widths of the first pass, curves at them, noise; kept as long as the series is."""
    if series not in _kept:
        _kept[series] = _prepare(series)
    return _kept[series]


def _prepare(series: Series) -> tuple[NDArray[np.float64], ...] | None:
    dynamic = series.dynamic()
    finite = np.isfinite(dynamic.data).any(axis=(0, 1, 2))
    times = np.asarray(dynamic.times, dtype=float)[finite]
    if times.size < MIN_VOLUMES or np.any(np.diff(times) <= 0):
        return None
    data = np.nan_to_num(np.asarray(dynamic.data, dtype=np.float64)[..., finite], posinf=0.0, neginf=0.0)
    noise = temporal_noise(data)
    even, data = resample_evenly(times, data)
    each = [data[:, :, k] for k in range(data.shape[2])]
    return even / first_pass_width(each, series.voxel_size[:2], float(even[1] - even[0])), data, noise


def washout(
    curves: NDArray[np.float64], steepest: NDArray[np.intp], step: float, rise: float = _RISE, fall: float = _FALL
) -> NDArray[np.float64]:
    """Share of the peak within ``rise`` of the steepest rise that is lost within ``fall`` of it (widths), 0 to 1."""
    index = np.arange(curves.shape[-1])
    first_pass = (index >= steepest[..., None]) & (index <= steepest[..., None] + rise / step)
    at_peak = np.where(first_pass, curves, -np.inf).argmax(axis=-1)
    peak = np.take_along_axis(curves, at_peak[..., None], axis=-1)[..., 0]
    after = (index >= at_peak[..., None]) & (index <= at_peak[..., None] + fall / step)
    valley = np.where(after, curves, np.inf).min(axis=-1)
    return np.asarray(np.clip((peak - valley) / np.where(peak > 0, peak, np.inf), 0.0, 1.0))


def temporal_noise(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of each voxel's noise, (x, y, z); not below half the typical one, nor zero."""
    noise = white_noise_sd(data)
    typical = np.median(noise[noise > 0]) if np.any(noise > 0) else 0.0
    floor = max(0.5 * typical, 1e-4 * float(np.ptp(data)), 1e-6 * float(np.abs(data).max()), np.finfo(float).tiny)
    return np.asarray(np.maximum(noise, floor))


def resample_evenly(
    times: NDArray[np.float64], data: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interpolate curves (..., t) linearly to an even grid at the typical interval; at most 2000 points."""
    step = max(float(np.median(np.diff(times))), (times[-1] - times[0]) / 2000)
    even = np.arange(times[0], times[-1] + 1e-6 * step, step)
    right = np.clip(np.searchsorted(times, even, side="right"), 1, times.size - 1)
    weight = (even - times[right - 1]) / (times[right] - times[right - 1])
    return even, data[..., right - 1] * (1 - weight) + data[..., right] * weight


def baseline(smooth: NDArray[np.float64], steepest: NDArray[np.intp], lead: int) -> NDArray[np.float64]:
    """Mean level before the steepest rise less ``lead`` volumes, (x, y, z); the lowest level where that is nothing."""
    cumulative = np.cumsum(smooth, axis=-1)
    last = np.clip(steepest - lead - 1, 0, None)
    mean = np.take_along_axis(cumulative, last[..., None], axis=-1)[..., 0] / (last + 1)
    return np.asarray(np.minimum(mean, smooth.min(axis=-1) + _BASELINE_RANGE * np.ptp(smooth, axis=-1)))
