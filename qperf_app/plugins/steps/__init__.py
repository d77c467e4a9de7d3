"""The steps, each declared in a module of its own; here is the order in which they run.

A new step is a declaration beside these, its place in :data:`STEPS`, and a runner in ``qperf_app/workflow/runners``.
"""

from __future__ import annotations

from qperf_app.plugins.steps.blood_pool import BLOOD_POOL
from qperf_app.plugins.steps.concentration import CONCENTRATION
from qperf_app.plugins.steps.input_function import INPUT_FUNCTION
from qperf_app.plugins.steps.joint_input_function import JOINT_INPUT_FUNCTION
from qperf_app.plugins.steps.kinetics import KINETICS
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.myocardium import MYOCARDIUM
from qperf_app.plugins.steps.report_section import REPORT_SECTION
from qperf_app.plugins.steps.segment_values import SEGMENT_VALUES
from qperf_app.plugins.steps.segments import SEGMENTS
from qperf_app.plugins.steps.spec import StepSpec
from qperf_app.plugins.steps.spill_over import SPILL_OVER
from qperf_app.plugins.steps.spleen import SPLEEN

__all__ = [
    "BLOOD_POOL",
    "CONCENTRATION",
    "INPUT_FUNCTION",
    "JOINT_INPUT_FUNCTION",
    "KINETICS",
    "MOTION_CORRECTION",
    "MYOCARDIUM",
    "REPORT_SECTION",
    "SEGMENTS",
    "SEGMENT_VALUES",
    "SPILL_OVER",
    "SPLEEN",
    "STEPS",
    "StepSpec",
    "configurable_steps",
    "plugin_steps",
    "workflow_steps",
]

#: All steps by name; a step stands behind those that it reads.
STEPS: dict[str, StepSpec] = {
    step.name: step
    for step in (
        MOTION_CORRECTION,
        BLOOD_POOL,
        INPUT_FUNCTION,
        CONCENTRATION,
        MYOCARDIUM,
        SEGMENTS,
        SPILL_OVER,
        JOINT_INPUT_FUNCTION,
        KINETICS,
        SEGMENT_VALUES,
        SPLEEN,
        REPORT_SECTION,
    )
}


def plugin_steps() -> dict[str, StepSpec]:
    """Steps that plugins fill."""
    return {name: step for name, step in STEPS.items() if step.slot is not None}


def configurable_steps() -> dict[str, StepSpec]:
    """Steps whose plugins a flag and the configuration file choose."""
    return {name: step for name, step in plugin_steps().items() if step.runner}


def workflow_steps() -> dict[str, StepSpec]:
    """Steps that are nodes of the workflow."""
    return {name: step for name, step in STEPS.items() if step.runner}
