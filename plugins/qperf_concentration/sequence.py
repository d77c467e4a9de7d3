"""Sequence values of a series' metadata: read, and checked against each other and the signal equation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.signal import sequence_problems
from qperf_app.plugins import SIGNAL_UNITS

_NUMBERS = ("RepetitionTimeExcitation", "SaturationDelayTime", "ExcitationsToKSpaceCenter", "MagneticFieldStrength")
#: Excitations of a read-out that fits into a heart beat are not further apart, s. Converters may write the repetition
#: time of the whole shot instead.
_LONGEST_PULSE_SPACING = 0.05


@dataclass(frozen=True)
class FlashSequence:
    """Saturation-recovery FLASH with leading proton-density volumes.

    ``flip_angles`` (t,) in degrees, one for each volume; ``n_proton_density`` of them come first.
    """

    delay: float
    repetition_time: float
    n_pulses: int
    flip_angles: NDArray[np.float64]
    n_proton_density: int

    @classmethod
    def of(cls, metadata: Mapping[str, Any], n_volumes: int) -> FlashSequence:
        """Read the metadata of a series of ``n_volumes``, found without problems before."""
        flip = np.broadcast_to(np.asarray(metadata["FlipAngle"], np.float64), n_volumes)
        return cls(
            float(metadata["SaturationDelayTime"]),
            float(metadata["RepetitionTimeExcitation"]),
            int(metadata["ExcitationsToKSpaceCenter"]),
            flip,
            int(metadata.get("ProtonDensityVolumeCount", 0)),
        )

    def problems(self) -> Iterator[str]:
        """Say what keeps the signal equation from being inverted, each problem once."""
        for flip in np.unique(self.flip_angles):
            yield from sequence_problems(self.delay, self.repetition_time, float(flip), self.n_pulses)


def units_problems(metadata: Mapping[str, Any], wanted: str, converts: str) -> list[str]:
    """Say that a series is in other ``Units`` than those that a plugin takes."""
    units = metadata.get("Units", SIGNAL_UNITS)
    return [] if units == wanted else [f"Units is {units!r}; {converts} {wanted!r} only"]


def option_problems(baseline_frames: int | None, n_volumes: int) -> list[str]:
    """Say that the option ``baseline_frames`` does not fit the length of a series."""
    if baseline_frames is None or 1 <= baseline_frames < n_volumes:
        return []
    return [f"option baseline_frames is {baseline_frames} in a series of {n_volumes} volumes"]


def metadata_problems(metadata: Mapping[str, Any], n_volumes: int) -> list[str]:
    """List what is contradictory in the metadata, a phrase for each field; fields that are missing are left out."""
    problems = units_problems(metadata, SIGNAL_UNITS, "the signal equation converts")
    count = metadata.get("ProtonDensityVolumeCount", 0)
    if not _is_number(count) or count != int(count) or not 0 <= count < n_volumes:
        problems.append(f"ProtonDensityVolumeCount is {count!r} in a series of {n_volumes} volumes")
    flip = metadata.get("FlipAngle")
    if isinstance(flip, list | tuple):
        if len(flip) != n_volumes:
            problems.append(f"FlipAngle lists {len(flip)} values for {n_volumes} volumes")
        if not all(map(_is_number, flip)):
            problems.append("FlipAngle lists values that are not numbers")
    elif flip is not None and not _is_number(flip):
        problems.append(f"FlipAngle is {flip!r}, not a number")
    problems += [
        f"{name} is {metadata[name]!r}, not a number"
        for name in _NUMBERS
        if metadata.get(name) is not None and not _is_number(metadata[name])
    ]
    spacing = metadata.get("RepetitionTimeExcitation")
    if spacing is not None and _is_number(spacing) and spacing > _LONGEST_PULSE_SPACING:
        problems.append(f"RepetitionTimeExcitation is {spacing:g} s, a whole shot's and not the excitations' spacing")
    complete = all(metadata.get(name) is not None for name in ("FlipAngle", *_NUMBERS[:3]))
    if not problems and complete:
        problems += dict.fromkeys(FlashSequence.of(metadata, n_volumes).problems())
    return problems


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
