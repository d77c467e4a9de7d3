"""A read-out after saturation, or from equilibrium, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from qperf_app.physics.signal import sequence_problems

ReadOut = Literal["FLASH", "bSSFP", "EPI"]
Catalysation = Literal["half-alpha", "ramp", "none"]

#: Every read-out that a signal can be computed for.
READ_OUTS: tuple[ReadOut, ...] = ("FLASH", "bSSFP", "EPI")


@dataclass(frozen=True)
class Sequence:
    """One image's preparation and read-out; times s, angles degrees.

    Parameters
    ----------
    readout : {"FLASH", "bSSFP", "EPI"}
        Spoiled gradient echo, balanced steady-state free precession, or (hybrid) echo-planar: spoiled excitations with
        a train of gradient echoes each.
    flip_angle : float
        Nominal, above 0 and at most 90 (bSSFP: below 180).
    spacing : float
        TR, between excitations (``RepetitionTimeExcitation``).
    n_excitations : int
        The excitation that reads the centre of k-space, counted from 1 (``ExcitationsToKSpaceCenter``). Pulses of the
        catalysation are not counted.
    delay : float or None
        From the saturation pulse to the first counted excitation (``SaturationDelayTime``). None: the magnetisation
        starts from equilibrium, as in a proton-density frame.
    echo_time : float
        From the excitation to the echo at the centre of k-space. 0 neglects the transverse decay of a spoiled read-out.
    saturation_efficiency : float
        1 - Mz/M0 right after the saturation pulse: 1 is complete, above 1 an over-rotation.
    catalysation : {"half-alpha", "ramp", "none"}
        bSSFP only: one pulse of half the flip angle TR/2 before the first excitation, or ``ramp_excitations`` pulses TR
        apart that rise linearly, the last TR before the first excitation. They lie within ``delay``.
    ramp_excitations : int
        Pulses of the ramp.
    spoiling_increment : float or None
        Of spoiled excitations: increment of the quadratic RF phase (117 or 50 degrees); None: transverse magnetisation
        is gone before every excitation.
    """

    readout: ReadOut
    flip_angle: float
    spacing: float
    n_excitations: int
    delay: float | None = None
    echo_time: float = 0.0
    saturation_efficiency: float = 1.0
    catalysation: Catalysation = "half-alpha"
    ramp_excitations: int = 0
    spoiling_increment: float | None = None

    def __post_init__(self) -> None:
        for problem in self.problems():
            raise ValueError(problem)

    @property
    def lead(self) -> float:
        """From the first pulse of the catalysation to the first counted excitation, s."""
        if self.readout != "bSSFP" or self.catalysation == "none":
            return 0.0
        return self.spacing / 2 if self.catalysation == "half-alpha" else self.ramp_excitations * self.spacing

    @property
    def proton_density(self) -> Sequence:
        """The same read-out from equilibrium; of a balanced one, a spoiled gradient echo of the same timing."""
        return replace(self, delay=None, readout="FLASH" if self.readout == "bSSFP" else self.readout)

    def problems(self) -> Iterator[str]:
        """Say, one phrase for each field, what no signal can be computed for."""
        if self.readout not in READ_OUTS:
            yield f"readout is {self.readout!r}, not one of {', '.join(READ_OUTS)}"
        if self.catalysation not in ("half-alpha", "ramp", "none"):
            yield f"Catalysation is {self.catalysation!r}, not half-alpha, ramp or none"
        yield from sequence_problems(
            self.delay, self.spacing, self.flip_angle, self.n_excitations, 180.0 if self.readout == "bSSFP" else 90.0
        )
        if not 0 <= self.echo_time <= self.spacing:
            yield f"EchoTime is {self.echo_time:g} s; it must be from 0 to RepetitionTimeExcitation, {self.spacing:g} s"
        if not 0 < self.saturation_efficiency <= 2:
            yield f"SaturationEfficiency is {self.saturation_efficiency:g}; it must be above 0 and at most 2"
        if self.ramp_excitations < 0 or self.ramp_excitations != int(self.ramp_excitations):
            yield f"CatalysationExcitations is {self.ramp_excitations}; it must be a whole number of 0 or more"
        elif self.delay is not None and self.lead > self.delay:
            yield f"SaturationDelayTime is {self.delay:g} s; the catalysation before the first excitation takes longer"
