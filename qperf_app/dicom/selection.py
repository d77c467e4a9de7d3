"""Which stacks of a study are first-pass series, and which belong to one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.wording import counted
from qperf_app.dicom.clock import is_cine
from qperf_app.dicom.frames import Frame
from qperf_app.dicom.hints import says
from qperf_app.dicom.stacks import Stack, is_grid, make_stacks, orientation_of, positions, split, timed

#: A first pass has at least so many frames, lasts at least so long (s), and has a frame at least so often (s).
MIN_FRAMES, MIN_SPAN, MAX_STEP = 8, 5.0, 8.0
#: Series of proton-density images: at most so many at each slice, acquired at most so long (s) before or after.
MAX_PROTON_DENSITY, _PROTON_DENSITY_GAP = 10, 1800.0
#: By how much a value may differ between series of one acquisition.
_TOLERANCE = 0.05
#: Cosine between directions of parallel slices.
_PARALLEL = 0.9999


@dataclass(frozen=True)
class LeftOut:
    """Images that are not imported, and why."""

    series: tuple[int, ...]
    images: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """Stacks that were acquired together, in the same beats; ``proton_density`` by the index of their stack."""

    stacks: tuple[Stack, ...]
    proton_density: dict[int, Stack]


def select(frames: Sequence[Frame]) -> tuple[list[Scan], list[LeftOut]]:
    """First-pass scans among the frames of one study, in order of time, and what is left out."""
    taken: dict[str, list[Frame]] = {}
    left: dict[tuple[int | None, str], int] = {}
    for frame in frames:
        reason = frame.header.left_out or ("" if frame.position and frame.orientation else "no position")
        if reason:
            key = (frame.header.series_number, reason)
            left[key] = left.get(key, 0) + 1
        else:
            taken.setdefault(frame.header.series, []).append(frame)
    left_out = [LeftOut(() if n is None else (n,), count, reason) for (n, reason), count in left.items()]
    dynamic, others = [], []
    for stack in (stack for same in taken.values() for stack in make_stacks(same)):
        reason = why_not_dynamic(stack)
        if reason:
            others.append((stack, reason))
        else:
            dynamic.append(stack)
    dynamic, copies = _without_copies(_joined(dynamic))
    scans = _scans(dynamic)
    scans, unused = _with_proton_density(scans, others)
    left_out += [LeftOut(stack.series_numbers, len(stack.frames), reason) for stack, reason in copies + unused]
    return scans, sorted(left_out, key=lambda one: (one.series, one.reason))


def why_not_dynamic(stack: Stack) -> str:
    """Why a stack is no first pass; empty where it is one."""
    if stack.n_frames < MIN_FRAMES:
        return f"not dynamic: {counted(stack.n_frames, 'image')} at each slice"
    if stack.clock is None:
        return (
            "cine: phases of one beat"
            if is_cine(stack.slices)
            else "no clock: no field tells one frame's time from another's"
        )
    span = min(float(np.ptp(times)) for times in stack.times)
    step = float(np.median(np.concatenate([np.diff(times) for times in stack.times])))
    if span < MIN_SPAN:
        return f"not a first pass: lasts {span:.1f} s"
    if step > MAX_STEP:
        return f"not a first pass: a frame every {step:.1f} s"
    for name, values in (
        ("inversion time", [frame.inversion_time for frame in stack.frames]),
        ("echo time", [frame.echo_time for frame in stack.frames]),
    ):
        known = np.array([value for value in values if value])
        if len(known) and np.mean(np.abs(known - np.median(known)) > 0.2 * np.median(known)) > 0.25:
            return f"not a first pass: {name} varies"
    if says("other", stack.words) and stack.n_frames < 3 * MIN_FRAMES:
        return "not a first pass: its description names another kind of series"
    return ""


def coarser(one: Stack, other: Stack) -> bool:
    """Whether a stack has clearly larger pixels than another."""
    return float(np.prod(one.header.spacing)) > 1.5 * float(np.prod(other.header.spacing))


def _joined(stacks: Sequence[Stack]) -> list[Stack]:
    """Stacks of which each is a slice of one acquisition put together; what isn't on one grid taken apart."""
    groups: list[list[Stack]] = []
    for stack in sorted(stacks, key=lambda one: one.series_numbers):
        for group in groups:
            if all(_slices_of_one(stack, member) for member in group):
                group.append(stack)
                break
        else:
            groups.append([stack])
    joined = []
    for group in groups:
        whole = group[0] if len(group) == 1 else _joint(group)
        joined += [whole] if is_grid(whole) else split(whole)
    return joined


def _without_copies(stacks: Sequence[Stack]) -> tuple[list[Stack], list[tuple[Stack, str]]]:
    """Of series that hold the same images, such as normalised ones beside others, the one least worked on."""

    def work(stack: Stack) -> tuple[bool, int, tuple[int, ...]]:
        kind = stack.header.image_type
        return "NORM" in kind, len(kind), stack.series_numbers

    kept: list[Stack] = []
    copies: list[tuple[Stack, str]] = []
    for stack in sorted(stacks, key=work):
        first = next((other for other in kept if _same_images(stack, other)), None)
        if first is None:
            kept.append(stack)
        else:
            numbers = ", ".join(map(str, first.series_numbers))
            copies.append((stack, f"the same images as series {numbers}, which is taken"))
    return [stack for stack in stacks if any(stack is one for one in kept)], copies


def _same_images(a: Stack, b: Stack) -> bool:
    """Whether two stacks show the same slices at the same times."""
    if (a.header.rows, a.header.columns) != (b.header.rows, b.header.columns) or len(a.slices) != len(b.slices):
        return False
    if a.n_frames != b.n_frames or a.clock is None or b.clock is None or a.clock.source != b.clock.source:
        return False
    if np.abs(positions(a) - positions(b)).max() > 0.1:
        return False
    pairs = zip(a.times, b.times, strict=True)
    return together(a, b) and all(len(x) == len(y) and np.abs(x - y).max() < 0.01 for x, y in pairs)


def _joint(group: Sequence[Stack]) -> Stack:
    normal = orientation_of(group[0].frames[0])[2]
    slices = [frames for stack in group for frames in stack.slices]
    return timed(sorted(slices, key=lambda frames: float(np.array(frames[0].position) @ normal)))


def _slices_of_one(a: Stack, b: Stack) -> bool:
    """Whether two stacks are parallel slices of one acquisition."""
    if a.header.series == b.header.series:
        # One series with two matrices or orientations: never slices of one grid.
        return False
    if (a.header.rows, a.header.columns) != (b.header.rows, b.header.columns):
        return False
    if not np.allclose(a.header.spacing, b.header.spacing, atol=1e-3) or not together(a, b):
        return False
    if (
        not _same_sequence(a, b)
        or (orientation_of(a.frames[0]) * orientation_of(b.frames[0])).sum(axis=1).min() < _PARALLEL
    ):
        return False
    normal = orientation_of(a.frames[0])[2]
    apart = np.abs((positions(a) @ normal)[:, None] - (positions(b) @ normal)[None, :])
    return bool(apart.min() > 0.5)


def _same_sequence(a: Stack, b: Stack) -> bool:
    if abs(a.n_frames - b.n_frames) > 2:
        return False
    pairs = [(a.header.values.get("RepetitionTime"), b.header.values.get("RepetitionTime"))]
    last_a, last_b = a.slices[0][-1], b.slices[0][-1]
    pairs += [(getattr(last_a, name), getattr(last_b, name)) for name in ("echo_time", "inversion_time", "flip_angle")]
    return all(x is None or y is None or abs(x - y) <= _TOLERANCE * max(abs(x), abs(y)) for x, y in pairs)


def together(a: Stack, b: Stack) -> bool:
    """Whether two stacks were acquired in the same beats."""
    if a.header.series == b.header.series:
        return True
    first, second = a.window, b.window
    if first is not None and second is not None:
        overlap = min(first[1], second[1]) - max(first[0], second[0])
        return overlap > 0.5 * min(first[1] - first[0], second[1] - second[0])
    # Without the time of day, series that were acquired together have the same beats; a lone image has none.
    steps, others = np.diff(a.times[0]), np.diff(b.times[0])
    if not steps.size or len(steps) != len(others):
        return False
    return bool(np.abs(steps - others).max() < 0.05) and bool(np.ptp(steps) > 0.01)


def _scans(stacks: Iterable[Stack]) -> list[Scan]:
    groups: list[list[Stack]] = []
    for stack in stacks:
        for group in groups:
            if any(together(stack, member) for member in group):
                group.append(stack)
                break
        else:
            groups.append([stack])
    return [Scan(tuple(group), {}) for group in sorted(groups, key=_begin)]


def _begin(group: Sequence[Stack]) -> tuple[float, tuple[int, ...]]:
    windows = [stack.window for stack in group]
    starts = [window[0] for window in windows if window is not None]
    starts += [stack.header.begin for stack in group if not starts and stack.header.begin is not None]
    return min(starts, default=0.0), group[0].series_numbers


def _with_proton_density(
    scans: Sequence[Scan], others: Sequence[tuple[Stack, str]]
) -> tuple[list[Scan], list[tuple[Stack, str]]]:
    """Give each series of proton-density images to the nearest scan whose stacks have its slices."""
    found: list[dict[int, Stack]] = [{} for _ in scans]
    unused = []
    for stack, reason in _with_slices_joined(others):
        candidates = [
            (_distance(stack, dynamic), i)
            for i, scan in enumerate(scans)
            for j, dynamic in enumerate(scan.stacks)
            if j not in found[i] and _is_proton_density_of(stack, dynamic)
        ]
        if not candidates:
            unused.append((stack, reason))
            continue
        nearest = min(candidates)[1]
        for j, dynamic in enumerate(scans[nearest].stacks):
            if j not in found[nearest] and _is_proton_density_of(stack, dynamic):
                found[nearest][j] = _matched(stack, dynamic)
    return [Scan(scan.stacks, weighted) for scan, weighted in zip(scans, found, strict=True)], unused


def _matches(stack: Stack, dynamic: Stack) -> NDArray[np.float64]:
    """Distance from each slice of a dynamic stack (rows) to each of another, mm."""
    return np.asarray(np.linalg.norm(positions(dynamic)[:, None] - positions(stack)[None], axis=-1), np.float64)


def _matched(stack: Stack, dynamic: Stack) -> Stack:
    """The slices of a stack that a dynamic stack has, in its order."""
    order = _matches(stack, dynamic).argmin(axis=1)
    return Stack(tuple(stack.slices[i] for i in order), tuple(stack.times[i] for i in order), stack.clock)


def _with_slices_joined(others: Sequence[tuple[Stack, str]]) -> list[tuple[Stack, str]]:
    """Few-image stacks of which each is a slice, put together."""
    groups: list[tuple[list[Stack], str]] = []
    for stack, reason in others:
        for group, _ in groups:
            if stack.n_frames <= MAX_PROTON_DENSITY and all(_slices_of_one(stack, member) for member in group):
                group.append(stack)
                break
        else:
            groups.append(([stack], reason))
    return [(group[0] if len(group) == 1 else _joint(group), reason) for group, reason in groups]


def _is_proton_density_of(stack: Stack, dynamic: Stack) -> bool:
    """Whether a few images are proton-density weighted images of a dynamic stack's slices."""
    a, b = stack.header, dynamic.header
    if stack.n_frames > MAX_PROTON_DENSITY or (a.rows, a.columns) != (b.rows, b.columns):
        return False
    if not np.allclose(a.spacing, b.spacing, atol=1e-3) or _matches(stack, dynamic).min(axis=1).max() > 1.0:
        return False
    if (orientation_of(stack.frames[0]) * orientation_of(dynamic.frames[0])).sum(axis=1).min() < _PARALLEL:
        return False
    first, last = stack.frames[0], dynamic.slices[0][-1]
    smaller = first.flip_angle is not None and last.flip_angle is not None and first.flip_angle < last.flip_angle - 0.5
    unsaturated = first.saturated is False and last.saturated is True
    similar = not first.echo_time or not last.echo_time or 1 / 3 < first.echo_time / last.echo_time < 3
    if not similar or not (smaller or unsaturated or says("proton density", stack.words)):
        return False
    return _distance(stack, dynamic)[0] <= _PROTON_DENSITY_GAP


def _distance(stack: Stack, dynamic: Stack) -> tuple[float, int]:
    """How far in time, s, and in series numbers."""
    first, second = stack.window, dynamic.window
    gap = 0.0 if first is None or second is None else max(second[0] - first[1], first[0] - second[1], 0.0)
    numbers = stack.series_numbers, dynamic.series_numbers
    apart = abs(numbers[0][0] - numbers[1][0]) if all(numbers) else 0
    return gap, apart
