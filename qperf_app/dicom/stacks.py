"""From frames to stacks: slices over time on one grid, each frame with its time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qperf_app.dicom.clock import Clock, find_clock, time_of_day
from qperf_app.dicom.frames import Frame, Header

#: Orientations whose directions differ by less than this are one (cosine; 0.5 degrees).
_SAME_DIRECTION = np.cos(np.deg2rad(0.5))
#: Positions that differ by less than this along the normal are one slice, mm.
_SAME_SLICE = 0.5
#: By how much the steps from slice to slice of one grid may differ, mm.
_SAME_STEP = 0.1


@dataclass(frozen=True)
class Stack:
    """Parallel slices, each with its frames in order of time.

    Parameters
    ----------
    slices : tuple of tuples of Frame
        In order along the grid; the same number of frames in each after :func:`aligned`.
    times : (slices, frames) list of arrays
        s on ``clock``.
    clock : Clock
    remarks : tuple of str
    """

    slices: tuple[tuple[Frame, ...], ...]
    times: tuple[NDArray[np.float64], ...]
    clock: Clock | None
    remarks: tuple[str, ...] = ()

    @property
    def header(self) -> Header:
        """Header of the last frame of the first slice: not that of a proton-density frame."""
        return self.slices[0][-1].header

    @property
    def frames(self) -> list[Frame]:
        """All frames."""
        return [frame for frames in self.slices for frame in frames]

    @property
    def n_frames(self) -> int:
        """Frames of the slice that has fewest."""
        return min(len(frames) for frames in self.slices)

    @property
    def series_numbers(self) -> tuple[int, ...]:
        """Numbers of the series that it came from."""
        return tuple(sorted({f.header.series_number for f in self.frames if f.header.series_number is not None}))

    @property
    def words(self) -> str:
        """Descriptions of its series."""
        return " ".join(dict.fromkeys(frame.header.words for frame in self.frames))

    @property
    def window(self) -> tuple[float, float] | None:
        """When it was acquired, s of a clock that the series of a study share; None where no field tells."""
        day = time_of_day(self.frames)
        if day is None or self.clock is None:
            return day
        # A clock that counts from the start of the scan tells how long it was.
        span = max(float(np.ptp(times)) for times in self.times)
        return day[0], max(day[1], day[0] + span)


def orientation_of(frame: Frame) -> NDArray[np.float64]:
    """Unit directions along a row, along a column and along the normal, (3, 3), LPS+."""
    row, column = np.array(frame.orientation, np.float64).reshape(2, 3)
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def position_of(frame: Frame) -> NDArray[np.float64]:
    """Centre of the first pixel, (3,), mm, LPS+."""
    return np.array(frame.position, np.float64)


def make_stacks(frames: Iterable[Frame]) -> list[Stack]:
    """Group frames of one series by grid, orientation and echo, and order them by slice and time."""
    return [
        _stack(same)
        for pile in _piles(frames)
        for same in _by_orientation(pile)
    ]  # fmt: skip


def _piles(frames: Iterable[Frame]) -> list[list[Frame]]:
    piles: dict[tuple[object, ...], list[Frame]] = {}
    for frame in frames:
        header = frame.header
        spacing = tuple(round(edge, 3) for edge in header.spacing)
        piles.setdefault((header.series, header.rows, header.columns, spacing), []).append(frame)
    return list(piles.values())


def _by_orientation(frames: Sequence[Frame]) -> list[list[Frame]]:
    groups: list[tuple[NDArray[np.float64], list[Frame]]] = []
    for frame in frames:
        axes = orientation_of(frame)
        for known, members in groups:
            if (known * axes).sum(axis=1).min() > _SAME_DIRECTION:
                members.append(frame)
                break
        else:
            groups.append((axes, [frame]))
    return [members for _, members in groups]


def _stack(frames: Sequence[Frame]) -> Stack:
    """Slices along the normal; the direction is that in which they are numbered."""
    normal = orientation_of(frames[0])[2]
    places = np.array([position_of(frame) @ normal for frame in frames])
    slices: list[list[Frame]] = []
    last = -np.inf
    for index in np.argsort(places, kind="stable"):
        if places[index] - last > _SAME_SLICE:
            slices.append([])
        slices[-1].append(frames[index])
        last = places[index]
    return timed(slices)


def timed(slices: Sequence[Sequence[Frame]]) -> Stack:
    """A stack of slices with the clock that is true of them, each slice's frames by time."""
    slices = _as_numbered(slices)
    clock = find_clock(slices)
    if clock is None:
        ordered = tuple(tuple(sorted(frames, key=_number)) for frames in slices)
        return Stack(ordered, tuple(np.arange(len(frames), dtype=np.float64) for frames in ordered), None)
    orders = [np.argsort(times, kind="stable") for times in clock.times]
    ordered = tuple(tuple(frames[i] for i in order) for frames, order in zip(slices, orders, strict=True))
    times = tuple(of_slice[order] for of_slice, order in zip(clock.times, orders, strict=True))
    return Stack(ordered, times, clock, (clock.remark,) if clock.remark else ())


def _as_numbered(slices: Sequence[Sequence[Frame]]) -> list[Sequence[Frame]]:
    """Turn the order of the slices round where the scanner numbers them the other way."""
    first = [min(_number(frame) for frame in frames) for frames in slices]
    return list(slices)[::-1] if first[0] > first[-1] else list(slices)


def _number(frame: Frame) -> tuple[int, int, int, float]:
    """Order in which the scanner numbers images; of images with the same number the earlier one comes first."""
    return frame.header.series_number or 0, frame.instance or 0, frame.index, min(frame.clocks.values(), default=0.0)


def positions(stack: Stack) -> NDArray[np.float64]:
    """Mean position of each slice, (slices, 3), mm, LPS+."""
    return np.array([np.mean([position_of(frame) for frame in frames], axis=0) for frames in stack.slices])


def is_grid(stack: Stack) -> bool:
    """Whether the slices are equally far apart, so that one image holds them."""
    steps = np.diff(positions(stack), axis=0)
    return len(steps) < 2 or bool(np.abs(steps - steps[0]).max() <= _SAME_STEP)


def split(stack: Stack) -> list[Stack]:
    """One stack for each slice, on the same clock."""
    return [
        Stack((frames,), (times,), stack.clock, stack.remarks)
        for frames, times in zip(stack.slices, stack.times, strict=True)
    ]


@dataclass(frozen=True)
class Aligned:
    """A stack as volumes.

    Parameters
    ----------
    frames : tuple of tuples of Frame
        (slices, volumes).
    times : (slices, volumes) array
        s.
    remarks : tuple of str
        What was left out.
    """

    frames: tuple[tuple[Frame, ...], ...]
    times: NDArray[np.float64]
    remarks: tuple[str, ...] = field(default=())


def aligned(stack: Stack) -> Aligned:
    """Put the frames of all slices into volumes; frames whose volume is not complete are left out, and said."""
    counts = [len(frames) for frames in stack.slices]
    if len(set(counts)) == 1:
        return Aligned(stack.slices, np.stack(stack.times), stack.remarks)
    fullest = int(np.argmax(counts))
    starts = stack.times[fullest]
    half = np.median(np.diff(starts)) / 2
    columns: list[dict[int, int]] = []
    for times in stack.times:
        # Slices of one volume keep their distance; its middle tells which frames lie nearest.
        offset = np.median([t - starts[np.abs(starts - t).argmin()] for t in times])
        nearest = np.abs(starts[None, :] - (times[:, None] - offset)).argmin(axis=1)
        close = np.abs(starts[nearest] - (times - offset)) <= half
        columns.append({int(volume): index for index, volume in enumerate(nearest) if close[index]})
    complete = sorted(set.intersection(*(set(column) for column in columns)))
    frames = tuple(
        tuple(of_slice[column[volume]] for volume in complete)
        for of_slice, column in zip(stack.slices, columns, strict=True)
    )
    times = np.array(
        [[t[column[volume]] for volume in complete] for t, column in zip(stack.times, columns, strict=True)]
    ).reshape(len(frames), len(complete))
    left = sum(counts) - len(frames) * len(complete)
    remark = f"{left} images left out: their volumes are not complete"
    return Aligned(frames, times, (*stack.remarks, remark))
