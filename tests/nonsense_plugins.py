"""Plugins of the right shape that answer wrongly, each with its checks; ``test_conformance_meaning.py`` runs them.

They are made from the worked examples of the guide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from qperf_arrival import Arrival, not_found
from qperf_collar import Collar
from qperf_edgeshift import EdgeShift
from qperf_maxslope import MaximumSlope
from qperf_signaltable import SignalTable

from qperf_app.plugins import BloodPools, ConcentrationSeries, KineticMaps, Motion, Myocardium, ParameterMap
from qperf_app.testing import (
    BloodPoolConformance,
    ConcentrationConformance,
    KineticsConformance,
    MotionCorrectionConformance,
    MyocardiumConformance,
)


class WrongSign(EdgeShift):
    def correct(self, series: Any, context: Any) -> Motion:
        found = super().correct(series, context)
        return replace(found, displacement=-found.displacement)


class Doubled(EdgeShift):
    def correct(self, series: Any, context: Any) -> Motion:
        found = super().correct(series, context)
        return replace(found, displacement=2 * found.displacement)


class AMetreAway(EdgeShift):
    def correct(self, series: Any, context: Any) -> Motion:
        found = super().correct(series, context)
        return replace(found, displacement=found.displacement + np.float32([1000, 0, 0]))


class NeverFound(Arrival):
    def find(self, series: Any, context: Any) -> BloodPools:
        pools: BloodPools = not_found(series, "never")
        return pools


class Furlongs(SignalTable):
    def convert(self, series: Any, tissue: Any, context: Any) -> ConcentrationSeries:
        data = np.zeros(series.dynamic().data.shape)
        return ConcentrationSeries(data, "furlongs", np.zeros(data.shape, bool))


class Zeros(SignalTable):
    def convert(self, series: Any, tissue: Any, context: Any) -> ConcentrationSeries:
        return replace(Furlongs.convert(self, series, tissue, context), units="mmol/L")


class EverythingIsMuscle(Collar):
    def segment(self, series: Any, pools: Any, aif: Any, context: Any) -> Myocardium:
        return Myocardium(np.ones(series.data.shape[:3], bool))


class SameFlow(MaximumSlope):
    def fit(self, curves: Any, aif: Any, constants: Any, context: Any) -> KineticMaps:
        flow = np.ones(len(curves.concentration))
        legend = {2: "the curve does not rise", 30: "mine", 128: "mine too"}
        return KineticMaps("Same", (ParameterMap("MBF", "mL/min/g", flow),), np.zeros(len(flow), np.uint8), legend)


class NextInLine(MaximumSlope):
    """Takes the curve before it for a neighbour, wherever that lies."""

    def fit(self, curves: Any, aif: Any, constants: Any, context: Any) -> KineticMaps:
        found = super().fit(curves, aif, constants, context)
        if not curves.of_image:
            return found
        return replace(found, maps=tuple(replace(m, values=(m.values + np.roll(m.values, 1)) / 2) for m in found.maps))


class TestWrongSign(MotionCorrectionConformance):
    source = WrongSign


class TestDoubled(MotionCorrectionConformance):
    source = Doubled


class TestAMetreAway(MotionCorrectionConformance):
    source = AMetreAway


class TestNeverFound(BloodPoolConformance):
    source = NeverFound


class TestFurlongs(ConcentrationConformance):
    source = Furlongs


class TestZeros(ConcentrationConformance):
    source = Zeros


class TestEverythingIsMuscle(MyocardiumConformance):
    source = EverythingIsMuscle


class TestSameFlow(KineticsConformance):
    source = SameFlow


class TestNextInLine(KineticsConformance):
    source = NextInLine


class TestTooModest(MyocardiumConformance):
    """Declares a failure that does not happen."""

    source = Collar
    expected_failures: ClassVar = {"test_overlaps_the_truth": "a collar can't be a heart"}
