"""What a check found: which file, which field, what is wrong, and whether it can be worked with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["refused", "doubt"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or strange.

    Parameters
    ----------
    file : str
        Path of the image, table or JSON file to be mended.
    field : str
        Metadata fields or columns that it is about, joined by ", "; empty where it is about the image.
    text : str
        One line with the values and, where it can be told, how to mend them.
    severity : {"refused", "doubt"}
        ``refused``: nothing runs. ``doubt``: the run goes on, and the text stands among the warnings.
    """

    file: str
    field: str
    text: str
    severity: Severity

    @property
    def refused(self) -> bool:
        """Whether nothing may run."""
        return self.severity == "refused"

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


#: A finding and the scan that it is about, by participant and label.
Located = tuple[tuple[str, str], Finding]


def refusal(file: str, field: str, text: str) -> Finding:
    """Something that decides about flow and can't be right."""
    return Finding(file, field, text, "refused")


def doubt(file: str, field: str, text: str) -> Finding:
    """Something that the reader must know."""
    return Finding(file, field, text, "doubt")


def lowered(findings: Iterable[Finding], used: Collection[str]) -> Iterator[Finding]:
    """Make doubts of refusals about fields that nothing in this run reads.

    Parameters
    ----------
    used : collection of str
        Fields that a chosen plugin or the app itself computes with.
    """
    for finding in findings:
        fields = [name for name in finding.field.split(", ") if name]
        unused = bool(fields) and not any(name in used for name in fields)
        yield replace(finding, severity="doubt") if unused else finding
