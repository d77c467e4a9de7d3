"""Whether an input function that was measured may be one: its height for the dose, its blood's T1, its saturation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.dual_bolus import dose
from qperf_app.checks.ranges import is_number
from qperf_app.physics.constants import nominal_field

#: Peak in whole blood, mmol/L, of 0.05 to 0.1 mmol/kg injected at rest or under stress.
PEAK = (2.0, 12.0)
#: The same for each mmol/kg: 2 mmol/L of 0.05 mmol/kg, 12 of 0.1; widened by a quarter, since the agents' molar masses
#: lie about that of gadobutrol, g/mol.
PEAK_PER_DOSE = (2.0 / 0.05 / 1.25, 12.0 / 0.1 * 1.25)
MOLAR_MASS = 604.7
#: Fields that tell the dose.
DOSE_FIELDS = ("ContrastBolusVolume", "ContrastBolusIngredientConcentration", "PatientWeight")
#: T1 of blood before contrast, s, at haematocrits of 0.25 to 0.55, by field strength.
BLOOD_T1: Mapping[float, tuple[float, float]] = {1.5: (1.3, 2.0), 3.0: (1.5, 2.3)}
#: T1 looks shorter by this factor at the most where nothing is wrong: the magnitude's noise adds to the little signal
#: that an input-function series has before contrast, and so does what escapes saturation.
LOOKS_SHORTER = 0.8
#: Factors beyond the range at which the input function can't be right. T1 and concentration are measured with one scale
#: and one delay: if T1 is twice too long, concentration is half. The short side has more room: what escapes saturation
#: adds to the signal before contrast and is subtracted with it, but makes T1 look short.
TOO_SHORT, TOO_LONG = 0.4, 1.5
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
    if np.isfinite(injected) and is_number(weight) and weight > 0:
        given = injected / MOLAR_MASS / float(weight)
        low, high, words, mend = *(bound * given for bound in PEAK_PER_DOSE), f"of {given:.2g} mmol/kg", ""
    if low <= peak <= high:
        return ""
    side = "below" if peak < low else "above"
    return f"the input function's peak is {peak:.3g} mmol/L, {side} the {low:.2g} to {high:.2g} {words}{mend}"


def native_t1_words(t1: float, field_strength: Any) -> tuple[str, bool]:
    """Say that a measured T1 of blood before contrast, s, is none, and whether the curve can't be right for it."""
    try:
        low, high = BLOOD_T1[nominal_field(field_strength)]
    except (ValueError, TypeError):
        return "", False
    if not np.isfinite(t1) or LOOKS_SHORTER * low <= t1 <= high:
        return "", False
    words = f"the blood's T1 before contrast is measured as {t1:.2g} s; it is {low:g} to {high:g} s"
    return words, not TOO_SHORT * low <= t1 <= TOO_LONG * high


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
