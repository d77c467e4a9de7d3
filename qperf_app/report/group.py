"""The group's report: scans to look at, flow by site, scanner and sequence, and how measurements agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qperf_app.checks.wording import counted
from qperf_app.plugins.results import Paragraph, Table
from qperf_app.report import svg
from qperf_app.report.agreement import Agreement
from qperf_app.report.elements import Details, Drawing, Gallery, HostElement, Section, TextTable
from qperf_app.report.page import render_page
from qperf_app.report.pictures import BLUE, VERMILION
from qperf_app.report.plots import Axes, Limits, limits_of, plot

#: Dots of a line of :func:`dot_plot`, and whether its median is drawn.
Dots = tuple[str, Sequence[float]]
_MBF = "MBF (mL/min/g)"


@dataclass(frozen=True)
class Compared:
    """Two measurements of the same things: what they are, whose difference it is, the pairs, and their agreement.

    Such as ``rest: nlls and fermi, segments`` and ``fermi - nlls``. ``by`` and ``stratum`` name a scanner, site or
    sequence that the pairs are of alone; they are empty for all.
    """

    what: str
    difference: str
    first: Sequence[float]
    second: Sequence[float]
    agreement: Agreement
    by: str = ""
    stratum: str = ""


def render_group(
    flows: Sequence[tuple[str, str, Sequence[float]]],
    comparisons: Sequence[Compared],
    n_participants: int,
    suspects: Sequence[tuple[str, str, str]] = (),
    apart: Sequence[str] = (),
    acquisitions: Mapping[str, int] | None = None,
    reviews: Sequence[str] = (),
    strata: Mapping[str, Mapping[str, Sequence[Dots]]] | None = None,
) -> str:
    """Write the group's page.

    Parameters
    ----------
    flows
        Task, plugin and MBF of every segment, mL/min/g.
    comparisons
        Of all scans, then of the strata.
    n_participants
        For the headline.
    suspects
        Scan, method and why it should be looked at: it has no flow, its flow is doubtful, and left out of the figures,
        or far from that of the others.
    apart
        Settings in which participants differ.
    acquisitions
        Number of scans by how their input function was acquired.
    reviews
        Sentences on what readers looked at and corrected.
    strata
        By ``site``, ``scanner`` or ``sequence``: for every task and method the flow of its scans, mL/min/g, by stratum.

    Returns
    -------
    str
        HTML, to be written as UTF-8.
    """
    shown: HostElement = _flow_table(flows) if flows else Paragraph("No scan has flow to be put together.")
    flow = (shown, *_strata_elements(strata or {}))
    sections = [Section("Segment flow", "flow", flow)]
    if comparisons:
        sections.append(Section("Agreement", "agreement", _agreement_elements(comparisons)))
    kinds = ", ".join(f"{count} {kind}" for kind, count in (acquisitions or {}).items())
    scans = f" Scans by how the input function was acquired: {kinds}." if kinds else ""
    who = counted(n_participants, "participant")
    tables = "Full tables: group_segments.tsv and group_agreement.tsv."
    summary: list[HostElement] = [Paragraph(f"{who}.{scans} {' '.join((*reviews, tables))}")]
    if suspects:
        columns = ("Scan", "Method", "Why")
        summary.append(TextTable(columns, tuple(suspects), "Scans to look at, in their own reports or by qperf review"))
    warnings = [f"{text[0].upper()}{text[1:]}." for text in apart]
    if suspects:
        warnings.append(f"{counted(len({scan for scan, _, _ in suspects}), 'scan')} to look at, listed below with why.")
    if not suspects:
        words = "none of it doubtful, and where a task has eight or more none is far from the others."
        summary.append(Paragraph(f"Every scan has flow, {words}"))
    return render_page("Group", warnings, summary, sections)


def _flow_table(flows: Sequence[tuple[str, str, Sequence[float]]]) -> Table:
    rows = []
    for task, plugin, values in flows:
        finite = np.asarray(values, float)[np.isfinite(values)]
        numbers = [f"{v:.2f}" for v in np.percentile(finite, (5, 50, 95))] if finite.size else ["n/a"] * 3
        rows.append((task, plugin, str(len(values)), str(finite.size), *numbers))
    columns = ("Task", "Method", "Segments", "With a value", "5th percentile", "Median", "95th percentile")
    return Table(columns, tuple(rows), "MBF of the AHA segments, mL/min/g")


def _strata_elements(strata: Mapping[str, Mapping[str, Sequence[Dots]]]) -> list[HostElement]:
    """A picture for every task and method: flow of the scans of each site, scanner or sequence."""
    elements: list[HostElement] = []
    for by, pictures in strata.items():
        counted = {title: [(f"{name} ({len(of)})", of) for name, of in lines] for title, lines in pictures.items()}
        drawn = tuple(dot_plot(title, lines, _MBF) for title, lines in counted.items())
        caption = "A dot for each scan: the median over its segments. The bar is the median of the scans."
        elements.append(Details(f"Flow by {by}", (Gallery(drawn, caption),)))
    return elements


def _agreement_elements(comparisons: Sequence[Compared]) -> tuple[HostElement, ...]:
    whole = [c for c in comparisons if not c.by]
    elements: list[HostElement] = [_agreement_table(whole), *(_bland_altman(c, _limits([c])) for c in whole)]
    for by in dict.fromkeys(c.by for c in comparisons if c.by):
        of_by = [c for c in comparisons if c.by == by]
        inner: list[HostElement] = [_agreement_table(of_by)]
        iccs: dict[str, list[Compared]] = {}
        for c in of_by:
            iccs.setdefault(c.what, []).append(c)
        caption = f"Intraclass correlation of each {by}, 95 % interval from five participants on; 1: the same."
        inner.append(Gallery(tuple(_icc_plot(what, of) for what, of in iccs.items()), caption))
        for what in iccs:
            same = [c for c in of_by if c.what == what and c.agreement.n]
            drawn = tuple(_bland_altman(c, _limits(same)) for c in same)
            inner.append(Gallery(drawn, f"{what}: the {by}s on the same axes."))
        elements.append(Details(f"Agreement by {by}", tuple(inner)))
    return tuple(elements)


def _icc_plot(what: str, comparisons: Sequence[Compared]) -> Drawing:
    lines: list[Dots] = [(f"{c.stratum} ({c.agreement.n} pairs)", [c.agreement.icc]) for c in comparisons]
    intervals = [(c.agreement.icc_lower, c.agreement.icc_upper) for c in comparisons]
    return dot_plot(f"ICC, {what}", lines, "ICC(A,1)", (-0.05, 1.05), intervals)


def _icc_words(a: Agreement) -> str:
    return f"{a.icc:.2f}" + (f" ({a.icc_lower:.2f} to {a.icc_upper:.2f})" if np.isfinite(a.icc_lower) else "")


def _agreement_table(comparisons: Sequence[Compared]) -> Table:
    rows = tuple(
        (", ".join(filter(None, (c.stratum, c.what))), str(a.n), f"{a.mean:.2f}", f"{a.bias:+.2f}",
         f"{a.lower:+.2f} to {a.upper:+.2f}", _icc_words(a), f"{a.correlation:.2f}", f"{100 * a.cv:.0f} %")
        for c in comparisons for a in [c.agreement]
    )  # fmt: skip
    columns = ("Compared", "Pairs", "Mean of the first", "Bias", "95 % limits of agreement", "ICC (95 % interval)", "r",
               "CV within")  # fmt: skip
    return Table(
        columns, rows, "MBF of the same segments, layers or territories, mL/min/g; bias is the second minus the first"
    )


def _limits(comparisons: Sequence[Compared]) -> tuple[Limits, Limits]:
    """Limits of mean and difference that hold all pairs and limits of agreement."""
    pairs = [(np.asarray(c.first, float), np.asarray(c.second, float)) for c in comparisons]
    across = np.concatenate([(x + y) / 2 for x, y in pairs])
    levels = [level for c in comparisons for level in (c.agreement.lower, c.agreement.upper)]
    return limits_of(across), limits_of(np.concatenate([*(y - x for x, y in pairs), levels]), 0.05, 0.0)


def _bland_altman(c: Compared, limits: tuple[Limits, Limits]) -> Drawing:
    a, x, y = c.agreement, np.asarray(c.first, float), np.asarray(c.second, float)
    axes = Axes((56, 24, 470, 264), *limits)
    axes.level(0.0, "axis")
    axes.dots((x + y) / 2, y - x, BLUE, 2.2)
    for level, dash in ((a.bias, ""), (a.lower, "6 4"), (a.upper, "6 4")):
        if np.isfinite(level):
            axes.level(level, "level", dash)
    axes.frame("Mean of both, MBF (mL/min/g)", f"{c.difference} (mL/min/g)", c.stratum)
    agree = f"limits {a.lower:+.2f} to {a.upper:+.2f}"
    what = ", ".join(filter(None, (c.stratum, c.what)))
    words = f"{what}: difference against mean of {a.n} pairs, bias {a.bias:+.2f}, {agree}."
    return replace(plot(axes, 480, 302, words), caption=words)


#: Height of a line of a dot plot, and how many characters of its name there is room for.
_LINE, _NAME = 22.0, 30


def dot_plot(
    title: str,
    lines: Sequence[Dots],
    x_label: str,
    limits: Limits | None = None,
    intervals: Sequence[tuple[float, float]] = (),
) -> Drawing:
    """Draw a line of dots for each name, with a bar at their median, or an interval of each line, on one scale."""
    values = [np.asarray(of, float)[np.isfinite(of)] for _, of in lines]
    bottom = 26.0 + _LINE * len(lines)
    axes = Axes(
        (190, 24, 470, bottom), limits or limits_of(np.concatenate(values), 0.05, 0.0), (0.0, float(len(lines)))
    )
    names = []
    for number, ((name, _), of) in enumerate(zip(lines, values, strict=True)):
        height = len(lines) - number - 0.5
        axes.dots(of, np.full(of.shape, height), BLUE, 2.6)
        if of.size > 1:
            (x, y) = axes.points(np.median(of), height)
            axes.parts.append(svg.path([(x, y - 8), (x, y + 8)], VERMILION, 2.2))
        if number < len(intervals) and np.isfinite(intervals[number]).all():
            ends = np.clip(intervals[number], *(limits or (-np.inf, np.inf)))
            (left, y), (right, _) = axes.points(ends, [height, height])
            axes.parts.append(svg.path([(left, y), (right, y)], BLUE, 1.4))
        short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
        names.append(svg.text(184, 24 + (number + 0.5) * _LINE + 4, short, "tick", "end"))
    axes.frame(x_label, title=title, most=(6, 0))
    axes.parts += names
    told = "; ".join(f"{name}: {np.median(of):.2f}" for (name, _), of in zip(lines, values, strict=True) if of.size)
    return plot(axes, 480, bottom + 36, f"{title}, medians by line: {told}.")
