"""Input functions that are handed in: on the clock of the series, long enough, in mmol/L."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.ranges import BLOOD_PEAK, Slip, is_number
from qperf_app.methods.bolus_timing import width_at_half
from qperf_app.plugins.records import CONCENTRATION_UNITS, RELATIVE_UNITS, InputFunction

#: Time after the peak, s, without which the muscle has shown nothing of its flow.
AFTER_PEAK = 5.0
#: Share of the series that the curve must cover.
LEAST_COVERED = 0.5
#: Share of the voxels, those that enhance most, that is blood for certain.
BRIGHTEST = 0.01
#: Factor between the amount of tracer in the curve and in the series' own blood that says that one of them is wrong.
#: Blood at the edge of a pool and noise are within a third; plasma has 1.7 times as much as blood.
MOST_APART = 1.5
#: Farthest that the curve's peak may lie from those of the series' blood: in s, what read-outs lie apart and voxels
#: differ by; as a part of its own width at half height, since a slow bolus has a flat peak; an interval of the series.
FARTHEST_PEAK, FARTHEST_PART = 2.5, 0.35
#: A volume has a sample of the curve near it within so many intervals between volumes, or so many s.
NEAR_INTERVALS, NEAR = 2.0, 3.0

_TIME_SLIPS = (Slip("ms", 1e-3), Slip("minutes", 60.0), Slip("hours", 3600.0))


def curve_findings(
    file: str, aif: InputFunction, series_times: NDArray[np.float64], sidecar: Mapping[str, Any], haematocrit: Any
) -> Iterator[Finding]:
    """Check an input function against the series that it is for.

    Parameters
    ----------
    aif : InputFunction
        Without missing samples.
    series_times : (t,) array
        Dynamic volumes of the series, s.
    sidecar : mapping
        The curve's own metadata.
    haematocrit
        The series' ``Haematocrit``, None where it has none.
    """
    yield from _clock(file, aif, series_times)
    if aif.units not in (CONCENTRATION_UNITS, RELATIVE_UNITS):
        yield refusal(file, "Units", f"Units is {aif.units!r}, expected {CONCENTRATION_UNITS!r} or {RELATIVE_UNITS!r}")
    elif aif.units == CONCENTRATION_UNITS:
        peak = float(aif.concentration.max())
        severity = BLOOD_PEAK.verdict(peak)
        if severity:
            yield Finding(file, "concentration", BLOOD_PEAK.words(peak, "the peak of column 'concentration'"), severity)
    if float(aif.concentration.max()) <= -float(aif.concentration.min()):
        yield refusal(file, "concentration", "column 'concentration' falls below 0 as far as it rises: no bolus")
    yield from _haematocrit(file, sidecar.get("Haematocrit"), haematocrit)


def blood_peaks(data: NDArray[np.floating], times: NDArray[np.float64]) -> tuple[float, float]:
    """First and last time, s, at which the blood in a series (x, y, z, t) is brightest: right and left ventricle.

    The voxels that enhance most, and those that do so nearly as much, stand for the blood; a tenth of them at either
    end may be something else.
    """
    first, last = np.quantile(times[data[brightest_blood(data)].argmax(axis=-1)], (0.1, 0.9))
    return float(first), float(last)


def brightest_blood(data: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Voxels (x, y, z) of a series (x, y, z, t) that enhance most, and those that do so nearly as much."""
    rise = data.max(axis=-1) - data.min(axis=-1)
    return np.asarray(rise >= 0.75 * np.quantile(rise, 1.0 - BRIGHTEST))


def peak_findings(file: str, aif: InputFunction, peaks: tuple[float, float], interval: float) -> Iterator[Finding]:
    """The curve's peak is that of the blood in the series, whose volumes are ``interval`` apart, s."""
    top = np.array([aif.concentration.argmax()])
    peak, (first, last) = float(aif.times[top[0]]), peaks
    width = float(
        width_at_half(aif.concentration[None], top, aif.concentration[top])[0] * np.median(np.diff(aif.times))
    )
    farthest = max(FARTHEST_PEAK, FARTHEST_PART * width, interval)
    if not first - farthest <= peak <= last + farthest:
        yield doubt(
            file, "time",
            f"the curve's peak is at {peak:.1f} s, the series' blood is brightest from {first:.1f} to {last:.1f} s: "
            "is it on the clock of the series?",
        )  # fmt: skip


def amount_findings(file: str, aif: InputFunction, own: InputFunction, haematocrit: float) -> Iterator[Finding]:
    """The curve holds as much tracer as the series' own blood.

    What passes is the same in both ventricles, however wide the bolus is there, so that areas are compared.

    Parameters
    ----------
    own : InputFunction
        Of the brightest blood in the series.
    haematocrit : float
        Of the series.
    """
    area, measured = (_area(curve.times, curve.in_blood(haematocrit)) for curve in (aif, own))
    if measured <= 0 or 1 / MOST_APART <= area / measured <= MOST_APART:
        return
    plasma = 1.0 / (1.0 - haematocrit)
    near_plasma = plasma / 1.25 < area / measured < plasma * 1.25 and not aif.plasma
    guess = "is it of plasma? Then write Haematocrit 0 into its sidecar" if near_plasma else "is it of another scan?"
    yield doubt(
        file, "concentration",
        f"the area under column 'concentration' is {area / measured:.2g} times that of the series' own blood: {guess}",
    )  # fmt: skip


def _area(times: NDArray[np.float64], concentration: NDArray[np.float64]) -> float:
    known = np.isfinite(concentration)
    return float(np.trapezoid(concentration[known], times[known])) if known.sum() > 1 else 0.0


def _clock(file: str, aif: InputFunction, times: NDArray[np.float64]) -> Iterator[Finding]:
    if len(times) < 2 or len(aif.times) < 2:
        return
    covered = _covered(aif.times, times)
    span = (
        f"column 'time' runs from {aif.times[0]:g} to {aif.times[-1]:g} s, "
        f"the series from {times[0]:g} to {times[-1]:g} s"
    )
    if covered < LEAST_COVERED:
        slip = next((s for s in _TIME_SLIPS if _covered(aif.times * s.factor, times) > 0.8), None)
        guess = f": is it in {slip.unit}?" if slip else ": the curve must be on the clock of the series"
        yield refusal(file, "time", f"{span}{guess}")
        return
    left = float(aif.times[-1] - aif.times[int(aif.concentration.argmax())])
    if left < AFTER_PEAK:
        yield refusal(
            file, "time", f"the curve ends {left:.1f} s after its peak; {AFTER_PEAK:g} s of it are needed and more"
        )
    elif covered < 0.9:
        yield doubt(file, "time", f"{span}: what it doesn't cover has no input")


def _covered(curve: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    """Share of the series' volumes that have a sample of the curve near them."""
    near = max(NEAR_INTERVALS * float(np.median(np.diff(times))), NEAR)
    return float((np.abs(times[:, None] - curve).min(axis=1) <= near).mean())


def _haematocrit(file: str, own: Any, of_series: Any) -> Iterator[Finding]:
    if own is None:
        return
    if not is_number(own) or not 0 <= own < 1:
        yield refusal(file, "Haematocrit", f"Haematocrit is {own!r}, expected a fraction from 0 to below 1")
    elif own and is_number(of_series) and abs(own - of_series) > 0.02:
        yield refusal(
            file, "Haematocrit", f"Haematocrit is {own:g}, that of the series {of_series:g}: correct one of them"
        )
