"""Spoiled excitations by extended phase graphs.

After Weigel, J Magn Reson Imaging 2015;41:266. The states are F+(k), F-(k) and Z(k), k the number of gradient cycles
that dephased them; each interval's spoiler moves F by one cycle. What RF spoiling leaves of the transverse
magnetisation comes back by the quadratic phase phi(j) = phi(j-1) + j increment (Zur et al., Magn Reson Med
1991;21:251). Diffusion is neglected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spoiled_train(
    first: NDArray[np.float64],
    r1: NDArray[np.float64],
    r2: NDArray[np.float64],
    flip_angle: NDArray[np.float64] | np.float64,
    spacing: float,
    n_excitations: int,
    increment: float | None,
) -> NDArray[np.float64]:
    """Transverse magnetisation right after excitation ``n_excitations``.

    Parameters
    ----------
    first : array (m,)
        Mz/M0 before the first excitation.
    r1, r2 : array (m,)
        1/s.
    flip_angle : array (m,) or float
        Degrees, as played out (B1 included).
    spacing : float
        TR, s.
    n_excitations : int
    increment : float or None
        Of the RF phase, degrees; None destroys all transverse magnetisation in every interval.

    Returns
    -------
    magnitude : array (m,)
    """
    alpha = np.deg2rad(flip_angle)
    sine, cosine, cos2, sin2 = np.sin(alpha), np.cos(alpha), np.cos(alpha / 2) ** 2, np.sin(alpha / 2) ** 2
    e1, e2 = np.exp(-spacing * r1), np.exp(-spacing * r2)
    plus, minus, z = (np.zeros((n_excitations, r1.size), complex) for _ in range(3))
    z[0] = first
    step, phase = np.deg2rad(increment or 0.0), 0.0
    for pulse in range(n_excitations):
        phase += pulse * step
        turn = np.exp(1j * phase)
        # Only as many states are there as intervals have passed.
        p, m, long = plus[: pulse + 1], minus[: pulse + 1], z[: pulse + 1]
        p[:], m[:], long[:] = (
            cos2 * p + turn**2 * sin2 * m - 1j * turn * sine * long,
            np.conj(turn) ** 2 * sin2 * p + cos2 * m + 1j * np.conj(turn) * sine * long,
            -0.5j * np.conj(turn) * sine * p + 0.5j * turn * sine * m + cosine * long,
        )
        if pulse + 1 == n_excitations:
            break
        long *= e1
        long[0] += 1.0 - e1
        if increment is None:
            p[:], m[:] = 0.0, 0.0
            continue
        plus[1 : pulse + 2] = p * e2
        minus[: pulse + 1] = np.concatenate([m[1:] * e2, np.zeros((1, r1.size))])
        plus[0] = np.conj(minus[0])
    return np.asarray(np.abs(plus[0]))
