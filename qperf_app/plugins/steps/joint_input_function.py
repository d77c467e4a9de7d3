"""Step ``joint-input-function``: a single bolus' input, with the tissue as second witness. The host's own."""

from __future__ import annotations

from qperf_app.plugins.steps.blood_pool import BLOOD_POOL
from qperf_app.plugins.steps.concentration import CONCENTRATION
from qperf_app.plugins.steps.input_function import INPUT_FUNCTION
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.segments import SEGMENTS
from qperf_app.plugins.steps.spec import DerivativeFile, FileKind, Read, RunsOn, StepSpec

JOINT_INPUT_FUNCTION = StepSpec(
    name="joint-input-function",
    summary="the input function of a single bolus, by its signal and the tissue's curves",
    plugin_of=CONCENTRATION.name,
    needs="signal_equation",
    on=RunsOn.ALONE,
    reads=(
        Read("series", MOTION_CORRECTION.name),
        Read("pools", BLOOD_POOL.name),
        Read("aif", INPUT_FUNCTION.name),
        Read("concentration", CONCENTRATION.name),
        Read("labels", SEGMENTS.name),
    ),
    files={"joint": DerivativeFile("desc-aifjoint_timeseries.tsv", FileKind.CURVE)},
    leaves_out_frames=True,
    runner="qperf_app.workflow.runners.joint_input_function:run",
)
