"""DICOM values as plain numbers and text; what can't be understood is None, never an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

#: Looks up a value by keyword; None where it is absent.
Lookup = Callable[[str], Any]

_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2}(?:\.\d+)?)?$")
_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})$")
_DATE_TIME = re.compile(r"(\d{8})(\d{2,6}(?:\.\d+)?)(?:[+-]\d{4})?$")
_DAY, _EPOCH = 86_400.0, date(2020, 1, 1).toordinal()


def number(value: Any) -> float | None:
    """First number of a value; None where there is none that is finite."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if len(value) else None
    try:
        result = float(value)
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None


def whole(value: Any) -> int | None:
    """First number as an integer."""
    found = number(value)
    return None if found is None else int(found)


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers, or None."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != count:
        return None
    found = [number(part) for part in value]
    return None if None in found else tuple(float(part) for part in found if part is not None)


def words(value: Any) -> tuple[str, ...]:
    """Text values in upper case, without empty ones."""
    if value is None:
        return ()
    many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    parts = [str(part).strip().upper() for part in (value if many else [value])]
    return tuple(part for part in parts if part)


def text(value: Any) -> str:
    """All of a value as one line of text."""
    return " ".join(words(value))


def seconds_of_day(value: Any) -> float | None:
    """A time of the representation TM in s."""
    match = _TIME.match(text(value))
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def days(value: Any) -> float | None:
    """A date of the representation DA as s at its beginning, of whatever epoch."""
    match = _DATE.match(text(value))
    if match is None:
        return None
    try:
        # Counted from about now, so that fractions of a second keep their digits.
        return _DAY * (date(*(int(part) for part in match.groups())).toordinal() - _EPOCH)
    except ValueError:
        return None


def moment(value: Any) -> float | None:
    """A date-time of the representation DT in s; its offset from UTC is the same in a study and left out."""
    match = _DATE_TIME.match(text(value))
    if match is None:
        return None
    day, second = days(match[1]), seconds_of_day(match[2])
    return None if day is None or second is None else day + second


def unwrapped(times: Sequence[float]) -> list[float]:
    """Times of day that may pass midnight, where no date told so."""
    if times and max(times) - min(times) > _DAY / 2 and max(times) - min(times) < _DAY:
        early = min(times)
        return [time + _DAY if time - early < _DAY / 2 else time for time in times]
    return list(times)
