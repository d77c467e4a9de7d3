"""Of a dual-bolus study: the input function of the small dose as that of the main one, on the main series' clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.amplitude import MOST_APART, blood_ratio, is_apart
from qperf_app.geometry import resample
from qperf_app.methods.dual_bolus import Alignment, align_boluses, at_main_pace
from qperf_app.methods.input_voxels import choose_input_voxels
from qperf_app.physics.input_function import InputFeatures, find_features
from qperf_app.plugins import BloodPools, InputFunction, Series

#: Share of the small bolus that the main series' blood must explain, else the boluses have two shapes.
LEAST_EXPLAINED = 0.9
#: Other speed of passage of the two boluses that is said: its logarithm. It is known to within 10 % at best.
OTHER_SPEED = 0.2
#: Remaining agent, as a share of the main bolus' peak, that is said.
MOST_RESIDUAL = 0.02


def main_curve(series: Series, pools: BloodPools) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mean signal (t,) of the main series' blood, all volumes, and its voxels on that series' grid.

    Of the pools that were found in the prebolus series, the part that enhances most with the main bolus.

    Raises
    ------
    ValueError
        Where the pools lie outside of the series.
    """
    pool = resample(pools.lv, pools.affine, series.affine, series.data.shape[:3], project=False)
    if not pool.any():
        raise ValueError("the blood pool of the prebolus series lies outside of the tissue series")
    voxels = choose_input_voxels(series.dynamic().data, pool)
    return series.data[voxels].mean(axis=0, dtype=np.float64), voxels


def on_main_clock(
    aif: InputFunction, times: NDArray[np.float64], signal: NDArray[np.float64], ratio: float
) -> tuple[InputFunction, dict[str, Any], tuple[str, ...]]:
    """Scale the small dose's input function, bring it to the main heart rate, and shift it.

    Parameters
    ----------
    aif : InputFunction
        Of the small dose, on its own clock; NaN in frames left out.
    times, signal : (t,) arrays
        Of the main series' blood, s and any signal.
    ratio : float
        Of the doses.

    Returns
    -------
    InputFunction, fields of its sidecar, warnings
    """
    keep = np.isfinite(aif.concentration)
    at, pace = at_main_pace(aif.times, aif.concentration, times)
    small = find_features(at[keep], aif.concentration[keep])
    found = align_boluses(at[keep], aif.concentration[keep], times, signal)
    scaled = replace(aif, times=at + found.shift, concentration=ratio * aif.concentration)
    residual = _remaining(at[keep], aif.concentration[keep], small) / (ratio * small.peak_value)
    fields = {
        "DoseRatio": round(ratio, 6),
        "BolusShift": round(found.shift, 3),
        "BolusShiftHalfWidth": round(found.half_width, 3),
        "BolusPace": round(pace, 3),
        "BolusStretch": round(found.stretch, 3),
        "ResidualAgent": round(residual, 4) if np.isfinite(residual) else None,
    }
    return scaled, fields, _warnings(found, residual, ratio * small.peak_value, aif.units)


def summary_of(fields: Mapping[str, Any]) -> str:
    """Phrase for the table of steps."""
    shift = f"{fields['BolusShift']:.2f} ± {fields['BolusShiftHalfWidth']:.2f} s"
    return f"prebolus times {fields['DoseRatio']:.4g}, shifted by {shift}"


def _remaining(times: NDArray[np.float64], concentration: NDArray[np.float64], small: InputFeatures) -> float:
    """Small dose in the blood at the end of its series: the median of the last fifth of what follows its first pass.

    NaN where the series ends with the first pass.
    """
    after = concentration[times > small.valley]
    return float(np.median(after[-max(3, len(after) // 5) :])) - small.baseline if len(after) else float("nan")


def _warnings(found: Alignment, residual: float, peak: float, units: str) -> tuple[str, ...]:
    warnings: list[str] = []
    if residual > MOST_RESIDUAL:
        amount = f" ({residual * peak:.2g} {units})" if units == "mmol/L" else ""
        warnings.append(
            f"Dual bolus: at the end of the prebolus series its blood still holds {residual:.0%} of the main bolus' "
            f"peak{amount}. What is left when the main bolus comes is taken off as a constant baseline."
        )
    if abs(np.log(found.stretch)) > OTHER_SPEED:
        how = "more slowly" if found.stretch > 1 else "faster"
        warnings.append(
            f"Dual bolus: at the same heart rate the main bolus passes {abs(found.stretch - 1):.0%} {how} than the "
            "prebolus, as with another stroke volume or injection: the scaled input function has not its shape."
        )
    if found.explained < LEAST_EXPLAINED:
        warnings.append(
            f"Dual bolus: the main series' blood follows the prebolus by {found.explained:.0%} only: the boluses have "
            "two shapes, or their blood was not found alike."
        )
    return tuple(warnings)


def amplitude_doubt(
    scaled: InputFunction, times: NDArray[np.float64], main: NDArray[np.float64], excluded: NDArray[np.bool_]
) -> str:
    """Say so where the main series' blood contradicts the doses while little agent is in it; empty where it doesn't.

    Parameters
    ----------
    scaled : InputFunction
        From the small dose, on the main series' clock.
    times, main, excluded : (t,) arrays
        The main series' blood as concentration, and frames in which it is not known.
    """
    factor = blood_ratio(scaled, times, main, excluded)
    if not is_apart(factor, MOST_APART):
        return ""
    return (
        f"away from its peak the main bolus has {factor:.2g} times the concentration that the prebolus and the ratio "
        "of the doses give it: is a dose wrong?"
    )
