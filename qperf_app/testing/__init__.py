"""The conformance suite that a plugin's author runs, its examples, and a way to test what is not installed."""

from qperf_app.testing.concentration import ConcentrationConformance
from qperf_app.testing.conformance import PluginConformance
from qperf_app.testing.examples import (
    curves_without_bolus,
    example_aif,
    example_concentration,
    example_curves,
    example_displacement,
    example_flow,
    example_landmarks,
    example_masks,
    example_myocardium,
    example_participant,
    example_pools,
    example_series,
    mixed_series,
    series_without_bolus,
)
from qperf_app.testing.kinetics import KineticsConformance
from qperf_app.testing.motion import MotionCorrectionConformance
from qperf_app.testing.report import ReportSectionConformance
from qperf_app.testing.segmentation import BloodPoolConformance, MyocardiumConformance
from qperf_app.testing.spill_over import SpillOverConformance
from qperf_app.testing.uninstalled import uninstalled

__all__ = [
    "BloodPoolConformance",
    "ConcentrationConformance",
    "KineticsConformance",
    "MotionCorrectionConformance",
    "MyocardiumConformance",
    "PluginConformance",
    "ReportSectionConformance",
    "SpillOverConformance",
    "curves_without_bolus",
    "example_aif",
    "example_concentration",
    "example_curves",
    "example_displacement",
    "example_flow",
    "example_landmarks",
    "example_masks",
    "example_myocardium",
    "example_participant",
    "example_pools",
    "example_series",
    "mixed_series",
    "series_without_bolus",
    "uninstalled",
]
