"""Volumes of a series beside each other: empty, twice, in part lost, in another order than they were made in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.wording import counted

#: Share of the series' brightest values (99th percentile) from which a voxel holds tissue, and share of those voxels
#: of a slice image that are 0 in one frame alone where a part of it is lost. In real series moving dark lungs make up
#: to 4 % of it.
BRIGHT, LOST = 0.1, 0.15
#: Two volumes fit in exchanged order where that takes a quarter of the change from frame to frame away, and no others
#: of the series come near it. A breathing heart changes more from frame to frame than a bolus does: there an exchange
#: can't be told.
EXCHANGED, OTHERS = 0.75, 0.95


def frame_findings(file: str, data: NDArray[np.floating]) -> Iterator[Finding]:
    """Check the volumes of a series (x, y, z, t) of finite values."""
    low, high = data.min(axis=(0, 1, 2)), data.max(axis=(0, 1, 2))
    empty = low == high
    if empty.any():
        what = "zeros" if not high[empty].any() else "one value"
        text = f"{empty.sum()} of {len(empty)} volumes hold nothing but {what} (from 1: {some(empty)})"
        if empty.mean() > 0.5:
            yield refusal(file, "", f"{text}: there is no series left")
        else:
            yield doubt(file, "", f"{text}; they are used as they are. Take them out, with their times")
    if len(high) > 5 and not empty.any() and np.ptp(high) < 1e-3 * abs(high.mean()):
        yield doubt(file, "", f"every volume reaches the same largest value, {high[0]:.4g}: was each scaled by itself?")
    slices = data.max(axis=(0, 1, 3)) == data.min(axis=(0, 1, 3))
    if slices.any():
        yield doubt(file, "", f"{slices.sum()} of {len(slices)} slices hold one value only (from 1: {some(slices)})")
    same = np.zeros(len(empty), bool)
    same[1:] = [
        bool(np.array_equal(data[..., k], data[..., k - 1])) and not empty[k]
        for k in range(1, len(empty))
    ]  # fmt: skip
    if same.any():
        yield doubt(file, "", f"the same as the volume before it, and used: {counted_places(same, 'volume')}")
    if not empty.any():
        yield from _lost_parts(file, data)
        yield from _exchanged(file, data)


def _lost_parts(file: str, data: NDArray[np.floating]) -> Iterator[Finding]:
    """Slice images in which much that is bright one frame before and one after is 0."""
    least = BRIGHT * float(np.quantile(data.ravel(order="K"), 0.99))
    lost = np.zeros(data.shape[3], bool)
    for t in range(1, data.shape[3] - 1):
        bright = np.minimum(data[..., t - 1], data[..., t + 1]) > least
        zeros = (bright & (data[..., t] == 0)).sum(axis=(0, 1))
        lost[t] = bool((zeros > LOST * np.maximum(bright.sum(axis=(0, 1)), 1)).any())
    if lost.any():
        yield doubt(
            file, "",
            f"part of the image is 0 in {counted_places(lost, 'volume')} and not before and after; used all the same. "
            "Take out what is damaged, with its times",
        )  # fmt: skip


def _exchanged(file: str, data: NDArray[np.floating]) -> Iterator[Finding]:
    """Two neighbouring volumes that fit their own neighbours in the other order."""
    # Every second voxel says the same.
    thin = data[::2, ::2]
    one, two = (_changes(thin, apart) for apart in (1, 2))
    gains = np.array([
        (two[t - 1] + two[t]) / max(one[t - 1] + one[t + 1], 1e-30) for t in range(1, data.shape[3] - 2)
    ])  # fmt: skip
    if len(gains) < 10:
        return
    first = int(gains.argmin())
    others = np.delete(gains, np.s_[max(0, first - 3) : first + 4])
    if gains[first] < EXCHANGED and others.min() > OTHERS:
        yield doubt(
            file, "", f"volumes {first + 2} and {first + 3} (from 1) fit in exchanged order alone: were they exchanged?"
        )


def _changes(data: NDArray[np.floating], apart: int) -> list[float]:
    """Sum of the absolute differences of the volumes that are some volumes apart."""
    return [float(np.abs(data[..., t + apart] - data[..., t]).sum()) for t in range(data.shape[3] - apart)]


def counted_places(marks: NDArray[np.bool_], noun: str) -> str:
    """How many places are marked, and which."""
    return f"{counted(int(marks.sum()), noun)} (from 1: {some(marks)})"


def some(marks: NDArray[np.bool_] | Sequence[bool]) -> str:
    """The first places that are marked, counted from 1 as in the report and the review, in words."""
    places = np.flatnonzero(marks) + 1
    return ", ".join(map(str, places[:5])) + (", …" if len(places) > 5 else "")
