"""The outlined wall in the motion-corrected series: no blood in it, and that within it on the clock of the curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.records import InputFunction

#: Share of the wall's innermost voxels that rise with the blood from which on they are blood. In the true wall of a
#: coarse phantom it is a tenth, in walls that people drew mostly below a third; in walls that are wider by one voxel of
#: the phantom it is nine tenths.
MOST_BLOOD = 2 / 3
#: Intervals, and s, by which blood may come earlier or later in the tissue series than in the input function. Where
#: the tissue's blood saturates, half of its rise is early by up to one interval.
MOST_INTERVALS, MOST_SECONDS = 2.0, 1.5


def enclosed_blood(enclosed: NDArray[np.bool_], data: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean enhancement (t,) of what a wall encloses; empty where that is nothing.

    Parameters
    ----------
    enclosed : (x, y, z) bool array
        :func:`~qperf_app.checks.anatomy.cavities` of the wall.
    data : (x, y, z, t) array
        Dynamic volumes, corrected for motion.
    """
    return _rise(data[enclosed].mean(axis=0, dtype=np.float64)) if enclosed.any() else np.zeros(0)


def blood_in_wall(
    wall: NDArray[np.bool_], enclosed: NDArray[np.bool_], data: NDArray[np.floating], blood: NDArray[np.float64]
) -> str:
    """Say so where the innermost voxels of a wall rise with the blood that it encloses; else empty.

    What they reach says little, since the signal of blood saturates: muscle comes near it. But muscle is late: when
    the left ventricle's blood has half of its enhancement, muscle has next to none.

    Parameters
    ----------
    wall, enclosed : (x, y, z) bool arrays
    data : (x, y, z, t) array
        Dynamic volumes, corrected for motion.
    blood : (t,) array
        :func:`enclosed_blood`.
    """
    from scipy.ndimage import binary_dilation

    inner = wall & binary_dilation(enclosed, _IN_PLANE)
    if blood.size < 3 or blood.max() <= 0 or not inner.any():
        return ""
    half = int((blood >= 0.5 * blood.max()).argmax())
    share = float((_rise(data[inner])[:, half] > 0.5 * blood[half]).mean())
    if share < MOST_BLOOD:
        return ""
    return (
        f"{share:.0%} of the outlined wall's innermost voxels enhance when the blood beside them does, before muscle "
        "can: is the outline too wide, with blood in it? Flow is then too high."
    )


def clocks_apart(aif: InputFunction, blood: NDArray[np.float64], times: NDArray[np.float64]) -> str:
    """Say so where the bolus comes into the left ventricle at another time than into the input function; else empty.

    Times of half the maximum are compared: the peak itself may be a plateau where the signal saturates.

    Parameters
    ----------
    aif : InputFunction
    blood : (t,) array
        :func:`enclosed_blood` of the tissue series.
    times : (t,) array
        Of the tissue series, s.
    """
    blood_at, input_at = arrivals = _arrivals(aif, blood, times)
    if not np.isfinite(arrivals).all() or abs(blood_at - input_at) <= _most_apart(times):
        return ""
    return (
        f"The bolus comes into the left ventricle at {blood_at:.1f} s in the tissue series and at "
        f"{input_at:.1f} s in the input function: are both on one clock, or has one series lost volumes?"
    )


def input_comes_late(aif: InputFunction, blood: NDArray[np.float64], times: NDArray[np.float64]) -> bool:
    """Whether the input function comes after the blood by more than that; arguments as of :func:`clocks_apart`.

    An early one the fits make up for with a longer delay of the muscle, a late one with flow.
    """
    blood_at, input_at = _arrivals(aif, blood, times)
    return bool(input_at - blood_at > _most_apart(times))


def _arrivals(aif: InputFunction, blood: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[float, float]:
    """Arrival in the blood of the tissue series and in the input function, s; NaN where there is none."""
    curve = aif.concentration if aif.signal is None else aif.signal
    return _arrival(blood, times), _arrival(_rise(np.asarray(curve, np.float64)), aif.times)


def _most_apart(times: NDArray[np.float64]) -> float:
    return max(MOST_SECONDS, MOST_INTERVALS * float(np.median(np.diff(times))))


#: A voxel and its neighbours in the slice.
_IN_PLANE = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)[:, :, None]


def _rise(curves: NDArray[np.floating]) -> NDArray[np.float64]:
    """Enhancement of curves (..., t) over their first eighth."""
    before = max(2, curves.shape[-1] // 8)
    return np.asarray(curves - np.nanmedian(curves[..., :before], axis=-1, keepdims=True), np.float64)


def _arrival(rise: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    """Time, s, at which a curve (t,) first has half of its maximum, between samples; NaN where it doesn't rise."""
    known = np.isfinite(rise)
    rise, times = rise[known], times[known]
    if rise.size < 3 or rise.max() <= 0:
        return float("nan")
    half = 0.5 * rise.max()
    k = int((rise >= half).argmax())
    return float(np.interp(half, rise[k - 1 : k + 1], times[k - 1 : k + 1])) if k else float(times[0])
