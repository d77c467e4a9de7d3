"""Myocardium and insertion points of the right ventricle by a trained network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from qperf_app.plugins.digests import file_digests
from qperf_segmentation.enhancement import MIN_VOLUMES
from qperf_segmentation.insertions import name_points
from qperf_segmentation.networks.weights import SHIPPED
from qperf_segmentation.prior import ventricles_of
from qperf_segmentation.resunet_blood_pool import ResUNetBloodPool

#: Weights that come with the package.
WEIGHTS = SHIPPED / "myocardium.npz"


@dataclass(frozen=True)
class WallNetworkOptions:
    """Options of :class:`ResUNetMyocardium`."""

    weights: str = field(default="", metadata={"help": "weights made by qperf train myocardium; empty: those shipped"})
    agreement: float = field(
        default=0.85, metadata={"help": "Dice among mirrored pictures of a slice below which its outline is doubted"}
    )
    landmarks: bool = field(default=True, metadata={"help": "look for the insertion points of the right ventricle"})


class ResUNetMyocardium(MyocardiumPlugin):
    """Outline wall, blood and insertion points with a residual U-Net that sees the frames as channels.

    The heart is cut out about the left ventricle on a grid of 80x80 pixels, with 32 samples around its peak. Each
    slice is also seen mirrored and turned: where these pictures disagree, the outline is reported as doubtful. The
    idea of a network that finds wall and insertion points for automatic quantification is that of Scannell et al.
    2020; the network and its training on simulated scans are this project's.
    """

    name = "resunet"
    version = "1.0"
    summary = "a residual U-Net, trained on simulated scans, outlines wall and insertion points and says how sure it is"
    citations = (
        "Scannell CM, Veta M, Villa ADM, et al. Deep-learning-based preprocessing for quantitative myocardial "
        "perfusion MRI. J Magn Reson Imaging 2020;51:1689-1696. doi:10.1002/jmri.26983",
    )
    trainer = "qperf_segmentation.networks.train_wall:WallTrainer"
    Options = WallNetworkOptions

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return Path(self.options.weights) if self.options.weights else WEIGHTS

    def loaded_files(self) -> Mapping[str, str]:
        """The weights, and those of the network that looks for pools where none are handed on."""
        return {**ResUNetBloodPool().loaded_files(), **file_digests(self.weights)}

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """TensorFlow, and a dozen copies of the series in double precision for pools from another grid."""
        return Resources(memory_gb=1.2 + 12 * 8 * math.prod(shape) / 2**30)

    def segment(
        self, series: Series, pools: BloodPools | None, aif: InputFunction | None, context: RunContext
    ) -> Myocardium:
        """Outline the myocardium on a motion-corrected tissue series.

        Parameters
        ----------
        series : Series
            Signal or concentration.
        pools : BloodPools or None
            On any grid. On another one they only say where to look; without them the pools are looked for.
        aif : InputFunction or None
            Not used.
        context : RunContext

        Returns
        -------
        Myocardium
            One ring in a slice at most. Empty, with a warning, where no left ventricle is found.

        Raises
        ------
        WeightsError
            Where the weights that are asked for can't be read.
        """
        from qperf_segmentation.networks import wall_input
        from qperf_segmentation.networks.heart_slice import outline
        from qperf_segmentation.networks.pool_input import corrected_signal
        from qperf_segmentation.networks.weights import load

        mask: NDArray[np.bool_] = np.zeros(series.data.shape[:3], dtype=bool)
        times = np.asarray(series.dynamic().times, np.float64)
        if len(times) < MIN_VOLUMES or not (np.diff(times) > 0).all():
            return Myocardium(mask, warnings=(f"fewer than {MIN_VOLUMES} dynamic volumes: no myocardium",))
        ventricles, warnings = ventricles_of(series, pools, ResUNetBloodPool(), context)
        if ventricles is None:
            return Myocardium(mask, warnings=tuple(warnings))
        model = load(self.weights, shape=wall_input.SHAPE, frames=wall_input.FRAMES, classes=4, points=1)
        signal = corrected_signal(series)
        landmarks: list[Landmark] = []
        for k in range(mask.shape[2]):
            if not ventricles.lv[..., k].any():
                warnings.append(f"slice {k}: no left-ventricular blood, so no myocardium")
                continue
            found = outline(model, signal[:, :, k], times, series.voxel_size, ventricles.lv[..., k])
            if found is None:
                warnings.append(f"slice {k}: the network sees no wall")
                continue
            mask[..., k] = found.wall
            points, doubt = name_points(found.points, k, series.affine) if len(found.points) else ([], "")
            landmarks += points if self.options.landmarks else []
            warnings += [f"slice {k}: {text}" for text in self._doubts(found, doubt)]
        return Myocardium(mask, tuple(landmarks), tuple(warnings))

    def _doubts(self, found: object, about_points: str) -> list[str]:
        """Why a slice should not be trusted."""
        from qperf_segmentation.networks.heart_slice import HeartSlice

        assert isinstance(found, HeartSlice)
        doubts = []
        if found.agreement < self.options.agreement:
            doubts.append(f"the network is not sure of the outline (agreement {found.agreement:.2f}): check it")
        if not found.closed:
            doubts.append("the wall does not go all the way round the cavity")
        if found.wall[[0, -1]].any() or found.wall[:, [0, -1]].any():
            doubts.append("the ring touches the image's edge")
        if self.options.landmarks:
            if not len(found.points):
                doubts.append("no insertion points of the right ventricle")
            elif found.sure_points < 0.5:
                doubts.append(f"the network is not sure of the insertion points ({found.sure_points:.2f}): check them")
            if about_points:
                doubts.append(about_points)
        return doubts
