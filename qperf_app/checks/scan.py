"""The series of one scan against each other: one patient, one magnet, one bolus, one clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.ranges import is_number
from qperf_app.checks.timing import TIMING, dynamic_times
from qperf_app.geometry import Grid

Metadata = Mapping[str, Any]
#: What can't differ between the series of a scan, and by what share it may all the same.
_SAME_NUMBERS = {"MagneticFieldStrength": 0.05, "Haematocrit": 0.02}
#: What belongs to the bolus or to the image. The read-out may differ: each series is converted by its own.
_SAME_WORDS = (
    "ContrastBolusIngredient", "ContrastBolusVolume", "ContrastBolusIngredientConcentration", "ContrastBolusAgent",
    "MRAcquisitionType",
)  # fmt: skip
PULSES = "ExcitationsToKSpaceCenter"
#: Share of the shorter series that the clocks must share.
LEAST_OVERLAP = 0.5
#: An input function's image that comes later after saturation than the tissue's by this factor is not one: it would
#: saturate where the tissue's does.
_LATER = 1.2


def scan_findings(file: str, tissue: Metadata, aif: Metadata) -> Iterator[Finding]:
    """Compare the tissue series' metadata with those of its input-function series.

    Parameters
    ----------
    file : str
        Sidecar of the input-function series, which the findings are about.
    """
    yield from one_patient(file, tissue, aif)
    yield from other_words(file, _SAME_WORDS, tissue, aif)
    delays = [metadata.get("SaturationDelayTime") for metadata in (tissue, aif)]
    if all(map(is_number, delays)) and delays[0] == delays[1]:
        yield doubt(
            file, "SaturationDelayTime",
            f"SaturationDelayTime is {delays[0]:g} s in both series; an input function usually has a shorter one: "
            "was one value copied, or is one file inherited by both?",
        )  # fmt: skip
    own, other = _centre(aif), _centre(tissue)
    if own is not None and other is not None and own > _LATER * other:
        yield refusal(
            file, "SaturationDelayTime",
            f"the centre of k-space comes {1000 * own:.0f} ms after saturation here and {1000 * other:.0f} ms in the "
            "tissue series; that of an input function comes earlier: are the two files exchanged?",
        )  # fmt: skip
    pulses, spacing = ([m.get(name) for m in (tissue, aif)] for name in (PULSES, "RepetitionTimeExcitation"))
    # Two read-outs of other speed for images of other size need as many pulses only by chance.
    if all(map(is_number, pulses)) and pulses[0] == pulses[1] and spacing[0] != spacing[1]:
        yield doubt(
            file, PULSES,
            f"{PULSES} is {pulses[0]:g} in both series, whose excitations are {spacing[0]} and {spacing[1]} s apart: "
            "was one value copied?",
        )  # fmt: skip
    yield from _clocks(file, tissue, aif)


def _centre(metadata: Metadata) -> float | None:
    """Time from saturation to the centre of k-space, s; None where the fields don't tell it."""
    values = [metadata.get(name) for name in ("SaturationDelayTime", PULSES, "RepetitionTimeExcitation")]
    if not is_number(values[0]):
        return None
    delay, pulses, spacing = (float(value) if is_number(value) else 0.0 for value in values)
    return delay + pulses * spacing


def one_patient(file: str, tissue: Metadata, aif: Metadata) -> Iterator[Finding]:
    """What belongs to the patient and to the magnet is the same in both series."""
    for name, share in _SAME_NUMBERS.items():
        one, other = tissue.get(name), aif.get(name)
        if is_number(one) and is_number(other):
            if abs(one - other) > share * max(abs(one), abs(other)):
                yield refusal(file, name, f"{name} is {other:g}, of the tissue series {one:g}: correct one of them")
        elif name == "Haematocrit" and is_number(other) and one is None:
            yield doubt(file, name, f"{name} is {other:g} here and absent in the tissue series, whose value is used")


def other_words(file: str, names: Iterable[str], tissue: Metadata, aif: Metadata) -> Iterator[Finding]:
    """Fields that differ and rarely do."""
    for name in names:
        one, other = tissue.get(name), aif.get(name)
        if one is not None and other is not None and one != other:
            yield doubt(file, name, f"{name} is {other!r}, that of the tissue series {one!r}")


def _clocks(file: str, tissue: Metadata, aif: Metadata) -> Iterator[Finding]:
    """Both series run on one clock: the frames of a heart beat are taken together."""
    one, other = dynamic_times(tissue), dynamic_times(aif)
    if one is None or other is None or min(len(one), len(other)) < 2:
        return
    spans = f"{TIMING} runs from {other[0]:g} to {other[-1]:g} s, of the tissue series from {one[0]:g} to {one[-1]:g}"
    shared = min(one[-1], other[-1]) - max(one[0], other[0])
    if shared < LEAST_OVERLAP * min(one[-1] - one[0], other[-1] - other[0]):
        yield refusal(file, TIMING, f"{spans} s: the clocks don't overlap; both count from one moment")
        return
    intervals = [float(np.median(np.diff(times))) for times in (one, other)]
    if abs(intervals[0] - intervals[1]) > 0.1 * max(intervals):
        yield doubt(
            file, TIMING,
            f"{TIMING} has {intervals[1]:.3g} s between volumes, that of the tissue series {intervals[0]:.3g} s: "
            "one heart beats in both",
        )  # fmt: skip
    elif abs(one[0] - other[0]) > 3.0 * max(intervals):
        yield doubt(file, TIMING, f"{spans} s: do both count from one moment?")


def place_findings(file: str, tissue: Grid, aif: Grid) -> Iterator[Finding]:
    """The input-function series shows the heart that the tissue series shows."""
    offset = aif.centre - tissue.centre
    apart, field = float(np.linalg.norm(offset)), float((tissue.voxel_size * tissue.shape)[:2].max())
    if apart > max(field / 2, 100.0):
        yield doubt(file, "", f"its middle lies {apart:.0f} mm from that of the tissue series: are both of one heart?")


def task_findings(file: str, metadata: Metadata, task: str) -> Iterator[Finding]:
    """The name of the task in the metadata is not that of the other one."""
    named = str(metadata.get("TaskName", "")).casefold()
    other = {"rest": "stress", "stress": "rest"}.get(task, "")
    if other and other in named and task not in named:
        yield doubt(file, "TaskName", f"TaskName is {metadata['TaskName']!r}, the file's name says task-{task}")
