"""Ranges of metadata and of what is handed in, as a table: what is refused, what is doubted, and what it probably is.

A value outside of the possible range can't be what its field says. One outside of the usual range may be, and is said.
Most values outside were given in another unit: a slip is such a unit, and it is named where the converted value is
usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from qperf_app.checks.findings import Finding, Severity


@dataclass(frozen=True)
class Slip:
    """A unit that a value may be in by mistake: its name, and the factor that leads to the right one."""

    unit: str
    factor: float


@dataclass(frozen=True)
class Range:
    """What a quantity may be: from and to, both included.

    Parameters
    ----------
    name : str
        Metadata field, or what is measured.
    unit : str
    possible, usual : (float, float)
        Outside of the first a value is refused, outside of the second doubted.
    slips : tuple of Slip
    """

    name: str
    unit: str
    possible: tuple[float, float]
    usual: tuple[float, float]
    slips: tuple[Slip, ...] = ()

    def verdict(self, value: float) -> Severity | None:
        """Severity of a value; None for a usual one."""
        if not _within(value, self.possible):
            return "refused"
        return None if _within(value, self.usual) else "doubt"

    def words(self, value: float, name: str = "") -> str:
        """Say what is strange about a value, and what it probably is."""
        unit = f" {self.unit}" if self.unit not in ("", "1") else ""
        span = self.usual if _within(value, self.possible) else self.possible
        kind = "usual" if span is self.usual else "possible"
        slip = next((s for s in self.slips if _within(value * s.factor, self.usual)), None)
        guess = f": is it in {slip.unit}?" if slip else ""
        if slip and self.name.isidentifier():
            guess += f" Then write {value * slip.factor:.4g}"
        return f"{name or self.name} is {value:.5g}{unit}, {kind} are {span[0]:g} to {span[1]:g}{guess}"


_MS, _US = Slip("ms", 1e-3), Slip("µs", 1e-6)

#: Of the patient, by which a dose is given.
WEIGHT = Range("PatientWeight", "kg", (0.5, 500), (2, 250), (Slip("g", 1e-3),))
#: Fields of a series' metadata.
FIELDS: tuple[Range, ...] = (
    Range("FlipAngle", "degrees", (1, 90), (2, 75), (Slip("radians", 180 / math.pi),)),
    Range("RepetitionTimeExcitation", "s", (5e-4, 0.1), (1e-3, 0.02), (_MS, _US)),
    Range("EchoTime", "s", (1e-4, 0.1), (4e-4, 0.02), (_MS, _US)),
    Range("SaturationDelayTime", "s", (0, 1), (1e-3, 0.4), (_MS, _US)),
    Range("InversionTime", "s", (0, 5), (1e-3, 2), (_MS, _US)),
    Range("ExcitationsToKSpaceCenter", "", (1, 512), (1, 128)),
    Range(
        "MagneticFieldStrength", "T", (0.05, 15), (0.3, 7.5),
        (Slip("mT", 1e-3), Slip("gauss", 1e-4), Slip("MHz of hydrogen", 1 / 42.577)),
    ),
    Range("Haematocrit", "1", (0, 0.99), (0.2, 0.65), (Slip("per cent", 0.01),)),
    Range("SliceThickness", "mm", (0.5, 50), (2, 20), (Slip("m", 1000), Slip("cm", 10))),
    Range("SpacingBetweenSlices", "mm", (0.5, 80), (2, 40), (Slip("m", 1000), Slip("cm", 10))),
    Range("ContrastBolusVolume", "mL", (0.05, 250), (0.5, 60), (Slip("L", 1000), Slip("µL", 1e-3))),
    Range("ContrastBolusTotalDose", "mL", (0.05, 250), (0.5, 60), (Slip("L", 1000), Slip("µL", 1e-3))),
    Range("ContrastBolusIngredientConcentration", "mg/mL", (10, 2000), (20, 800), (Slip("mmol/mL", 600),)),
    Range("ContrastFlowRate", "mL/s", (0.05, 30), (0.5, 10), (Slip("mL/min", 1 / 60),)),
    WEIGHT,
)  # fmt: skip

#: Fields that may list a value for each volume or echo.
LISTED = ("FlipAngle", "EchoTime")

#: Time from volume to volume, s, the middle one of all dynamic volumes.
INTERVAL = Range(
    "time between volumes (VolumeTiming)", "s", (0.1, 5), (0.3, 4), (_MS, _US, Slip("minutes", 60))
)  # fmt: skip
#: Time of the first volume, s.
START = Range("first time of VolumeTiming", "s", (0, 600), (0, 60), (_MS,))
#: Edge of a voxel within the slice, and the way from slice to slice.
PIXEL = Range("edge of a pixel", "mm", (0.2, 30), (0.5, 12), (Slip("m", 1000), Slip("µm", 1e-3), Slip("cm", 10)))
SLICE_DISTANCE = Range("distance of slices", "mm", (0.5, 100), (2, 50), (Slip("m", 1000), Slip("µm", 1e-3)))
#: Highest concentration in blood: of an input function that is handed in, of a series that is concentration already.
BLOOD_PEAK = Range(
    "highest concentration", "mmol/L", (0.05, 50), (0.3, 25), (Slip("µmol/L", 1e-3), Slip("mol/L", 1e3))
)  # fmt: skip

TABLE: tuple[Range, ...] = (*FIELDS, INTERVAL, START, PIXEL, SLICE_DISTANCE, BLOOD_PEAK)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a metadata value is a finite number; true and false are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    # An integer may have more digits than a float can tell.
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 1000


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether all values are finite numbers."""
    found = list(values)
    # Nearly always floats: asked once for all, and not one by one.
    if set(map(type, found)) <= {float}:
        return all(map(math.isfinite, found))
    return all(map(is_number, found))


def numbers(value: Any) -> list[float] | None:
    """A field's value, or values where it is a list, as numbers; None where one of them is none."""
    values = value if isinstance(value, list | tuple) else [value]
    return [float(v) for v in values] if values and are_numbers(values) else None


def range_findings(file: str, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """Check every field of :data:`FIELDS` that is given: each value a number, and within its range."""
    for entry in FIELDS:
        value = metadata.get(entry.name)
        if value is None:
            continue
        found = numbers(value) if entry.name in LISTED or not isinstance(value, list | tuple) else None
        if found is None:
            yield Finding(file, entry.name, f"{entry.name} is {_short(value)}, not a number", "refused")
            continue
        worst = max(dict.fromkeys(found), key=lambda v: _RANK[entry.verdict(v)])
        severity = entry.verdict(worst)
        if severity:
            yield Finding(file, entry.name, entry.words(worst), severity)


def markdown() -> str:
    """The table of ranges for the documentation."""
    heads = ("what", "unit", "refused outside", "doubted outside", "a value outside is often in")
    lines = [f"| {' | '.join(heads)} |", "| --- | --- | --- | --- | --- |"]
    for entry in TABLE:
        spans = [f"{low:g} to {high:g}" for low, high in (entry.possible, entry.usual)]
        name = f"`{entry.name}`" if entry in FIELDS else entry.name
        slips = ", ".join(slip.unit for slip in entry.slips)
        lines.append(f"| {name} | {entry.unit} | {spans[0]} | {spans[1]} | {slips} |")
    return "\n".join(lines)


_RANK: Mapping[Severity | None, int] = {None: 0, "doubt": 1, "refused": 2}


def _within(value: float, span: tuple[float, float]) -> bool:
    return span[0] <= value <= span[1]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
