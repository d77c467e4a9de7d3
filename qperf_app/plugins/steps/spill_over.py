"""Step ``spill-over``: blood in the voxels of the wall, and the concentration of their muscle."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from qperf_app.plugins.checks import PluginResultError, check_kind, check_numbers
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.records import (
    BloodPools,
    Converter,
    InputFunction,
    Myocardium,
    RunContext,
    Series,
    SpillOver,
    TissueConstants,
)
from qperf_app.plugins.steps.blood_pool import BLOOD_POOL
from qperf_app.plugins.steps.concentration import CONCENTRATION, check_concentration
from qperf_app.plugins.steps.input_function import INPUT_FUNCTION
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.myocardium import MYOCARDIUM
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, Slot, StepSpec

#: What may share a voxel with muscle, and how it is called in a file's name.
NEIGHBOURS = ("LV", "RV", "fat")


class SpillOverPlugin(Plugin):
    """Step ``spill-over``."""

    @abstractmethod
    def separate(
        self,
        series: Series,
        myocardium: Myocardium,
        pools: BloodPools | None,
        aif: InputFunction,
        constants: TissueConstants,
        convert: Converter,
        context: RunContext,
    ) -> SpillOver:
        """Say what lies in the voxels of the wall, and give the concentration of their muscle.

        ``series`` is the motion-corrected tissue series, all its volumes. ``pools`` may lie on another grid; their
        affine says where.
        """


def check_spill_over(result: Any, series: Series) -> SpillOver:
    """Concentration of the dynamic volumes; fractions from 0 to 1 that leave some muscle, NaN outside the wall."""
    found = check_kind(result, SpillOver)
    if found.muscle is not None:
        check_concentration(found.muscle, series)
    if found.shift is not None:
        if found.muscle is None:
            raise PluginResultError("shift is of a muscle's concentration, and there is none")
        check_numbers("shift", found.shift, found.muscle.data.shape)
    unknown = sorted(set(found.fractions) - set(NEIGHBOURS))
    if unknown:
        raise PluginResultError(f"fractions of {unknown} are not among {list(NEIGHBOURS)}")
    if set(found.sd) != set(found.fractions):
        raise PluginResultError("sd has other neighbours than fractions")
    shape = series.data.shape[:3]
    for name, values in found.fractions.items():
        check_numbers(f"fraction {name}", values, shape)
        check_numbers(f"sd {name}", found.sd[name], shape)
        if ((values < 0) | (values >= 1)).any():
            raise PluginResultError(f"fraction {name} is below 0, or leaves no muscle")
    if found.fractions and (np.sum(list(found.fractions.values()), axis=0) >= 1).any():
        raise PluginResultError("the fractions together leave no muscle")
    checked: SpillOver = found
    return checked


SPILL_OVER = StepSpec(
    name="spill-over",
    summary="blood in the voxels of the wall",
    slot=Slot(
        hook="qperf_spill_over",
        interface=SpillOverPlugin,
        method="separate",
        check=check_spill_over,
        default=("two-pool",),
        phrase="Blood in the voxels of the wall was found and taken out of their signal by {}",
    ),
    reads=(
        Read("series", MOTION_CORRECTION.name),
        Read("concentration", CONCENTRATION.name, witness=True),
        Read("myocardium", MYOCARDIUM.name, witness=True),
        Read("aif", INPUT_FUNCTION.name),
        Read("pools", BLOOD_POOL.name, optional=True),
    ),
    files={
        "muscle": DerivativeFile("desc-muscle_dce.nii.gz", FileKind.CONCENTRATION),
        "muscle-shift": DerivativeFile("desc-muscleshift_dce.nii.gz", FileKind.CONCENTRATION),
    }
    | {
        f"fraction{sd}-{name}": DerivativeFile(
            f"model-mixture_param-f{name}{stat}_desc-spillover_dcemap.nii.gz", FileKind.FRACTION
        )
        for name in NEIGHBOURS
        for sd, stat in (("", ""), ("-sd", "_stat-std"))
    },
    hand_ins=("muscle",),
    leaves_out_frames=True,
    runner="qperf_app.workflow.runners.spill_over:run",
)
