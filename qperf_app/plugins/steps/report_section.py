"""Step ``report-section``: a section of the report. It has no place in the workflow: the report asks for it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from qperf_app.plugins.checks import PluginResultError
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.results import Element, Paragraph, ParticipantResult, Picture, Table
from qperf_app.plugins.steps.spec import Slot, StepSpec


class ReportSectionPlugin(Plugin):
    """A section of the report. ``title`` heads it; sections of plugins follow the host's own, in order of name."""

    title: ClassVar[str]

    @abstractmethod
    def render(self, participant: ParticipantResult) -> Sequence[Element]:
        """Return the section's elements; none leaves the section out."""


def check_elements(result: Any, participant: ParticipantResult) -> tuple[Element, ...]:
    """Only what the page can show."""
    elements = tuple(result)
    for element in elements:
        if not isinstance(element, Picture | Table | Paragraph):
            raise PluginResultError(f"an element is a Picture, a Table or a Paragraph, not {type(element).__name__}")
        if isinstance(element, Table) and any(len(row) != len(element.columns) for row in element.rows):
            raise PluginResultError("a row of a Table has another number of cells than there are columns")
    return elements


REPORT_SECTION = StepSpec(
    name="report-section",
    summary="a section of the report",
    slot=Slot(
        hook="qperf_report_section",
        interface=ReportSectionPlugin,
        method="render",
        check=check_elements,
        attributes=("title",),
    ),
)
