"""Blood pools by clustering: the method that works without a trained network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.input_voxels import INPUT_SHARE, choose_input_voxels
from qperf_app.plugins import BloodPoolPlugin, BloodPools, Resources, RunContext, Series
from qperf_segmentation.enhancement import MIN_VOLUMES, Enhancement, measure_enhancement
from qperf_segmentation.ventricles import Mask, VentriclePair, VentricleRules, find_in_slice, find_pair

#: A series that ends sooner after the bolus reached the left ventricle, s, has neither an input function nor a tissue
#: response; the wash-out by which blood is told is missing as well.
MIN_FOLLOW_UP = 8.0
#: The left pool is drawn by its curves from before to after the bolus' arrival in it, s.
DRAWN_BY = (-4.0, 6.0)
#: The peak of the first pass comes no later than this after its steepest rise, s.
PASSAGE = 12.0


@dataclass(frozen=True)
class KMeansOptions:
    """Options of :class:`KMeansBloodPool`."""

    snr: float = field(default=3.0, metadata={"help": "least enhancement of a candidate voxel over its noise"})
    clusters: int = field(default=4, metadata={"help": "clusters that the left pool is refined with"})
    aif_fraction: float = field(
        default=INPUT_SHARE,
        metadata={"help": "share of the left pool, brightest at its peak, that the AIF is averaged over"},
    )
    min_delay: float = field(default=1.5, metadata={"help": "least time from the right to the left ventricle, s"})
    max_delay: float = field(default=15.0, metadata={"help": "greatest time from the right to the left ventricle, s"})
    min_area: float = field(default=60.0, metadata={"help": "least area of a blood pool in a slice, mm^2"})


class KMeansBloodPool(BloodPoolPlugin):
    """Find both ventricles by their enhancement: right and left by arrival time, the left refined by its curves.

    Voxels without enhancement are removed, the rest split in two clusters by the time of their steepest rise; the
    early one is the right ventricle, the late one the left. Curves around the left one fall into four clusters, of
    which the blood-like ones are kept. After the ad-hoc method described by Xue et al. 2020.
    """

    name = "kmeans"
    version = "1.0"
    summary = "clusters voxels by arrival time and curve into right and left ventricular blood"
    citations = (
        "Xue H, Tseng E, Knott KD, et al. Automated detection of left ventricle in arterial input function images for "
        "inline perfusion mapping using deep learning: A study of 15,000 patients. Magn Reson Med 2020;84:2788-2800. "
        "doi:10.1002/mrm.28291",
    )
    Options = KMeansOptions

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Memory for a dozen copies of the series in double precision."""
        return Resources(memory_gb=0.4 + 12 * 8 * math.prod(shape) / 2**30)

    def find(self, series: Series, context: RunContext) -> BloodPools:
        """Find the ventricles' blood in a motion-corrected series, or say that the left one is not there.

        Parameters
        ----------
        series : Series
            One slice or several, with or without proton-density volumes. Signal or concentration.
        context : RunContext
            Its seed starts the clustering of the left pool.

        Returns
        -------
        BloodPools
            ``aif`` lies in the slice with the largest left pool, the one with the least partial volume.
        """
        options = self.options
        found = measure_enhancement(series)
        if found is None:
            return nothing(series, f"fewer than {MIN_VOLUMES} dynamic volumes with increasing times")
        if not np.any(found.snr >= options.snr):
            return nothing(series, f"no voxel enhances {options.snr:g} times its noise: no bolus seen")
        rules = VentricleRules(
            snr=options.snr, min_delay=options.min_delay, max_delay=options.max_delay, min_area=options.min_area
        )
        pair = find_pair(found, series.voxel_size, rules)
        if pair is None:
            return nothing(series, "no two regions enhance and wash out as a right and then a left ventricle do")
        if found.times[-1] < pair.lv_arrival + MIN_FOLLOW_UP:
            return nothing(series, "the series ends before the bolus has passed the left ventricle")
        return grow(series, found, pair, rules, options, context.seed)


def nothing(series: Series, reason: str) -> BloodPools:
    """Return the answer "not found"."""
    empty = np.zeros(series.data.shape[:3], dtype=bool)
    return BloodPools(empty, empty.copy(), empty.copy(), series.affine, found=False, reason=reason)


def grow(
    series: Series, found: Enhancement, pair: VentriclePair, rules: VentricleRules, options: KMeansOptions, seed: int
) -> BloodPools:
    """Refine the cores of every slice to whole pools and choose the voxels of the input function."""
    voxel = series.voxel_size
    lv = np.zeros(series.data.shape[:3], dtype=bool)
    rv = np.zeros_like(lv)
    for k in range(series.data.shape[2]):
        cores = (pair.lv, pair.rv) if k == pair.slice else find_in_slice(found, k, pair, voxel, rules)
        if not cores[0].any():
            continue
        curves = found.curves[:, :, k]
        since = found.times - pair.lv_arrival
        window = (since >= DRAWN_BY[0]) & (since <= DRAWN_BY[1])
        lv[..., k] = refine(curves[..., window], cores[0], cores[1], voxel, options.clusters, seed)
        if cores[1].any():
            early = (found.times >= pair.rv_arrival - 4.0) & (found.times <= pair.rv_arrival + 4.0)
            rv[..., k] = refine(curves[..., early], cores[1], lv[..., k], voxel, options.clusters, seed)
    if not lv.any():
        return nothing(series, "the left ventricle falls apart when its curves are clustered")
    return BloodPools(lv, rv, _input_voxels(found, lv, options.aif_fraction), series.affine)


def refine(
    curves: NDArray[np.float64], core: Mask, other: Mask, voxel: NDArray[np.float64], clusters: int, seed: int
) -> Mask:
    """Grow a core to the pool: cluster the curves in and around it and keep those of at least half its amplitude.

    Parameters
    ----------
    curves : (x, y, t) float array
        Enhancement during the upslope and peak of this pool.
    core, other : (x, y) bool arrays
        The pool's core and a region it may not take, the other ventricle.
    voxel : (3,) float array
    clusters : int
    seed : int

    Returns
    -------
    (x, y) bool array
        One connected region without holes: the papillary muscles in it count as cavity.
    """
    from scipy import ndimage
    from scipy.cluster.vq import kmeans2

    around = ndimage.distance_transform_edt(~core, sampling=voxel[:2]) <= 8.0
    around &= ~other
    if not (core & around).any():
        # The other ventricle has taken all of it.
        return np.zeros_like(core)
    points = curves[around]
    amplitude = points.max(axis=1)
    template = points[amplitude >= np.percentile(amplitude[core[around]], 75)].mean(axis=0)
    n = min(clusters, len(points))
    centres, label = kmeans2(points, n, rng=np.random.default_rng(seed), minit="++", iter=50, missing="warn")
    share = centres @ template / max(float(template @ template), np.finfo(float).tiny)
    pool = np.zeros_like(core)
    pool[around] = (share >= 0.5)[label]
    labels, _ = ndimage.label(pool)
    overlap = np.bincount(labels[core], minlength=labels.max() + 1)
    overlap[0] = 0
    if not overlap.any():
        return np.zeros_like(core)
    return ndimage.binary_fill_holes(labels == overlap.argmax())


def _input_voxels(found: Enhancement, lv: Mask, share: float) -> Mask:
    """Voxels of the input function: those that enhance most by the peak of the first pass."""
    k = int(lv.sum(axis=(0, 1)).argmax())
    first_pass = found.times <= np.median(found.arrival[..., k][lv[..., k]]) + PASSAGE
    return choose_input_voxels(found.curves, lv, share, first_pass, above_baseline=True)
