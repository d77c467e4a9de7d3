r"""How much of a voxel of the wall is fat, told from its brightness before the bolus.

Fat has a third of muscle's T1: after saturation, and before the contrast agent, it is two to four times as bright. Over
the proton density, which takes out coils, a voxel with the part f of its signal from fat shows

.. math:: r = (1 - f) r_\text{muscle} + f r_\text{fat}.

What muscle shows the middle of the wall tells, what fat shows the bright tissue of the slice. Once the agent is there
muscle is about as bright as fat: f can't be told then, and breathing changes it from frame to frame, so that fat is not
taken out of the signal as blood is. A voxel that is mostly fat shows next to no flow, and is no muscle's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Fat is brighter than muscle by at least this factor, and tissue, with at least this part of muscle's proton density.
#: So many voxels of it say how bright it is.
_BRIGHTER, _TISSUE, _LEAST_FAT = 2.0, 0.5, 20
#: The middle of the wall: its deepest two fifths. So many voxels say how bright muscle is.
_DEEPEST, _LEAST_MUSCLE = 60.0, 8
#: Standard deviations of the noise below which nothing is taken for fat.
_CERTAIN = 2.0
_TINY = 1e-9


def fat_fraction(proton_density: Array, baseline: Array, wall: Mask) -> tuple[Array, float]:
    """Part of fat in every voxel of the wall in one slice.

    Parameters
    ----------
    proton_density, baseline : (x, y) arrays
        Mean signal of the proton-density volumes, and of the volumes after saturation before the bolus.
    wall : (x, y) bool array

    Returns
    -------
    fraction : (n,) array
        0 to 1, in the order of ``numpy.argwhere(wall)``; 0 where it can't be told from 0, or there is no fat about that
        says how bright it is.
    sd : float
        Standard deviation of its noise.
    """
    from scipy.ndimage import distance_transform_edt

    inside = np.asarray(distance_transform_edt(np.pad(wall, 1)))[1:-1, 1:-1][wall]
    ratio = baseline / np.maximum(proton_density, _TINY)
    own = ratio[wall]
    middle = inside >= np.percentile(inside, _DEEPEST) if len(inside) else np.zeros(0, bool)
    nothing = np.zeros(len(own)), 0.0
    if middle.sum() < _LEAST_MUSCLE:
        return nothing
    muscle = float(np.median(own[middle]))
    dense = proton_density > _TISSUE * float(np.median(proton_density[wall][middle]))
    bright = ratio[dense & (ratio > _BRIGHTER * muscle)]
    if muscle <= 0 or len(bright) < _LEAST_FAT:
        return nothing
    span = float(np.median(bright)) - muscle
    sd = 1.4826 * float(np.median(np.abs(own[middle] - muscle))) / span
    fraction = (own - muscle) / span
    return np.where(fraction > _CERTAIN * sd, np.clip(fraction, 0.0, 1.0), 0.0), sd
