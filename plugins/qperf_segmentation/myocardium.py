"""Myocardium and insertion points of the right ventricle, without a trained network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from qperf_app.plugins import (
    BloodPools,
    InputFunction,
    Landmark,
    Myocardium,
    MyocardiumPlugin,
    Resources,
    RunContext,
    Series,
)
from qperf_segmentation.blood_pool import KMeansBloodPool
from qperf_segmentation.enhancement import MIN_VOLUMES, Enhancement, measure_enhancement
from qperf_segmentation.insertions import find_insertions
from qperf_segmentation.prior import ventricles_of
from qperf_segmentation.ring import RingOptions, find_ring


@dataclass(frozen=True)
class ClassicalOptions:
    """Options of :class:`ClassicalMyocardium`."""

    stiffness: float = field(
        default=1.0, metadata={"help": "cost of a border's step of 1 mm from a ray to the next; higher is smoother"}
    )
    evenness: float = field(
        default=0.05, metadata={"help": "cost of a wall 1 mm thicker or thinner than usual in its slice, per mm^2"}
    )
    blood_level: float = field(
        default=0.5, metadata={"help": "share of left blood from which a place is cavity, 0 to 1"}
    )
    wall_level: float = field(
        default=0.4, metadata={"help": "likeness to myocardium from which a place is wall, -1 to 1"}
    )
    max_thickness: float = field(default=22.0, metadata={"help": "greatest thickness of the wall, mm"})
    landmarks: bool = field(default=True, metadata={"help": "look for the insertion points of the right ventricle"})


class ClassicalMyocardium(MyocardiumPlugin):
    """Outline the wall between the borders that part it best from blood and surroundings by enhancement.

    Every voxel's curve is explained as a sum of the curves of left blood, right blood and myocardium. Seen from the
    centre of the left ventricle, the ring that holds most myocardium and least blood is found by dynamic programming
    with smooth borders; the myocardium's curve is then measured in it anew. The septum is the part of the ring that
    touches right-ventricular blood, and its ends are the insertion points.
    """

    name = "classical"
    version = "1.0"
    summary = "unmixes enhancement curves and finds the ring of myocardium by dynamic programming"
    citations = ()
    Options = ClassicalOptions

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Memory for a dozen copies of the series in double precision."""
        return Resources(memory_gb=0.4 + 12 * 8 * math.prod(shape) / 2**30)

    def segment(
        self, series: Series, pools: BloodPools | None, aif: InputFunction | None, context: RunContext
    ) -> Myocardium:
        """Outline the myocardium on a motion-corrected tissue series.

        Parameters
        ----------
        series : Series
            Signal or concentration; proton-density volumes are left out.
        pools : BloodPools or None
            On any grid. On another one they only say where to look; without them the pools are looked for.
        aif : InputFunction or None
            Not used.
        context : RunContext

        Returns
        -------
        Myocardium
            At most one closed ring in a slice. Empty, with a warning, where no left ventricle is found.
        """
        empty = np.zeros(series.data.shape[:3], dtype=bool)
        found = measure_enhancement(series, time_sigma=0.8, space_sigma=1.0)
        if found is None:
            return Myocardium(empty, warnings=(f"fewer than {MIN_VOLUMES} dynamic volumes: no myocardium",))
        ventricles, warnings = ventricles_of(series, pools, KMeansBloodPool(), context)
        if ventricles is None:
            return Myocardium(empty, warnings=tuple(warnings))
        return self._slices(series, found, ventricles, warnings)

    def _slices(self, series: Series, found: Enhancement, pools: BloodPools, warnings: list[str]) -> Myocardium:
        options = RingOptions(
            stiffness=self.options.stiffness,
            evenness=self.options.evenness,
            blood_level=self.options.blood_level,
            wall_level=self.options.wall_level,
            max_thickness=self.options.max_thickness,
        )
        mask = np.zeros(series.data.shape[:3], dtype=bool)
        landmarks: list[Landmark] = []
        for k in range(series.data.shape[2]):
            if not pools.lv[..., k].any():
                warnings.append(f"slice {k}: no left-ventricular blood, so no myocardium")
                continue
            ring = find_ring(found, pools, k, series.voxel_size, options)
            if isinstance(ring, str):
                warnings.append(f"slice {k}: {ring}")
                continue
            mask[..., k] = ring.mask
            warnings += [f"slice {k}: {doubt}" for doubt in ring.doubts]
            if self.options.landmarks:
                points, doubt = find_insertions(ring, k, series.affine)
                landmarks += points
                warnings += [f"slice {k}: {doubt}"] if doubt else []
        return Myocardium(mask, tuple(landmarks), tuple(warnings))
