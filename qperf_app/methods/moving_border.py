r"""Where the border between blood and muscle is in every frame: breathing moves it.

Breathing moves the heart through the slice as well, where the cavity is wider or narrower, and no displacement within
the plane takes that back. In the signal it shows as blood that comes and goes in all voxels along a border at once.
A voxel at depth :math:`d_i` behind the border's mean position holds the fraction

.. math:: f_i(t) = \Phi\left(\frac{w(t) + n_i \cdot s(t) - d_i}{b}\right)

of blood: :math:`w` widens the pool, :math:`s` shifts it, :math:`n_i` is the direction across the border and :math:`b`
the blur. All voxels along the border together tell the three numbers of a frame, and best while blood and muscle
differ most: during the first pass, on which flow rests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Standard deviation of a border's motion that alignment has left, the longest step, and the most of it: voxels' edges.
_MOTION_SD, _STEP, _FARTHEST = 0.5, 0.5, 1.5
#: Standard deviation of what all muscle has in common in a frame beyond what is expected of it, and of how far the
#: expected enhancement of a voxel is off: as parts of the signal and of the enhancement.
_COMMON_SD, _EXPECTED_SD = 0.1, 0.1
#: Beyond so many times its spread a residual counts for less.
_OUTLIER = 3.0
_STEPS = 8
#: A fraction of blood is at least this: the border may come to every voxel.
_LEAST = 1e-4
_TINY = 1e-30


def moved_fraction(fraction: Array, motion: Array) -> Array:
    """Fraction of blood in every frame.

    Parameters
    ----------
    fraction : (...) array
        With the border at its mean position.
    motion : (..., t) array
        Of the border into the voxel, in units of the blur.

    Returns
    -------
    (..., t) array
    """
    from scipy.special import ndtr, ndtri

    return np.asarray(ndtr(ndtri(fraction)[..., None] + motion))


def border_motion(signal: Array, muscle: Array, blood: Array, fraction: Array, normal: Array, blur: float) -> Array:
    """Motion of a pool's border in every frame: the most probable one, by Gauss-Newton steps with Cauchy's weights.

    Parameters
    ----------
    signal, muscle : (n, t) arrays
        Signal of the voxels, and what is expected of their muscle's.
    blood : (t,) array
        Signal of the pool.
    fraction : (n,) array
        Of blood, with the border at its mean position.
    normal : (n, 2) array
        Unit vectors across the border, away from the pool.
    blur : float
        Standard deviation of the point spread across the border, in voxels' edges.

    Returns
    -------
    (n, t) array
        Motion of the border into each voxel, in units of the blur.
    """
    from scipy.special import ndtr, ndtri

    across = np.concatenate([np.ones((len(signal), 1)), normal], axis=1) / blur
    place = ndtri(np.clip(fraction, _LEAST, 1.0 - _LEAST))[:, None]
    spread = _spread(signal - muscle - ndtr(place) * (blood - muscle), muscle)
    prior = np.diag([_MOTION_SD**-2.0] * 3 + [_COMMON_SD**-2.0])
    found, slopes = np.zeros((signal.shape[1], 4)), np.empty((*signal.shape, 4))
    for _ in range(_STEPS):
        # What all muscle does at once is no motion of a border.
        own = (1.0 + found[:, 3]) * muscle
        at = place + across @ found[:, :3].T
        share = ndtr(at)
        slopes[..., :3] = (np.exp(-0.5 * at**2) / np.sqrt(2.0 * np.pi) * (blood - own))[..., None] * across[:, None]
        slopes[..., 3] = (1.0 - share) * muscle
        residual = signal - own - share * (blood - own)
        weight = 1.0 / (spread**2 + (residual / _OUTLIER) ** 2)
        information = np.einsum("nt,nta,ntb->tab", weight, slopes, slopes) + prior
        right = np.einsum("nt,nta->ta", weight * residual, slopes) - found @ prior
        step = np.linalg.solve(information, right[..., None])[..., 0]
        found = np.clip(found + np.clip(step, -_STEP, _STEP), -_FARTHEST, _FARTHEST)
    return np.asarray(across @ found[:, :3].T)


def _spread(residual: Array, muscle: Array) -> Array:
    """Standard deviation (n, t) of what the expected signal is off by: noise, and the expected enhancement."""
    away = np.abs(residual - np.median(residual, axis=1, keepdims=True))
    noise = 1.4826 * np.median(away, axis=1, keepdims=True) + _TINY
    return np.hypot(noise, _EXPECTED_SD * (muscle - muscle[:, :1]))
