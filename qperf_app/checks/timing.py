"""The clock of a series: ``VolumeTiming``, or ``FrameTimesStart`` where it is absent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.ranges import INTERVAL, START, are_numbers

TIMING = "VolumeTiming"
#: BIDS' field of other dynamic series, which converters write.
FRAME_TIMES = "FrameTimesStart"
#: An interval of so many usual ones, and of so many s, is a gap.
GAP_INTERVALS, GAP_SECONDS = 5.0, 4.0
#: Intervals of so many dynamic volumes that differ by less, s, are even: times are written to the millisecond, and the
#: beats of a heart differ by more, also where it is paced.
EVEN_VOLUMES, EVEN = 12, 0.0025
#: Time between volumes, s, that is shorter than most hearts beat at rest (120 a minute) and under a vasodilator (150).
FASTEST = {"rest": 0.5, "stress": 0.4}
#: Distance of the intervals' quartiles, of the usual one, from which on they are those of beats; a scanner's clock
#: differs less, and a volume that it left out moves no quartile.
BEATS_DIFFER = 0.0135
#: Share by which the header's time between volumes may differ: hearts change their rate.
HEADER_APART = 0.25


def with_timing(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with ``FrameTimesStart`` in place of a ``VolumeTiming`` that is absent; fields of null left out."""
    given = {name: value for name, value in metadata.items() if value is not None}
    if TIMING not in given and FRAME_TIMES in given:
        given[TIMING] = given[FRAME_TIMES]
    return given


def timing_findings(file: str, metadata: Mapping[str, Any], shape: Sequence[int]) -> Iterator[Finding]:
    """Check the times for themselves: there, a number for each volume, in s, from the start of the series."""
    times = metadata.get(TIMING)
    if times is None:
        why = "; RepetitionTime does not tell them: beats differ" if "RepetitionTime" in metadata else ""
        yield refusal(file, TIMING, f"{TIMING} is missing: a list of the volumes' times, s{why}")
        return
    if not isinstance(times, list) or not are_numbers(times):
        yield refusal(file, TIMING, f"{TIMING} must be a list of numbers (s)")
        return
    broken = False
    if len(shape) == 4 and len(times) != shape[3]:
        broken = True
        yield refusal(file, TIMING, f"{TIMING} has {len(times)} times, the image has {shape[3]} volumes")
    if any(b <= a for a, b in itertools.pairwise(times)):
        broken = True
        yield refusal(file, TIMING, f"{TIMING} must increase strictly")
    yield from _against_frame_times(file, metadata, times)
    if not broken:
        count = metadata.get("ProtonDensityVolumeCount", 0)
        yield from _clock(file, np.asarray(times, np.float64), count if isinstance(count, int) else 0)


def dynamic_times(metadata: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Times of the dynamic volumes, s; None where the fields don't tell them."""
    times, count = metadata.get(TIMING), metadata.get("ProtonDensityVolumeCount", 0)
    if not isinstance(times, list) or not are_numbers(times):
        return None
    if not isinstance(count, int) or not 0 <= count < len(times):
        return None
    return np.asarray(times[count:], np.float64)


def gaps(intervals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Intervals (n,) that are a gap wherever they are."""
    return (intervals > GAP_INTERVALS * np.median(intervals)) & (intervals > GAP_SECONDS)


def are_even(times: NDArray[np.float64] | None) -> bool:
    """Whether volumes follow each other more evenly than a heart beats."""
    return times is not None and len(times) >= EVEN_VOLUMES and float(np.ptp(np.diff(times))) < EVEN


def even_findings(file: str, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """Times are those of the images, and not made up of a mean heart rate, in which a beat without an image is lost."""
    times = dynamic_times(metadata)
    if times is None or not are_even(times):
        return
    yield doubt(
        file, TIMING,
        f"{TIMING} has every volume {np.median(np.diff(times)):.3g} s after the one before, more evenly than a heart "
        "beats. If the acquisition was triggered, these times are made up, and flow is far too high where a beat has "
        "no image: take the images' trigger times",
    )  # fmt: skip


def rate_findings(file: str, metadata: Mapping[str, Any], task: str) -> Iterator[Finding]:
    """Images that follow each other as unevenly as heart beats are no more than one a beat: a heart so fast is rare."""
    times = dynamic_times(metadata)
    if times is None or len(times) < EVEN_VOLUMES:
        return
    intervals = np.diff(times)
    early, usual, late = (float(q) for q in np.percentile(intervals, (25, 50, 75)))
    if 0 < usual < FASTEST.get(task, FASTEST["stress"]) and late - early > BEATS_DIFFER * usual:
        what = {"rest": " at rest", "stress": " under stress"}.get(task, "")
        yield doubt(
            file, TIMING,
            f"{TIMING} has {usual:.3g} s from volume to volume: a heart of {60 / usual:.0f} beats a minute{what}? "
            "If not, flow is too high by as much as times are too short",
        )  # fmt: skip


def interval_findings(file: str, metadata: Mapping[str, Any], stated: float | None) -> Iterator[Finding]:
    """The header of the image has the time between volumes that ``VolumeTiming`` has.

    Parameters
    ----------
    stated : float or None
        What the header says, s. Only what may be the time between volumes is compared: converters write the repetition
        time of excitations or of slices there too.
    """
    times = dynamic_times(metadata)
    if stated is None or INTERVAL.verdict(stated) is not None or times is None or len(times) < 2:
        return
    usual = float(np.median(np.diff(times)))
    if abs(usual - stated) > HEADER_APART * stated:
        yield doubt(
            file, TIMING,
            f"{TIMING} has {usual:.3g} s between volumes, the header of the image (pixdim[4]) {stated:.3g} s; {TIMING} "
            "is used",
        )  # fmt: skip


def _against_frame_times(file: str, metadata: Mapping[str, Any], times: list[float]) -> Iterator[Finding]:
    frames = metadata.get(FRAME_TIMES)
    if frames is None or frames is times:
        return
    same = isinstance(frames, list) and len(frames) == len(times) and are_numbers(frames)
    if not (same and np.allclose(frames, times, rtol=0, atol=1e-3)):
        found = frames[:3] if isinstance(frames, list) else frames
        yield refusal(
            file, f"{TIMING}, {FRAME_TIMES}",
            f"{TIMING} begins {times[:3]} and {FRAME_TIMES} {found}: the two differ; leave the wrong one out",
        )  # fmt: skip


def _clock(file: str, times: NDArray[np.float64], count: int) -> Iterator[Finding]:
    """Check times that increase: intervals of a heart, a start at the series, no gaps."""
    dynamic = times[count:] if len(times) - count > 1 else times
    if len(dynamic) < 2:
        return
    intervals = np.diff(dynamic)
    usual = float(np.median(intervals))
    verdict = INTERVAL.verdict(usual)
    if verdict:
        yield Finding(file, TIMING, INTERVAL.words(usual), verdict)
    if verdict == "refused":
        return
    longest, most = float(np.diff(times).max()), START.possible[1]
    if longest > most:
        yield refusal(file, TIMING, f"{TIMING} jumps by {longest:.4g} s, up to {most:g} s are possible")
        return
    if times[0] < 0:
        yield refusal(file, TIMING, f"{TIMING} begins at {times[0]:g} s; times count from the start of the series")
    elif START.verdict(float(times[0])):
        text = f"{TIMING} begins at {times[0]:g} s: is it a time of day? Subtract the time of the first volume"
        yield Finding(file, TIMING, text, START.verdict(float(times[0])) or "doubt")
    wide = np.flatnonzero(gaps(intervals))
    if wide.size:
        first = int(wide[0])
        yield doubt(
            file, TIMING,
            f"{TIMING} jumps by {intervals[first]:.4g} s from volume {count + first + 1} to the next, "
            f"{usual:.3g} s are usual in it{f'; {wide.size - 1} more jumps' if wide.size > 1 else ''}",
        )  # fmt: skip
    if len(times) > 3 and np.array_equal(times, np.arange(len(times)) + times[0]):
        yield doubt(file, TIMING, f"{TIMING} counts the volumes ({times[0]:g}, {times[1]:g}, …): are these times in s?")
