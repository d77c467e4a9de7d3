"""Step ``kinetics``: flow and the other kinetic parameters of every voxel."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from qperf_app.plugins.checks import PluginResultError, check_kind, check_numbers
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.quality import meaning
from qperf_app.plugins.records import STATISTICS, InputFunction, KineticMaps, RunContext, TissueConstants, TissueCurves
from qperf_app.plugins.results import INTERVAL
from qperf_app.plugins.steps.input_function import INPUT_FUNCTION
from qperf_app.plugins.steps.joint_input_function import JOINT_INPUT_FUNCTION
from qperf_app.plugins.steps.myocardium import MYOCARDIUM
from qperf_app.plugins.steps.spec import Read, Slot, StepSpec
from qperf_app.plugins.steps.spill_over import SPILL_OVER


class KineticsPlugin(Plugin):
    """Step ``kinetics``. ``model`` is the label that stands in the file names, letters and digits only."""

    model: ClassVar[str]

    @abstractmethod
    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate the kinetic parameters of every curve."""


def check_maps(result: Any, curves: TissueCurves) -> KineticMaps:
    """One value per curve for every map, one code per curve that the legend knows, no infinities."""
    found = check_kind(result, KineticMaps)
    n = len(curves.concentration)
    check_numbers("qc", found.qc, (n,), gaps=False)
    codes = set(np.unique(found.qc).tolist()) - {int(k) for k in found.qc_legend}
    unknown = sorted(code for code in codes if meaning(code) is None)
    if unknown:
        raise PluginResultError(f"qc codes {unknown} are not in qc_legend")
    if not found.maps:
        raise PluginResultError("there is no map")
    for parameter in found.maps:
        check_numbers(f"map {parameter.quantity}", parameter.values, (n,))
    _check_names(found)
    _check_intervals(found)
    for name in ("fitted", "predicted_sd"):
        if getattr(found, name) is not None:
            check_numbers(name, getattr(found, name), curves.concentration.shape)
    if found.flow_draws is not None and (np.ndim(found.flow_draws) != 2 or len(found.flow_draws) != n):
        raise PluginResultError(f"flow_draws has shape {np.shape(found.flow_draws)}, expected ({n}, draws)")
    return found


def _check_names(found: KineticMaps) -> None:
    """Names become those of files: letters and digits, no two maps that differ by the size of letters alone."""
    for name in (found.model, *(parameter.quantity for parameter in found.maps)):
        if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9]+", name):
            raise PluginResultError(f"{name!r} is no label: letters and digits")
    seen: set[tuple[str, str | None]] = set()
    for parameter in found.maps:
        if parameter.statistic not in (None, *STATISTICS):
            raise PluginResultError(
                f"map {parameter.quantity}: statistic {parameter.statistic!r} is not one of {', '.join(STATISTICS)}"
            )
        key = (parameter.quantity.casefold(), parameter.statistic)
        if key in seen:
            raise PluginResultError(f"map {parameter.quantity} is there twice")
        seen.add(key)


def _check_intervals(found: KineticMaps) -> None:
    low, high = ({m.quantity: m.values for m in found.maps if m.statistic == bound} for bound in INTERVAL)
    for quantity in low.keys() & high.keys():
        if (low[quantity] > high[quantity]).any():
            raise PluginResultError(f"map {quantity}: {INTERVAL[0]} is above {INTERVAL[1]}")


KINETICS = StepSpec(
    name="kinetics",
    summary="kinetics",
    slot=Slot(
        hook="qperf_kinetics",
        interface=KineticsPlugin,
        method="fit",
        check=check_maps,
        default=("nlls", "cnn", "fermi"),
        several=True,
        attributes=("model",),
        phrase="Kinetic parameters were estimated by {}",
    ),
    reads=(
        Read("muscle", SPILL_OVER.name),
        Read("myocardium", MYOCARDIUM.name),
        Read("aif", INPUT_FUNCTION.name),
        Read("joint", JOINT_INPUT_FUNCTION.name, optional=True),
    ),
    hand_in_maps=True,
    runner="qperf_app.workflow.runners.kinetics:run",
)
