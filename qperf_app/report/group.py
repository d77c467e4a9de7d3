"""The group's report: distribution of segment flow by task and method, and how methods and repetitions agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from qperf_app.plugins.results import Paragraph, Table
from qperf_app.report.agreement import Agreement
from qperf_app.report.elements import Drawing, Section
from qperf_app.report.page import render_page
from qperf_app.report.pictures import BLUE
from qperf_app.report.plots import Axes, limits_of, plot


def render_group(
    flows: Sequence[tuple[str, str, Sequence[float]]],
    comparisons: Sequence[tuple[str, str, Sequence[float], Sequence[float], Agreement]],
    n_participants: int,
    doubtful: Sequence[str] = (),
    apart: Sequence[str] = (),
    acquisitions: Mapping[str, int] | None = None,
    reviews: Sequence[str] = (),
) -> str:
    """Write the group's page.

    Parameters
    ----------
    flows
        Task, plugin and MBF of every segment, mL/min/g.
    comparisons
        What is compared (such as ``rest: nlls and fermi``), whose difference it is (``fermi - nlls``), the paired
        values and their agreement.
    n_participants
        For the headline.
    doubtful
        Scans that are left out of the figures since their flow can't be right.
    apart
        Settings in which participants differ.
    acquisitions
        Number of scans by how their input function was acquired.
    reviews
        Sentences on what readers looked at and corrected.

    Returns
    -------
    str
        HTML, to be written as UTF-8.
    """
    noun = "participant" if n_participants == 1 else "participants"
    agreement = Section("Agreement", "agreement", (_agreement_table(comparisons), *map(_bland_altman, comparisons)))
    sections = (Section("Segment flow", "flow", (_flow_table(flows),)), *((agreement,) if comparisons else ()))
    warnings = (
        *(f"{text[0].upper()}{text[1:]}." for text in apart),
        *(f"{scan}: its flow is doubtful and left out of this page; see its report." for scan in doubtful),
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in (acquisitions or {}).items())
    scans = f" Scans by how the input function was acquired: {kinds}." if kinds else ""
    tables = "Full tables: group_segments.tsv and group_agreement.tsv."
    summary = (Paragraph(f"{n_participants} {noun}.{scans} {' '.join((*reviews, tables))}"),)
    return render_page("Group", warnings, summary, sections)


def _flow_table(flows: Sequence[tuple[str, str, Sequence[float]]]) -> Table:
    rows = []
    for task, plugin, values in flows:
        finite = np.asarray(values, float)[np.isfinite(values)]
        numbers = [f"{v:.2f}" for v in np.percentile(finite, (5, 50, 95))] if finite.size else ["n/a"] * 3
        rows.append((task, plugin, str(len(values)), str(finite.size), *numbers))
    columns = ("Task", "Method", "Segments", "With a value", "5th percentile", "Median", "95th percentile")
    return Table(columns, tuple(rows), "MBF of the AHA segments, mL/min/g")


def _agreement_table(comparisons: Sequence[tuple[str, str, Sequence[float], Sequence[float], Agreement]]) -> Table:
    rows = tuple(
        (what, str(a.n), f"{a.mean:.2f}", f"{a.bias:+.2f}", f"{a.lower:+.2f} to {a.upper:+.2f}", f"{a.icc:.2f}",
         f"{a.correlation:.2f}", f"{100 * a.cv:.0f} %")
        for what, _, _, _, a in comparisons
    )  # fmt: skip
    columns = ("Compared", "Segments", "Mean of the first", "Bias", "95 % limits of agreement", "ICC", "r", "CV within")
    return Table(
        columns, rows, "MBF of the same segments, layers or territories, mL/min/g; bias is the second minus the first"
    )


def _bland_altman(comparison: tuple[str, str, Sequence[float], Sequence[float], Agreement]) -> Drawing:
    what, difference, first, second, a = comparison
    x, y = np.asarray(first, float), np.asarray(second, float)
    axes = Axes((56, 10, 470, 250), limits_of((x + y) / 2), limits_of([*(y - x), a.lower, a.upper], 0.05, 0.0))
    axes.level(0.0, "axis")
    axes.dots((x + y) / 2, y - x, BLUE, 2.2)
    for level, dash in ((a.bias, ""), (a.lower, "6 4"), (a.upper, "6 4")):
        if np.isfinite(level):
            axes.level(level, "level", dash)
    axes.frame("Mean of both, MBF (mL/min/g)", f"{difference} (mL/min/g)")
    limits = f"limits {a.lower:+.2f} to {a.upper:+.2f}"
    words = f"{what}: difference against mean of {a.n} segments, bias {a.bias:+.2f}, {limits}."
    return replace(plot(axes, 480, 288, words), caption=words)
