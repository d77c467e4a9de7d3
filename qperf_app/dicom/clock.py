"""Which of a header's times is the true clock of a series.

It is the one that differs from frame to frame at every slice, in steps that a heart can make, and spans the scan. On
one scanner that is ``AcquisitionTime``, on another ``TriggerTime``, and the same fields mean something else on a third:
the delay after the R wave, the start of the series, or when the image was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.dicom.frames import Frame
from qperf_app.dicom.values import unwrapped

#: Best first among clocks that span the scan. Any other, such as a vendor's own, comes before the ones marked last.
PREFERRED = (
    "FrameAcquisitionDateTime", "FrameReferenceDateTime", "AcquisitionDateTime", "AcquisitionTime", "TriggerTime",
    "ActualCardiacTriggerDelayTime", "NominalCardiacTriggerDelayTime",
)  # fmt: skip
LAST = ("TemporalPositionTimeOffset", "ContentTime")
#: Delays after the R wave, unless a vendor counts from the start of the scan in them.
CARDIAC = ("TriggerTime", "ActualCardiacTriggerDelayTime", "NominalCardiacTriggerDelayTime")
#: Clocks that tell the time of day, so that series can be compared by them.
OF_DAY = ("FrameAcquisitionDateTime", "FrameReferenceDateTime", "AcquisitionDateTime", "AcquisitionTime", "ContentTime")
#: Steps from frame to frame, s: from one short beat to several long ones.
SHORTEST, LONGEST = 0.25, 15.0
#: Part of the longest clock's span that a better one must have.
_SPAN = 0.8


@dataclass(frozen=True)
class Clock:
    """Times of a series.

    Parameters
    ----------
    source : str
        The field, or how the times were derived.
    times : list of (n,) arrays
        For each slice, s of each of its frames, in the order of the frames handed in.
    derived : bool
        Whether the header has no such times and they were made from a constant interval.
    remark : str
        What the reader should know; may be empty.
    """

    source: str
    times: list[NDArray[np.float64]]
    derived: bool = False
    remark: str = ""


def find_clock(slices: Sequence[Sequence[Frame]]) -> Clock | None:
    """The true clock of frames, slice by slice; None where no field is one and no interval is known."""
    names = sorted({name for frames in slices for frame in frames for name in frame.clocks}, key=_rank)
    usable = [clock for name in names if (clock := _clock(name, slices)) is not None]
    if not usable:
        return None if is_cine(slices) else _constant_interval(slices)
    longest = max(_span(clock.times) for clock in usable)
    spanning = [clock for clock in usable if _span(clock.times) >= _SPAN * longest]
    fine = [clock for clock in spanning if not _whole_seconds(clock.times)]
    if fine:
        return fine[0]
    first = spanning[0]
    return Clock(first.source, first.times, remark=f"{first.source} has whole seconds only")


def time_of_day(frames: Sequence[Frame]) -> tuple[float, float] | None:
    """When frames were acquired, first and last, s on a clock that all series of a study share."""
    for name in OF_DAY:
        times = [frame.clocks[name] for frame in frames if name in frame.clocks]
        if len(times) == len(frames):
            times = unwrapped(times)
            return min(times), max(times)
    return None


def is_cine(slices: Sequence[Sequence[Frame]]) -> bool:
    """Whether the frames are phases of one beat: delays after the R wave that differ by less than a beat."""
    for name in CARDIAC:
        delays = [[frame.clocks[name] for frame in frames if name in frame.clocks] for frames in slices]
        steps = [np.diff(np.sort(of_slice)) for of_slice in delays if len(of_slice) > 1]
        if steps and 1e-3 < np.median(np.concatenate(steps)) < SHORTEST:
            return True
    return False


def _rank(name: str) -> tuple[int, str]:
    if name in PREFERRED:
        return PREFERRED.index(name), name
    return len(PREFERRED) + (1 + LAST.index(name) if name in LAST else 0), name


def _clock(name: str, slices: Sequence[Sequence[Frame]]) -> Clock | None:
    """The times of one field, if they can be those of a series."""
    if any(name not in frame.clocks for frames in slices for frame in frames):
        return None
    everything = unwrapped([frame.clocks[name] for frames in slices for frame in frames])
    ends = np.cumsum([len(frames) for frames in slices])[:-1]
    times = np.split(np.array(everything, np.float64), ends)
    steps = np.concatenate([np.diff(np.sort(of_slice)) for of_slice in times])
    if not len(steps) or steps.min() <= 1e-6 or not SHORTEST <= np.median(steps) <= LONGEST:
        return None
    return Clock(name, list(times))


def _span(times: Sequence[NDArray[np.float64]]) -> float:
    return float(np.mean([np.ptp(of_slice) for of_slice in times]))


def _whole_seconds(times: Sequence[NDArray[np.float64]]) -> bool:
    values = np.concatenate(list(times))
    return bool(np.abs(values - np.rint(values)).max() < 1e-5)


def _constant_interval(slices: Sequence[Sequence[Frame]]) -> Clock | None:
    """Numbered frames, one in each beat, where the header tells only how long a beat is."""
    intervals = [frame.interval for frames in slices for frame in frames if frame.interval is not None]
    if not intervals:
        return None
    interval = float(np.median(intervals))
    times: list[NDArray[np.float64]] = []
    for frames in slices:
        orders = [[frame.temporal_position for frame in frames], [frame.instance for frame in frames]]
        numbers = next((order for order in orders if None not in order and len(set(order)) == len(frames)), None)
        if numbers is None:
            return None
        times.append(np.argsort(np.argsort(np.array(numbers))) * np.float64(interval))
    remark = f"no field tells the time of a frame; one is taken to follow another after a beat of {interval:.3f} s"
    return Clock(f"frames in steps of {interval:.3f} s", times, derived=True, remark=remark)
