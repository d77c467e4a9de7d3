"""Step ``noise``: the standard deviation of the noise of each voxel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.checks import check_shape
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.records import RunContext, Series
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, Slot, StepSpec


class NoisePlugin(Plugin):
    """Step ``noise``."""

    @abstractmethod
    def measure(self, series: Series, context: RunContext) -> NDArray[np.float64]:
        """Measure the standard deviation of the noise (x, y, z) of a motion-corrected series, in its units."""


def check_noise(result: Any, series: Series) -> NDArray[np.float64]:
    """One value for each voxel."""
    check_shape("noise", result, series.data.shape[:3])
    return np.asarray(result, dtype=np.float64)


NOISE = StepSpec(
    name="noise",
    summary="the noise of each voxel",
    slot=Slot(
        hook="qperf_noise",
        interface=NoisePlugin,
        method="measure",
        check=check_noise,
        default=("differences",),
        phrase="The noise of each voxel was measured by {}",
    ),
    reads=(Read("series", MOTION_CORRECTION.name),),
    files={"noise": DerivativeFile("desc-noise_dcemap.nii.gz", FileKind.MAYBE_EMPTY_MASK)},
    hand_ins=("noise",),
    runner="qperf_app.workflow.runners.noise:run",
)
