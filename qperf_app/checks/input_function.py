"""Whether an input function that was measured may be one: its height for the dose, its saturation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, i1e

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
#: Factor by which noise may enlarge a magnitude that is a scale: beyond the first it is said, beyond the second
#: concentration can't be right. In real input-function series the mean is 2.4 to 4 times the scatter before contrast.
ENLARGED, MOSTLY_NOISE = 1.05, 1.13
#: Signal, in standard deviations of each part of the complex noise, below which its share isn't told.
_LEAST_SIGNAL, _MOST_FACTOR = 0.6, 2.0
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


def baseline_words(before: NDArray[np.floating]) -> tuple[str, bool]:
    """Say that a scale that comes from the blood's signal before contrast is enlarged by noise, and whether too much.

    Parameters
    ----------
    before : (n, t) array
        Signal of the voxels in the volumes before contrast. Where motion was corrected their scatter is smoothed: the
        share of noise is the least that there is.
    """
    if before.shape[0] == 0 or before.shape[1] < 3:
        return "", False
    values = np.asarray(before, np.float64)
    # Over all voxels together: the scatter of each, from some eight volumes, is too uncertain to divide by.
    scatter = float(np.sqrt(values.var(axis=1, ddof=1).mean()))
    ratio = float(values.mean()) / scatter if scatter > 0 else np.inf
    factor = rician_factor(ratio)
    if factor <= ENLARGED:
        return "", False
    size = f"is enlarged by noise by at least {factor - 1:.0%}" if factor < _MOST_FACTOR else "is noise"
    return (
        f"the blood's signal before contrast, {ratio:.2g} times its own scatter, {size}, and without proton-density "
        "volumes it is the scale of the input function: flow is too high by as much or more"
    ), factor > MOSTLY_NOISE


def rician_factor(ratio: float) -> float:
    """Factor by which the mean of a magnitude exceeds its signal, from that mean over the standard deviation.

    Of noise alone (a ratio of 1.91) it has no end; it is given up to a signal of 0.6 times the noise.
    """
    signal = np.geomspace(_LEAST_SIGNAL, 50.0, 400)
    half = signal**2 / 4
    mean = np.sqrt(np.pi / 2) * ((1 + 2 * half) * i0e(half) + 2 * half * i1e(half))
    return float(np.interp(ratio, mean / np.sqrt(2 + signal**2 - mean**2), mean / signal))


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
