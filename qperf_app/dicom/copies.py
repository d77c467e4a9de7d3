"""An image that is there twice under two identifiers, as an export that ran twice leaves it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.dicom.frames import Frame
from qperf_app.dicom.pixels import read_frame
from qperf_app.dicom.selection import LeftOut
from qperf_app.dicom.sources import Opener, UnreadableError

#: A scanner may give one time to all images of a series. So many that share everything are no copies.
_MOST = 4
_REASON = "copies of other images: the same place, time and pixels"


def without_copies(frames: Sequence[Frame], opener: Opener) -> tuple[list[Frame], list[LeftOut]]:
    """Leave out images that agree with an earlier one in all that the header tells of them, and in every pixel.

    Two images of one slice at one time would be two frames: no clock would then be true of the series.
    """
    alike: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        if frame.clocks:
            alike.setdefault(_told(frame), []).append(frame)
    copies: set[int] = set()
    for same in alike.values():
        if 1 < len(same) <= _MOST:
            copies |= {id(frame) for frame in _repeated(same, opener)}
    numbers: dict[tuple[int, ...], int] = {}
    for frame in frames:
        if id(frame) in copies:
            series = () if frame.header.series_number is None else (frame.header.series_number,)
            numbers[series] = numbers.get(series, 0) + 1
    kept = [frame for frame in frames if id(frame) not in copies]
    return kept, [LeftOut(series, count, _REASON) for series, count in numbers.items()]


def _told(frame: Frame) -> Hashable:
    """All that the header tells of an image but its own name and number."""
    anonymous = replace(frame, file=None, index=0, uid="", instance=None, clocks={})  # type: ignore[arg-type]
    return anonymous, tuple(sorted(frame.clocks.items()))


def _repeated(same: Sequence[Frame], opener: Opener) -> list[Frame]:
    """Those of some frames whose pixels an earlier one has; one that can't be read is none."""
    seen: list[NDArray[Any]] = []
    repeated: list[Frame] = []
    for frame in same:
        try:
            values = read_frame(frame, opener)
        except UnreadableError:
            continue
        if any(np.array_equal(values, other) for other in seen):
            repeated.append(frame)
        seen.append(values)
    return repeated
