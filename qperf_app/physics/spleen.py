"""Enhancement of the spleen in the first pass, as a share of the blood's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.physics.input_function import find_features
from qperf_app.physics.noise import white_noise_sd

Array = NDArray[np.float64]

#: The first pass through the spleen is looked for in these s from the foot of the left ventricle's blood. At rest it
#: peaks 10 to 20 s behind that; later on mixed blood and what has leaked hold the curve up, and patients breathe.
FIRST_PASS = 30.0
#: A series that ends sooner than these s behind the foot may not have the peak.
SHORTEST = FIRST_PASS / 2
#: A spleen enhances where the highest three-sample median of its curve stands so many standard deviations of the
#: curve's noise above the baseline. The highest of 40 such medians of noise alone stands at 1.3, one of a thousand
#: at 2.7. No more is asked for: one that is switched off enhances little, and is a spleen.
DETECTION_SIGMA = 3.0


class NoEnhancementError(ValueError):
    """The curve shows no first pass; the message says why."""


@dataclass(frozen=True)
class Enhancement:
    """First-pass enhancement of the spleen.

    Parameters
    ----------
    peak : float
        Time of the peak, s.
    peak_value : float
        Its height above the baseline, in the series' unit of signal.
    blood_peak_value : float
        That of the left ventricle's blood.
    """

    peak: float
    peak_value: float
    blood_peak_value: float

    @property
    def share(self) -> float:
        """The spleen's enhancement over the blood's."""
        return self.peak_value / self.blood_peak_value


def region_curve(data: NDArray[np.floating], mask: NDArray[np.bool_]) -> Array:
    """Median signal over the voxels of a mask at each time (t,); NaN where fewer than half of them have a value.

    A median, since a mask that was drawn by hand has vessels and neighbours at its border, more so while an organ moves
    under it.

    Parameters
    ----------
    data : (x, y, z, t) array
    mask : (x, y, z) bool array
        Not empty.
    """
    values = np.asarray(data[mask], dtype=np.float64)
    known = 2 * np.isfinite(values).sum(axis=0) >= len(values)
    curve = np.full(values.shape[1], np.nan)
    curve[known] = np.nanmedian(values[:, known], axis=0)
    return curve


def first_pass_enhancement(times: ArrayLike, spleen: ArrayLike, blood: ArrayLike) -> Enhancement:
    """Measure the peak enhancement of the spleen, and of the left ventricle's blood in the same series.

    Signal, and no concentration. What an earlier injection left in the body brightens the images before the bolus, of
    the spleen less than of the blood. A conversion that takes these images for those of tissue without contrast agent,
    as all do that have no proton-density images, errs by another factor in each: with 0.4 mmol/L left in the blood at
    rest a spleen of constant flow looks switched off. Differences of signal, divided by the blood's, lose gain and coil
    sensitivity alike and don't ask what was there before.

    The share is no flow. Of a spleen of constant flow it is a fifth less under stress, since the bolus passes more
    quickly, and boluses scatter it by a quarter (``python -m benchmarks.spleen``).

    Parameters
    ----------
    times : (t,) array
        s, strictly increasing.
    spleen, blood : (t,) arrays
        Signal of saturation-prepared images. Samples that are not finite are left out.

    Raises
    ------
    NoBolusError
        Where the blood shows no bolus.
    NoEnhancementError
        Where the series begins with the bolus or ends with it, or the spleen does not enhance.
    """
    t, s, b = (np.asarray(values, dtype=float) for values in (times, spleen, blood))
    of_blood = find_features(t, b)
    t, s = t[np.isfinite(s)], s[np.isfinite(s)]
    before, within = t <= of_blood.foot, (t > of_blood.foot) & (t <= of_blood.foot + FIRST_PASS)
    if not before.any():
        raise NoEnhancementError("there is no image before the bolus")
    if t[-1] < of_blood.foot + SHORTEST or within.sum() < 3:
        raise NoEnhancementError("the series ends too soon after the bolus")
    # A frame in which the organ has moved away is no peak.
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(s, 1, mode="edge"), 3), axis=-1)
    height = smooth - np.median(s[before])
    at = int(np.flatnonzero(within)[np.argmax(height[within])])
    if height[at] <= DETECTION_SIGMA * float(white_noise_sd(s)):
        raise NoEnhancementError("it does not enhance in the first pass")
    return Enhancement(float(t[at]), float(height[at]), of_blood.peak_value)
