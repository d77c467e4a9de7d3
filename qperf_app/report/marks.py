"""How sure a segment's value is: its 90 % interval, and the marks that it carries wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qperf_app.plugins.results import INTERVAL, SegmentRow, SegmentTable, interval_column
from qperf_app.report.studies import reserve_of, rows_by_segment, values_of

#: Its 90 % interval is wider than the value itself.
WIDE = "?"
#: 90 % intervals by segment.
Intervals = Mapping[int, tuple[float, float]]
NONE_DRAWN: Intervals = {}
LAYERS = ("transmural", "endo", "epi")


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


def intervals_of(table: SegmentTable | None, quantity: str) -> Intervals:
    """90 % intervals of a quantity by segment; NaN where the plugin gives none."""
    return {k: interval_of(row, quantity) for k, row in rows_by_segment(table).items()}


def reserve_intervals(
    rest: SegmentTable | None, stress: SegmentTable | None, quantity: str, drawn: Intervals = NONE_DRAWN
) -> Intervals:
    """90 % intervals of the reserve by segment: from draws, ``drawn``, or else from the bounds of both scans."""
    resting, stressed = rows_by_segment(rest), rows_by_segment(stress)
    both = sorted(resting.keys() & stressed.keys())
    return {k: drawn.get(k) or reserve_interval(resting[k], stressed[k], quantity) for k in both}


def marks_of(table: SegmentTable | None, quantity: str) -> dict[int, str]:
    """Marks of the segments whose 90 % interval is wider than their value."""
    return _marks(values_of(table, quantity), intervals_of(table, quantity))


def marks_of_reserve(
    rest: SegmentTable | None, stress: SegmentTable | None, quantity: str, drawn: Intervals = NONE_DRAWN
) -> dict[int, str]:
    """Marks of the segments whose reserve has too wide an interval; ``drawn`` has those that come from draws."""
    return _marks(reserve_of(rest, stress, quantity), reserve_intervals(rest, stress, quantity, drawn))


def _marks(values: Mapping[int, float], intervals: Intervals) -> dict[int, str]:
    return dict.fromkeys((k for k, value in values.items() if is_wide(value, intervals[k])), WIDE)


def marked(words: str, marks: str) -> str:
    """A value in a line of words with its marks, which stay with it."""
    return f"{words}\u00a0{marks}" if marks else words
