"""The back of the page: steps, methods, citations, versions, seed, configuration; and the sections of plugins."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qperf_app.plugins import ReportSectionPlugin
from qperf_app.plugins.results import Paragraph, ParticipantResult, Picture, ScanResult, Table
from qperf_app.plugins.steps.report_section import check_elements
from qperf_app.report.elements import Details, HostElement, Listing, Section, Subheading, TextTable, Verbatim
from qperf_app.report.pictures import picture_size
from qperf_app.report.studies import scan_title
from qperf_app.report.summary import options_in_words

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_STATES = {
    "done": "computed",
    "handed-in": "handed in",
    "not-found": "not found",
    "skipped": "skipped",
    "failed": "failed",
}


def steps_section(scans: Sequence[ScanResult]) -> Section:
    """Say for every scan what each step was and how it ended."""
    elements: list[HostElement] = []
    for scan in scans:
        if scan.steps:
            elements += [Subheading(scan_title(scan)), _steps_table(scan)]
    return Section("What was done", "steps", tuple(elements) or (Paragraph("No step was recorded."),))


def _steps_table(scan: ScanResult) -> Table:
    rows = []
    for step in scan.steps:
        remarks = "; ".join(part.rstrip(".") for part in (step.summary, step.reason, *step.warnings) if part)
        read = "".join(f", {name} {digest[:12]}" for name, digest in step.loaded_files.items())
        plugin = f"{step.plugin} {step.version}{read}".strip()
        seconds = f"{step.seconds:.1f}" if step.seconds else "–"
        rows.append((step.step, plugin, _STATES[step.state], options_in_words(step.options), seconds, remarks or "–"))
    return TextTable(("Step", "Plugin", "How", "Options", "Seconds", "Remarks"), tuple(rows))


def methods_section(result: ParticipantResult) -> Section:
    """Boilerplate, citations, versions, seed and configuration."""
    # Twelve digits tell files apart and can be read past; all are in the status and in logs/CITATION.md.
    text = _DIGEST.sub(r"\1…", result.boilerplate)
    elements: list[HostElement] = [Paragraph(" ".join(part.split())) for part in text.split("\n\n") if part.strip()]
    if result.citations:
        elements += [Subheading("Citations"), Listing(result.citations)]
    elements.append(Subheading("Software and seed"))
    versions = tuple((name, version) for name, version in result.versions.items())
    elements.append(Table(("Name", "Version or value"), (*versions, ("Random seed", str(result.seed)))))
    if result.configuration.strip():
        elements.append(
            Details("Configuration: running with it again gives the same result", (Verbatim(result.configuration),))
        )
    return Section("Methods", "methods", tuple(elements))


def plugin_sections(
    result: ParticipantResult, plugins: Sequence[ReportSectionPlugin]
) -> tuple[tuple[Section, ...], tuple[str, ...]]:
    """Return the sections of plugins in order of name, and a warning for each that broke.

    Whatever a plugin raises is contained: a page without its section is worth more than no page.
    """
    sections, warnings = [], []
    for number, plugin in enumerate(sorted(plugins, key=lambda plugin: str(getattr(plugin, "name", "")))):
        name = str(getattr(plugin, "name", "") or type(plugin).__name__)
        try:
            elements = tuple(plugin.render(result))
            check_elements(elements, result)
            for picture in elements:
                if isinstance(picture, Picture):
                    picture_size(picture)
            title = str(plugin.title)
        except Exception as error:
            warnings.append(f"The report section {name} failed ({type(error).__name__}: {error}) and is left out.")
            continue
        if elements:
            sections.append(Section(title, f"plugin-{number}", elements))
    return tuple(sections), tuple(warnings)
