"""Which voxels of a blood pool the arterial input function is averaged over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Share of the pool's voxels that are averaged.
INPUT_SHARE = 0.15
#: Frames at the start of a series that its level before contrast is the mean of.
_BASELINE_FRAMES = 3


def choose_input_voxels(
    series: NDArray[np.floating],
    pool: NDArray[np.bool_],
    share: float = INPUT_SHARE,
    first_pass: NDArray[np.bool_] | None = None,
    above_baseline: bool = False,
) -> NDArray[np.bool_]:
    """Mark the share of a blood pool that enhances most at the pool's peak.

    Averaging over the whole pool mixes wall and papillary muscle into the input function (partial volume), which makes
    it lower and flow higher; Xue et al. (Magn Reson Med 2020;84:2788) therefore take the top 15 %. The slice with the
    largest pool is taken, so that the voxels share one instant and one coil sensitivity. Voxels that enhance alike are
    told apart by their curves: the choice hangs on the values, not on the order in which they are stored.

    Parameters
    ----------
    series : (x, y, z, t) array
        Motion-corrected, without proton-density volumes: signal, or enhancement over the level before contrast.
    pool : (x, y, z) bool array
        Left-ventricular blood, not empty.
    share : float
        Of the pool's voxels in that slice; at least one is marked.
    first_pass : (t,) bool array, optional
        Frames in which the peak is looked for; all where it is not given.
    above_baseline : bool
        Whether ``series`` is enhancement already. Otherwise the mean of the first three frames is taken off: fat at the
        edge of a pool is bright all the time.

    Returns
    -------
    (x, y, z) bool array
    """
    k = _largest_slice(series, pool)
    curves = series[:, :, k][pool[:, :, k]].astype(np.float64)
    mean = curves.mean(axis=0)
    peak = int((mean if first_pass is None else np.where(first_pass, mean, -np.inf)).argmax())
    enhancement = curves[:, peak]
    if not above_baseline:
        enhancement = enhancement - curves[:, : min(_BASELINE_FRAMES, peak + 1)].mean(axis=1)
    count = max(1, round(share * len(curves)))
    chosen = np.lexsort((*curves.T, -enhancement))[:count]
    x, y = np.nonzero(pool[:, :, k])
    marked = np.zeros_like(pool)
    marked[x[chosen], y[chosen], k] = True
    return marked


def _largest_slice(series: NDArray[np.floating], pool: NDArray[np.bool_]) -> int:
    """Slice with most voxels of the pool; of several, the one that is brightest there."""
    voxels = pool.sum(axis=(0, 1))
    largest = np.flatnonzero(voxels == voxels.max())
    if len(largest) == 1:
        return int(largest[0])
    return int(max(largest, key=lambda k: series[:, :, k][pool[:, :, k]].sum(dtype=np.float64)))
