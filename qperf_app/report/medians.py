"""Medians over segments, their intervals, and the segments that lie off them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Apart:
    """A part of the heart's median below which a segment is low; it is high above the median over this part.

    ``below`` and ``above`` are the same in words.
    """

    low: float
    below: str
    above: str


#: On the logarithm, segments without a defect scatter about their heart's median by 0.11 (standard deviation on the
#: phantom, errors and regional variation together), and so by 0.16 where two scans are divided: these are 2.6 of them,
#: which one of two hundred such segments would pass on either side.
FLOW_APART = Apart(0.75, "a quarter below", "a third above")
RESERVE_APART = Apart(2 / 3, "a third below", "a half above")


def median_over(values: Mapping[int, float], numbers: Iterable[int]) -> float:
    """Median over segments, which one segment with blood in it does not decide; NaN where none has a value."""
    found = [values[k] for k in numbers if np.isfinite(values.get(k, np.nan))]
    return float(np.median(found)) if found else float("nan")


def median_interval(bounds: Mapping[int, tuple[float, float]], numbers: Iterable[int]) -> tuple[float, float]:
    """Interval of the median over segments whose errors go together: the medians of their bounds.

    Most of what is not known of a segment is shared, the input function above all; independent errors would make it too
    narrow. It is no interval of the segments: where they differ it may hold none of them.
    """
    every = [k for k in numbers if k in bounds]
    low, high = (median_over({k: bounds[k][side] for k in every}, every) for side in (0, 1))
    return low, high


def off_median(values: Mapping[int, float], apart: Apart) -> tuple[frozenset[int], frozenset[int]]:
    """Segments that lie farther below the median of all than segments without a defect do, and farther above.

    Their intervals don't tell: most of what these hold, the input function's height and what the curves leave open
    alike, is shared by all segments of a scan and makes none differ from another. The median is that of what most of
    the heart has as long as fewer than half of its segments are low. A segment without a value is in neither set.
    """
    middle = median_over(values, values)
    known = {k: v for k, v in values.items() if np.isfinite(v) and middle > 0.0}
    return (
        frozenset(k for k, v in known.items() if v < apart.low * middle),
        frozenset(k for k, v in known.items() if v > middle / apart.low),
    )
