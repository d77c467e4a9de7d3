"""Sequence values of a series' metadata: read, and checked against each other and the signal's equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qperf_app.physics.sequences import REQUIRED, ReadOut, Sequence, sequence_of
from qperf_app.plugins import SIGNAL_UNITS

_NUMBERS = (
    "RepetitionTimeExcitation", "SaturationDelayTime", "ExcitationsToKSpaceCenter", "MagneticFieldStrength",
    "EchoTime", "SaturationEfficiency", "SpoilingRFPhaseIncrement", "CatalysationExcitations",
)  # fmt: skip
#: Excitations of a read-out that fits into a heart beat are not further apart, s. Converters may write the repetition
#: time of the whole shot instead.
_LONGEST_PULSE_SPACING = 0.05


@dataclass(frozen=True)
class SeriesSequences:
    """Sequence of each volume: ``n_proton_density`` come first and start from equilibrium.

    Parameters
    ----------
    volumes : tuple of Sequence
        As of dynamic volumes, each with its own flip angle.
    """

    volumes: tuple[Sequence, ...]
    n_proton_density: int

    @classmethod
    def of(cls, metadata: Mapping[str, Any], n_volumes: int, readout: ReadOut) -> SeriesSequences:
        """Read the metadata of a series of ``n_volumes``, found without problems before."""
        flips = np.broadcast_to(np.asarray(metadata["FlipAngle"], np.float64), n_volumes)
        made = {flip: sequence_of(metadata, flip, readout) for flip in map(float, np.unique(flips))}
        return cls(tuple(made[float(flip)] for flip in flips), int(metadata.get("ProtonDensityVolumeCount", 0)))

    @property
    def dynamic(self) -> tuple[Sequence, ...]:
        """Sequences of the volumes after saturation."""
        return self.volumes[self.n_proton_density :]


def units_problems(metadata: Mapping[str, Any], wanted: str, converts: str) -> list[str]:
    """Say that a series is in other ``Units`` than those that a plugin takes."""
    units = metadata.get("Units", SIGNAL_UNITS)
    return [] if units == wanted else [f"Units is {units!r}; {converts} {wanted!r} only"]


def option_problems(baseline_frames: int | None, n_volumes: int) -> list[str]:
    """Say that the option ``baseline_frames`` does not fit the length of a series."""
    if baseline_frames is None or 1 <= baseline_frames < n_volumes:
        return []
    return [f"option baseline_frames is {baseline_frames} in a series of {n_volumes} volumes"]


def metadata_problems(metadata: Mapping[str, Any], n_volumes: int, readout: ReadOut) -> list[str]:
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
        if metadata.get(name) is not None and not _are_numbers(metadata[name], listed=name == "EchoTime")
    ]
    spacing = metadata.get("RepetitionTimeExcitation")
    if spacing is not None and _is_number(spacing) and spacing > _LONGEST_PULSE_SPACING:
        problems.append(f"RepetitionTimeExcitation is {spacing:g} s, a whole shot's and not the excitations' spacing")
    if not problems and all(metadata.get(name) is not None for name in REQUIRED):
        try:
            SeriesSequences.of(metadata, n_volumes, readout)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _are_numbers(value: Any, listed: bool) -> bool:
    return bool(value) and all(map(_is_number, value)) if listed and isinstance(value, list) else _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
