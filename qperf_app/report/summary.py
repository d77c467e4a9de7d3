"""The top of the page: headline figures, warnings, and what was done for every scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qperf_app.plugins.records import RELATIVE_UNITS
from qperf_app.plugins.results import Paragraph, ParticipantResult, ScanResult, SegmentTable, Table
from qperf_app.plugins.steps import BLOOD_POOL, SEGMENT_VALUES
from qperf_app.report.elements import Figure, Headline, HostElement, TextTable
from qperf_app.report.scales import ABSOLUTE_FLOW, unit_suffix
from qperf_app.report.scans import acquisition_in_words, lost_ventricle
from qperf_app.report.studies import (
    LOW_RESERVE,
    Study,
    doubts_of,
    is_relative,
    maps_of,
    method_title,
    methods_of,
    primary_quantity,
    reserve_of,
    reserve_tables,
    rows_by_segment,
    scan_title,
    segments_apart,
    segments_of,
    values_of,
)
from qperf_app.report.tables import number, ratio

Method = tuple[str, str]
#: Note of a figure that is left out.
DOUBTFUL = "doubtful, left out: see the warnings"
#: How many segments the headline names before it only counts them.
_MOST_NAMED = 6


def headline_elements(result: ParticipantResult, studies: Sequence[Study]) -> list[HostElement]:
    """Return the headline figures of every study, by its first method, and the table of scans."""
    elements: list[HostElement] = [_headline(study, len(studies) > 1) for study in studies]
    if not studies:
        elements.append(Paragraph("No flow was estimated for any scan.", "warning"))
    for study in studies:
        if len(methods_of(study)) > 1:
            elements.append(_methods_table(study))
    return [*elements, _scans_table(result.scans)]


def _headline(study: Study, named: bool) -> Headline:
    method = methods_of(study)[0]
    quantity = primary_quantity(study, method)
    relative = any(is_relative(scan) for scan in study.scans)
    figures = [_flow_figure(scan, study, method, quantity, relative) for scan in study.scans]
    if study.rest is not None and study.stress is not None:
        figures.append(_reserve_figure(study, method, quantity))
    if quantity == "MBF" and not relative:
        sound = not any(doubts_of(scan, method) for scan in study.scans)
        if not doubts_of(study.stress, method):
            figures += _lowest_figure(segments_of(study.stress, method))
        if sound:
            figures += _low_reserve_figure(*reserve_tables(study, method))
    title = f"{study.label}: " if named and study.label else ""
    return Headline(f"{title}{quantity} by {method_title(method)}", tuple(figures))


def typical_flow(scan: ScanResult | None, method: Method, quantity: str) -> tuple[float, str]:
    """Median of a quantity over the scan's segments, or over its voxels where there are none, and what it rests on.

    Medians, since blood and noise give single voxels and segments many times the flow of the muscle around them.
    """
    found = [value for value in values_of(segments_of(scan, method), quantity).values() if np.isfinite(value)]
    if found:
        return float(np.median(found)), _spread("segments", found)
    voxel_map = maps_of(scan, method).get((quantity, None)) if scan is not None else None
    finite = voxel_map.data[np.isfinite(voxel_map.data)].astype(np.float64) if voxel_map is not None else np.zeros(0)
    return (float(np.median(finite)), f"median of {finite.size} voxels") if finite.size else (np.nan, "")


def typical_reserve(study: Study, method: Method, quantity: str) -> tuple[float, str]:
    """Median of the segments' reserves, or the quotient of typical flows where there are none."""
    if any(doubts_of(scan, method) for scan in study.scans):
        return np.nan, DOUBTFUL
    found = [value for value in reserve_of(*reserve_tables(study, method), quantity).values() if np.isfinite(value)]
    if found:
        return float(np.median(found)), _spread("segments", found)
    if segments_apart(study):
        return np.nan, "rest and stress have other slices"
    rest, stress = (typical_flow(scan, method, quantity)[0] for scan in (study.rest, study.stress))
    return ratio(stress, rest), "median stress over median rest"


def _spread(what: str, values: Sequence[float]) -> str:
    return f"median of {len(values)} {what}, {number(min(values))} to {number(max(values))}"


def _flow_figure(scan: ScanResult, study: Study, method: Method, quantity: str, relative: bool) -> Figure:
    value, note = typical_flow(scan, method, quantity)
    if doubts_of(scan, method):
        value, note = np.nan, f"{DOUBTFUL} (it says {number(value)})"
    voxel_map = maps_of(scan, method).get((quantity, None))
    units = "relative units" if relative else (voxel_map.units if voxel_map is not None else "")
    task = "Rest" if scan is study.rest else "Stress" if scan is study.stress else scan_title(scan)
    return Figure(f"{task} {quantity}", number(value), units if note else "", note or "nothing could be estimated")


def _reserve_figure(study: Study, method: Method, quantity: str) -> Figure:
    reserve, note = typical_reserve(study, method, quantity)
    return Figure("Perfusion reserve", number(reserve), "", note, bool(reserve < LOW_RESERVE))


def _lowest_figure(stress: SegmentTable | None) -> list[Figure]:
    """The segment with the lowest flow under stress."""
    flow = {k: v for k, v in values_of(stress, "MBF").items() if np.isfinite(v)}
    if not flow:
        return []
    lowest = min(flow, key=lambda k: flow[k])
    return [Figure("Lowest stress MBF", number(flow[lowest]), ABSOLUTE_FLOW, _named({lowest}, stress))]


def _low_reserve_figure(rest: SegmentTable | None, stress: SegmentTable | None) -> list[Figure]:
    """Count the segments with a low reserve and name them."""
    reserves = {k: v for k, v in reserve_of(rest, stress, "MBF").items() if np.isfinite(v)}
    if not reserves:
        return []
    low = {k for k, v in reserves.items() if v < LOW_RESERVE}
    label, value = f"Reserve below {LOW_RESERVE:g}", f"{len(low)} of {len(reserves)}"
    return [Figure(label, value, "segments", _named(low, stress), bool(low))]


def _named(numbers: set[int], table: SegmentTable | None) -> str:
    rows = rows_by_segment(table)
    names = [rows[k].name for k in sorted(numbers)]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _methods_table(study: Study) -> Table:
    """Compare the kinetics plugins that were asked for."""
    rows = []
    for method in methods_of(study):
        quantity = primary_quantity(study, method)
        rest, stress = (
            np.nan if doubts_of(scan, method) else typical_flow(scan, method, quantity)[0]
            for scan in (study.rest, study.stress)
        )
        reserve = typical_reserve(study, method, quantity)[0]
        units = next((m.units for s in study.scans for m in maps_of(s, method).values() if m.quantity == quantity), "")
        shown = f"{quantity}{unit_suffix(units)}"
        rows.append((method_title(method), shown, number(rest), number(stress), number(reserve)))
    title = f"Flow by every method{', ' if study.label else ''}{study.label}"
    return Table(("Method", "Quantity", "Rest", "Stress", "Reserve"), tuple(rows), title)


def _scans_table(scans: Sequence[ScanResult]) -> Table:
    rows = []
    for scan in scans:
        given = [step.step for step in scan.steps if step.state == "handed-in"]
        failed = [f"{step.step} {step.state.replace('-', ' ')}" for step in scan.steps if step.state in _BAD]
        outcome = "maps" if scan.maps else ("input function only" if scan.aif is not None else "no flow")
        rows.append(
            (scan_title(scan), acquisition_in_words(scan), "; ".join([outcome, *failed]), ", ".join(given) or "nothing")
        )
    return TextTable(("Scan", "Acquisition", "Outcome", "Handed in"), tuple(rows), "Scans")


_BAD = ("failed", "not-found")


def warnings_of(result: ParticipantResult, studies: Sequence[Study]) -> tuple[str, ...]:
    """Collect every warning, the gravest first, each with the scan it is about and none twice."""
    found: dict[str, None] = {}
    scans = result.scans
    for scan in scans:
        for text in (*_failures(scan), *_doubtful(scan), *_relative(scan)):
            found.setdefault(f"{scan_title(scan)}: {text}")
    for study in studies:
        if study.note:
            found.setdefault(study.note)
        if study.rest is not None and study.stress is not None and (apart := segments_apart(study)):
            found.setdefault(
                f"{scan_title(study.rest)} and {scan_title(study.stress)} have other slices: there is no reserve of "
                f"{len(apart)} segments, which lie in different places."
            )
        for text in _lost(study):
            found.setdefault(text)
    for scan in scans:
        lines = [*scan.warnings, *(scan.myocardium.warnings if scan.myocardium is not None else ())]
        lines += [line for step in scan.steps for line in step.warnings]
        for line in lines:
            found.setdefault(f"{scan_title(scan)}: {line}")
    return tuple(found)


def _failures(scan: ScanResult) -> Iterator[str]:
    lost = lost_ventricle(scan)
    if lost:
        yield lost
    for step in scan.steps:
        if step.state == "failed" or (step.state == "not-found" and not (lost and step.step == BLOOD_POOL.name)):
            what = "failed" if step.state == "failed" else "did not find what it looks for"
            yield f"{step.step} ({step.plugin}) {what}{': ' if step.reason else '.'}{step.reason}"


def _doubtful(scan: ScanResult) -> Iterator[str]:
    """Each reason once, with the methods whose flow it touches, or the step whose flow nobody estimated."""
    of_flow: dict[str, list[str]] = {}
    for step in scan.steps:
        for text in step.doubts if step.step == SEGMENT_VALUES.name else ():
            of_flow.setdefault(text, []).append(step.plugin)
    for text, plugins in of_flow.items():
        yield f"flow by {', '.join(plugins)} is doubtful and left out of the summary: {text}."
    told = set(of_flow)
    for step in scan.steps:
        for text in step.doubts:
            if text not in told:
                told.add(text)
                yield f"{step.step} ({step.plugin}) is doubtful: {text}."


def _lost(study: Study) -> Iterator[str]:
    """Segments of the headline's method that have no value: an absent number is easily overlooked."""
    method = methods_of(study)[0]
    quantity = primary_quantity(study, method)
    for scan in study.scans:
        table = segments_of(scan, method)
        values = values_of(table, quantity)
        lost = {k for k, value in values.items() if not np.isfinite(value)}
        if lost:
            what = f"{scan_title(scan)}: {quantity} could not be estimated in {len(lost)} of {len(values)} segments"
            yield f"{what}: {_named(lost, table)}."


def _relative(scan: ScanResult) -> Iterator[str]:
    if scan.maps and is_relative(scan):
        source = "the input function is in relative units" if scan.aif and scan.aif.units == RELATIVE_UNITS else "units"
        yield f"relative units: values of flow are not absolute ({source}). Compare regions, not patients."


def options_in_words(options: Mapping[str, object]) -> str:
    """Write options as ``name = value``; one without a value leaves the choice to the plugin and is left out."""
    return ", ".join(f"{name} = {value}" for name, value in options.items() if value not in (None, "")) or "–"
