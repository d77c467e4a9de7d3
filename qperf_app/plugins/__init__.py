"""The public plugin interface: everything that a plugin needs, in one import."""

from qperf_app.plugins.hookspecs import hookimpl
from qperf_app.plugins.interface import API_VERSION, NoOptions, Plugin
from qperf_app.plugins.keys import MapKey, StepKey
from qperf_app.plugins.quality import QualityCode
from qperf_app.plugins.records import (
    CONCENTRATION_UNITS,
    RELATIVE_UNITS,
    SIGNAL_UNITS,
    STATISTICS,
    VALUE,
    BloodPools,
    ConcentrationSeries,
    Converter,
    InputFunction,
    KineticMaps,
    Landmark,
    Motion,
    Myocardium,
    ParameterMap,
    Resources,
    RunContext,
    Series,
    SignalEquation,
    SpillOver,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.results import (
    Element,
    Paragraph,
    ParticipantResult,
    Picture,
    QualityMap,
    ScanResult,
    SegmentCurves,
    SegmentRow,
    SegmentTable,
    StepOutcome,
    Table,
    VoxelMap,
)
from qperf_app.plugins.steps.blood_pool import BloodPoolPlugin
from qperf_app.plugins.steps.concentration import ConcentrationPlugin
from qperf_app.plugins.steps.kinetics import KineticsPlugin
from qperf_app.plugins.steps.motion_correction import MotionCorrectionPlugin
from qperf_app.plugins.steps.myocardium import MyocardiumPlugin
from qperf_app.plugins.steps.report_section import ReportSectionPlugin
from qperf_app.plugins.steps.spill_over import SpillOverPlugin

__all__ = [
    "API_VERSION",
    "CONCENTRATION_UNITS",
    "RELATIVE_UNITS",
    "SIGNAL_UNITS",
    "STATISTICS",
    "VALUE",
    "BloodPoolPlugin",
    "BloodPools",
    "ConcentrationPlugin",
    "ConcentrationSeries",
    "Converter",
    "Element",
    "InputFunction",
    "KineticMaps",
    "KineticsPlugin",
    "Landmark",
    "MapKey",
    "Motion",
    "MotionCorrectionPlugin",
    "Myocardium",
    "MyocardiumPlugin",
    "NoOptions",
    "Paragraph",
    "ParameterMap",
    "ParticipantResult",
    "Picture",
    "Plugin",
    "QualityCode",
    "QualityMap",
    "ReportSectionPlugin",
    "Resources",
    "RunContext",
    "ScanResult",
    "SegmentCurves",
    "SegmentRow",
    "SegmentTable",
    "Series",
    "SignalEquation",
    "SpillOver",
    "SpillOverPlugin",
    "StepKey",
    "StepOutcome",
    "Table",
    "TissueConstants",
    "TissueCurves",
    "VoxelMap",
    "hookimpl",
]
