"""What a section of the report must pass besides."""

from __future__ import annotations

from typing import Any, ClassVar

from qperf_app.plugins import Picture, ReportSectionPlugin
from qperf_app.plugins.manager import InstalledPlugin
from qperf_app.report.pictures import picture_size
from qperf_app.testing.conformance import PluginConformance, Runs
from qperf_app.testing.inputs import step_of


class ReportSectionConformance(PluginConformance):
    """Checks of a report section, on a participant with one scan and on one without any."""

    step: ClassVar[str] = step_of(ReportSectionPlugin).name

    def test_has_a_title(self, installed: InstalledPlugin) -> None:
        """The heading of the section."""
        cls: Any = installed.cls
        assert cls.title.strip(), "title is empty"

    def test_pictures_can_be_shown_and_are_told_in_words(self, runs: Runs) -> None:
        """The page embeds pictures; ``alt`` is what those get who can't see them."""
        for element in runs.plain:
            if isinstance(element, Picture):
                assert min(picture_size(element)) > 0
                assert element.alt.strip(), "a picture has no alt text"

    def test_says_nothing_of_a_participant_without_scans(self, runs: Runs) -> None:
        """A section that has nothing to say returns no element, and the report leaves it out."""
        assert len(runs.nothing) == 0, f"{len(runs.nothing)} elements for a participant of whom there is no scan"
