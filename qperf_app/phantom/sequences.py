"""Sequences of the simulated scanner, and the signal of a tissue in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.physics.sequences import Sequence, signal

#: Excitations after which a spoiled gradient echo has reached its steady state.
_STEADY = 4096
# Excitations of one image in the steady state.
_STEADY_EXCITATIONS = 60


@dataclass(frozen=True)
class Protocol:
    """How the volumes of a series are read.

    Parameters
    ----------
    dynamic : Sequence
        Of the volumes that the bolus passes in.
    weighted : Sequence
        Of the proton-density volumes in front, from equilibrium.
    echo_times : tuple of float
        Echoes of each excitation, s; the first is that of ``dynamic``.
    """

    dynamic: Sequence
    weighted: Sequence
    echo_times: tuple[float, ...]

    @property
    def name(self) -> str:
        """``PulseSequenceType`` of a series."""
        steady = self.dynamic.delay is None
        return "Steady-state spoiled gradient echo" if steady else f"Saturation-recovery {self.dynamic.readout}"

    @property
    def duration(self) -> float:
        """From the saturation pulse to the end of a read-out whose middle reads the centre of k-space, s."""
        if self.dynamic.delay is None:
            return _STEADY_EXCITATIONS * self.dynamic.spacing
        return self.dynamic.delay + 2 * self.dynamic.n_excitations * self.dynamic.spacing

    def saturated(self, efficiency: float) -> Protocol:
        """The same after saturation pulses of another efficiency, where there are any."""
        if self.dynamic.delay is None:
            return self
        return replace(self, dynamic=replace(self.dynamic, saturation_efficiency=efficiency))


def protocol(prepared: Sequence, weighted_angle: float, second_echo: float | None = None) -> Protocol:
    """A saturation-recovery sequence, and proton-density volumes of a smaller angle, spoiled where it is balanced."""
    weighted = replace(prepared, flip_angle=weighted_angle).proton_density
    return Protocol(prepared, weighted, (prepared.echo_time, *([] if second_echo is None else [second_echo])))


def _steady(flip_angle: float, weighted_angle: float, spacing: float, echo_time: float) -> Protocol:
    """A spoiled gradient echo whose excitations go on without saturation; its first volumes have a smaller angle."""
    dynamic = Sequence("FLASH", flip_angle, spacing, _STEADY, echo_time=echo_time)
    return Protocol(dynamic, replace(dynamic, flip_angle=weighted_angle), (echo_time,))


#: About 100 ms from saturation to the centre of k-space for the tissue. FLASH and bSSFP after Kellman et al., J
#: Cardiovasc Magn Reson 2017;19:43; hybrid echo-planar imaging with trains of four echoes; the steady state at a T1
#: weighting that keeps the blood's signal rising to some 5 mmol/L.
TISSUE: Mapping[str, Protocol] = {
    "FLASH": protocol(Sequence("FLASH", 12.0, 0.0022, 24, 0.050, 0.0011), 5.0),
    "bSSFP": protocol(Sequence("bSSFP", 50.0, 0.0026, 24, 0.042, 0.0013), 5.0),
    "EPI": protocol(Sequence("EPI", 20.0, 0.0058, 9, 0.050, 0.0024), 5.0),
    "steady-state": _steady(20.0, 3.0, 0.0025, 0.0012),
}
#: A quarter of that time, and small flip angles, for the input function; two echoes take a longer repetition time and
#: fewer excitations to the centre.
AIF: Mapping[str, Protocol] = {
    "FLASH": protocol(Sequence("FLASH", 5.0, 0.0014, 12, 0.010, 0.0007), 3.0),
    "bSSFP": protocol(Sequence("bSSFP", 20.0, 0.0018, 9, 0.010, 0.0009), 3.0),
    "EPI": protocol(Sequence("EPI", 8.0, 0.0040, 4, 0.010, 0.0015), 3.0),
}
AIF_TWO_ECHOES = protocol(Sequence("FLASH", 5.0, 0.0024, 7, 0.008, 0.0007), 3.0, 0.0017)


def signal_of(
    r1: NDArray[np.float64],
    scanned: Protocol,
    proton_density_frames: int,
    rho: float = 1.0,
    r2: ArrayLike = 0.0,
    r2star: ArrayLike = 0.0,
    b1: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Signal of the first echo, (..., t), of R1 curves (..., t): proton-density volumes first.

    Parameters
    ----------
    r1, r2, r2star : (..., t) arrays, or one number
        Relaxation rates, 1/s; ``r2star`` 0 leaves the decay until the echo of a spoiled read-out out.
    scanned : Protocol
    proton_density_frames : int
    rho : float
        Signal of fully relaxed magnetisation under a 90 degree pulse.
    b1 : float
        Flip angles over their nominal ones.
    """
    n = proton_density_frames
    rates = np.broadcast_arrays(r1, r2, r2star)
    parts = [
        signal(sequence, first, second, b1, third)
        for sequence, (first, second, third) in (
            (scanned.weighted, (rate[..., :n] for rate in rates)),
            (scanned.dynamic, (rate[..., n:] for rate in rates)),
        )
    ]
    return rho * np.concatenate(parts, axis=-1)
