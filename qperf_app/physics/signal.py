"""Signal of saturation-recovery and spoiled gradient-echo (FLASH) readouts, and the way back to concentration.

Times are s, rates 1/s, flip angles degrees, concentrations mmol/L. The flip angle's sine is explicit: ``rho`` holds
proton density, receive sensitivity and gain only, so that a proton-density frame of another flip angle shares it.
Forward equations take NumPy arrays or TensorFlow tensors; the inverses are NumPy.

With ``a = cos(alpha) exp(-TR R1)`` and ``b = 1 - exp(-TR R1)``, the longitudinal magnetisation before excitation n is

    M(n) = M(1) a^(n-1) + b (1 - a^(n-1)) / (1 - a)

(Cernicanu and Axel, Acad Radiol 2006;13:686, from the recursion M(n+1) = a M(n) + b), with M(1) = 1 - exp(-TD R1) a
delay TD after saturation, or 1 from equilibrium.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.physics.backend import common_arrays

#: Below this relative slope d(ln S)/d(ln R1) the signal is called saturated: 1 % of signal is 100 % of R1.
MINIMUM_SENSITIVITY = 0.01
_TABLE_SIZE = 2048
_NEWTON_STEPS = 3
#: Cells of the inverse; its error is below 1e-9 of R1, whatever the sequence.
_CELLS = 1 << 13
_BLOCK = 1 << 14


def relaxation_rate(concentration: Any, t1: Any, relaxivity: Any) -> Any:
    """R1 = 1/T1 + r1 C, 1/s (fast exchange).

    Parameters
    ----------
    concentration : array or tensor
        mmol/L.
    t1 : float or array
        T1 without contrast agent, s.
    relaxivity : float
        r1, L/mmol/s.
    """
    return 1.0 / t1 + relaxivity * concentration


def concentration_from_rate(r1: Any, baseline_r1: Any, relaxivity: Any) -> Any:
    """C = (R1 - R1 before contrast) / r1, mmol/L."""
    return (r1 - baseline_r1) / relaxivity


def saturation_recovery_flash(
    r1: Any,
    delay: float,
    repetition_time: float,
    flip_angle: Any,
    n_pulses: int,
    rho: Any = 1.0,
    saturation_efficiency: float = 1.0,
) -> Any:
    """Signal of saturation-recovery FLASH when excitation ``n_pulses`` reads the centre of k-space.

    S = rho sin(alpha) [(1 - exp(-TD R1)) a^(n-1) + b (1 - a^(n-1)) / (1 - a)].

    Parameters
    ----------
    r1 : array or tensor
        Longitudinal relaxation rate, 1/s.
    delay : float
        TD, from the saturation pulse to the first excitation, s.
    repetition_time : float
        TR, between excitations, s.
    flip_angle : float or array
        alpha, degrees.
    n_pulses : int
        n >= 1, counting the excitation that reads the centre.
    rho : float or array
        Signal of fully relaxed magnetisation under a 90 degree pulse.
    saturation_efficiency : float
        1 - M right after the saturation pulse; M(1) = 1 - efficiency exp(-TD R1).
    """
    xp, r1, sine, versine, rho = common_arrays(r1, *_sine_and_versine(flip_angle), rho)
    first = -xp.expm1(-delay * r1)
    if saturation_efficiency != 1.0:
        first = first + (1.0 - saturation_efficiency) * xp.exp(-delay * r1)
    return rho * sine * _magnetisation(xp, first, r1, repetition_time, versine, n_pulses)


def spoiled_gradient_echo(
    r1: Any, repetition_time: float, flip_angle: Any, n_pulses: int | None = None, rho: Any = 1.0
) -> Any:
    """Signal of a spoiled gradient echo (FLASH) that starts from equilibrium: a proton-density frame.

    S = rho sin(alpha) [a^(n-1) + b (1 - a^(n-1)) / (1 - a)]; ``n_pulses`` None is the steady state
    S = rho sin(alpha) b / (1 - a). Parameters as in :func:`saturation_recovery_flash`.
    """
    xp, r1, sine, versine, rho = common_arrays(r1, *_sine_and_versine(flip_angle), rho)
    if n_pulses is not None:
        return rho * sine * _magnetisation(xp, 1.0, r1, repetition_time, versine, n_pulses)
    b = -xp.expm1(-repetition_time * r1)
    # The denominator is 1 - a, without cancellation.
    return rho * sine * b / (versine + (1.0 - versine) * b)


def t2star_decay(concentration: Any, echo_time: Any, t2star: Any, transverse_relaxivity: Any) -> Any:
    """Factor exp(-TE (1/T2* + r2* C)) that the echo time leaves of the signal.

    Parameters
    ----------
    concentration : array or tensor
        mmol/L.
    echo_time : float
        TE, s.
    t2star : float
        T2* without contrast agent, s.
    transverse_relaxivity : float
        r2*, L/mmol/s.
    """
    xp, concentration = common_arrays(concentration)
    return xp.exp(-echo_time * (1.0 / t2star + transverse_relaxivity * concentration))


def two_echo_correction(
    first: ArrayLike, second: ArrayLike, first_echo_time: float, second_echo_time: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signal at echo time 0 and R2* from two echoes of one excitation.

    R2* = ln(S1/S2) / (TE2 - TE1), S(0) = S1 exp(TE1 R2*), the correction of dual-echo input-function imaging (Kellman
    et al., J Cardiovasc Magn Reson 2017;19:43). A second echo above the first (noise) counts as no decay.

    Returns
    -------
    signal, r2star : arrays
        Extrapolated signal, and R2* in 1/s; both NaN where an echo is not positive.

    Raises
    ------
    ValueError
        Where the echo times are not 0 <= TE1 < TE2.
    """
    if not 0 <= first_echo_time < second_echo_time:
        raise ValueError(f"EchoTime must rise from echo to echo, not {first_echo_time:g} then {second_echo_time:g} s")
    one, two = np.asarray(first, float), np.asarray(second, float)
    usable = (one > 0) & (two > 0)
    ratio = np.divide(one, two, out=np.full(np.broadcast(one, two).shape, np.nan), where=usable)
    r2star = np.maximum(np.log(ratio) / (second_echo_time - first_echo_time), 0.0)
    return one * np.exp(first_echo_time * r2star), r2star


def relaxation_rate_from_saturation_recovery(
    signal: ArrayLike,
    delay: float,
    repetition_time: float,
    flip_angle: float,
    n_pulses: int,
    rho: ArrayLike = 1.0,
    minimum_sensitivity: float = MINIMUM_SENSITIVITY,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """R1 that gives a saturation-recovery FLASH signal: the inverse of :func:`saturation_recovery_flash`.

    Read from cubics through R1 and its slope (:class:`_Inverse`).

    Parameters
    ----------
    signal : array
        Any shape that broadcasts with ``rho``.
    minimum_sensitivity : float
        A signal is saturated where d(ln S)/d(ln R1) is below this.

    Returns
    -------
    r1 : float array
        1/s, NaN where invalid.
    invalid : bool array
        True where no R1 > 0 gives the signal, where it is saturated, or where signal or rho isn't finite.

    Raises
    ------
    ValueError
        Where a sequence parameter lies outside what the equation can be inverted for.
    """
    for problem in sequence_problems(delay, repetition_time, flip_angle, n_pulses):
        raise ValueError(problem)

    inverse = _inverse(float(delay), float(repetition_time), float(flip_angle), int(n_pulses), minimum_sensitivity)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.asarray(signal, np.float64) / np.asarray(rho, np.float64)
    invalid = ~((relative > 0) & (relative <= inverse.largest))
    r1, flat = np.empty(relative.shape), np.where(invalid, 0.0, relative).reshape(-1)
    # In blocks that fit a processor's cache; every element goes its own way, so their size changes nothing.
    for block in (slice(start, start + _BLOCK) for start in range(0, flat.size, _BLOCK)):
        r1.reshape(-1)[block] = inverse(flat[block])
    return np.where(invalid, np.nan, r1), invalid


@dataclass(frozen=True)
class _Inverse:
    """R1 over the signal for rho 1, 0 to ``largest``, which nears ``relaxed``.

    In -ln(1 - S / S_max) R1 is smooth however near S comes to the fully relaxed S_max; cells of the width ``cell`` in
    the root of that are finest where low concentrations lie. ``cubics`` (4, cells) are the coefficients of each, the
    constant first.
    """

    largest: float
    relaxed: float
    cell: float
    cubics: NDArray[np.float64]

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        place = np.sqrt(-np.log1p(values / -self.relaxed)) / self.cell
        index = np.minimum(place.astype(np.intp), self.cubics.shape[1] - 1)
        part = place - index
        start, first, second, third = (c[index] for c in self.cubics)
        return np.asarray(start + part * (first + part * (second + part * third)))


@lru_cache(maxsize=64)
def _inverse(
    delay: float, repetition_time: float, flip_angle: float, n_pulses: int, minimum_sensitivity: float
) -> _Inverse:
    """Inverse of :func:`saturation_recovery_flash` up to where the signal is saturated.

    For flip angles up to 90 degrees the signal rises strictly and is concave in R1 (by induction over the
    excitations), so a table of chords starts Newton's method on the side from which it can't fail.
    """
    sequence = (delay, repetition_time, flip_angle, n_pulses)
    table = _sensitive_limit(sequence, minimum_sensitivity) * np.linspace(0.0, 1.0, _TABLE_SIZE) ** 2
    values = saturation_recovery_flash(table, *sequence)
    # All magnetisation is back between excitations.
    relaxed = float(np.sin(np.deg2rad(flip_angle)))
    place = np.linspace(0.0, np.sqrt(-np.log1p(-values[-1] / relaxed)), _CELLS + 1)
    target = -relaxed * np.expm1(-(place**2))
    r1 = np.interp(target, values, table)
    for _ in range(_NEWTON_STEPS):
        found, slope = _saturation_recovery_and_slope(r1, *sequence)
        r1 -= (found - target) / slope
    # Of R1 over a cell: dR1 = dS / (dS/dR1), dS = (S_max - S) 2 place d place.
    slope = 2.0 * place * place[1] * (relaxed - target) / _saturation_recovery_and_slope(r1, *sequence)[1]
    rise, before, after = np.diff(r1), slope[:-1], slope[1:]
    cubics = np.stack([r1[:-1], before, 3.0 * rise - 2.0 * before - after, before + after - 2.0 * rise])
    return _Inverse(float(values[-1]), relaxed, float(place[1]), cubics)


def relaxation_rate_from_steady_state(
    signal: ArrayLike, repetition_time: float, flip_angle: float, rho: ArrayLike = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """R1 that gives a steady-state spoiled gradient-echo signal, in closed form.

    R1 = ln[(1 - m cos(alpha)) / (1 - m)] / TR with m = S / (rho sin(alpha)). Returns (r1, invalid) as
    :func:`relaxation_rate_from_saturation_recovery` does; signals of m <= 0 or m >= 1 have no R1.
    """
    sine, versine = _sine_and_versine(flip_angle)
    with np.errstate(divide="ignore", invalid="ignore"):
        m = np.asarray(signal, np.float64) / (np.asarray(rho, np.float64) * sine)
    invalid = ~((m > 0) & (m < 1))
    safe = np.where(invalid, 0.5, m)
    r1 = np.log1p(safe * versine / (1.0 - safe)) / repetition_time
    return np.where(invalid, np.nan, r1), invalid


def sequence_problems(
    delay: float | None, repetition_time: float, flip_angle: float, n_pulses: float, largest_flip_angle: float = 90.0
) -> list[str]:
    """Say, one phrase for each metadata field, what keeps a saturation-recovery signal from being inverted.

    ``delay`` None stands for a start from equilibrium.
    """
    problems = []
    if delay is not None and not (np.isfinite(delay) and delay >= 0):
        problems.append(f"SaturationDelayTime is {delay:g} s; it must be 0 or more")
    if not (np.isfinite(repetition_time) and repetition_time > 0):
        problems.append(f"RepetitionTimeExcitation is {repetition_time:g} s; it must be above 0")
    if not 0 < flip_angle <= largest_flip_angle:
        problems.append(f"FlipAngle is {flip_angle:g} degrees; it must be above 0 and at most {largest_flip_angle:g}")
    if n_pulses != int(n_pulses) or n_pulses < 1:
        problems.append(f"ExcitationsToKSpaceCenter is {n_pulses:g}; it must be a whole number of 1 or more")
    elif delay == 0 and n_pulses == 1:
        problems.append("SaturationDelayTime is 0 s with ExcitationsToKSpaceCenter 1: there is no signal")
    return problems


def _sine_and_versine(flip_angle: Any) -> tuple[Any, Any]:
    """sin(alpha) and 1 - cos(alpha), the latter exact for small angles."""
    alpha = np.deg2rad(flip_angle)
    return np.sin(alpha), 2.0 * np.sin(alpha / 2.0) ** 2


def _magnetisation(xp: Any, first: Any, r1: Any, repetition_time: float, versine: Any, n_pulses: int) -> Any:
    """M before excitation ``n_pulses``, with M(1) = ``first``."""
    a = (1.0 - versine) * xp.exp(-repetition_time * r1)
    power, total = _power_and_sum(a, n_pulses - 1)
    return first * power - xp.expm1(-repetition_time * r1) * total


def _power_and_sum(a: Any, count: int) -> tuple[Any, Any]:
    """a^count and 1 + a + ... + a^(count-1), by doubling: the quotient's limit at a = 1 needs no special case."""
    power, total = 1.0 + 0.0 * a, 0.0 * a
    for bit in bin(int(count))[2:]:
        power, total = power * power, total * (1.0 + power)
        if bit == "1":
            power, total = power * a, total * a + 1.0
    return power, total


def _saturation_recovery_and_slope(
    r1: NDArray[np.float64], delay: float, repetition_time: float, flip_angle: float, n_pulses: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """S of :func:`saturation_recovery_flash` with rho 1, and dS/dR1 from the differentiated recursion."""
    e, delayed = np.exp(-repetition_time * r1), np.exp(-delay * r1)
    recovered = np.expm1(-repetition_time * r1)
    sine, versine = _sine_and_versine(flip_angle)
    a = (1.0 - versine) * e
    power, total = _power_and_sum(a, n_pulses - 1)
    values = sine * (-np.expm1(-delay * r1) * power - recovered * total)
    power_slope = -(n_pulses - 1) * repetition_time * power
    # From (1 - a) total = 1 - power; its rounding error costs Newton's method a step at worst, never accuracy.
    total_slope = -(repetition_time * a * total + power_slope) / (versine - (1.0 - versine) * recovered)
    slope = (
        delay * delayed * power + (1.0 - delayed) * power_slope + repetition_time * e * total + (1.0 - e) * total_slope
    )
    return values, np.asarray(sine * slope)


def _sensitive_limit(sequence: tuple[float, float, float, int], minimum_sensitivity: float) -> float:
    """Largest R1 whose relative slope d(ln S)/d(ln R1) still reaches ``minimum_sensitivity``."""
    grid = np.geomspace(1e-3, 1e6, 4096)
    values, slope = _saturation_recovery_and_slope(grid, *sequence)
    sensitivity = grid * slope / values
    return float(grid[np.flatnonzero(sensitivity >= minimum_sensitivity)[-1]])
