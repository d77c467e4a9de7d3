"""From a participant's results to one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files

from qperf_app.plugins.interface import ReportSectionPlugin
from qperf_app.plugins.results import ParticipantResult, Picture
from qperf_app.report.perfusion import perfusion_sections
from qperf_app.report.pictures import picture_size
from qperf_app.report.provenance import methods_section, plugin_sections, steps_section
from qperf_app.report.scans import scan_section
from qperf_app.report.studies import studies_of
from qperf_app.report.summary import headline_elements, warnings_of


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
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    studies = studies_of(result.scans)
    extra, broken = plugin_sections(result, extra_sections)
    sections = (
        *(scan_section(scan, number) for number, scan in enumerate(result.scans)),
        *perfusion_sections(studies),
        steps_section(result.scans),
        methods_section(result),
        *extra,
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = data_uri
    environment.filters["kind"] = lambda element: type(element).__name__
    environment.filters["picture_size"] = picture_size
    template = environment.from_string(_resource("page.html"))
    return template.render(
        participant=result.participant,
        style=Markup(_resource("page.css")),
        warnings=(*warnings_of(result, studies), *broken),
        headline=headline_elements(result, studies),
        sections=sections,
    )


def data_uri(picture: Picture) -> str:
    """Embed a picture."""
    return f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode('ascii')}"


def _resource(name: str) -> str:
    return files("qperf_app.report").joinpath(name).read_text(encoding="utf-8")
