"""Tables of segments and of perfusion reserve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from qperf_app.geometry.segments import TERRITORIES
from qperf_app.plugins.results import INTERVAL, SegmentRow, SegmentTable, Table, interval_column, is_interval
from qperf_app.report.scales import unit_suffix
from qperf_app.report.studies import reserve_of, rows_by_segment, values_of

LAYERS = ("transmural", "endo", "epi")
MISSING = "–"
#: Behind a segment whose wall and layers contradict each other.
DOUBT = "\u00a0†"
#: 90 % intervals by segment.
Drawn = Mapping[int, tuple[float, float]]
NONE_DRAWN: Drawn = {}


def number(value: float, decimals: int = 2) -> str:
    """Format a number; a dash where there is none."""
    return f"{value:.{decimals}f}" if np.isfinite(value) else MISSING


def ratio(over: float, under: float) -> float:
    """Quotient, NaN where it means nothing."""
    return over / under if np.isfinite(over) and np.isfinite(under) and under > 0 else float("nan")


def interval_of(row: SegmentRow, quantity: str) -> tuple[float, float]:
    """Bounds of a quantity's 90 % interval; NaN where the plugin gives none."""
    low, high = (float(row.values.get(interval_column(quantity, s), np.nan)) for s in INTERVAL)
    return low, high


def reserve_interval(rest: SegmentRow, stress: SegmentRow, quantity: str) -> tuple[float, float]:
    """90 % interval of stress over rest.

    The two scans are independent, and flow's posterior is lopsided in the way of a lognormal: distances of the bounds
    from the estimates add as squares on the logarithmic scale, each side for itself.
    """
    (rest_low, rest_high), (stress_low, stress_high) = (interval_of(row, quantity) for row in (rest, stress))
    at_rest, at_stress = (float(row.values.get(quantity, np.nan)) for row in (rest, stress))
    known = np.array([rest_low, at_rest, rest_high, stress_low, at_stress, stress_high])
    if not (np.isfinite(known).all() and (known > 0).all()):
        return float("nan"), float("nan")
    middle = np.log(at_stress / at_rest)
    down = np.hypot(np.log(at_stress / stress_low), np.log(rest_high / at_rest))
    up = np.hypot(np.log(stress_high / at_stress), np.log(at_rest / rest_low))
    return float(np.exp(middle - down)), float(np.exp(middle + up))


def is_wide(value: float, bounds: tuple[float, float]) -> bool:
    """Whether an interval is wider than its value: such a number says little."""
    return bool(np.isfinite([value, *bounds]).all() and bounds[1] - bounds[0] > value)


def doubtful_segments(table: SegmentTable | None, quantity: str) -> set[int]:
    """Segments whose 90 % interval is wider than their value."""
    values = values_of(table, quantity)
    return {k for k, row in rows_by_segment(table).items() if is_wide(values[k], interval_of(row, quantity))}


def doubtful_reserves(
    rest: SegmentTable | None, stress: SegmentTable | None, quantity: str, drawn: Drawn = NONE_DRAWN
) -> set[int]:
    """Segments whose reserve has a 90 % interval wider than itself; ``drawn`` has those that come from draws."""
    resting, stressed = rows_by_segment(rest), rows_by_segment(stress)
    return {
        k
        for k, value in reserve_of(rest, stress, quantity).items()
        if is_wide(value, drawn.get(k) or reserve_interval(resting[k], stressed[k], quantity))
    }


def _interval(bounds: tuple[float, float]) -> str:
    """Bounds that a narrow column keeps together."""
    return f" ({number(bounds[0])}\u00a0to\u00a0{number(bounds[1])})" if np.isfinite(bounds).all() else ""


def _not_between(whole: float, endo: float, epi: float) -> bool:
    """Whether the whole wall's value lies outside those of its layers by more than a rounding of a tenth."""
    low, high = min(endo, epi), max(endo, epi)
    return bool(np.isfinite([whole, endo, epi]).all() and not 0.9 * low <= whole <= 1.1 * high)


def segment_table(table: SegmentTable, quantity: str, units: str) -> Table:
    """One row per segment: the quantity over the whole wall, its inner and outer layer, and how much was estimated.

    Each of the three is a fit of its own. Where they contradict each other the row is marked.
    """
    layers = {layer: values_of(table, quantity, layer) for layer in LAYERS}
    rows = []
    for segment, row in sorted(rows_by_segment(table).items()):
        whole, endo, epi = (layers[layer].get(segment, np.nan) for layer in LAYERS)
        share = f"{row.n_estimated} of {row.n_voxels}"
        rows.append(
            (
                f"{segment} {row.name}",
                number(whole)
                + (DOUBT if _not_between(whole, endo, epi) else "")
                + _interval(interval_of(row, quantity)),
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
        + (
            f". {DOUBT.strip()} The wall and its layers are fitted each on its own: here they contradict each other, "
            "so doubt all three."
            if any(DOUBT in row[1] for row in rows)
            else ""
        ),
    )


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
    rest: SegmentTable, stress: SegmentTable, quantity: str, units: str, drawn: Drawn = NONE_DRAWN
) -> Table:
    """Rest, stress and their ratio by segment and layer, then by coronary territory and over all.

    ``drawn`` has the 90 % intervals that come from draws; others are put together from the bounds of both scans.
    """
    resting, stressed = rows_by_segment(rest), rows_by_segment(stress)
    reserves = [reserve_of(rest, stress, quantity, layer) for layer in LAYERS]
    rest_values, stress_values = values_of(rest, quantity), values_of(stress, quantity)
    rows = [
        (
            f"{segment} {resting[segment].name}",
            number(rest_values[segment]) + _interval(interval_of(resting[segment], quantity)),
            number(stress_values[segment]) + _interval(interval_of(stressed[segment], quantity)),
            number(reserves[0].get(segment, np.nan))
            + _interval(drawn.get(segment) or reserve_interval(resting[segment], stressed[segment], quantity)),
            *(number(reserve.get(segment, np.nan)) for reserve in reserves[1:]),
        )
        for segment in sorted(resting.keys() & stressed.keys())
    ]
    groups = {f"{name} territory": numbers for name, numbers in TERRITORIES.items()}
    for name, numbers in {**groups, "All segments": tuple(range(1, 18))}.items():
        medians = [median_over(values, numbers) for values in (rest_values, stress_values, *reserves)]
        rows.append((f"{name}, median", *map(number, medians)))
    return Table(
        ("Segment", f"Rest {quantity}", f"Stress {quantity}", "Reserve", "Reserve endo", "Reserve epi"),
        tuple(rows),
        f"Perfusion reserve, stress over rest {quantity}{unit_suffix(units)}. Territories after the usual "
        "assignment of segments."
        + (" In brackets the 90 % interval." if interval_column(quantity, "q05") in rest.units else ""),
    )


def median_over(values: Mapping[int, float], numbers: Iterable[int]) -> float:
    """Median over segments, which one segment with blood in it does not decide; NaN where none has a value."""
    found = [values[k] for k in numbers if np.isfinite(values.get(k, np.nan))]
    return float(np.median(found)) if found else float("nan")
