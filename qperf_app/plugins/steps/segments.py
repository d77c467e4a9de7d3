"""Step ``segments``: the AHA segment of each voxel of the wall. The host's own."""

from __future__ import annotations

from qperf_app.plugins.steps.myocardium import MYOCARDIUM
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, StepSpec

SEGMENTS = StepSpec(
    name="segments",
    summary="the AHA segments",
    reads=(Read("myocardium", MYOCARDIUM.name, witness=True),),
    files={"dseg": DerivativeFile("seg-AHA17_dseg.nii.gz", FileKind.LABELS)},
    hand_ins=("dseg",),
    runner="qperf_app.workflow.runners.segments:run",
)
