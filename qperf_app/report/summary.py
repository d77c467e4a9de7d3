"""The top of the page: flow and reserve by territory, warnings, and what was done for every scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qperf_app.checks.timing import are_even
from qperf_app.geometry.segments import TERRITORIES
from qperf_app.plugins.results import Paragraph, ParticipantResult, ScanResult, Table
from qperf_app.report.elements import Cell, Details, HostElement, Listing, Territories, TextTable
from qperf_app.report.fits import drawn_reserves
from qperf_app.report.marks import (
    WIDE,
    Intervals,
    interval_of,
    intervals_of,
    is_wide,
    marked,
    marks_of,
    marks_of_reserve,
    reserve_intervals,
)
from qperf_app.report.medians import FLOW_APART, RESERVE_APART, Apart, median_interval, median_over, off_median
from qperf_app.report.perfusion import bullseye_elements
from qperf_app.report.scales import ABSOLUTE_FLOW, unit_suffix
from qperf_app.report.scans import acquisition_in_words
from qperf_app.report.studies import (
    LOW_RESERVE,
    Study,
    doubts_of,
    flow_units,
    handed_in,
    is_relative,
    method_title,
    methods_of,
    primary_quantity,
    reserve_of,
    reserve_tables,
    rows_by_segment,
    scan_title,
    segments_apart,
    segments_in_words,
    segments_of,
    values_of,
)
from qperf_app.report.tables import number

Method = tuple[str, str]
#: Note of a figure that is left out.
DOUBTFUL = "doubtful, left out: see the warnings"
#: What flow and reserve of a distributed model may be compared with: never without model, sequence and source, and
#: beside no other model's numbers, whose scale is another.
_HEALTHY = (
    "For comparison, no cut-off: 20 healthy volunteers had a stress MBF of 3.17 ± 0.49 mL/min/g and a median reserve "
    "of 2.93 by a distributed model (dual sequence; J Cardiovasc Magn Reson 2018, doi:10.1186/s12968-018-0435-1)."
)
_DISTRIBUTED = ("ATH", "BTEX")
#: Tracer-kinetic models in words.
_MODELS = {
    "2CXM": "two-compartment exchange model",
    "ATH": "adiabatic tissue homogeneity model",
    "BTEX": "blood-tissue exchange model",
    "Fermi": "Fermi function",
}


def headline_elements(result: ParticipantResult, studies: Sequence[Study]) -> list[HostElement]:
    """Return flow and reserve of every study, by its first method, with bull's-eyes, and the table of scans."""
    elements: list[HostElement] = []
    for study in studies:
        elements += [_territories(study, len(studies) > 1), *bullseye_elements(study), *_notes(study)]
    if not studies:
        elements.append(Paragraph("No flow was estimated for any scan.", "warning"))
    folded = [_methods_table(study) for study in studies if len(methods_of(study)) > 1]
    if folded:
        elements.append(Details("Flow by every method", tuple(folded)))
    return [*elements, Details("Scans: how they were acquired, what came out", (_scans_table(result.scans),))]


def _territories(study: Study, named: bool) -> Territories:
    """Rest, stress and reserve of each coronary territory and over all segments."""
    method = methods_of(study)[0]
    quantity = primary_quantity(study, method)
    reserve = study.rest is not None and study.stress is not None
    groups = {**TERRITORIES, "All segments": tuple(range(1, 18))}
    columns = [_flow_cells(scan, study, method, quantity, groups) for scan in study.scans]
    heads = [_head(scan, study, method) for scan in study.scans]
    if reserve:
        columns.append(_reserve_cells(study, method, quantity, groups))
        heads.append("Reserve (stress / rest)")
    rows = tuple((label, tuple(column[label] for column in columns)) for label in groups)
    title = f"{study.label}: " if named and study.label else ""
    return Territories(
        f"{title}{quantity}{unit_suffix(flow_units(study, method))} by {method_title(method)}",
        ("Territory", *heads),
        rows if any(cell.value != number(np.nan) or cell.note for _, cells in rows for cell in cells) else (),
    )


def _notes(study: Study) -> list[HostElement]:
    """Segments to look at next, what the images tell of the stress agent, and what the numbers rest on."""
    method = methods_of(study)[0]
    quantity = primary_quantity(study, method)
    of_agent = (*_heart_rate(study), *_spleen(study))
    return [Listing((*_segment_notes(study, method, quantity), *of_agent, *_basis(study, method, quantity)))]


def _head(scan: ScanResult, study: Study, method: Method) -> str:
    task = "Rest" if scan is study.rest else "Stress" if scan is study.stress else scan_title(scan)
    return f"{task}{' (doubtful)' if doubts_of(scan, method) else ''}"


def _basis(study: Study, method: Method, quantity: str) -> Iterator[str]:
    """Model, sequence and where the intervals come from: what the numbers may be compared with hangs on them."""
    plugin, model = method
    versions = dict.fromkeys(s.version for scan in study.scans for s in scan.steps if s.plugin == plugin and s.version)
    words = [f"{plugin} {', '.join(versions)}".strip(), f"{_MODELS.get(model, 'model')} ({model})" if model else ""]
    words += dict.fromkeys(_sequence(scan) for scan in study.scans)
    words += dict.fromkeys(_haematocrit(scan) for scan in study.scans)
    given = dict.fromkeys(step.replace("-", " ") for scan in study.scans for step in handed_in(scan))
    words += [f"handed in: {', '.join(given)}"] if given else []
    text = "Medians over the segments that have a value"
    tables = [table for scan in study.scans for table in [segments_of(scan, method)] if table is not None]
    if any(np.isfinite(interval_of(row, quantity)).all() for table in tables for row in table.rows):
        text += (
            ". The range beside a median holds the true value 9 times in 10 if the errors of its segments go together; "
            "it is left out where the median lies between segments that differ"
        )
    yield f"Model and sequence: {'; '.join(word for word in words if word)}. {text}."
    comparable = model in _DISTRIBUTED and quantity == "MBF" and flow_units(study, method) == ABSOLUTE_FLOW
    if comparable and study.stress is not None and study.stress.acquisition == "dual sequence":
        yield _HEALTHY


def _haematocrit(scan: ScanResult) -> str:
    """The one that was computed with, and where it stood; empty where that is not known."""
    if scan.haematocrit is None:
        return ""
    sources = {"sidecar": "of the series' sidecar", "configuration": "of the configuration: the sidecar gives none"}
    return f"haematocrit {scan.haematocrit.value:g} ({sources[scan.haematocrit.source]})"


def _sequence(scan: ScanResult) -> str:
    series = scan.series or scan.corrected
    fields = {} if series is None else series.metadata
    strength = fields.get("MagneticFieldStrength")
    words = [
        str(fields.get("PulseSequenceType", "")),
        str(scan.acquisition),
        f"{float(strength):g} T" if strength else "",
    ]
    return ", ".join(word for word in words if word)


def _flow_cells(
    scan: ScanResult, study: Study, method: Method, quantity: str, groups: Mapping[str, Sequence[int]]
) -> dict[str, Cell]:
    values = values_of(segments_of(scan, method), quantity)
    bounds = intervals_of(segments_of(scan, method), quantity)
    return _cells(values, bounds, groups, doubts_of(scan, method), FLOW_APART)


def _reserve_cells(study: Study, method: Method, quantity: str, groups: Mapping[str, Sequence[int]]) -> dict[str, Cell]:
    doubts = [text for scan in study.scans for text in doubts_of(scan, method)]
    rest, stress = reserve_tables(study, method)
    values = reserve_of(rest, stress, quantity)
    drawn: Intervals = drawn_reserves(study.rest, study.stress, method) if quantity == "MBF" else {}
    bounds = reserve_intervals(rest, stress, quantity, drawn)
    cells = _cells(values, bounds, groups, doubts, RESERVE_APART, LOW_RESERVE)
    if any(is_relative(scan) for scan in study.scans):
        cells["All segments"] = Cell(number(np.nan), note="none: flow is relative")
    elif segments_apart(study) and not any(np.isfinite(value) for value in values.values()):
        cells["All segments"] = Cell(number(np.nan), note="rest and stress have other slices")
    return cells


def _cells(
    values: Mapping[int, float],
    bounds: Intervals,
    groups: Mapping[str, Sequence[int]],
    doubts: Sequence[str],
    apart: Apart,
    low: float = -np.inf,
) -> dict[str, Cell]:
    """A cell for each group of segments: median, interval, and what to know of it.

    A territory whose median lies between a segment off the heart's median and one that isn't has no interval: it is the
    flow of no segment. The heart's own stays, since segments are held against it.
    """
    cells = {}
    off = off_median(values, apart)
    for label, numbers in groups.items():
        value = median_over(values, numbers)
        present, found = [k for k in numbers if k in values], [k for k in numbers if np.isfinite(values.get(k, np.nan))]
        if doubts:
            says = f" (it says {number(value)})" if np.isfinite(value) else ""
            note = f"{DOUBTFUL}{says}" if len(numbers) == 17 else "doubtful"
            cells[label] = Cell(number(np.nan), note=note)
            continue
        ends = median_interval(bounds, found)
        ordered = sorted(found, key=lambda k: values[k])
        middle = {ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]} if ordered else set()
        alike = len(numbers) == 17 or len({(k in off[0], k in off[1]) for k in middle}) == 1
        known = alike and bool(np.isfinite([value, *ends]).all())
        notes = [f"{len(found)} of {len(present)} segments"] if len(found) < len(present) else []
        notes += _off_in_words(off, found, named=len(numbers) < 17)
        cells[label] = Cell(
            marked(number(value), WIDE if known and is_wide(value, ends) else ""),
            f"{number(ends[0])} to {number(ends[1])}" if known else "",
            "; ".join(notes),
            bool(value < low),
        )
    return cells


def _off_in_words(off: tuple[frozenset[int], frozenset[int]], found: Sequence[int], named: bool) -> Iterator[str]:
    """How many of some segments are low, how many high, and which."""
    for where, word in zip(off, ("low", "high"), strict=True):
        some = [k for k in found if k in where]
        if some:
            numbers = f": {', '.join(map(str, some))}" if named else ""
            yield f"{len(some)} of {len(found)} segments {word}{numbers}"


def _lowest_stress(study: Study, method: Method, quantity: str, flow: Mapping[int, float]) -> str:
    """The lowest flow under stress, and all segments whose flow lies off the heart's median."""
    stress = segments_of(study.stress, method)
    marks, bounds = marks_of(stress, quantity), intervals_of(stress, quantity)
    lowest = min(flow, key=lambda k: flow[k])
    words = f"Lowest stress {quantity}: {marked(number(flow[lowest]), marks.get(lowest, ''))}, "
    words += f"{segments_in_words({lowest}, stress)}."
    ends = median_interval(bounds, flow)
    known = f" ({number(ends[0])} to {number(ends[1])})" if np.isfinite(ends).all() else ""
    names = {k: f"{k} {row.name}" for k, row in rows_by_segment(stress).items()}
    below, above = (
        ", ".join(f"{names[k]} {marked(number(flow[k]), marks.get(k, ''))}" for k in sorted(where))
        for where in off_median(flow, FLOW_APART)
    )
    words += f" More than {FLOW_APART.below} the heart's median, {number(median_over(flow, flow))}{known}: "
    words += f"{below or 'none'}."
    return f"{words} More than {FLOW_APART.above} it: {above}." if above else words


def _segment_notes(study: Study, method: Method, quantity: str) -> Iterator[str]:
    """The segments that a reader looks at next."""
    sound = not any(doubts_of(scan, method) for scan in study.scans)
    stress = segments_of(study.stress, method)
    flow = {k: v for k, v in values_of(stress, quantity).items() if np.isfinite(v)}
    if flow and not doubts_of(study.stress, method):
        yield _lowest_stress(study, method, quantity, flow)
    both = reserve_tables(study, method)
    reserves = {k: v for k, v in reserve_of(*both, quantity).items() if np.isfinite(v)}
    if reserves and sound:
        low = {k for k, v in reserves.items() if v < LOW_RESERVE}
        marks = marks_of_reserve(*both, quantity, drawn_reserves(study.rest, study.stress, method))
        where = f": {segments_in_words(low, stress, marks)}" if low else ""
        yield (
            f"Reserve below {LOW_RESERVE:g} (a round figure to guide the eye, no diagnostic cut-off) in {len(low)} of "
            f"{len(reserves)} segments{where}."
        )


def _heart_rate(study: Study) -> Iterator[str]:
    """How fast images came at rest and under stress: what a stress agent does to the heart shows in it."""
    rates = [_images_a_minute(scan) for scan in (study.rest, study.stress)]
    if all(np.isfinite(rates)):
        told = (
            "A higher heart rate under stress suggests that the stress agent worked."
            if round(rates[1]) > round(rates[0])
            else "It is no higher under stress: did the stress agent work?"
        )
        yield (
            f"Images a minute: {rates[0]:.0f} at rest, {rates[1]:.0f} under stress. Where every beat has an image that "
            f"is the heart rate. {told}"
        )


def _spleen(study: Study) -> Iterator[str]:
    """How far the spleen enhances under stress, where it was marked: adenosine that works shows in it."""
    shares = [scan.spleen if scan is not None else None for scan in (study.rest, study.stress)]
    rest, stress = shares
    if rest is not None and stress is not None:
        if np.isfinite([rest, stress]).all():
            yield (
                f"Spleen: enhancement under stress {100 * stress / rest:.0f} % of that at rest, each as a share of the "
                "blood's. Where adenosine works, it is mostly well below that at rest (splenic switch-off)."
            )
    elif shares != [None, None] and study.rest is not None and study.stress is not None:
        here, there = ("under stress", "at rest") if rest is None else ("at rest", "under stress")
        yield f"Spleen: marked {here} and not {there}. Mark it there as well (qperf review) to compare its enhancement."


def _images_a_minute(scan: ScanResult | None) -> float:
    series = (scan.series or scan.corrected) if scan is not None else None
    times = np.asarray(series.dynamic().times, float) if series is not None else np.zeros(0)
    # Times more even than a heart beats are made up, or of an ungated series: they tell no heart rate.
    return 60.0 / float(np.median(np.diff(times))) if times.size > 2 and not are_even(times) else float("nan")


def typical_flow(scan: ScanResult | None, method: Method, quantity: str) -> float:
    """Median of a quantity over the scan's segments; NaN where none has a value.

    A median, since blood and noise give single segments many times the flow of the muscle around them. Never one of
    voxels: a scan whose segments have no value has none.
    """
    return median_over(values_of(segments_of(scan, method), quantity), range(1, 18))


def typical_reserve(study: Study, method: Method, quantity: str) -> float:
    """Median of the segments' reserves; NaN where a scan is doubtful or no segment has one."""
    if any(doubts_of(scan, method) for scan in study.scans):
        return float("nan")
    return median_over(reserve_of(*reserve_tables(study, method), quantity), range(1, 18))


def _methods_table(study: Study) -> Table:
    """Compare the kinetics plugins that were asked for."""
    rows = []
    for method in methods_of(study):
        quantity = primary_quantity(study, method)
        rest, stress = (
            np.nan if doubts_of(scan, method) else typical_flow(scan, method, quantity)
            for scan in (study.rest, study.stress)
        )
        shown = f"{quantity}{unit_suffix(flow_units(study, method))}"
        reserve = typical_reserve(study, method, quantity)
        rows.append((method_title(method), shown, number(rest), number(stress), number(reserve)))
    title = f"Median over the segments, by every method{', ' if study.label else ''}{study.label}"
    return Table(("Method", "Quantity", "Rest", "Stress", "Reserve"), tuple(rows), title)


def _scans_table(scans: Sequence[ScanResult]) -> Table:
    rows = []
    for scan in scans:
        failed = [f"{step.step} {step.state.replace('-', ' ')}" for step in scan.steps if step.state in _BAD]
        outcome = "maps" if scan.maps else ("input function only" if scan.aif is not None else "no flow")
        rows.append(
            (
                scan_title(scan),
                acquisition_in_words(scan),
                "; ".join([outcome, *failed]),
                ", ".join(handed_in(scan)) or "nothing",
            )
        )
    return TextTable(("Scan", "Acquisition", "Outcome", "Handed in"), tuple(rows), "Scans")


_BAD = ("failed", "not-found")


def options_in_words(options: Mapping[str, object]) -> str:
    """Write options as ``name = value``; one without a value leaves the choice to the plugin and is left out."""
    return ", ".join(f"{name} = {value}" for name, value in options.items() if value not in (None, "")) or "–"
