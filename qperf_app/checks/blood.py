"""The blood in a raw series, the voxels that enhance most: cut off, lost in a hole of the clock, on a floor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.curves import brightest_blood
from qperf_app.checks.findings import Finding, doubt
from qperf_app.checks.timing import TIMING, gaps

#: Frames in which a voxel, and voxels of blood that, have the series' highest value where it is cut off. A peak that
#: is not has it once.
LEAST_AT_TOP = 3
#: Usual intervals that are a hole in a first pass: two beats in a row may be missed.
MOST_INTERVALS = 3.5
#: Part of its peak from which the blood's enhancement counts as come, and as not yet passed.
FOOT, PASSED = 0.1, 0.5
#: Least value, a thousandth of all are lower, as a share of the blood's before the bolus that is a floor. Air and
#: lungs lie about 0; real series, cut to the heart, have up to 0.1.
FLOOR, LOWEST = 0.4, 1e-3


def blood_findings(
    file: str, dynamic: NDArray[np.floating], times: NDArray[np.float64] | None, is_signal: bool
) -> Iterator[Finding]:
    """Check the dynamic volumes of a raw series (x, y, z, t).

    Parameters
    ----------
    times : (t,) array or None
        s; None where the metadata don't tell them.
    is_signal : bool
        Whether the values are signal, not concentration.
    """
    if dynamic.shape[-1] < 2:
        return
    blood = dynamic[brightest_blood(dynamic)]
    before = max(2, blood.shape[1] // 8)
    if is_signal:
        yield from _cut_off(file, blood, float(dynamic.max()))
        yield from _floor(file, dynamic, float(np.median(blood[:, :before])))
    if times is not None and len(times) == blood.shape[1]:
        course = blood.mean(axis=0, dtype=np.float64)
        yield from _hole(file, course - np.median(course[:before]), times)


def _cut_off(file: str, blood: NDArray[np.floating], top: float) -> Iterator[Finding]:
    """Blood voxels (n, t) that stay at the highest value of the series."""
    at_top = blood == top
    voxels = at_top.sum(axis=1) >= LEAST_AT_TOP
    if voxels.sum() >= LEAST_AT_TOP:
        yield doubt(
            file, "",
            f"{voxels.sum()} voxels of the brightest blood stay at the series' highest value, {top:.5g}, in "
            f"{at_top[voxels].any(axis=0).sum()} volumes: is the peak cut off?",
        )  # fmt: skip


def _floor(file: str, dynamic: NDArray[np.floating], unenhanced: float) -> Iterator[Finding]:
    """A constant that was added to all values: nothing is dark."""
    lowest = float(np.quantile(dynamic.ravel(order="K"), LOWEST))
    if unenhanced > 0 and lowest > FLOOR * unenhanced:
        yield doubt(
            file, "",
            f"the darkest voxels have {lowest:.4g}, {lowest / unenhanced:.0%} of what blood has before the bolus; air "
            "and lungs are near 0: was a constant added?",
        )  # fmt: skip


def _hole(file: str, course: NDArray[np.float64], times: NDArray[np.float64]) -> Iterator[Finding]:
    """Volumes that are missing between the foot of the blood's curve (t,) and the end of its first pass."""
    peak = int(course.argmax())
    if course[peak] <= 0:
        return
    low = np.flatnonzero(course[:peak] < FOOT * course[peak])
    fallen = np.flatnonzero(course[peak:] < PASSED * course[peak])
    first = int(low[-1]) if low.size else 0
    last = peak + int(fallen[0]) if fallen.size else len(course) - 1
    intervals = np.diff(times)
    usual = float(np.median(intervals))
    wide = intervals > MOST_INTERVALS * usual
    # What is a gap anywhere is said of the clock.
    wide[gaps(intervals)] = False
    for k in np.flatnonzero(wide[first:last])[:1] + first:
        yield doubt(
            file, TIMING,
            f"{TIMING} jumps by {intervals[k]:.3g} s within the first pass ({times[first]:.1f} to {times[last]:.1f} "
            f"s), {usual:.3g} s are usual in it: are volumes missing? The bolus has passed meanwhile",
        )  # fmt: skip
