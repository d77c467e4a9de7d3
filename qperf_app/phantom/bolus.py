"""Passage of the contrast bolus through right ventricle, lungs and left ventricle, mmol/L in whole blood."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.shapes import truncated_normal
from qperf_app.physics.models import one_compartment


@dataclass(frozen=True)
class Bolus:
    """Parameters of one injection.

    Parameters
    ----------
    arrival : float
        Foot of the curve in the right ventricle, s after the first volume.
    transit : float
        From the right ventricle's peak to the left one's, s.
    peak : float
        Peak in the left ventricle, mmol/L.
    width : float
        Time from foot to peak in the left ventricle, s.
    shape : float
        Exponent of the gamma variate.
    dispersion : float
        Time constant of the lungs' dispersion relative to ``width``.
    recirculation : float
        Height of the second passage relative to the first.
    recirculation_delay : float
        s, from first to second peak.
    plateau : float
        Level that the mixed blood pool tends to, relative to the peak.
    kind : str
        ``normal``, ``late`` or ``incomplete``.
    """

    arrival: float
    transit: float = 6.0
    peak: float = 4.8
    width: float = 6.0
    shape: float = 3.0
    dispersion: float = 0.25
    recirculation: float = 0.13
    recirculation_delay: float = 14.0
    plateau: float = 0.11
    kind: str = "normal"


def sample_bolus(
    task: str, individual: bool, abnormal: float, first_dynamic: float, duration: float, rng: np.random.Generator
) -> Bolus:
    """Draw a bolus; the population's differs from scan to scan in its arrival only.

    Right to left ventricle in 5 to 7 s, as in first-pass series of dual-sequence acquisitions. Under vasodilation the
    cardiac output is higher: the passage is quicker and the peak lower.

    Parameters
    ----------
    abnormal : float
        Probability of a late or incomplete bolus.
    first_dynamic, duration : float
        Time of the first saturation-prepared volume and of the last volume, s.
    """
    stress = task == "stress"
    population = Bolus(first_dynamic + 5.0, transit=5.2 if stress else 6.3, width=4.6 if stress else 6.0)
    drawn = Bolus(
        arrival=first_dynamic + truncated_normal(rng, 5.0, 1.5, 2.5, 9.0),
        transit=float(rng.uniform(5.0, 6.2) if stress else rng.uniform(5.6, 7.0)),
        peak=truncated_normal(rng, 4.4 if stress else 4.9, 1.0, 2.2, 8.0),
        width=truncated_normal(rng, population.width, 0.8, 3.4, 9.0),
        shape=float(rng.uniform(2.2, 4.5)),
        dispersion=float(rng.uniform(0.1, 0.4)),
        recirculation=float(rng.uniform(0.06, 0.2)),
        recirculation_delay=float(rng.uniform(9.0, 13.0) if stress else rng.uniform(12.0, 18.0)),
        plateau=float(rng.uniform(0.07, 0.16)),
    )
    is_abnormal, is_late = rng.random(2) < (abnormal, 0.5)
    chosen = drawn if individual else replace(population, arrival=drawn.arrival)
    if not is_abnormal:
        return chosen
    if is_late:
        late = first_dynamic + rng.uniform(0.6, 0.8) * (duration - first_dynamic)
        return replace(chosen, arrival=float(late), kind="late")
    return replace(chosen, peak=chosen.peak * float(rng.uniform(0.15, 0.4)), kind="incomplete")


def prebolus_of(bolus: Bolus, dose: float, arrival: float, slower: float) -> Bolus:
    """The small bolus of a dual-bolus study: ``dose`` of the other one, by the same heart at its own rate.

    Parameters
    ----------
    bolus : Bolus
        The other one.
    dose : float
        Over the other one's.
    arrival : float
        s after the first volume of its own series.
    slower : float
        RR interval over that of the other one. Cardiac output goes with the heart rate: all times are stretched by it,
        and the area with them (Stewart and Hamilton), so that the peak follows the dose alone.
    """
    return replace(
        bolus,
        arrival=arrival,
        transit=slower * bolus.transit,
        peak=dose * bolus.peak,
        width=slower * bolus.width,
        recirculation_delay=slower * bolus.recirculation_delay,
        kind="normal",
    )


def _gamma_variate(times: NDArray[np.float64], to_peak: float, shape: float) -> NDArray[np.float64]:
    """Gamma variate of height 1 that starts at 0 (Madsen, Phys Med Biol 1992;37:1597)."""
    x = np.maximum(times, 0.0) / to_peak
    return x**shape * np.exp(shape * (1.0 - x))


def _passage(bolus: Bolus) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Left ventricle's first pass on the clock of its own foot, and everything that follows it, both of peak 1."""
    own = np.arange(0.0, 400.0, 0.1)
    # A well-mixed chamber is what disperses: the one-compartment model with a volume of 1.
    time_constant = bolus.dispersion * bolus.width
    first = one_compartment(
        own, _gamma_variate(own, bolus.width - time_constant, bolus.shape), 60.0 / time_constant, 1.0
    )
    first /= first.max()
    behind = own - own[np.argmax(first)]
    again = _gamma_variate(behind - 0.4 * bolus.recirculation_delay, 0.6 * bolus.recirculation_delay, 2.0)
    mixed = (1.0 - np.exp(-np.maximum(behind, 0.0) / 12.0)) * np.exp(-own / 400.0)
    return own, first, bolus.recirculation * again + bolus.plateau * mixed


def blood_curves(bolus: Bolus, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Concentration of the blood on its way: right heart, lungs, left heart and aorta.

    Parameters
    ----------
    times : (t,) array
        s from the first volume.

    Returns
    -------
    dict of (t,) arrays
        ``right``, ``lung``, ``left`` and ``aorta``, mmol/L in whole blood.
    """
    own, first, later = _passage(bolus)
    sharp = _gamma_variate(own, 0.65 * bolus.width, bolus.shape)
    # The left heart's foot lies where its peak comes ``transit`` after the right one's.
    foot = bolus.arrival + 0.65 * bolus.width + bolus.transit - own[np.argmax(first)]

    def at(values: NDArray[np.float64], start: float) -> NDArray[np.float64]:
        return bolus.peak * np.interp(times - start, own, values, left=0.0)

    return {
        "right": at(1.3 * sharp, bolus.arrival) + at(later, foot - 0.5 * bolus.transit),
        "lung": at(first + later, foot - 0.4 * bolus.transit),
        "left": at(first + later, foot),
        "aorta": at(first + later, foot + 0.7),
    }
