"""Signal of saturation-recovery read-outs from single spins: an independent witness, which knows nothing of the app.

A voxel is cut into isochromats along the spoiler's gradient, and each into spins of several frequencies, spread as a
Lorentzian whose width is R2' = R2* - R2. Each is a vector that is rotated and relaxes; the signal is their sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tissue:
    """Rates, 1/s."""

    r1: float
    r2: float
    r2star: float = 0.0


@dataclass(frozen=True)
class Protocol:
    """Times s, angles degrees. ``balanced``: no spoiler, phases alternate; ``delay`` None: from equilibrium."""

    balanced: bool
    flip: float
    spacing: float
    count: int
    delay: float | None
    echo: float
    residual: float = 0.0
    increment: float = 117.0
    half: bool = True
    ramp: int = 0


def voxel_signal(
    tissue: Tissue, protocol: Protocol, b1: float = 1.0, offsets: int = 1, off_resonance: float = 0.0
) -> float:
    """Magnitude of the echo that pulse ``count`` makes, over that of all spins turned by 90 degrees at once.

    ``b1`` multiplies all flip angles but the saturation, ``off_resonance`` is in Hz.
    """
    # More places than any coherence has cycles of dephasing: nothing that the spoiler dephases adds up.
    spins = 1 if protocol.balanced else protocol.count + 1
    place = (np.arange(spins) + 0.5) / spins
    spread = max(tissue.r2star - tissue.r2, 0.0) if offsets > 1 else 0.0
    # Frequencies at the middles of equal shares of a Lorentzian.
    omega = 2.0 * np.pi * off_resonance + spread * np.tan(np.pi * ((np.arange(offsets) + 0.5) / offsets - 0.5))
    place, omega = (a.ravel() for a in np.meshgrid(place, omega))
    m = np.zeros((3, place.size))
    m[2] = 1.0
    if protocol.delay is not None:
        lead = sum(pause for _, _, pause in _catalysation(protocol))
        m[2] = protocol.residual
        m = _free(m, tissue, 0.0 * omega, protocol.delay - lead)
    phase = 0.0
    for share, phase, pause in _catalysation(protocol):
        m = _free(_pulse(m, share * protocol.flip * b1, phase), tissue, omega, pause)
    gradient = 0.0 * place if protocol.balanced else 2.0 * np.pi * place
    for index in range(protocol.count):
        phase = np.pi * (index % 2) if protocol.balanced else np.deg2rad(protocol.increment) * index * (index + 1) / 2
        m = _pulse(m, protocol.flip * b1, phase)
        if index + 1 < protocol.count:
            m = _turned(_free(m, tissue, omega, protocol.spacing), gradient)
    m = _free(m, tissue, omega, protocol.echo)
    return float(abs((m[0] + 1j * m[1]).mean()))


def _catalysation(protocol: Protocol) -> Iterator[tuple[float, float, float]]:
    """Share of the flip angle, phase and pause of each pulse before the first that is counted."""
    if not protocol.balanced:
        return
    if protocol.ramp:
        for k in range(protocol.ramp):
            yield (k + 1) / (protocol.ramp + 1), np.pi * ((protocol.ramp - k) % 2), protocol.spacing
    elif protocol.half:
        yield 0.5, np.pi, protocol.spacing / 2


def _pulse(m: NDArray[np.float64], flip: float, phase: float) -> NDArray[np.float64]:
    """Rotation about an axis in the transverse plane, by Rodrigues' formula."""
    axis: NDArray[np.float64] = np.array([np.cos(phase), np.sin(phase), 0.0])
    angle = np.deg2rad(flip)
    along = axis @ m
    across = np.cross(np.broadcast_to(axis, m.T.shape), m.T).T
    turned: NDArray[np.float64] = (
        np.cos(angle) * m + np.sin(angle) * across + (1.0 - np.cos(angle)) * axis[:, None] * along
    )
    return turned


def _free(m: NDArray[np.float64], tissue: Tissue, omega: NDArray[np.float64], time: float) -> NDArray[np.float64]:
    """Relaxation and precession."""
    m = _turned(m, omega * time)
    decay, recovery = np.exp(-time * tissue.r2), np.exp(-time * tissue.r1)
    return np.stack([m[0] * decay, m[1] * decay, 1.0 - (1.0 - m[2]) * recovery])


def _turned(m: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turned about z."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * m[0] - sin * m[1], sin * m[0] + cos * m[1], m[2]])
