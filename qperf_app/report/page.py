"""From a participant's results to one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any

from qperf_app.checks.wording import plural
from qperf_app.geometry.segments import TERRITORIES
from qperf_app.plugins import ReportSectionPlugin
from qperf_app.plugins.results import ParticipantResult
from qperf_app.report.backdrops import backdrops_of
from qperf_app.report.comparison import comparison_sections
from qperf_app.report.elements import HostElement, Section
from qperf_app.report.perfusion import perfusion_sections
from qperf_app.report.pictures import data_uri, picture_size
from qperf_app.report.provenance import methods_section, plugin_sections, steps_section
from qperf_app.report.scales import ramps
from qperf_app.report.scans import anatomy_of, scan_section
from qperf_app.report.studies import studies_of
from qperf_app.report.summary import headline_elements
from qperf_app.report.warnings import advice, warnings_of
from qperf_app.report.words import words_element


def render_report(result: ParticipantResult, extra_sections: Sequence[ReportSectionPlugin] = ()) -> str:
    """Write the report of one participant.

    The page needs no other file and no network. It holds nothing identifying beyond the participant's label and what
    the host put into ``result``. The same result gives the same page.

    Parameters
    ----------
    result : ParticipantResult
        Whatever is None or empty in it is said to be missing.
    extra_sections : sequence of ReportSectionPlugin
        Their sections follow the host's own, in order of name. One that raises becomes a warning.

    Returns
    -------
    str
        HTML, to be written as UTF-8.
    """
    studies = studies_of(result.scans)
    anatomies = {scan.label: anatomy_of(scan) for scan in result.scans}
    backdrops = backdrops_of(studies, anatomies)
    # Moving pictures are encoded aside, by a library that does not need the interpreter.
    with ThreadPoolExecutor(max(1, len(result.scans))) as aside:
        of_scans = aside.map(scan_section, result.scans, count(), (anatomies[scan.label] for scan in result.scans))
        extra, broken = plugin_sections(result, extra_sections)
        # From the result to its grounds.
        sections = (
            *perfusion_sections(studies, backdrops),
            *comparison_sections(studies, backdrops),
            *of_scans,
            steps_section(result.scans),
            methods_section(result),
            *extra,
        )
    warnings = (*warnings_of(result, studies), *broken)
    return render_page(
        f"Participant {result.participant}",
        warnings,
        [*headline_elements(result, studies), *words_element(result, TERRITORIES if studies else (), warnings)],
        sections,
        advice(studies),
        [definition for backdrop in backdrops.values() for definition in backdrop.definitions],
        _whose(result),
    )


def _whose(result: ParticipantResult) -> str:
    """The sessions that the page is about, and the day on which it was computed."""
    sessions = sorted({scan.entities["ses"] for scan in result.scans if scan.entities.get("ses")})
    words = [f"{plural(len(sessions), 'session')} {', '.join(sessions)}"] if sessions else []
    words += [f"computed on {result.computed[:10]}"] if result.computed else []
    return ", ".join(words)


def render_page(
    heading: str,
    warnings: Sequence[str],
    headline: Sequence[HostElement],
    sections: Sequence[Section],
    advice: str = "",
    definitions: Sequence[str] = (),
    whose: str = "",
) -> str:
    """Lay elements out as a page of the house: a summary with warnings and contents, then the sections.

    ``definitions`` are what several drawings refer to, such as the anatomy below the maps. ``whose`` stands below the
    heading, and with it at the head of every printed page.
    """
    from markupsafe import Markup

    page: str = page_template().render(
        heading=heading,
        whose=whose,
        running=Markup(_css_text(", ".join(filter(None, (heading, whose))))),
        style=Markup(_resource("page.css")),
        warnings=warnings,
        advice=advice,
        headline=headline,
        sections=sections,
        definitions=Markup("".join([*ramps(), *definitions])),
    )
    return page


@cache
def page_template() -> Any:
    """The page's template, read once in a process: that takes a tenth of what a page takes."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = data_uri
    environment.filters["drawn"] = lambda drawing: Markup(drawing.svg)
    environment.filters["kind"] = lambda element: type(element).__name__
    environment.filters["picture_size"] = picture_size
    return environment.from_string(_resource("page.html"))


def _css_text(words: str) -> str:
    """Words as a string of a style sheet, whatever is in them."""
    return '"' + "".join(c if c.isalnum() or c in " ,.-" else f"\\{ord(c):x} " for c in words) + '"'


def _resource(name: str) -> str:
    return files("qperf_app.report").joinpath(name).read_text(encoding="utf-8")
