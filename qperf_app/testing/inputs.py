"""Example input for the method of any step, told from the types of its arguments."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from qperf_app.plugins import (
    BloodPools,
    Converter,
    InputFunction,
    Myocardium,
    ParticipantResult,
    Plugin,
    RunContext,
    Series,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import StepSpec, slot_of
from qperf_app.testing import examples

#: What a method is given for an argument of each type.
EXAMPLES: Mapping[Any, Callable[[], Any]] = {
    Series: examples.example_series,
    BloodPools: examples.example_pools,
    Myocardium: examples.example_myocardium,
    Converter: lambda: examples.example_conversion,
    InputFunction: examples.example_aif,
    TissueCurves: examples.example_curves,
    TissueConstants: TissueConstants,
    ParticipantResult: examples.example_participant,
    Literal["blood", "myocardium"]: lambda: "myocardium",
}
#: The same where there is nothing to find; an argument that may be None is None.
NOTHING: Mapping[Any, Callable[[], Any]] = {
    **EXAMPLES,
    Series: examples.series_without_bolus,
    TissueCurves: examples.curves_without_bolus,
    ParticipantResult: lambda: ParticipantResult("01", ()),
}


def step_of(interface: type[Plugin]) -> StepSpec:
    """The step that an interface, or a class deriving from it, belongs to.

    Raises
    ------
    LookupError
        Where there is none.
    """
    for step in plugin_steps().values():
        if issubclass(interface, slot_of(step).interface):
            return step
    raise LookupError(f"{interface.__qualname__} derives from the interface of no step")


def example_inputs(
    step: StepSpec, context: RunContext, given: Mapping[str, Any] | None = None, nothing: bool = False
) -> tuple[Any, ...]:
    """Arguments of a step's method: those ``given`` by name, examples of their types for the others.

    Raises
    ------
    TypeError
        For an argument of a type that there is no example of.
    """
    method = getattr(slot_of(step).interface, slot_of(step).method)
    hints, given = get_type_hints(method), given or {}
    inputs = []
    for name in list(inspect.signature(method).parameters)[1:]:
        kind, optional = _without_none(hints[name])
        if name in given:
            inputs.append(given[name])
        elif kind is RunContext:
            inputs.append(context)
        elif nothing and optional:
            inputs.append(None)
        elif kind in EXAMPLES:
            inputs.append((NOTHING if nothing else EXAMPLES)[kind]())
        else:
            raise TypeError(f"{step.name}: there is no example of argument {name!r}, {hints[name]}")
    return tuple(inputs)


def freeze(inputs: tuple[Any, ...]) -> None:
    """Make every array of the records read-only."""
    for array in arrays_of(inputs):
        array.flags.writeable = False


def arrays_of(record: Any) -> list[np.ndarray[Any, Any]]:
    """All arrays of a record, and of the records in it, in order."""
    if isinstance(record, np.ndarray):
        return [record]
    if isinstance(record, Mapping):
        return [a for item in record.values() for a in arrays_of(item)]
    if isinstance(record, tuple | list):
        return [a for item in record for a in arrays_of(item)]
    if dataclasses.is_dataclass(record):
        return [a for f in dataclasses.fields(record) for a in arrays_of(getattr(record, f.name))]
    return []


def _without_none(kind: Any) -> tuple[Any, bool]:
    """A type without its ``| None``, and whether it had one."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    others = [k for k in get_args(kind) if k is not type(None)]
    return (others[0] if len(others) == 1 else kind), len(others) < len(get_args(kind))
