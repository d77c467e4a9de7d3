"""Noise of a curve: its white level, its autocorrelation, and the effective sample size of its residuals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.noise import white_noise_sd

__all__ = ["effective_sample_fraction", "lag_one_autocorrelation", "white_noise_sd"]

Array = NDArray[np.float64]

# However autocorrelated residuals are, they never count for less than this part of their number.
_LEAST_FRACTION = 0.1


def lag_one_autocorrelation(residual: Array) -> Array:
    """Lag-one autocorrelation (n,) of residuals (n, t) about 0; NaN counts as 0, and so does a residual of nothing."""
    known = residual if np.isfinite(residual).all() else np.nan_to_num(residual)
    energy = np.einsum("nt,nt->n", known, known) + 1e-300
    return np.asarray(np.einsum("nt,nt->n", known[:, 1:], known[:, :-1]) / energy)


def effective_sample_fraction(residual: Array, significant: bool = False) -> Array:
    """Effective sample size over number of samples, (1 - r) / (1 + r), of residuals with lag-one autocorrelation r.

    Interpolation in time and motion correction leave autocorrelated noise, and a model that is only nearly right leaves
    residuals that look the same. Counted as independent such samples would claim a precision that is not there
    (Bartlett 1946, doi:10.2307/2983611).

    Parameters
    ----------
    residual : (n, t) array
        NaN where a sample is missing.
    significant : bool
        Count as 1 where r is below what white noise has in one curve of forty, 2 / sqrt(t): a sampler then need not be
        run again. A point estimate costs nothing to scale and takes r as it is.

    Returns
    -------
    (n,) array
        0.1 to 1.
    """
    r = lag_one_autocorrelation(residual)
    fraction = np.clip((1.0 - r) / (1.0 + r), _LEAST_FRACTION, 1.0)
    if not significant:
        return np.asarray(fraction)
    chance = 2.0 / np.sqrt(np.maximum(np.isfinite(residual).sum(axis=1), 1))
    return np.where(r > chance, fraction, 1.0)
