"""What a plugin's options may be: each field's help, and the range that a number must lie in."""

from __future__ import annotations

import dataclasses
from typing import Any


class PluginOptionError(ValueError):
    """Options given to a plugin do not fit it."""


class PluginFaultError(PluginOptionError):
    """A plugin can't be made with its options, or says of itself what can't be used."""


def help_of(option: dataclasses.Field[Any]) -> str:
    """Help of an option, with its range where it has one."""
    text, stated = str(option.metadata.get("help", "")), range_of(option)
    return f"{text} [{stated}]" if stated else text


def range_of(option: dataclasses.Field[Any]) -> str:
    """The range of an option in words; empty where it has none."""
    if "range" not in option.metadata:
        return ""
    low, high = option.metadata["range"]
    return f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"


def check_ranges(options: Any) -> None:
    """Refuse a number outside the range of its field, ends included, and one that is not a number.

    A range is ``metadata={"range": (low, high)}`` of the field. None passes, and so does what is no number.

    Raises
    ------
    PluginOptionError
        Naming the option, its value and the range.
    """
    for option in dataclasses.fields(options):
        value = getattr(options, option.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = option.metadata.get("range", (-float("inf"), float("inf")))
        if not low <= value <= high:
            wanted = range_of(option) or "a number"
            raise PluginOptionError(f"option {option.name!r} is {value!r}; it must be {wanted}")
