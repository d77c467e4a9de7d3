"""Step ``blood-pool``: the ventricles' blood, and the voxels of the input function."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from qperf_app.plugins.checks import PluginResultError, check_estimated_dice, check_kind, check_mask
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.records import BloodPools, RunContext, Series
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, RunsOn, Slot, StepSpec


class BloodPoolPlugin(Plugin):
    """Step ``blood-pool``."""

    @abstractmethod
    def find(self, series: Series, context: RunContext) -> BloodPools:
        """Find the ventricles' blood in a motion-corrected series, or say that the left one is not there."""


def check_pools(result: Any, series: Series) -> BloodPools:
    """Boolean masks on the series' grid; where pools are found none is empty; a reason where they are not."""
    found = check_kind(result, BloodPools)
    for name in ("lv", "rv", "aif"):
        check_mask(name, getattr(found, name), series.data.shape[:3])
    check_estimated_dice(found.estimated_dice, series.data.shape[2])
    if found.found and not (found.lv.any() and found.aif.any()):
        raise PluginResultError("found is True but lv or aif is empty")
    if not found.found and not found.reason:
        raise PluginResultError("found is False without a reason")
    return found


BLOOD_POOL = StepSpec(
    name="blood-pool",
    summary="finding the ventricles' blood",
    slot=Slot(
        hook="qperf_blood_pool",
        interface=BloodPoolPlugin,
        method="find",
        check=check_pools,
        default=("ensemble",),
        phrase="The ventricles' blood pools were found by {}",
    ),
    on=RunsOn.BLOOD,
    reads=(Read("series", MOTION_CORRECTION.name, of_blood=True),),
    files={
        "lv": DerivativeFile("label-LV_mask.nii.gz", FileKind.MASK),
        "rv": DerivativeFile("label-RV_mask.nii.gz", FileKind.MAYBE_EMPTY_MASK),
        "aif-voxels": DerivativeFile("label-AIF_mask.nii.gz", FileKind.MAYBE_EMPTY_MASK),
    },
    hand_ins=("lv", "rv", "aif-voxels"),
    reads_when_handed_in=True,
    runner="qperf_app.workflow.runners.blood_pool:run",
)
