"""Tables of segments and of perfusion reserve."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qperf_app.geometry.segments import TERRITORIES
from qperf_app.plugins.results import SegmentTable, Table, interval_column, is_interval
from qperf_app.report.marks import (
    LAYERS,
    NONE_DRAWN,
    WIDE,
    Intervals,
    interval_of,
    marked,
    marks_of,
    marks_of_reserve,
    reserve_interval,
)
from qperf_app.report.medians import median_over
from qperf_app.report.scales import unit_suffix
from qperf_app.report.studies import reserve_of, rows_by_segment, values_of

MISSING = "–"


def number(value: float, decimals: int = 2) -> str:
    """Format a number; a dash where there is none."""
    return f"{value:.{decimals}f}" if np.isfinite(value) else MISSING


def ratio(over: float, under: float) -> float:
    """Quotient, NaN where it means nothing."""
    return over / under if np.isfinite(over) and np.isfinite(under) and under > 0 else float("nan")


def _interval(bounds: tuple[float, float]) -> str:
    """Bounds that a narrow column keeps together."""
    return f" ({number(bounds[0])}\u00a0to\u00a0{number(bounds[1])})" if np.isfinite(bounds).all() else ""


def segment_table(table: SegmentTable, quantity: str, units: str) -> Table:
    """One row per segment: the quantity over the whole wall, its inner and outer layer, and how much was estimated."""
    layers = {layer: values_of(table, quantity, layer) for layer in LAYERS}
    marks = marks_of(table, quantity)
    rows = []
    for segment, row in sorted(rows_by_segment(table).items()):
        whole, endo, epi = (layers[layer].get(segment, np.nan) for layer in LAYERS)
        share = f"{row.n_estimated} of {row.n_voxels}"
        rows.append(
            (
                f"{segment} {row.name}",
                marked(number(whole), marks.get(segment, "")) + _interval(interval_of(row, quantity)),
                number(endo),
                number(epi),
                number(ratio(endo, epi)),
                share,
            )
        )
    return Table(
        ("Segment", quantity, "Endo", "Epi", "Endo/epi", "Voxels"),
        tuple(rows),
        f"{quantity}{unit_suffix(units)} by segment and layer"
        + ("; in brackets the 90 % interval" if interval_column(quantity, "q05") in table.units else "")
        + f".{marks_in_words(marks.values())}",
    )


def marks_in_words(marks: Iterable[str]) -> str:
    """What the mark means where it occurs, with a space before it."""
    words = f" {WIDE} marks a value whose 90 % interval is wider than the value itself."
    return words if WIDE in "".join(marks) else ""


def other_quantities_table(table: SegmentTable, primary: str) -> Table | None:
    """Show the other quantities over the whole wall; None where there are none."""
    rows_found = rows_by_segment(table)
    named = dict.fromkeys(q for row in rows_found.values() for q in row.values)
    quantities = [q for q in named if q != primary and not is_interval(q)]
    if not quantities:
        return None
    rows = tuple(
        (f"{segment} {row.name}", *(number(float(row.values.get(q, np.nan)), 3) for q in quantities))
        for segment, row in sorted(rows_found.items())
    )
    headings = tuple(f"{q}{unit_suffix(table.units.get(q, ''))}" for q in quantities)
    return Table(("Segment", *headings), rows, "Other quantities by segment")


def reserve_table(
    rest: SegmentTable, stress: SegmentTable, quantity: str, units: str, drawn: Intervals = NONE_DRAWN
) -> Table:
    """Rest, stress and their ratio by segment and layer, then by coronary territory and over all.

    ``drawn`` has the 90 % intervals that come from draws; others are put together from the bounds of both scans.
    """
    resting, stressed = rows_by_segment(rest), rows_by_segment(stress)
    reserves = [reserve_of(rest, stress, quantity, layer) for layer in LAYERS]
    columns = [values_of(rest, quantity), values_of(stress, quantity), *reserves]
    marks = [marks_of(rest, quantity), marks_of(stress, quantity), marks_of_reserve(rest, stress, quantity, drawn)]
    rows = []
    for segment in sorted(resting.keys() & stressed.keys()):
        both = resting[segment], stressed[segment]
        bounds = [
            *(interval_of(row, quantity) for row in both),
            drawn.get(segment) or reserve_interval(*both, quantity),
        ]
        cells = [number(values.get(segment, np.nan)) for values in columns]
        sure = [
            marked(cell, of.get(segment, "")) + _interval(interval)
            for cell, of, interval in zip(cells, marks, bounds, strict=False)
        ]
        rows.append((f"{segment} {resting[segment].name}", *sure, *cells[len(sure) :]))
    groups = {f"{name} territory": numbers for name, numbers in TERRITORIES.items()}
    for name, numbers in {**groups, "All segments": tuple(range(1, 18))}.items():
        rows.append((f"{name}, median", *(number(median_over(values, numbers)) for values in columns)))
    return Table(
        ("Segment", f"Rest {quantity}", f"Stress {quantity}", "Reserve", "Reserve endo", "Reserve epi"),
        tuple(rows),
        f"Perfusion reserve, stress over rest {quantity}{unit_suffix(units)}. Territories after the usual "
        "assignment of segments."
        + (" In brackets the 90 % interval." if interval_column(quantity, "q05") in rest.units else "")
        + marks_in_words(words for of in marks for words in of.values()),
    )
