"""Myocardium and insertion points of the right ventricle, without a trained network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from qperf_app.plugins import BloodPools, Resources, Series
from qperf_segmentation.blood_pool import KMeansBloodPool
from qperf_segmentation.enhancement import measure_enhancement
from qperf_segmentation.insertions import find_insertions
from qperf_segmentation.ring import RingOptions, find_ring
from qperf_segmentation.templates import SliceOutline, SliceOutliner, SliceWiseMyocardium

#: Smoothing in time, frames, and in plane, mm: less than for blood pools, as the wall is thin.
_TIME_SIGMA, _SPACE_SIGMA = 1.0, 1.0


@dataclass(frozen=True)
class ClassicalOptions:
    """Options of :class:`ClassicalMyocardium`."""

    stiffness: float = field(
        default=1.0,
        metadata={
            "help": "cost of a border's step of 1 mm from a ray to the next; higher is smoother",
            "range": (0.0, 1e6),
        },
    )
    evenness: float = field(
        default=0.05,
        metadata={
            "help": "cost of a wall 1 mm thicker or thinner than usual in its slice, per mm^2",
            "range": (0.0, 1e6),
        },
    )
    blood_level: float = field(
        default=0.5, metadata={"help": "share of left blood from which a place is cavity", "range": (0.0, 1.0)}
    )
    wall_level: float = field(
        default=0.4, metadata={"help": "likeness to myocardium from which a place is wall", "range": (-1.0, 1.0)}
    )
    max_thickness: float = field(
        default=22.0, metadata={"help": "greatest thickness of the wall, mm", "range": (1.0, 100.0)}
    )
    landmarks: bool = field(default=True, metadata={"help": "look for the insertion points of the right ventricle"})


class ClassicalMyocardium(SliceWiseMyocardium):
    """Outline the wall between the borders that part it best from blood and surroundings by enhancement.

    Every voxel's curve is explained as a sum of the curves of left blood, right blood and myocardium. Seen from the
    centre of the left ventricle, the ring that holds most myocardium and least blood is found by dynamic programming
    with smooth borders; the myocardium's curve is then measured in it anew. The septum is the part of the ring that
    touches right-ventricular blood, and its ends are the insertion points.
    """

    name = "classical"
    version = "1.1"
    summary = "unmixes enhancement curves and finds the ring of myocardium by dynamic programming"
    citations = ()
    Options = ClassicalOptions
    pool_finder = KMeansBloodPool

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Memory for a dozen copies of the series in double precision."""
        return Resources(memory_gb=0.4 + 12 * 8 * math.prod(shape) / 2**30)

    def outliner(self, series: Series) -> SliceOutliner | None:
        """What finds the ring of a slice."""
        found = measure_enhancement(series, time_sigma=_TIME_SIGMA, space_sigma=_SPACE_SIGMA)
        if found is None:
            return None
        options = RingOptions(
            stiffness=self.options.stiffness,
            evenness=self.options.evenness,
            blood_level=self.options.blood_level,
            wall_level=self.options.wall_level,
            max_thickness=self.options.max_thickness,
        )

        def outline(pools: BloodPools, k: int) -> SliceOutline | str:
            ring = find_ring(found, pools, k, series.voxel_size, options)
            if isinstance(ring, str):
                return ring
            points, doubt = find_insertions(ring, k, series.affine) if self.options.landmarks else ([], "")
            return SliceOutline(ring.mask, tuple(points), (*ring.doubts, *([doubt] if doubt else [])))

        return outline
