"""What a plugin returns and must not: refused by the same check in the app and in the conformance suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qperf_app.plugins import BloodPools, ConcentrationSeries, KineticMaps, Motion, Myocardium, ParameterMap, SpillOver
from qperf_app.plugins.checks import PluginResultError
from qperf_app.plugins.steps import STEPS
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.testing import example_curves, example_series

SERIES = example_series()
SHAPE = SERIES.data.shape
CURVES = example_curves()
FLOW = np.linspace(0.5, 2.0, len(CURVES.concentration))
STILL = Motion(np.zeros((*SHAPE, 3), np.float32), np.ones(SHAPE[2:], bool))
WALL = Myocardium(np.ones(SHAPE[:3], bool))
POOLS = BloodPools(*(np.ones(SHAPE[:3], bool) for _ in range(3)), SERIES.affine)
DYNAMIC = SERIES.dynamic().data.astype(float)
CONVERTED = ConcentrationSeries(DYNAMIC, "mmol/L", np.zeros(DYNAMIC.shape, bool))
NONE = np.zeros(SHAPE[:3])


def maps(*found: ParameterMap, model: str = "2CXM", **fields: Any) -> KineticMaps:
    return replace(KineticMaps(model, found, np.zeros(len(FLOW), np.uint8), {}), **fields)


def flow(values: Any, quantity: str = "MBF", statistic: Any = None) -> ParameterMap:
    return ParameterMap(quantity, "mL/min/g", values, statistic)


def hidden(values: Any) -> Any:
    """A masked array: below its mask the values are still there."""
    return np.ma.masked_array(values, mask=np.ones(np.shape(values), bool))


def check(step: str, result: Any) -> Any:
    return slot_of(STEPS[step]).check(result, CURVES if step == "kinetics" else SERIES)


@pytest.mark.parametrize(
    ("step", "result"),
    [
        ("motion-correction", STILL),
        ("blood-pool", POOLS),
        ("concentration", CONVERTED),
        ("myocardium", WALL),
        ("myocardium", replace(WALL, warnings=("no points",), estimated_dice=(float("nan"),) * SHAPE[2])),
        ("spill-over", SpillOver(CONVERTED, {"LV": NONE}, {"LV": NONE})),
        ("spill-over", SpillOver(CONVERTED, {"LV": NONE}, {"LV": NONE}, CONVERTED.data)),
        ("kinetics", maps(flow(FLOW), flow(FLOW.astype(np.float16), "Fb"))),
        ("kinetics", maps(*(flow(FLOW + i, statistic=s) for i, s in enumerate(("q05", "q50", "q95"))))),
    ],
)
def test_what_is_right_passes(step: str, result: Any) -> None:
    assert check(step, result) is result


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: maps(flow(FLOW + 0j)), "map MBF must hold real numbers, it is complex128"),
        (lambda: maps(flow(FLOW > 1)), "map MBF must hold real numbers, it is bool"),
        (lambda: maps(flow(FLOW.astype(str))), "map MBF must hold real numbers, it is <U"),
        (lambda: maps(flow(hidden(FLOW))), "map MBF must be a plain NumPy array, it is a MaskedArray"),
        (lambda: maps(flow(FLOW.tolist())), "map MBF must be a plain NumPy array, it is a list"),
        (lambda: maps(flow(FLOW * 1e300)), "map MBF has infinite values; NaN says not estimated"),
        (lambda: maps(flow(-np.inf * FLOW)), "map MBF has infinite values; NaN says not estimated"),
        (lambda: maps(flow(FLOW), flow(FLOW + 1)), "map MBF is there twice"),
        (lambda: maps(flow(FLOW), flow(FLOW, "mbf")), "map mbf is there twice"),
        (lambda: maps(flow(FLOW, "../../MBF")), "'../../MBF' is no label: letters and digits"),
        (lambda: maps(flow(FLOW), model="a/b"), "'a/b' is no label: letters and digits"),
        (lambda: maps(flow(FLOW, statistic="q33")), "map MBF: statistic 'q33' is not one of mean, std, q05, q50, q95"),
        (lambda: maps(flow(FLOW, statistic="q05"), flow(FLOW - 1, statistic="q95")), "map MBF: q05 is above q95"),
        (lambda: maps(flow(FLOW), qc=hidden(np.zeros(len(FLOW), int))), "qc must be a plain NumPy array"),
        (lambda: maps(flow(FLOW), fitted=CURVES.concentration + 0j), "fitted must hold real numbers"),
    ],
)
def test_maps(make: Callable[[], KineticMaps], reason: str) -> None:
    refused("kinetics", make(), reason)


@pytest.mark.parametrize(
    ("step", "result", "reason"),
    [
        ("motion-correction", replace(STILL, displacement=STILL.displacement + 0j), "displacement must hold real"),
        ("motion-correction", replace(STILL, displacement=STILL.displacement + np.nan), "displacement is not finite"),
        ("motion-correction", replace(STILL, corrected=STILL.corrected.astype(int)), "corrected must be boolean"),
        ("motion-correction", replace(STILL, displacement=STILL.displacement.tolist()), "it is a list"),
        ("myocardium", replace(WALL, mask=hidden(WALL.mask)), "mask must be a plain NumPy array"),
        ("myocardium", replace(WALL, warnings="no points"), "warnings must be a tuple of texts, it is 'no points'"),
        ("myocardium", replace(WALL, estimated_dice=(0.5,) * (SHAPE[2] + 1)), "estimated_dice has"),
        ("myocardium", replace(WALL, estimated_dice=(5.0,) * SHAPE[2]), "expected 0 to 1, or NaN"),
        ("blood-pool", replace(POOLS, estimated_dice=(0.5,) * (SHAPE[2] + 1)), "estimated_dice has"),
        ("blood-pool", replace(POOLS, lv=hidden(POOLS.lv)), "lv must be a plain NumPy array"),
        ("concentration", replace(CONVERTED, data=DYNAMIC + 0j), "data must hold real numbers, it is complex128"),
        ("concentration", replace(CONVERTED, data=DYNAMIC + np.inf), "data has infinite values"),
        ("spill-over", SpillOver(None, {"LV": hidden(NONE)}, {"LV": NONE}), "fraction LV must be a plain NumPy array"),
        ("spill-over", SpillOver(None, shift=CONVERTED.data), "and there is none"),
        ("spill-over", SpillOver(CONVERTED, shift=NONE), "shift"),
    ],
)
def test_other_results(step: str, result: Any, reason: str) -> None:
    refused(step, result, reason)


def refused(step: str, result: Any, reason: str) -> None:
    with pytest.raises(PluginResultError) as error:
        check(step, result)
    assert reason in str(error.value)
