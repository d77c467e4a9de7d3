"""Whether a fitted curve may be believed: one set of criteria for every fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.noise import white_noise_sd

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: A fit must raise the log-likelihood over that of a curve of zeros by this much: 5 parameters gain it by chance in 1
#: of 10,000 curves of noise.
MIN_GAIN = 12.0
#: Lack of fit: less than this part of the curve's variance explained, and residuals above so many times the noise.
MIN_EXPLAINED, MAX_NOISE_RATIO = 0.5, 3.0
#: The standard deviation of an estimate over that of its prior: above this the data have not halved the variance.
MAX_OF_PRIOR = 0.7


def enhances(data: Array, rss: Array) -> Bools:
    """Whether curves (n, t), NaN where a frame is missing, show more than noise about zero.

    Parameters
    ----------
    data : (n, t) array
    rss : (n,) array
        Residual sum of squares of the fit.
    """
    n, energy = np.isfinite(data).sum(axis=1), np.nansum(data**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = 0.5 * n * np.log(energy / np.maximum(rss, 1e-12 * energy))
        return np.asarray((energy > 0.0) & (gain > MIN_GAIN))


def lacks_fit(data: Array, rss: Array) -> Bools:
    """Whether the model fails to describe curves; arguments as in :func:`enhances`."""
    n = np.isfinite(data).sum(axis=1)
    spread = np.nansum((data - np.nanmean(data, axis=1, keepdims=True)) ** 2, axis=1)
    unexplained = rss > (1.0 - MIN_EXPLAINED) * spread
    return np.asarray(unexplained & (np.sqrt(rss / n) > MAX_NOISE_RATIO * white_noise_sd(data)))
