"""From the core of a ventricle's blood to the whole pool, by clustering the curves in and around it."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from qperf_segmentation.enhancement import Enhancement
from qperf_segmentation.ventricles import Mask, VentriclePair, VentricleRules, find_in_slice

Array = NDArray[np.float64]

#: Clusters that the curves fall into: blood, its partial volume with wall, wall, and what does not enhance.
CLUSTERS = 4
#: Interval about the arrival in a ventricle whose curves draw its pool, widths of the first pass: upslope and peak.
INTERVAL = (-0.62, 0.62)
#: A pool reaches no farther than this from its core, mm.
_REACH = 8.0
#: The pool's template is the mean curve of voxels as bright as the brightest quarter of the core.
_TEMPLATE_PERCENTILE = 75
#: A cluster is blood where its curve holds at least this share of the template: half a voxel's volume.
_BLOOD_SHARE = 0.5
_ITERATIONS = 50


def grow_pools(
    found: Enhancement, pair: VentriclePair, voxel: Array, rules: VentricleRules, clusters: int = CLUSTERS
) -> tuple[Mask, Mask]:
    """Whole left and right pools (x, y, z) of every slice, from the cores of a pair and its likes in other slices.

    Parameters
    ----------
    found : Enhancement
    pair : VentriclePair
    voxel : (3,) array
        Edge lengths, mm.
    rules : VentricleRules
    clusters : int
    """
    lv: Mask = np.zeros(found.arrival.shape, dtype=bool)
    rv = np.zeros_like(lv)
    for k in range(found.arrival.shape[2]):
        left, right = (pair.lv, pair.rv) if k == pair.slice else find_in_slice(found, k, pair, voxel, rules)
        if not left.any():
            continue
        lv[..., k] = grow(curves_about(found, k, pair.lv_arrival), left, right, voxel, clusters)
        if right.any():
            early = curves_about(found, k, pair.rv_arrival)
            rv[..., k] = grow(early, right, lv[..., k], voxel, clusters)
    return lv, rv


def curves_about(found: Enhancement, k: int, arrival: float) -> Array:
    """Enhancement (x, y, t) of slice ``k`` in :data:`INTERVAL` about an arrival time, widths."""
    since = found.times - arrival
    return found.curves[:, :, k][..., (since >= INTERVAL[0]) & (since <= INTERVAL[1])]


def grow(curves: Array, core: Mask, other: Mask, voxel: Array, clusters: int = CLUSTERS) -> Mask:
    """Grow a core to the pool: cluster the curves in and around it and keep those of at least half its amplitude.

    k-means starts from even shares of the pool's own curve, none to all of it, and not at random. On 18 drawn series
    eight random starts gave a mean Dice of the left pool of 0.78 to 0.81, this one 0.80.

    Parameters
    ----------
    curves : (x, y, t) float array
        Enhancement during the upslope and peak of this pool.
    core, other : (x, y) bool arrays
        The pool's core and a region it may not take, the other ventricle.
    voxel : (3,) float array
    clusters : int

    Returns
    -------
    (x, y) bool array
        One connected region without holes: the papillary muscles in it count as cavity.
    """
    from scipy import ndimage
    from scipy.cluster.vq import kmeans2

    around = ndimage.distance_transform_edt(~core, sampling=voxel[:2]) <= _REACH
    around &= ~other
    if not (core & around).any():
        # The other ventricle has taken all of it.
        return np.zeros_like(core)
    points = curves[around]
    amplitude = points.max(axis=1)
    template = points[amplitude >= np.percentile(amplitude[core[around]], _TEMPLATE_PERCENTILE)].mean(axis=0)
    energy = max(float(template @ template), np.finfo(float).tiny)
    start = np.linspace(0.0, 1.0, min(clusters, len(points)))[:, None] * template
    with warnings.catch_warnings():
        # A cluster that no curve is nearest to keeps its centre.
        warnings.simplefilter("ignore", UserWarning)
        centres, label = kmeans2(points, start, minit="matrix", iter=_ITERATIONS, missing="warn")
    pool = np.zeros_like(core)
    pool[around] = (centres @ template / energy >= _BLOOD_SHARE)[label]
    labels, _ = ndimage.label(pool)
    overlap = np.bincount(labels[core], minlength=labels.max() + 1)
    overlap[0] = 0
    if not overlap.any():
        return np.zeros_like(core)
    return np.asarray(ndimage.binary_fill_holes(labels == overlap.argmax()))
