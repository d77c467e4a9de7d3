"""The same blood in two series: how far its concentrations lie apart while neither is high."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.records import InputFunction

#: Factor between the blood's concentrations that is said, and that can't be: flow is wrong by as much. On the phantom
#: it is 1.0 to 1.1.
SAID_APART, MOST_APART = 1.3, 1.5
#: Shares of the peak between which they are compared: above the noise, and far from saturation.
_COMPARED = (0.05, 0.3)
_LEAST_COMPARED = 5


def blood_ratio(
    aif: InputFunction, times: NDArray[np.float64], blood: NDArray[np.floating], excluded: NDArray[np.bool_]
) -> float:
    """Concentration of the left ventricle's blood over that of the input function, away from its peak.

    Parameters
    ----------
    aif : InputFunction
        On the clock of the series.
    times, blood, excluded : (t,) arrays
        The series' blood as concentration, unit of the input function, and frames in which it is not known.

    Returns
    -------
    float
        Median of the frames; NaN where there are too few.
    """
    keep = np.isfinite(aif.concentration)
    if not keep.any():
        return float("nan")
    expected = np.interp(times, aif.times[keep], aif.concentration[keep], left=0.0)
    share = expected / max(float(expected.max()), 1e-30)
    inside = times <= aif.times[keep][-1]
    compared = inside & ~excluded & np.isfinite(blood) & (share > _COMPARED[0]) & (share < _COMPARED[1])
    return float(np.median(blood[compared] / expected[compared])) if compared.sum() >= _LEAST_COMPARED else float("nan")


def is_apart(ratio: float, most: float) -> bool:
    """Whether a ratio is known and differs from 1 by more than a factor, either way."""
    return bool(np.isfinite(ratio)) and not 1.0 / most <= ratio <= most
