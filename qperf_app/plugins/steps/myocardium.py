"""Step ``myocardium``: the wall of the left ventricle, and where the right one's is inserted."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from qperf_app.plugins.checks import PluginResultError, check_estimated_dice, check_kind, check_mask, check_texts
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.records import BloodPools, InputFunction, Myocardium, RunContext, Series
from qperf_app.plugins.steps.blood_pool import BLOOD_POOL
from qperf_app.plugins.steps.input_function import INPUT_FUNCTION
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, Slot, StepSpec


class MyocardiumPlugin(Plugin):
    """Step ``myocardium``."""

    @abstractmethod
    def segment(
        self, series: Series, pools: BloodPools | None, aif: InputFunction | None, context: RunContext
    ) -> Myocardium:
        """Outline the myocardium on the motion-corrected tissue series.

        ``pools`` may lie on another grid (that of the input-function series); their affine says where. Either may be
        None where it was not found or not made.
        """


def check_myocardium(result: Any, series: Series) -> Myocardium:
    """Boolean mask on the series' grid, landmarks on its slices."""
    found = check_kind(result, Myocardium)
    check_mask("mask", found.mask, series.data.shape[:3])
    check_texts("warnings", found.warnings)
    check_estimated_dice(found.estimated_dice, series.data.shape[2])
    for landmark in found.landmarks:
        if not 0 <= landmark.slice < series.data.shape[2] or not np.isfinite(landmark.position).all():
            raise PluginResultError(f"landmark {landmark} lies on no slice or is not finite")
    return found


MYOCARDIUM = StepSpec(
    name="myocardium",
    summary="outlining the myocardium",
    slot=Slot(
        hook="qperf_myocardium",
        interface=MyocardiumPlugin,
        method="segment",
        check=check_myocardium,
        default=("ensemble",),
        phrase="The left-ventricular myocardium was outlined by {}",
    ),
    reads=(
        Read("series", MOTION_CORRECTION.name),
        Read("pools", BLOOD_POOL.name, optional=True),
        Read("aif", INPUT_FUNCTION.name, optional=True),
    ),
    files={
        "myocardium": DerivativeFile("label-myocardium_mask.nii.gz", FileKind.MASK),
        "landmarks": DerivativeFile("desc-landmarks_points.tsv", FileKind.POINTS),
    },
    hand_ins=("myocardium", "landmarks"),
    reads_when_handed_in=True,
    runner="qperf_app.workflow.runners.myocardium:run",
)
