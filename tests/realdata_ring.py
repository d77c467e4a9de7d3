"""Myocardial ring of the real resting slice (``qperf/rest.npz``), from its concentration alone.

The authors' flow map takes no part in it, so that a comparison with that map inside the ring is a fair one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

#: Distance from the cavity's border, voxels: off the border's mixture of blood and wall, inside a resting wall.
_NEAREST, _FARTHEST = 1.6, 6.0
#: While blood is brightest, wall has hardly begun to enhance; what already has this share of its later concentration
#: holds blood of the cavity.
_BLOOD_SHARE = 0.7


def ring_mask(npz: Mapping[str, NDArray[np.generic]]) -> NDArray[np.bool_]:
    """Mark the left-ventricular myocardium.

    Parameters
    ----------
    npz : mapping
        ``concentration_mM`` (x, y, t), ``aif_mM`` (t,), ``foot_index`` and ``peak_index``.

    Returns
    -------
    (x, y) bool array
        Voxels a few voxels around the left cavity that enhance, and after it: right-ventricular blood enhances
        before, lung not at all.
    """
    concentration, aif = np.asarray(npz["concentration_mM"], dtype=float), np.asarray(npz["aif_mM"], dtype=float)
    foot, peak = int(npz["foot_index"]), int(npz["peak_index"])
    blood, count = ndimage.label(concentration[:, :, peak] > 0.4 * aif[peak])
    sizes = ndimage.sum_labels(np.ones(blood.shape), blood, np.arange(1, count + 1))
    # The hull takes the papillary muscles into the cavity.
    cavity = convex_hull_image(blood == 1 + int(np.argmax(sizes)))
    distance = ndimage.distance_transform_edt(~cavity)
    before = concentration[:, :, :foot].max(axis=2)
    during = concentration[:, :, peak - 1 : peak + 2].mean(axis=2)
    after = concentration[:, :, peak + 8 : peak + 24].mean(axis=2)
    enhances = (before < 0.15) & (after > 0.1) & (after < 0.45)
    wall = (distance >= _NEAREST) & (distance <= _FARTHEST) & enhances & (during < _BLOOD_SHARE * after)
    parts, count = ndimage.label(wall)
    sizes = ndimage.sum_labels(np.ones(parts.shape), parts, np.arange(1, count + 1))
    return np.asarray(parts == 1 + int(np.argmax(sizes)))
