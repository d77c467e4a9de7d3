"""The steps that plugins implement: their names, hooks, interfaces and methods, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qperf_app.plugins.interface import (
    BloodPoolPlugin,
    ConcentrationPlugin,
    KineticsPlugin,
    MotionCorrectionPlugin,
    MyocardiumPlugin,
    Plugin,
    ReportSectionPlugin,
)

StepName = Literal["motion-correction", "blood-pool", "concentration", "myocardium", "kinetics", "report-section"]


@dataclass(frozen=True)
class Step:
    """One step: ``name`` is also its command-line flag and its key in the configuration file."""

    name: StepName
    hook: str
    interface: type[Plugin]
    method: str


STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step("motion-correction", "qperf_motion_correction", MotionCorrectionPlugin, "correct"),
        Step("blood-pool", "qperf_blood_pool", BloodPoolPlugin, "find"),
        Step("concentration", "qperf_concentration", ConcentrationPlugin, "convert"),
        Step("myocardium", "qperf_myocardium", MyocardiumPlugin, "segment"),
        Step("kinetics", "qperf_kinetics", KineticsPlugin, "fit"),
        Step("report-section", "qperf_report_section", ReportSectionPlugin, "render"),
    )
}
