"""Whether an input function that was measured may be one: its height for the dose, its saturation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.dual_bolus import dose
from qperf_app.checks.ranges import WEIGHT, is_number

#: Peak in whole blood, mmol/L, of 0.05 to 0.1 mmol/kg injected at rest or under stress.
PEAK = (2.0, 12.0)
#: The same for each mmol/kg: 2 mmol/L of 0.05 mmol/kg, 12 of 0.1; widened by a quarter, since the agents' molar masses
#: lie about that of gadobutrol, g/mol.
PEAK_PER_DOSE = (2.0 / 0.05 / 1.25, 12.0 / 0.1 * 1.25)
MOLAR_MASS = 604.7
#: Fields that tell the dose.
DOSE_FIELDS = ("ContrastBolusVolume", "ContrastBolusIngredientConcentration", "PatientWeight")
#: Mean of a magnitude over its standard deviation below which it is mostly noise: of noise alone it is 1.9, and at 2.5
#: noise makes a signal look an eighth larger (Rice). In real input-function series it is 3 to 4 before contrast.
LEAST_OVER_NOISE = 2.5
#: Part of the frames about the peak that may be lost to saturation: between the others the curve is interpolated.
MOST_SATURATED = 0.25


def peak_doubt(peak: float, metadata: Mapping[str, Any], ratio: float = 1.0) -> str:
    """Say why a peak, mmol/L in whole blood, is not that of its dose; empty where it may be.

    Parameters
    ----------
    metadata : mapping
        Of the series it was measured in: with volume, concentration and ``PatientWeight`` (kg) the dose is known.
    ratio : float
        Of the dose to that of the series.
    """
    injected, weight = ratio * dose(metadata), metadata.get("PatientWeight")
    low, high, words = *PEAK, "of 0.05 to 0.1 mmol/kg"
    mend = f"; of another dose, give {', '.join(DOSE_FIELDS)} in the sidecar"
    if np.isfinite(injected) and is_number(weight) and WEIGHT.verdict(weight) is None:
        given = injected / MOLAR_MASS / float(weight)
        low, high, words, mend = *(bound * given for bound in PEAK_PER_DOSE), f"of {given:.2g} mmol/kg", ""
    if low <= peak <= high:
        return ""
    side = "below" if peak < low else "above"
    return f"the input function's peak is {peak:.3g} mmol/L, {side} the {low:.2g} to {high:.2g} {words}{mend}"


def baseline_doubt(before: NDArray[np.floating]) -> str:
    """Say that a scale that comes from the blood's signal before contrast is one of noise; empty where it isn't.

    Parameters
    ----------
    before : (n, t) array
        Signal of the voxels in the volumes before contrast.
    """
    if before.shape[0] == 0 or before.shape[1] < 3:
        return ""
    values = np.asarray(before, np.float64)
    spread = values.std(axis=1, ddof=1)
    ratio = float(np.median(values.mean(axis=1)[spread > 0] / spread[spread > 0])) if (spread > 0).any() else np.inf
    if ratio >= LEAST_OVER_NOISE:
        return ""
    return (
        f"the blood's signal before contrast, {ratio:.2g} times its own scatter, is mostly noise, and without "
        "proton-density volumes it is the scale of the input function: flow is then too high"
    )


def saturation_doubt(concentration: NDArray[np.float64], saturated: NDArray[np.bool_]) -> str:
    """Say that too many frames (t,) about the peak saturate; empty where they don't.

    The peak ends, on either side, where the curve falls below half of the highest that was measured.
    """
    known = np.isfinite(concentration)
    if not saturated.any() or not known.any():
        return ""
    highest = int(np.argmax(np.where(known, concentration, -np.inf)))
    low = np.flatnonzero(known & (concentration < 0.5 * concentration[highest]))
    first = low[low < highest].max(initial=-1) + 1
    last = low[low > highest].min(initial=len(concentration))
    share = float(saturated[first:last].mean())
    if share <= MOST_SATURATED:
        return ""
    return f"{share:.0%} of the frames about the input function's peak saturate: its height is not known"
