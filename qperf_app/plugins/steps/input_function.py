"""Step ``input-function``: the blood's concentration over time. The host's own, run with a concentration plugin."""

from __future__ import annotations

from qperf_app.plugins.steps.blood_pool import BLOOD_POOL
from qperf_app.plugins.steps.concentration import CONCENTRATION
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, RunsOn, StepSpec

INPUT_FUNCTION = StepSpec(
    name="input-function",
    summary="the arterial input function",
    plugin_of=CONCENTRATION.name,
    on=RunsOn.SCAN,
    reads=(
        Read("series", MOTION_CORRECTION.name, of_blood=True),
        Read("pools", BLOOD_POOL.name),
        Read("main", MOTION_CORRECTION.name, only="dual bolus"),
    ),
    files={"aif": DerivativeFile("desc-aif_timeseries.tsv", FileKind.CURVE)},
    hand_ins=("aif",),
    leaves_out_frames=True,
    runner="qperf_app.workflow.runners.input_function:run",
)
