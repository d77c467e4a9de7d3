"""Myocardium and insertion points of the right ventricle by a trained network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qperf_app.plugins import BloodPools, Resources, Series
from qperf_app.plugins.digests import file_digests
from qperf_segmentation.enhancement import MIN_VOLUMES
from qperf_segmentation.insertions import name_points
from qperf_segmentation.networks.weights import SHIPPED, weights_file
from qperf_segmentation.resunet_blood_pool import ResUNetBloodPool
from qperf_segmentation.templates import SliceOutline, SliceOutliner, SliceWiseMyocardium

if TYPE_CHECKING:
    from qperf_segmentation.networks.heart_slice import HeartSlice

#: Weights that come with the package.
WEIGHTS = SHIPPED / "myocardium.npz"


@dataclass(frozen=True)
class WallNetworkOptions:
    """Options of :class:`ResUNetMyocardium`."""

    weights: str = field(default="", metadata={"help": "weights made by qperf train myocardium; empty: those shipped"})
    agreement: float = field(
        default=0.85,
        metadata={
            "help": "Dice among mirrored pictures of a slice below which its outline is doubted",
            "range": (0.0, 1.0),
        },
    )
    landmarks: bool = field(default=True, metadata={"help": "look for the insertion points of the right ventricle"})


class ResUNetMyocardium(SliceWiseMyocardium):
    """Outline wall, blood and insertion points with a residual U-Net that sees the frames as channels.

    The heart is cut out about the left ventricle on a grid of 80x80 pixels, with 32 samples around its peak. Each
    slice is also seen mirrored and turned: where these pictures disagree, the outline is reported as doubtful. The
    idea of a network that finds wall and insertion points for automatic quantification is that of Scannell et al.
    2020; the network and its training on simulated scans are this project's.
    """

    name = "resunet"
    version = "1.2"
    summary = "a residual U-Net, trained on simulated scans, outlines wall and insertion points and says how sure it is"
    citations = (
        "Scannell CM, Veta M, Villa ADM, et al. Deep-learning-based preprocessing for quantitative myocardial "
        "perfusion MRI. J Magn Reson Imaging 2020;51:1689-1696. doi:10.1002/jmri.26983",
    )
    trainer = "qperf_segmentation.networks.train_wall:WallTrainer"
    Options = WallNetworkOptions
    pool_finder = ResUNetBloodPool

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return weights_file(self.options.weights, WEIGHTS)

    def loaded_files(self) -> Mapping[str, str]:
        """The weights, and those of the network that looks for pools where none are handed on."""
        return {**ResUNetBloodPool().loaded_files(), **file_digests(self.weights)}

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """The network, and a dozen copies of the series in double precision for pools from another grid."""
        return Resources(memory_gb=0.5 + 12 * 8 * math.prod(shape) / 2**30)

    def outliner(self, series: Series) -> SliceOutliner | None:
        """What asks the network about a slice.

        Raises
        ------
        WeightsError
            Where the weights that are asked for can't be read.
        """
        from qperf_segmentation.networks import wall_input
        from qperf_segmentation.networks.heart_slice import outline_heart
        from qperf_segmentation.networks.pool_input import corrected_signal
        from qperf_segmentation.networks.weights import forward, read_architecture

        times = np.asarray(series.dynamic().times, np.float64)
        if len(times) < MIN_VOLUMES or not (np.diff(times) > 0).all():
            return None
        model = forward(self.weights, shape=wall_input.SHAPE, frames=wall_input.FRAMES, classes=4, points=1)
        in_passes = read_architecture(self.weights).clock == "passes"
        signal = corrected_signal(series)

        def outline(pools: BloodPools, k: int) -> SliceOutline | str:
            found = outline_heart(model, signal[:, :, k], times, series.voxel_size, pools.lv[..., k], in_passes)
            if found is None:
                return "the network sees no wall"
            points, doubt = name_points(found.points, k, series.affine) if len(found.points) else ([], "")
            return SliceOutline(
                found.wall, tuple(points) if self.options.landmarks else (), tuple(self._doubts(found, doubt))
            )

        return outline

    def _doubts(self, found: HeartSlice, about_points: str) -> list[str]:
        """Why a slice should not be trusted."""
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
