"""What can be wrong with a dataset or with a choice from it, with the exit code that each has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class DatasetError(Exception):
    """The dataset can't be used. The message is one line that names the file and, where there is one, the field."""

    exit_code: ClassVar[int] = 16


class SelectionError(Exception):
    """The filters select nothing, or name what isn't there. The message is one line."""

    exit_code: ClassVar[int] = 18


def refuse_unknown(entity: str, wanted: frozenset[str] | None, present: Iterable[str | None]) -> None:
    """Raise SelectionError that names every wanted label that isn't there, and some that are."""
    there = {label for label in present if label is not None}
    missing = sorted((wanted or frozenset()) - there)
    if missing:
        names = ", ".join(f"{entity}-{label}" for label in missing)
        some = ", ".join(f"{entity}-{label}" for label in sorted(there)[:5])
        others = f"there is {some}{', …' if len(there) > 5 else ''}" if there else f"there is no {entity}-* at all"
        hint = "; labels are separated by spaces" if any("," in label for label in missing) else ""
        raise SelectionError(f"not found: {names} ({others}{hint})")
