"""When a bolus arrives in a region, when it peaks there and how long it takes to pass, between the frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Smoothing of a curve before its half rise is looked for, frames.
_SMOOTHING = 0.8


#: Part of its height below which blood is as before the bolus: recirculation falls less between two passages.
BEFORE_BOLUS = 0.25


def half_rise_time(times: NDArray[np.float64], curve: NDArray[np.floating], lowest: float = 0.5) -> float:
    """Time, s, at which a curve (t,) has risen halfway to its peak, linear between the frames.

    The height is that of the smoothed peak over the lowest level before it. The rise is the last one before the peak
    that begins below ``lowest`` of the height: where a signal saturates, recirculation is as high as the first passage,
    and the dip between them must not count as the time before the bolus. At 0.5 any dip below half of the height does.
    """
    from scipy.ndimage import gaussian_filter1d

    smooth = gaussian_filter1d(np.asarray(curve, np.float64), _SMOOTHING)
    peak = int(smooth.argmax())
    base = float(smooth[: max(peak, 1)].min())
    height = float(smooth[peak]) - base
    half = base + 0.5 * height
    below = np.flatnonzero(smooth[: peak + 1] <= base + lowest * height)
    if not len(below):
        return float(times[0])
    i = int(below[-1])
    i += max(int((smooth[i : peak + 1] > half).argmax()) - 1, 0)
    part = (half - smooth[i]) / (smooth[i + 1] - smooth[i]) if i + 1 <= peak and smooth[i + 1] > smooth[i] else 0.0
    return float(times[i] + part * (times[min(i + 1, len(times) - 1)] - times[i]))


def steepest_rise_time(times: NDArray[np.float64], curve: NDArray[np.floating]) -> float:
    """Time, s, of the frame in which a curve (t,) on evenly spaced times rises most."""
    return float(times[int(np.gradient(curve).argmax())])


def peak_time(times: NDArray[np.float64], curve: NDArray[np.floating]) -> float:
    """Time, s, of the largest value of a curve (t,), between the frames by a parabola through it and its neighbours."""
    peak = int(np.argmax(curve))
    if not 0 < peak < len(curve) - 1:
        return float(times[peak])
    around = slice(peak - 1, peak + 2)
    curvature, slope, _ = np.polyfit(times[around] - times[peak], np.asarray(curve[around], np.float64), 2)
    return float(times[peak] - slope / (2 * curvature)) if curvature < 0 else float(times[peak])


def width_at_half(
    curves: NDArray[np.floating], peak: NDArray[np.intp], height: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Time, frames, that curves (n, t) stay above half of the ``height`` (n,) of their peaks, linear between frames.

    A series that begins or ends within the peak cuts it off.
    """
    frame, rows = np.arange(curves.shape[1]), np.arange(len(curves))
    half = curves[rows, peak].astype(np.float64) - np.asarray(height, np.float64) / 2
    low = curves < half[:, None]
    before = np.where(low & (frame < peak[:, None]), frame, -1).max(axis=1)
    after = np.where(low & (frame > peak[:, None]), frame, len(frame)).min(axis=1)

    def crossing(outside: NDArray[np.intp], inside: NDArray[np.intp]) -> NDArray[np.float64]:
        there = np.clip(outside, 0, len(frame) - 1)
        step = np.asarray(curves[rows, inside], np.float64) - curves[rows, there]
        part = (half - curves[rows, there]) / np.where(step > 0, step, 1.0)
        return np.where(there == outside, outside + part * (inside - outside), there)

    return np.asarray(crossing(after, after - 1) - crossing(before, before + 1))
