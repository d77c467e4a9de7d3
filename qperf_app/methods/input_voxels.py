"""Which voxels of a blood pool the arterial input function is averaged over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Share of the pool's voxels that are averaged.
INPUT_SHARE = 0.15
#: Voxels that are averaged at least, so far as they are no more than ...
LEAST_VOXELS = 15
#: ... this share of the pool.
LARGEST_SHARE = 1.0 / 3.0
#: Part of the peak's enhancement down to which a bolus is passing.
_PASSING = 0.5


def choose_input_voxels(
    series: NDArray[np.floating],
    pool: NDArray[np.bool_],
    share: float = INPUT_SHARE,
    first_pass: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Mark the share of a blood pool that enhances most while the bolus passes.

    Averaging over the whole pool mixes wall and papillary muscle into the input function (partial volume), which makes
    it lower and flow higher; Xue et al. (Magn Reson Med 2020;84:2788) therefore take the top 15 %. The slice with the
    largest pool is taken, so that the voxels share one instant and one coil sensitivity.

    Input-function series are coarse: the top 15 % are then four to eight voxels, and flow under stress takes up the
    noise that their mean is left with. So 15 are taken, but no more than a third of the pool, half of which is edge.

    How much a voxel enhances is the slope of its curve on the pool's mean curve, from the first frame to the end of the
    passage. By its signal at the peak alone, voxels would be chosen whose noise is high in that very frame, and the
    input function's peak be too high by one and a half standard deviations of a voxel's noise: a tenth in a small
    bolus. Fat at the edge of a pool, bright all the time, has no slope. Voxels that enhance alike are told apart by
    their curves: the choice hangs on the values, not on the order in which they are stored.

    Parameters
    ----------
    series : (x, y, z, t) array
        Motion-corrected, without proton-density volumes: signal or enhancement.
    pool : (x, y, z) bool array
        Left-ventricular blood, not empty.
    share : float
        Of the pool's voxels in that slice; a small pool gives :data:`LEAST_VOXELS`, or :data:`LARGEST_SHARE` of itself.
    first_pass : (t,) bool array, optional
        Frames in which the peak is looked for; all where it is not given.

    Returns
    -------
    (x, y, z) bool array
    """
    k = _largest_slice(series, pool)
    curves = series[:, :, k][pool[:, :, k]].astype(np.float64)
    # Sorted, so that the sum hangs on the values alone.
    mean = np.sort(curves, axis=0).mean(axis=0)
    end = _end_of_passage(mean, first_pass)
    enhancement = (curves[:, :end] * (mean[:end] - mean[:end].mean())).sum(axis=1)
    least = min(LEAST_VOXELS, round(LARGEST_SHARE * len(curves)))
    count = max(1, least, round(share * len(curves)))
    chosen = np.lexsort((*curves.T, -enhancement))[:count]
    x, y = np.nonzero(pool[:, :, k])
    marked = np.zeros_like(pool)
    marked[x[chosen], y[chosen], k] = True
    return marked


def _end_of_passage(mean: NDArray[np.float64], first_pass: NDArray[np.bool_] | None) -> int:
    """Number of frames until a pool's mean curve (t,) has fallen halfway from its peak to where it started."""
    peak = int((mean if first_pass is None else np.where(first_pass, mean, -np.inf)).argmax())
    least = float(mean[: peak + 1].min())
    fallen = mean[peak:] < least + _PASSING * (mean[peak] - least)
    return peak + (int(fallen.argmax()) if fallen.any() else len(fallen))


def _largest_slice(series: NDArray[np.floating], pool: NDArray[np.bool_]) -> int:
    """Slice with most voxels of the pool; of several, the one that is brightest there."""
    voxels = pool.sum(axis=(0, 1))
    largest = np.flatnonzero(voxels == voxels.max())
    if len(largest) == 1:
        return int(largest[0])
    return int(max(largest, key=lambda k: series[:, :, k][pool[:, :, k]].sum(dtype=np.float64)))
