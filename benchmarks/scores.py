"""Scores of estimates against the truth or against each other; what was not estimated (NaN) is left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column

Array = NDArray[np.float64]

#: Format of a median with its quartiles, as :func:`quartiles` gives them.
QUARTILES = "{:.2f} ({:.2f} to {:.2f})"


def quartiles(values: Array) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    low, middle, high = np.nanpercentile(values, (25, 50, 75))
    return float(middle), float(low), float(high)


def correlation(a: Array, b: Array) -> float:
    """Pearson's r."""
    known = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[known], b[known])[0, 1])


def nmse(estimate: Array, truth: Array) -> float:
    """Mean squared error over the mean square of all true values."""
    return float(np.nanmean((estimate - truth) ** 2) / np.mean(truth**2))


def covered(low: Array, high: Array, truth: Array) -> float:
    """Percentage of the intervals that hold the truth."""
    known = np.isfinite(low)
    return float(100 * np.mean(((truth >= low) & (truth <= high))[known]))


#: Columns of :func:`flow_error`.
FLOW_ERROR = (
    Column("flow error, median", "%", ".1f"),
    Column("90th percentile", "%", ".1f"),
    Column("bias, median", "%", "+.1f"),
)


def flow_error(estimate: Array, truth: Array) -> tuple[float, float, float]:
    """Median and 90th percentile of the relative error's size, and its median, %."""
    error = 100 * (estimate / truth - 1.0)
    size = np.abs(error)
    return float(np.nanmedian(size)), float(np.nanpercentile(size, 90)), float(np.nanmedian(error))
