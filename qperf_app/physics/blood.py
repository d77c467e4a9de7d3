"""Which voxels of a blood pool the arterial input function is averaged over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def brightest_voxels(data: NDArray[np.floating], pool: NDArray[np.bool_], fraction: float = 0.15) -> NDArray[np.bool_]:
    """Mark the share of a blood pool that brightens most up to its peak.

    Averaging over the whole pool mixes wall and papillary muscle into the input function, which makes it lower and
    flow higher; Xue et al. (Magn Reson Med 2020;84:2788) therefore take the top 15 %. The slice with the largest pool
    is taken, so that the voxels share one instant and one coil sensitivity.

    Parameters
    ----------
    data : (x, y, z, t) array
        Motion-corrected series without proton-density volumes.
    pool : (x, y, z) bool array
        Left-ventricular blood, not empty.
    fraction : float
        Share of the pool's voxels in that slice; at least one is marked.

    Returns
    -------
    (x, y, z) bool array
    """
    k = int(pool.sum(axis=(0, 1)).argmax())
    curves = data[:, :, k][pool[:, :, k]].astype(np.float64)
    peak = int(curves.mean(axis=0).argmax())
    count = max(1, round(fraction * len(curves)))
    # The rise, not the brightness: fat at the edge of a pool is bright all the time. Stable, so that equal values give
    # the same choice everywhere.
    rise = curves[:, peak] - curves[:, : min(3, peak + 1)].mean(axis=1)
    chosen = np.argsort(-rise, kind="stable")[:count]
    x, y = np.nonzero(pool[:, :, k])
    marked = np.zeros_like(pool)
    marked[x[chosen], y[chosen], k] = True
    return marked
