"""Step ``segment-values``: what a kinetics plugin says of each AHA segment. The host's own, run with that plugin."""

from __future__ import annotations

from qperf_app.plugins.steps.input_function import INPUT_FUNCTION
from qperf_app.plugins.steps.joint_input_function import JOINT_INPUT_FUNCTION
from qperf_app.plugins.steps.kinetics import KINETICS
from qperf_app.plugins.steps.myocardium import MYOCARDIUM
from qperf_app.plugins.steps.segments import SEGMENTS
from qperf_app.plugins.steps.spec import Read, StepSpec
from qperf_app.plugins.steps.spill_over import SPILL_OVER

# Where maps were handed in there is no plugin to fit the segments' curves: the maps are summarised.
SEGMENT_VALUES = StepSpec(
    name="segment-values",
    summary="values of the AHA segments",
    plugin_of=KINETICS.name,
    reads=(
        Read("labels", SEGMENTS.name),
        Read("maps", KINETICS.name),
        Read("wall", MYOCARDIUM.name, optional=True),
        Read("muscle", SPILL_OVER.name, unless_handed_in="maps"),
        Read("aif", INPUT_FUNCTION.name, unless_handed_in="maps"),
        Read("joint", JOINT_INPUT_FUNCTION.name, optional=True, unless_handed_in="maps"),
    ),
    runner="qperf_app.workflow.runners.segment_values:run",
)
