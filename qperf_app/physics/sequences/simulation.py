"""Signal of a sequence: free recovery, then its train of excitations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.physics.sequences.balanced import balanced_train
from qperf_app.physics.sequences.sequence import Sequence
from qperf_app.physics.sequences.spoiled import spoiled_train
from qperf_app.physics.signal import saturation_recovery_flash, spoiled_gradient_echo

#: Elements simulated together: their states fit a processor's cache.
_BLOCK = 1 << 12


def signal(
    sequence: Sequence, r1: ArrayLike, r2: ArrayLike = 0.0, b1: ArrayLike = 1.0, r2star: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Signal of the echo at the centre of k-space, for a scale rho of 1.

    rho is the signal of fully relaxed magnetisation under a 90 degree pulse at echo time 0, as in
    :mod:`qperf_app.physics.signal`. Spoiled read-outs decay by exp(-TE R2*); a balanced one refocuses what is
    dephased within a voxel at TR/2 and decays by exp(-TE R2) (Scheffler and Hennig, Magn Reson Med 2003;49:395).
    Ideally spoiled excitations are computed by the closed equation.

    Parameters
    ----------
    sequence : Sequence
    r1, r2 : array
        Relaxation rates, 1/s. ``r2`` matters between balanced or RF-spoiled excitations.
    b1 : array
        Flip angle of the excitations over the nominal one. The saturation pulse is given by its efficiency.
    r2star : array, optional
        R2* that a spoiled read-out's echo decays with, 1/s; ``r2`` where not given.

    Returns
    -------
    signal : array
        Shape of the arguments broadcast together.
    """
    rates = [np.asarray(value, np.float64) for value in (r1, r2, r2 if r2star is None else r2star, b1)]
    shape = np.broadcast_shapes(*(rate.shape for rate in rates))
    flat = [np.broadcast_to(rate, shape).reshape(-1) for rate in rates]
    one = np.float64(rates[3]) if rates[3].ndim == 0 else None
    out = np.empty(flat[0].size)
    # Every element goes its own way: the size of a block changes nothing.
    for block in (slice(start, start + _BLOCK) for start in range(0, out.size, _BLOCK)):
        longitudinal, transverse, star, factor = (rate[block] for rate in flat)
        out[block] = _signal(sequence, longitudinal, transverse, star, factor if one is None else one)
    return out.reshape(shape)


def is_closed(sequence: Sequence) -> bool:
    """Whether the closed equation of :mod:`qperf_app.physics.signal` gives the magnetisation."""
    return sequence.readout != "bSSFP" and sequence.spoiling_increment is None


def _signal(
    sequence: Sequence,
    r1: NDArray[np.float64],
    r2: NDArray[np.float64],
    r2star: NDArray[np.float64],
    b1: NDArray[np.float64] | np.float64,
) -> NDArray[np.float64]:
    if sequence.readout == "bSSFP":
        magnetisation = balanced_train(sequence, _recovered(sequence, r1), r1, r2, b1)
        return magnetisation * np.exp(-sequence.echo_time * r2)
    if is_closed(sequence):
        magnetisation = _closed(sequence, r1, sequence.flip_angle * b1)
    else:
        first, flip = _recovered(sequence, r1), sequence.flip_angle * b1
        magnetisation = spoiled_train(
            first, r1, r2, flip, sequence.spacing, sequence.n_excitations, sequence.spoiling_increment
        )
    return magnetisation * np.exp(-sequence.echo_time * r2star) if sequence.echo_time else magnetisation


def _closed(sequence: Sequence, r1: NDArray[np.float64], flip: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    if sequence.delay is None:
        return np.asarray(spoiled_gradient_echo(r1, sequence.spacing, flip, sequence.n_excitations))
    prepared = (sequence.delay, sequence.spacing, flip, sequence.n_excitations)
    signed = saturation_recovery_flash(r1, *prepared, saturation_efficiency=sequence.saturation_efficiency)
    return np.asarray(np.abs(signed))


def _recovered(sequence: Sequence, r1: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mz/M0 before the first pulse."""
    if sequence.delay is None:
        return np.ones_like(r1)
    return np.asarray(1.0 - sequence.saturation_efficiency * np.exp(-(sequence.delay - sequence.lead) * r1))
