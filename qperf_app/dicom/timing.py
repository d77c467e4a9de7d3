"""The times of a series as BIDS has them: onset of each volume, and of each slice within a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.dicom.clock import OF_DAY
from qperf_app.dicom.frames import Frame
from qperf_app.dicom.stacks import Stack, aligned

#: By how much slices' distance in time may differ from volume to volume before it is said, s.
_SLICE_JITTER = 0.05


@dataclass(frozen=True)
class Timed:
    """Frames as volumes, with their times.

    Parameters
    ----------
    frames : (slices, volumes) tuple of tuples of Frame
        Proton-density frames that were stored apart come first.
    volumes : (volumes,) array
        Onset of each volume, s; strictly increasing.
    slices : (slices,) array
        Onset of each slice within a volume, s.
    source : str
        The clock.
    apart : int
        How many leading volumes were stored apart.
    remarks : tuple of str
    """

    frames: tuple[tuple[Frame, ...], ...]
    volumes: NDArray[np.float64]
    slices: NDArray[np.float64]
    source: str
    apart: int = 0
    remarks: tuple[str, ...] = field(default=())


def time_stack(stack: Stack, proton_density: Stack | None = None) -> Timed:
    """Volumes of a stack on its own clock."""
    assert stack.clock is not None
    main = aligned(stack)
    frames, times, remarks = main.frames, main.times, list(main.remarks)
    apart = 0
    if proton_density is not None:
        extra = aligned(proton_density)
        apart = len(extra.frames[0])
        before, remark = _before(extra.frames, times, stack.clock.source)
        times = np.concatenate([before, times], axis=1)
        frames = tuple((*a, *b) for a, b in zip(extra.frames, frames, strict=True))
        remarks += [remark] if remark else []
    volumes = times.min(axis=0)
    offsets = times - volumes
    slices = np.median(offsets[:, apart:], axis=1)
    jitter = float(np.abs(offsets[:, apart:] - slices[:, None]).max())
    if jitter > _SLICE_JITTER:
        remarks.append(f"the slices' distance in time varies by up to {jitter:.3f} s; SliceTiming has the median")
    source = stack.clock.source
    return Timed(frames, volumes, slices, source, apart, tuple(remarks))


def _before(
    frames: Sequence[Sequence[Frame]], times: NDArray[np.float64], source: str
) -> tuple[NDArray[np.float64], str]:
    """Times of proton-density images that were stored apart, on the series' clock and before its first frame."""
    n = len(frames[0])
    known = all(source in frame.clocks for of_slice in frames for frame in of_slice)
    if known:
        clocks = np.array([[frame.clocks[source] for frame in of_slice] for of_slice in frames])
        onsets = clocks.min(axis=0)
        if (np.diff(onsets) > 0).all() and onsets[-1] < times.min():
            return clocks, ""
    step = float(np.median(np.diff(times.min(axis=0))))
    placed = times[:, :1] - step * np.arange(n, 0, -1)
    when = "after it" if known and source in OF_DAY else "on no common clock"
    return (
        placed,
        f"proton-density images were acquired {when}; their times are set before the first frame, one step apart",
    )


def common_clock(series: Sequence[Timed]) -> list[Timed]:
    """Put the series of one scan on one clock that starts with the first of their volumes.

    Series that begin in the same beat share their volumes' onsets, and the time from one to the other within the beat
    is that of their slices.
    """
    comparable = len({one.source for one in series}) == 1
    start = min(float(one.volumes[0]) for one in series)
    result = []
    for one in series:
        step = float(np.median(np.diff(one.volumes)))
        lag = float(one.volumes[0]) - start if comparable else 0.0
        within = lag < step / 2
        zero = one.volumes[0] if within or not comparable else start
        result.append(replace(one, volumes=one.volumes - zero, slices=one.slices + (lag if within else 0.0)))
    return result
