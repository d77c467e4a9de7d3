"""What header, metadata and hand-ins say before anything runs; :mod:`qperf_app.workflow.values` reads the values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids.images import sidecar_path
from qperf_app.bids.names import series_kind
from qperf_app.checks.dual_bolus import DOSE_FIELDS, dose_findings, prebolus_findings
from qperf_app.checks.echoes import echo_findings
from qperf_app.checks.findings import Finding, Located, lowered, refusal
from qperf_app.checks.images import header_findings
from qperf_app.checks.ranges import range_findings
from qperf_app.checks.scan import place_findings, scan_findings, task_findings
from qperf_app.checks.sequence import CONTRADICTIONS
from qperf_app.checks.spelling import slip_for, spelling_findings
from qperf_app.checks.study import rest_and_stress_findings
from qperf_app.checks.timing import (
    FRAME_TIMES,
    TIMING,
    even_findings,
    interval_findings,
    rate_findings,
    timing_findings,
)
from qperf_app.plugins import CONCENTRATION_UNITS, RELATIVE_UNITS, SIGNAL_UNITS
from qperf_app.plugins.answers import problems_of
from qperf_app.plugins.keys import StepKey
from qperf_app.plugins.manager import PluginRegistry, make
from qperf_app.plugins.steps import INPUT_FUNCTION, STEPS
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.workflow.hand_ins import hand_in_findings
from qperf_app.workflow.plan import ParticipantPlan, ScanPlan
from qperf_app.workflow.scans import SeriesInput
from qperf_app.workflow.tasks import Task

KNOWN_UNITS = (SIGNAL_UNITS, CONCENTRATION_UNITS, RELATIVE_UNITS)
#: Fields that the app itself computes with, whichever plugins run.
OWN_FIELDS = (TIMING, FRAME_TIMES, "Units", "ProtonDensityVolumeCount", "Haematocrit", "SliceTiming")


def find_findings(
    plans: Sequence[ParticipantPlan], datasets: Mapping[str, Path], registry: PluginRegistry
) -> list[Located]:
    """Check header and metadata of every selected series, the series of a scan together, and what is handed in.

    Parameters
    ----------
    plans : sequence of ParticipantPlan
    datasets : mapping
        Derivative datasets by name.
    registry : PluginRegistry
    """
    findings: list[Located] = []
    plugins = _Plugins(registry)
    for plan in plans:
        for scan in plan.scans:
            where = (plan.participant, scan.scan.label)
            found = [*_of_scan(plan, scan, plugins), *hand_in_findings(plan, scan, datasets)]
            findings += [(where, finding) for finding in dict.fromkeys(found)]
    return findings


def with_doubts(plan: ParticipantPlan, findings: Iterable[Located]) -> ParticipantPlan:
    """The plan with doubts among its scans' warnings."""
    by_scan: dict[tuple[str, str], list[Finding]] = {}
    for where, finding in findings:
        if not finding.refused:
            by_scan.setdefault(where, []).append(finding)

    def warned(scan: ScanPlan) -> ScanPlan:
        doubts = by_scan.get((plan.participant, scan.scan.label), [])
        return replace(scan, warnings=(*(_sentence(scan, finding) for finding in doubts), *scan.warnings))

    return replace(plan, scans=tuple(warned(scan) for scan in plan.scans))


def _sentence(scan: ScanPlan, finding: Finding) -> str:
    """A finding as a warning of its scan, which needs no path."""
    aif, tissue = (
        {str(s.path), str(sidecar_path(s.path))} if s is not None else set() for s in (scan.scan.aif, scan.scan.tissue)
    )
    if finding.file in tissue or (not tissue and finding.file in aif):
        text = finding.text[0].upper() + finding.text[1:]
    elif finding.text.startswith("-d "):
        text = finding.text
    else:
        entities = scan.scan.aif.entities if scan.scan.aif is not None and finding.file in aif else None
        text = f"{series_kind(entities).capitalize() if entities else Path(finding.file).name}: {finding.text}"
    return text if text.endswith((".", "?")) else f"{text}."


def _of_scan(plan: ParticipantPlan, scan: ScanPlan, plugins: _Plugins) -> Iterator[Finding]:
    doses = set(DOSE_FIELDS) if _scales_by_dose(plan, scan) else set()
    used = {s.prefix: _used_fields(plan, s, plugins) | doses for s in scan.scan.series}
    for series in scan.scan.series:
        yield from lowered(series_findings(series), used[series.prefix])
    main = scan.scan.main
    yield from even_findings(str(sidecar_path(main.path)), main.metadata)
    yield from rate_findings(str(sidecar_path(main.path)), main.metadata, main.entities.get("task", ""))
    if scan.scan.tissue is not None and scan.scan.aif is not None:
        tissue, aif = scan.scan.tissue, scan.scan.aif
        found = _of_both(plan, scan, tissue, aif)
        yield from lowered(found, used[tissue.prefix] | used[aif.prefix])
        yield from place_findings(str(aif.path), tissue.grid, aif.grid)
    for series in scan.scan.series:
        yield from _of_plugins(plan, series, plugins)
        if series.second_echo is not None:
            yield from echo_findings(
                str(sidecar_path(series.second_echo.path)), series.metadata, series.second_echo.metadata
            )
            yield from same_grid_findings(str(series.second_echo.path), series, series.second_echo)
    yield from _against_rest(plan, scan, used)


def _of_both(plan: ParticipantPlan, scan: ScanPlan, tissue: SeriesInput, aif: SeriesInput) -> Iterator[Finding]:
    """The two series of a scan against each other."""
    files = str(sidecar_path(tissue.path)), str(sidecar_path(aif.path))
    if scan.scan.acquisition != "dual bolus":
        yield from scan_findings(files[1], tissue.metadata, aif.metadata)
        return
    if _scales_by_dose(plan, scan):
        yield from dose_findings(files, tissue.metadata, aif.metadata)
    yield from prebolus_findings(files[1], tissue.metadata, aif.metadata)


def _scales_by_dose(plan: ParticipantPlan, scan: ScanPlan) -> bool:
    """Whether the input function is that of a small dose, scaled; one that is handed in is taken as it is."""
    own = not plan.tasks[scan.nodes[StepKey(INPUT_FUNCTION.name)]].handed_in
    return own and scan.scan.acquisition == "dual bolus"


def series_findings(series: SeriesInput) -> Iterator[Finding]:
    """What is missing, strange or contradictory in a series' header and metadata."""
    metadata, file = series.metadata, str(sidecar_path(series.path))
    yield from header_findings(str(series.path), series.header)
    yield from timing_findings(file, metadata, series.shape)
    yield from interval_findings(file, metadata, series.header.interval)
    units = metadata.get("Units", SIGNAL_UNITS)
    if units not in KNOWN_UNITS:
        yield refusal(file, "Units", f"Units is {units!r}, expected one of {', '.join(map(repr, KNOWN_UNITS))}")
    yield from range_findings(file, metadata)
    yield from spelling_findings(file, metadata)
    for check in CONTRADICTIONS:
        yield from check(file, metadata, series.shape)
    yield from task_findings(file, metadata, series.entities.get("task", ""))


def _against_rest(plan: ParticipantPlan, scan: ScanPlan, used: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Compare the series of a scan under stress with those at rest of its session, the first of the same run if any."""
    if scan.entities.get("task") != "stress":
        return
    for series in scan.scan.series:
        rests = [s for s in plan.series if s.entities.get("task") == "rest" and _shared(s) == _shared(series)]
        rests.sort(key=lambda s: s.entities.get("run") != series.entities.get("run"))
        for rest in rests[:1]:
            found = rest_and_stress_findings(str(sidecar_path(series.path)), rest.metadata, series.metadata)
            # What both series of a scan have in common is said once.
            mine = [f for f in found if f.field != TIMING or series is scan.scan.main]
            yield from lowered(mine, used[series.prefix])


def _shared(series: SeriesInput) -> dict[str, str]:
    """Entities that rest and stress of a session have in common."""
    return {key: label for key, label in series.entities.items() if key not in ("task", "run")}


class _Plugins:
    """The plugins of a study, each made once: in all of its tasks a plugin has the same options."""

    def __init__(self, registry: PluginRegistry) -> None:
        self._registry = registry
        self._made: dict[tuple[str, str], Any] = {}

    def of(self, task: Task) -> Any:
        """The plugin that a task runs, with its options."""
        step = task.spec.plugin_of or task.step
        key = (step, task.plugin)
        if key not in self._made:
            self._made[key] = make(self._registry.get(step, task.plugin), task.options)
        return self._made[key]


def _used_fields(plan: ParticipantPlan, series: SeriesInput, plugins: _Plugins) -> set[str]:
    """Fields of a series that something in the run computes with."""
    used = set(OWN_FIELDS)
    for task in plan.tasks.values():
        if task.subject == series.prefix and task.plugin and not task.handed_in:
            used.update(plugins.of(task).requires)
    return used


def _of_plugins(plan: ParticipantPlan, series: SeriesInput, plugins: _Plugins) -> Iterator[Finding]:
    """Fields that the chosen plugins miss, and what they find wrong with the others."""
    file = str(sidecar_path(series.path))
    for task in plan.tasks.values():
        if task.subject != series.prefix or task.handed_in or not task.plugin:
            continue
        step = task.spec.plugin_of or task.step
        plugin = plugins.of(task)
        missing = [field for field in plugin.requires if field not in task.metadata]
        instead = slot_of(STEPS[step]).without_fields
        for field in missing:
            slip = slip_for(field, task.metadata)
            more = f"; {slip} is there: is it meant?" if slip else f"; {instead}" if instead else ""
            yield refusal(file, field, f"{field} is missing, the {step} plugin {task.plugin!r} needs it{more}")
        if not missing and len(series.shape) == 4:
            where = f"{step} plugin {task.plugin!r}"
            for problem in problems_of(where, plugin, task.metadata, tuple(series.shape)):
                yield refusal(file, "", f"{problem} ({where})")


def same_grid_findings(file: str, first: SeriesInput, second: SeriesInput) -> Iterator[Finding]:
    """Both echoes lie on one grid."""
    different = first.shape != second.shape or not np.allclose(first.grid.affine, second.grid.affine, atol=1e-3)
    if different:
        yield refusal(file, "", f"shape {second.shape} or place of the second echo is not that of the first")
