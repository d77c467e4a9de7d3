"""Level of white noise on a sampled curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.medians import median_over_time

# Variance of the second difference of unit white noise: the sum of squares of its weights 1, -2, 1.
_VARIANCE = 6.0
# Standard deviation of a normal variable over the median of its size, 1 / Phi^-1(3/4).
_MEDIAN_TO_SD = 1.4826
# Mean size of the second difference of unit white noise, sqrt(12 / pi), to two decimals.
_MEAN_SIZE = 1.95


def white_noise_sd(curves: NDArray[np.floating], robust: bool = True) -> NDArray[np.float64]:
    """Standard deviation of white noise on curves, from their second differences, which a smooth curve hardly has.

    Parameters
    ----------
    curves : (..., t) array
        Sampled about evenly. Samples that are NaN are left out.
    robust : bool
        From the median of the differences' size, which a rise of a few samples does not touch; otherwise from the mean,
        which counts every sample and is steadier on noise alone.

    Returns
    -------
    (...) array
        In the curves' unit.
    """
    size = np.abs(np.diff(curves, 2, axis=-1))
    if not robust:
        return np.asarray(np.nanmean(size, axis=-1) / _MEAN_SIZE)
    median = np.nanmedian(size, axis=-1) if np.isnan(size).any() or not size.size else median_over_time(size)
    return np.asarray(_MEDIAN_TO_SD * np.asarray(median, np.float64) / np.sqrt(_VARIANCE))
