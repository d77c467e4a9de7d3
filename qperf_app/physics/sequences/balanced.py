"""Balanced steady-state free precession on resonance, excitation by excitation.

The excitations alternate in phase by 180 degrees; in the frame that turns with them every one is a rotation by alpha
about x and the transverse magnetisation, which lies along y, changes its sign in every interval (Hargreaves et al.,
Magn Reson Med 2001;46:149). No gradient dephases it between excitations, so that two numbers tell all: M along y and z.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.sequences.sequence import Sequence

Magnetisation = tuple[NDArray[np.float64], NDArray[np.float64]]


def balanced_train(
    sequence: Sequence,
    first: NDArray[np.float64],
    r1: NDArray[np.float64],
    r2: NDArray[np.float64],
    b1: NDArray[np.float64] | np.float64,
) -> NDArray[np.float64]:
    """Transverse magnetisation right after the excitation that reads the centre of k-space.

    Parameters
    ----------
    sequence : Sequence
    first : array
        Mz/M0 before the first pulse of the catalysation.
    r1, r2 : array
        1/s.
    b1 : array or float
        Flip angle played out over the nominal one.
    """
    alpha = np.deg2rad(sequence.flip_angle) * b1
    state: Magnetisation = (np.zeros_like(first), first)
    if sequence.catalysation == "half-alpha":
        state = _relaxed(_excited(state, alpha / 2), r1, r2, sequence.spacing / 2)
    elif sequence.catalysation == "ramp":
        for pulse in range(sequence.ramp_excitations):
            angle = alpha * (pulse + 1) / (sequence.ramp_excitations + 1)
            state = _relaxed(_excited(state, angle), r1, r2, sequence.spacing)
    for _ in range(sequence.n_excitations - 1):
        state = _relaxed(_excited(state, alpha), r1, r2, sequence.spacing)
    return np.asarray(np.abs(_excited(state, alpha)[0]))


def _excited(state: Magnetisation, alpha: NDArray[np.float64] | np.float64) -> Magnetisation:
    y, z = state
    return np.cos(alpha) * y + np.sin(alpha) * z, np.cos(alpha) * z - np.sin(alpha) * y


def _relaxed(state: Magnetisation, r1: NDArray[np.float64], r2: NDArray[np.float64], time: float) -> Magnetisation:
    """After an interval, seen from the next excitation's phase."""
    y, z = state
    return -y * np.exp(-time * r2), 1.0 + (z - 1.0) * np.exp(-time * r1)
