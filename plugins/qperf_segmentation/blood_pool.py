"""Blood pools by clustering: the method that works without a trained network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from qperf_app.methods.input_voxels import INPUT_SHARE, choose_input_voxels
from qperf_app.plugins import BloodPools, Resources, Series
from qperf_segmentation.enhancement import MIN_VOLUMES, Enhancement, measure_enhancement
from qperf_segmentation.pool_growth import grow_pools
from qperf_segmentation.templates import CanonicalBloodPool, not_found
from qperf_segmentation.ventricles import Mask, VentricleRules, find_pair

#: A series that ends sooner after the bolus reached the left ventricle, widths of the first pass, has neither an input
#: function nor a tissue response; the wash-out by which blood is told is missing as well.
MIN_FOLLOW_UP = 1.23
#: The peak of the first pass comes no later than this after its steepest rise, widths.
LATEST_PEAK = 1.85


@dataclass(frozen=True)
class KMeansOptions:
    """Options of :class:`KMeansBloodPool`."""

    snr: float = field(
        default=3.0, metadata={"help": "least enhancement of a candidate voxel over its noise", "range": (0.0, 1e6)}
    )
    clusters: int = field(
        default=4, metadata={"help": "clusters that the left pool is refined with", "range": (2, 100)}
    )
    aif_fraction: float = field(
        default=INPUT_SHARE,
        metadata={
            "help": "share of the left pool, enhancing most, that the AIF is averaged over; of a small pool 15 voxels "
            "or a third",
            "range": (0.001, 1.0),
        },
    )
    min_transit: float = field(
        default=VentricleRules.min_transit,
        metadata={
            "help": "least time from the right to the left ventricle, widths of the first pass",
            "range": (0.0, 100.0),
        },
    )
    max_transit: float = field(
        default=VentricleRules.max_transit,
        metadata={
            "help": "greatest time from the right to the left ventricle, widths of the first pass",
            "range": (0.0, 100.0),
        },
    )
    min_area: float = field(
        default=60.0, metadata={"help": "least area of a blood pool in a slice, mm^2", "range": (0.0, 1e6)}
    )

    def __post_init__(self) -> None:
        if self.min_transit > self.max_transit:
            raise ValueError(
                f"option 'min_transit' is {self.min_transit}; it must not be above max_transit, {self.max_transit}"
            )


class KMeansBloodPool(CanonicalBloodPool):
    """Find both ventricles by their enhancement: right and left by arrival time, the left refined by its curves.

    Voxels without enhancement are removed, the rest split in two clusters by the time of their steepest rise; the
    early one is the right ventricle, the late one the left. Curves around the left one fall into four clusters, of
    which the blood-like ones are kept. After the ad-hoc method described by Xue et al. 2020.
    """

    name = "kmeans"
    version = "1.3"
    summary = "clusters voxels by arrival time and curve into right and left ventricular blood"
    Options = KMeansOptions

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Memory for a dozen copies of the series in double precision."""
        return Resources(memory_gb=0.4 + 12 * 8 * math.prod(shape) / 2**30)

    def find_in_order(self, series: Series) -> BloodPools:
        """Find the pools of a series in canonical order."""
        options = self.options
        found = measure_enhancement(series)
        if found is None:
            return not_found(series, f"fewer than {MIN_VOLUMES} dynamic volumes with increasing times")
        if not np.any(found.snr >= options.snr):
            return not_found(series, f"no voxel enhances {options.snr:g} times its noise: no bolus seen")
        rules = VentricleRules(
            snr=options.snr,
            min_transit=options.min_transit,
            max_transit=options.max_transit,
            min_area=options.min_area,
        )
        pair = find_pair(found, series.voxel_size, rules)
        if pair is None:
            return not_found(series, "no two regions enhance and wash out as a right and then a left ventricle do")
        if found.times[-1] < pair.lv_arrival + MIN_FOLLOW_UP:
            return not_found(series, "the series ends before the bolus has passed the left ventricle")
        lv, rv = grow_pools(found, pair, series.voxel_size, rules, options.clusters)
        if not lv.any():
            return not_found(series, "the left ventricle falls apart when its curves are clustered")
        return BloodPools(lv, rv, _input_voxels(found, lv, options.aif_fraction), series.affine)


def _input_voxels(found: Enhancement, lv: Mask, share: float) -> Mask:
    """Voxels of the input function: those that enhance most by the peak of the first pass."""
    k = int(lv.sum(axis=(0, 1)).argmax())
    first_pass = found.times <= np.median(found.arrival[..., k][lv[..., k]]) + LATEST_PEAK
    return choose_input_voxels(found.curves, lv, share, first_pass)
