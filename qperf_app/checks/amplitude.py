"""The same blood, or the same muscle, in two series: how far their concentrations lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.records import InputFunction, Series

#: Factor between the blood's concentrations that is said, and that can't be: flow is wrong by as much. On the phantom
#: it is 1.0 to 1.1.
SAID_APART, MOST_APART = 1.3, 1.5
#: Shares of the peak between which they are compared: above the noise, and far from saturation.
_COMPARED = (0.05, 0.3)
_LEAST_COMPARED = 5
#: Share of its largest value from which the muscle has contrast, and of the frames that a voxel has a value in.
_CONTRAST, _MOST_FRAMES = 0.5, 0.5


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


def muscle_ratio(muscle: Series, voxels: Series, wall: NDArray[np.bool_]) -> float:
    """Concentration of the muscle over that of its voxels, blood and all, while there is contrast.

    Of most voxels of a wall little is blood, so that the median of the wall hardly knows what was taken out.

    Parameters
    ----------
    muscle, voxels : Series
        Concentration in one unit, on one grid.
    wall : (x, y, z) bool array

    Returns
    -------
    float
        Median of the frames; NaN where there are too few.
    """
    muscle, voxels = muscle.dynamic(), voxels.dynamic()
    own, expected = (_median_curve(series.data[wall]) for series in (muscle, voxels))
    keep = np.isfinite(own)
    if keep.sum() < _LEAST_COMPARED or not np.isfinite(expected).any():
        return float("nan")
    at = np.interp(voxels.times, muscle.times[keep], own[keep], left=np.nan, right=np.nan)
    compared = np.isfinite(at) & (expected > _CONTRAST * np.nanmax(expected)) & (expected > 0)
    return float(np.median(at[compared] / expected[compared])) if compared.sum() >= _LEAST_COMPARED else float("nan")


def _median_curve(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Median over the voxels that have a value, (t,), by those that have one in most frames."""
    known = np.asarray(values[np.isfinite(values).mean(axis=1) > _MOST_FRAMES], np.float64)
    median = np.full(values.shape[1], np.nan)
    seen = np.isfinite(known).any(axis=0) if len(known) else np.zeros(values.shape[1], bool)
    median[seen] = np.nanmedian(known[:, seen], axis=0)
    return median


def is_apart(ratio: float, most: float) -> bool:
    """Whether a ratio is known and differs from 1 by more than a factor, either way."""
    return bool(np.isfinite(ratio)) and not 1.0 / most <= ratio <= most
