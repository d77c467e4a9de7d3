"""Where the blood pools of a slice lie beside its wall, on the grid of the tissue series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import resample
from qperf_app.geometry.slices import SlicePlane, is_solid
from qperf_app.plugins import BloodPools, Series

Mask = NDArray[np.bool_]
#: A pool's own signal is that of its voxels at least so far, in voxels' edges, from all else; of the deepest part of it
#: where there are none.
_DEPTH, _DEEPEST = 1.75, 0.75
#: The right ventricle may lie so far, mm, from where it was found: another breath, another series.
_REACH = 12.0


@dataclass(frozen=True)
class Neighbour:
    """A pool beside the wall of one slice.

    Parameters
    ----------
    core : (x, y) bool array
        Voxels that are its blood and nothing else.
    distance : (x, y) float array
        From a voxel's centre to the outline of the wall on the pool's side, mm; infinite where the pool is not near.
    """

    core: Mask
    distance: NDArray[np.float64]


def neighbours_of(series: Series, wall: Mask, pools: BloodPools | None, index: int) -> dict[str, Neighbour]:
    """Pools beside the wall of slice ``index`` by name, ``LV`` and ``RV``; one that can't be seen is left out."""
    from scipy.ndimage import distance_transform_edt

    inside, spacing = wall[:, :, index], series.voxel_size[:2]
    edge = float(spacing.mean())

    def distance(mask: Mask) -> NDArray[np.float64]:
        """From centres outside of a mask to its outline, mm."""
        if not mask.any():
            return np.full(mask.shape, np.inf)
        return np.asarray(distance_transform_edt(~np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1] - 0.5 * edge)

    found: dict[str, Neighbour] = {}
    plane = SlicePlane.of(wall, series.affine, index)
    cavity = np.zeros_like(inside) if is_solid(inside) else plane.cavity(inside)
    if cavity.any():
        found["LV"] = Neighbour(_core(cavity, spacing), distance(cavity))
    if pools is not None and pools.rv.any():
        right = resample(pools.rv, pools.affine, series.affine, series.data.shape[:3])[:, :, index]
        right &= ~inside & ~cavity
        if right.any():
            outside = distance(~(inside | cavity))
            near = distance_transform_edt(~right, sampling=spacing) - outside < _REACH
            found["RV"] = Neighbour(_core(right, spacing), np.where(near, outside, np.inf))
    return found


def _core(mask: Mask, spacing: NDArray[np.float64]) -> Mask:
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
    wanted = _DEPTH * float(spacing.mean())
    return np.asarray(mask & (depth >= min(wanted, _DEEPEST * depth.max())))
