"""How well two measurements of the same thing agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Agreement:
    """Agreement of paired measurements a and b.

    ``bias`` is the mean of b - a, ``lower`` and ``upper`` the 95 % limits of agreement (bias ± 1.96 SD of the
    differences; Bland and Altman, Lancet 1986;327:307), ``icc`` the intraclass correlation ICC(A,1) (two-way, absolute
    agreement, single measurement; McGraw and Wong, Psychol Methods 1996;1:30), ``correlation`` Pearson's r, ``cv`` the
    within-subject coefficient of variation (root mean square over the pairs of standard deviation over mean; Bland and
    Altman, BMJ 1996;313:106), for repetitions. NaN where there are fewer than three pairs.
    """

    n: int
    mean: float
    bias: float
    lower: float
    upper: float
    icc: float
    correlation: float
    cv: float

    @property
    def relative_bias(self) -> float:
        """Bias over the mean of a."""
        return self.bias / self.mean if self.mean else math.nan


def agreement(a: ArrayLike, b: ArrayLike) -> Agreement:
    """Agreement of b with a; pairs with a NaN are left out.

    Parameters
    ----------
    a, b : (n,) arrays
        Reference and other measurement, in one unit.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"measurements of different shape: {first.shape} and {second.shape}")
    keep = np.isfinite(first) & np.isfinite(second)
    first, second = first[keep], second[keep]
    n = len(first)
    if n < 3:
        return Agreement(n, *[math.nan] * 7)
    difference = second - first
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    deviations = first.std() * second.std()
    correlation = float(np.corrcoef(first, second)[0, 1]) if deviations > 0 else math.nan
    means = (first + second) / 2.0
    relative = difference[means > 0] / means[means > 0]
    cv = float(np.sqrt((relative**2).mean() / 2.0)) if relative.size else math.nan
    return Agreement(
        n, float(first.mean()), bias, bias - 1.96 * spread, bias + 1.96 * spread, _icc(first, second), correlation, cv
    )


def _icc(a: np.ndarray, b: np.ndarray) -> float:
    """ICC(A,1) from the mean squares of a two-way layout with two raters."""
    values = np.stack([a, b], axis=1)
    n, k = values.shape
    grand = values.mean()
    rows = k * ((values.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((values.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0, keepdims=True) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    denominator = rows + (k - 1) * error + k * (columns - error) / n
    return float((rows - error) / denominator) if denominator > 0 else math.nan
