"""Fields of one series against each other: each function is one contradiction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.ranges import FIELDS, INTERVAL, is_number, numbers
from qperf_app.checks.timing import dynamic_times
from qperf_app.checks.wording import counted
from qperf_app.physics.sequences import named_readout

#: A baseline, a rise and a fall.
LEAST_DYNAMIC = 5
_USUAL = {entry.name: entry for entry in FIELDS}
_COUNT = "ProtonDensityVolumeCount"

Metadata = Mapping[str, Any]
Check = Callable[[str, Metadata, Sequence[int]], Iterator[Finding]]


def proton_density_count(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """The leading proton-density volumes leave enough of the series for a first pass."""
    count, volumes = metadata.get(_COUNT, 0), shape[3] if len(shape) == 4 else None
    if isinstance(count, bool) or not isinstance(count, int) or count < 0 or (volumes is not None and count >= volumes):
        yield refusal(file, _COUNT, f"{_COUNT} is {count!r}, expected a whole number below that of volumes")
    elif count and metadata.get("Units") == "mmol/L":
        yield refusal(file, _COUNT, f"{_COUNT} is {count}, but Units says 'mmol/L': is it signal ('arbitrary')?")
    elif volumes is not None and volumes - count < LEAST_DYNAMIC:
        yield refusal(
            file, _COUNT,
            f"{counted(volumes - count, 'dynamic volume')} ({counted(volumes, 'volume')}, {_COUNT} {count}); "
            f"at least {LEAST_DYNAMIC} are "
            "needed for a first pass",
        )  # fmt: skip


def flip_angles_and_proton_density(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """A list of flip angles changes where the proton-density volumes end, and nowhere else."""
    angles, count = numbers(metadata.get("FlipAngle")), metadata.get(_COUNT, 0)
    listed = isinstance(metadata.get("FlipAngle"), list | tuple)
    if angles is None or not is_number(count) or len(shape) != 4 or (listed and len(angles) != shape[3]):
        return
    other = np.flatnonzero(~np.isclose(angles, angles[-1])) if listed else np.zeros(0, int)
    leading = int(other[-1]) + 1 if other.size else 0
    if leading == count:
        if count and max(angles[:leading]) > angles[-1]:
            yield doubt(
                file, f"FlipAngle, {_COUNT}",
                f"FlipAngle is {max(angles[:leading]):g} degrees for the proton-density volumes and {angles[-1]:g} for "
                "the dynamic ones; proton-density volumes usually have the smaller one: are the two exchanged?",
            )  # fmt: skip
        return
    fields = f"FlipAngle, {_COUNT}"
    if not leading:
        yield doubt(
            file, fields,
            f"FlipAngle is {angles[-1]:g} degrees for the {int(count)} proton-density volumes and the dynamic ones "
            "alike; proton-density volumes usually have a smaller one. If so, list one for each volume",
        )  # fmt: skip
        return
    yield refusal(
        file, fields,
        f"{_COUNT} is {count}, but FlipAngle is {angles[leading - 1]:g} degrees up to volume {leading} and "
        f"{angles[-1]:g} after it: correct the count, or the list of angles",
    )  # fmt: skip


def pulses_between_frames(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """Saturation delay and excitations up to the centre of k-space fit between two volumes."""
    names = ("SaturationDelayTime", "RepetitionTimeExcitation", "ExcitationsToKSpaceCenter")
    given = {name: float(value) for name in names if is_number(value := metadata.get(name))}
    times = dynamic_times(metadata)
    if times is None or len(times) < 2 or len(given) < len(names):
        return
    if any(_USUAL[name].verdict(number) == "refused" for name, number in given.items()):
        return
    delay, spacing, pulses = given.values()
    interval, taken = float(np.median(np.diff(times))), delay + spacing * pulses
    if INTERVAL.verdict(interval) == "refused":
        return
    words = f"SaturationDelayTime {delay:g} s and {pulses:g} excitations {spacing:g} s apart take {taken:.3g} s"
    if taken > interval:
        yield refusal(file, ", ".join(names), f"{words}, but volumes follow each other after {interval:.3g} s")
        return
    slices = shape[2] if len(shape) == 4 and metadata.get("MRAcquisitionType") != "3D" else 1
    together = metadata.get("MultibandAccelerationFactor", 1)
    if is_number(together) and together > 0 and taken * slices / together > interval:
        yield doubt(
            file, ", ".join(names),
            f"{words}; {slices} slices one after the other don't fit into the {interval:.3g} s between volumes",
        )  # fmt: skip


def echo_within_repetition(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """The echo comes before the next excitation."""
    echoes, spacing = numbers(metadata.get("EchoTime")), metadata.get("RepetitionTimeExcitation")
    if echoes is None or not is_number(spacing):
        return
    given = [*(("EchoTime", echo) for echo in echoes), ("RepetitionTimeExcitation", float(spacing))]
    if any(_USUAL[name].verdict(value) == "refused" for name, value in given):
        return
    if max(echoes) >= float(spacing):
        yield refusal(
            file, "EchoTime, RepetitionTimeExcitation",
            f"EchoTime is {max(echoes):g} s, RepetitionTimeExcitation {spacing:g} s: the echo can't come after the "
            "next excitation; one of the two is wrong",
        )  # fmt: skip


def repetition_of_volumes(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """``RepetitionTime``, where it is given beside the times, is the time between volumes."""
    stated, times = metadata.get("RepetitionTime"), dynamic_times(metadata)
    if not is_number(stated) or times is None or len(times) < 2:
        return
    interval = float(np.median(np.diff(times)))
    if abs(float(stated) - interval) > 0.2 * interval:
        yield doubt(
            file, "RepetitionTime",
            f"RepetitionTime is {stated:g} s, VolumeTiming has {interval:.3g} s between volumes; VolumeTiming is used",
        )  # fmt: skip


def read_out(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """The metadata name one read-out, and one whose signal is known: a signal equation is that of its own alone."""
    named = named_readout(metadata)
    if named.contradictory:
        yield refusal(
            file, f"{', '.join(named.fields)}, ExcitationsToKSpaceCenter",
            f"{named.reason}; a signal equation holds for one read-out after saturation. --concentration linear does "
            "without it, with relative flow",
        )  # fmt: skip
    elif named.readout is None and "ExcitationsToKSpaceCenter" in metadata:
        yield doubt(file, "PulseSequenceType", f"{named.reason}, such as Saturation-recovery FLASH, bSSFP or EPI")


def slice_times(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """``SliceTiming`` has a time for each slice, within a volume."""
    given, times = metadata.get("SliceTiming"), dynamic_times(metadata)
    if given is None:
        return
    slices = numbers(given) if isinstance(given, list | tuple) else None
    if slices is None or (len(shape) == 4 and len(slices) != shape[2]):
        yield refusal(file, "SliceTiming", f"SliceTiming is {given!r}, expected a number (s) for each slice")
        return
    direction = metadata.get("SliceEncodingDirection", "k")
    if direction not in ("k", "k-"):
        yield refusal(
            file, "SliceEncodingDirection",
            f"SliceEncodingDirection is {direction!r}, but slices lie along the third axis: 'k' or 'k-'",
        )  # fmt: skip
    if times is None or len(times) < 2:
        return
    interval = float(np.median(np.diff(times)))
    if max(slices) > interval or min(slices) < 0:
        yield refusal(
            file, "SliceTiming",
            f"SliceTiming goes from {min(slices):g} to {max(slices):g} s, volumes follow each other after "
            f"{interval:.3g} s: is it in ms?",
        )  # fmt: skip


def image_type(file: str, metadata: Metadata, shape: Sequence[int]) -> Iterator[Finding]:
    """The image is a magnitude image."""
    kinds = _words(metadata.get("ImageType")) & {"P", "PHASE", "R", "REAL", "I", "IMAGINARY"}
    if kinds:
        yield doubt(file, "ImageType", f"ImageType says {', '.join(sorted(kinds))}: a magnitude series is needed")


#: All of them, in the order in which they are told.
CONTRADICTIONS: tuple[Check, ...] = (
    proton_density_count,
    flip_angles_and_proton_density,
    pulses_between_frames,
    echo_within_repetition,
    repetition_of_volumes,
    read_out,
    slice_times,
    image_type,
)


def _words(value: Any) -> set[str]:
    """Words of a field that DICOM lists with backslashes and BIDS as a list or one string."""
    parts = value if isinstance(value, list | tuple) else [value] if isinstance(value, str) else []
    return {word.strip().upper() for part in parts for word in re.split(r"[\\/_,;\s]+", str(part)) if word.strip()}
