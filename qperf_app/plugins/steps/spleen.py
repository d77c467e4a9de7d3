"""Step ``spleen``: how far the spleen enhances, where a reader has marked it. The host's own."""

from __future__ import annotations

from qperf_app.plugins.steps.blood_pool import BLOOD_POOL
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.myocardium import MYOCARDIUM
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, StepSpec

# Nothing reads it: it tells of the stress agent, and no flow hangs on it. So an empty mask is no reason to refuse.
SPLEEN = StepSpec(
    name="spleen",
    summary="the spleen's enhancement",
    reads=(
        Read("series", MOTION_CORRECTION.name),
        Read("pools", BLOOD_POOL.name, optional=True),
        Read("myocardium", MYOCARDIUM.name),
    ),
    files={
        "spleen": DerivativeFile("label-spleen_mask.nii.gz", FileKind.MAYBE_EMPTY_MASK),
        "spleen-curve": DerivativeFile("desc-spleen_timeseries.tsv", FileKind.CURVE),
    },
    hand_ins=("spleen",),
    only_handed_in=True,
    reads_when_handed_in=True,
    leaves_out_frames=True,
    runner="qperf_app.workflow.runners.spleen:run",
)
