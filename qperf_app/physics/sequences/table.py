"""From the signal of any sequence to R1: a table over R1, along which R2 and R2* follow the concentration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.physics import constants
from qperf_app.physics.sequences.sequence import Sequence
from qperf_app.physics.sequences.simulation import is_closed, signal
from qperf_app.physics.signal import MINIMUM_SENSITIVITY, relaxation_rate_from_saturation_recovery

_SIZE, _COARSE = 1024, 512
#: R1, 1/s, that a table reaches at most: no contrast agent brings blood there.
_MOST = 1e4


@dataclass(frozen=True)
class Relaxation:
    """Relaxation of a tissue with contrast agent; rates 1/s, relaxivities L/mmol/s.

    R1 = ``r1`` + ``r1_relaxivity`` C, and R2 and R2* alike. Where the native R1 of a voxel is another one, R2 and R2*
    still follow from what R1 exceeds ``r1`` by.
    """

    r1: float
    r2: float
    r2star: float
    r1_relaxivity: float
    r2_relaxivity: float
    r2star_relaxivity: float

    @classmethod
    def of(cls, tissue: constants.Tissue, field: float) -> Relaxation:
        """Of blood or myocardium at a field strength in T, by :mod:`qperf_app.physics.constants`, which may refuse."""
        return cls(
            r1=1.0 / constants.native_t1(tissue, field),
            r2=1.0 / constants.native_t2(tissue, field),
            r2star=1.0 / constants.native_t2star(tissue, field),
            r1_relaxivity=constants.relaxivity(field),
            r2_relaxivity=constants.transverse_relaxivity(field),
            r2star_relaxivity=constants.t2star_relaxivity(tissue, field),
        )

    def transverse(self, r1: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """R2 and R2* where R1 is as given; R2 is R1 at least, and R2* is R2 at least."""
        excess = (np.asarray(r1, np.float64) - self.r1) / self.r1_relaxivity
        r2 = np.maximum(self.r2 + self.r2_relaxivity * excess, r1)
        return r2, np.maximum(self.r2star + self.r2star_relaxivity * excess, r2)


@dataclass(frozen=True)
class SignalTable:
    """Signals of a sequence over R1, rising; ``r1`` in 1/s, ``values`` for rho 1."""

    r1: NDArray[np.float64]
    values: NDArray[np.float64]

    def invert(self, signal: ArrayLike, rho: ArrayLike = 1.0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """R1 and where there is none, as :func:`relaxation_rate` returns them."""
        from scipy.interpolate import PchipInterpolator

        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.asarray(signal, np.float64) / np.asarray(rho, np.float64)
        invalid = ~((relative > max(self.values[0], 0.0)) & (relative <= self.values[-1]))
        r1 = PchipInterpolator(self.values, self.r1)(np.where(invalid, self.values[0], relative))
        return np.where(invalid, np.nan, r1), invalid


def signal_of_tissue(sequence: Sequence, tissue: Relaxation, r1: ArrayLike, b1: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Signal for rho 1 where a tissue's R1 is as given; R2 and R2* follow."""
    r2, r2star = tissue.transverse(r1)
    return signal(sequence, r1, r2, b1, r2star)


def relaxation_rate(
    values: ArrayLike,
    sequence: Sequence,
    tissue: Relaxation,
    b1: float = 1.0,
    rho: ArrayLike = 1.0,
    minimum_sensitivity: float = MINIMUM_SENSITIVITY,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """R1 that gives a signal: the inverse of :func:`signal_of_tissue`.

    Parameters
    ----------
    values : array
        Signal, any shape that broadcasts with ``rho``.
    sequence : Sequence
    tissue : Relaxation
    b1 : float
        Flip angle over the nominal one.
    rho : array
        Scale of the signal.
    minimum_sensitivity : float
        A signal is saturated where d(ln S)/d(ln R1) is below this.

    Returns
    -------
    r1 : float array
        1/s, NaN where invalid.
    invalid : bool array
        True where no R1 > 0 gives the signal, where it is saturated, or where signal or rho isn't finite.
    """
    closed = is_closed(sequence) and sequence.saturation_efficiency == 1.0 and not sequence.echo_time
    if closed and sequence.delay is not None:
        return relaxation_rate_from_saturation_recovery(
            values,
            sequence.delay,
            sequence.spacing,
            sequence.flip_angle * b1,
            sequence.n_excitations,
            rho,
            minimum_sensitivity,
        )
    return signal_table(sequence, tissue, float(b1), float(minimum_sensitivity)).invert(values, rho)


@lru_cache(maxsize=64)
def signal_table(sequence: Sequence, tissue: Relaxation, b1: float, minimum_sensitivity: float) -> SignalTable:
    """Table from the lowest R1 on from which the signal rises to the highest that can be told.

    The equal arguments give the same table. A signal that falls again, by transverse decay at high concentration,
    isn't told from the rising one: the table ends before.

    Raises
    ------
    ValueError
        Where the signal rises nowhere.
    """
    coarse = np.geomspace(1e-3, _MOST, _COARSE)
    values = signal_of_tissue(sequence, tissue, coarse, b1)
    sensitivity = np.gradient(np.log(np.maximum(values, 1e-300)), np.log(coarse))
    steepest = int(sensitivity.argmax())
    weak = np.flatnonzero(sensitivity[steepest:] < minimum_sensitivity)
    end = steepest + (int(weak[0]) if weak.size else len(coarse) - steepest) - 1
    falls = np.flatnonzero(np.diff(values[: steepest + 1]) <= 0)
    start = int(falls[-1]) + 1 if falls.size else 0
    if end <= start:
        raise ValueError(f"the signal of {sequence} does not rise with R1")
    # Square-root spacing: the table is finest where low concentrations lie.
    first = coarse[start] if falls.size else 0.0
    r1 = first + (coarse[end] - first) * np.linspace(0.0, 1.0, _SIZE) ** 2
    fine = signal_of_tissue(sequence, tissue, r1, b1)
    rising = np.concatenate([[True], fine[1:] > np.maximum.accumulate(fine)[:-1]])
    return SignalTable(r1[rising], fine[rising])
