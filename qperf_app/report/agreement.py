"""How well two measurements of the same thing agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Draws of participants for the interval of an ICC, and the fewest of them of which any are drawn.
_DRAWS, _LEAST_PARTICIPANTS = 2000, 5


@dataclass(frozen=True)
class Agreement:
    """Agreement of paired measurements a and b.

    ``bias`` is the mean of b - a, ``lower`` and ``upper`` the 95 % limits of agreement (bias ± 1.96 SD of the
    differences; Bland and Altman, Lancet 1986;327:307), ``icc`` the intraclass correlation ICC(A,1) (two-way, absolute
    agreement, single measurement; McGraw and Wong, Psychol Methods 1996;1:30), ``icc_lower`` and ``icc_upper`` its 95 %
    interval, ``correlation`` Pearson's r, ``cv`` the
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
    icc_lower: float = math.nan
    icc_upper: float = math.nan

    @property
    def relative_bias(self) -> float:
        """Bias over the mean of a."""
        return self.bias / self.mean if self.mean else math.nan


def agreement(a: ArrayLike, b: ArrayLike, participants: Sequence[str] | None = None) -> Agreement:
    """Agreement of b with a; pairs with a NaN are left out.

    Parameters
    ----------
    a, b : (n,) arrays
        Reference and other measurement, in one unit.
    participants : (n,) sequence of str, optional
        Whose each pair is. Segments of one heart are alike, so that the interval of the ICC comes from drawing whole
        participants with replacement (percentiles of the cluster bootstrap; Davison and Hinkley, 1997, section 3.8).
        NaN without, and for fewer than five participants.

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
    sums = _sums(first, second)
    whose = np.asarray(participants)[keep] if participants is not None else np.zeros(0)
    low, high = _icc_interval(sums, whose)
    return Agreement(
        n, float(first.mean()), bias, bias - 1.96 * spread, bias + 1.96 * spread,
        float(_icc(sums.sum(axis=0))), correlation, cv, low, high,
    )  # fmt: skip


def _sums(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an ICC is made of, (n, 6): count, a, b and their products, about the common mean."""
    centre = (a.mean() + b.mean()) / 2.0
    a, b = a - centre, b - centre
    return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)


def _icc(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """ICC(A,1) from sums (..., 6): mean squares of a two-way layout with two raters."""
    n, a, b, aa, ab, bb = np.moveaxis(sums, -1, 0)
    grand = (a + b) / (2.0 * n)
    rows = 2.0 * ((aa + 2.0 * ab + bb) / 4.0 - n * grand**2) / (n - 1)
    columns = n * ((a / n - grand) ** 2 + (b / n - grand) ** 2)
    error = ((aa - 2.0 * ab + bb) - (b - a) ** 2 / n) / (2.0 * (n - 1))
    denominator = rows + error + 2.0 * (columns - error) / n
    return np.where(denominator > 0, (rows - error) / np.where(denominator > 0, denominator, 1.0), np.nan)


def _icc_interval(sums: NDArray[np.float64], participants: NDArray[np.generic]) -> tuple[float, float]:
    names, index = np.unique(participants, return_inverse=True)
    if len(names) < _LEAST_PARTICIPANTS:
        return math.nan, math.nan
    of_each = np.zeros((len(names), sums.shape[1]))
    np.add.at(of_each, index, sums)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=_DRAWS)
    low, high = np.nanpercentile(_icc(drawn @ of_each), [2.5, 97.5])
    return float(low), float(high)
