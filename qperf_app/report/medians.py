"""Medians over segments, their intervals, and the segments that lie off them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


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


def off_median(
    values: Mapping[int, float], bounds: Mapping[int, tuple[float, float]]
) -> tuple[frozenset[int], frozenset[int]]:
    """Segments whose interval lies wholly below, and those whose lies wholly above, that of the median of all.

    Both intervals hold the errors that segments share, which don't make one differ from another, so that errors alone
    seldom bring a segment here. The median is that of what most of the heart has as long as fewer than half of its
    segments are low. A segment without value or interval is in neither set.
    """
    known = {k: bounds[k] for k, v in values.items() if np.isfinite([v, *bounds.get(k, (np.nan, np.nan))]).all()}
    low, high = median_interval(known, known)
    return (
        frozenset(k for k, ends in known.items() if ends[1] < low),
        frozenset(k for k, ends in known.items() if ends[0] > high),
    )
