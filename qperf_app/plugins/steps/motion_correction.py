"""Step ``motion-correction``: where every voxel of the corrected series is read from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from qperf_app.geometry import longest
from qperf_app.plugins.checks import PluginResultError, check_kind, check_mask, check_numbers
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.records import Motion, RunContext, Series
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, RunsOn, Slot, StepSpec


class MotionCorrectionPlugin(Plugin):
    """Step ``motion-correction``."""

    @abstractmethod
    def correct(self, series: Series, context: RunContext) -> Motion:
        """Find the displacement of every volume, proton-density volumes included. The host applies it."""


def check_motion(result: Any, series: Series) -> Motion:
    """Displacement of the right shape, finite and within the field of view; one verdict per slice and frame."""
    result = check_kind(result, Motion)
    check_numbers("displacement", result.displacement, (*series.data.shape, 3), gaps=False)
    check_mask("corrected", result.corrected, series.data.shape[2:])
    field = float((series.voxel_size[:2] * series.data.shape[:2]).max())
    for volume, length in enumerate(longest(result.displacement).max(axis=0, initial=0.0)):
        if length > field:
            raise PluginResultError(
                f"displacement of {length:.0f} mm in volume {volume}: outside of the field of view, {field:.0f} mm wide"
            )
    if result.cost is not None:
        check_numbers("cost", result.cost, series.data.shape[2:])
    if result.residual is not None:
        check_numbers("residual", result.residual, series.data.shape[2:])
    checked: Motion = result
    return checked


MOTION_CORRECTION = StepSpec(
    name="motion-correction",
    summary="motion correction",
    slot=Slot(
        hook="qperf_motion_correction",
        interface=MotionCorrectionPlugin,
        method="correct",
        check=check_motion,
        default=("progressive",),
        phrase="Motion was corrected by {}",
    ),
    on=RunsOn.EACH,
    files={
        "preproc": DerivativeFile("desc-preproc_dce.nii.gz", FileKind.SERIES),
        "xfm": DerivativeFile("desc-moco_xfm.nii.gz", FileKind.DISPLACEMENT),
    },
    hand_ins=("preproc", "xfm"),
    reads_raw=True,
    runner="qperf_app.workflow.runners.motion_correction:run",
)
