"""What neighbouring voxels tell of a voxel's flow.

Flow changes little from one voxel of the wall to the next, but for the border of a defect, and one voxel's curve leaves
much of it open. The difference of the log flow of two neighbours within a slice therefore has a Student-t density,
which lets go of those that a border parts (a Markov random field: Besag 1974, doi:10.1111/j.2517-6161.1974.tb00999.x;
for myocardial perfusion Scannell et al. 2020, doi:10.1016/j.media.2019.101611; heavy tails: Lange, Little and Taylor
1989, doi:10.1080/01621459.1989.10478852). In a plane the sum of small differences squared is that of the slope over the
area, whatever the size of the voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: For the plugins that use it.
CITATION = (
    "Scannell CM, Chiribiri A, Villa ADM, Breeuwer M, Lee J. Hierarchical Bayesian myocardial perfusion "
    "quantification. Med Image Anal 2020;60:101611. doi:10.1016/j.media.2019.101611"
)
#: Degrees of freedom of the difference of neighbours. A border lies far out: a normal density would blur it, a Cauchy
#: density (1) would let a single voxel that is wrong stand as well.
DEGREES_OF_FREEDOM = 2.0
#: No curve tells log flow better than this; noise-free ones would leave nothing else of the precision.
_LEAST_SD = 1e-3
# Rounds of weighing the pairs anew, at most, and the change of log flow at which they end.
_ROUNDS, _SETTLED = 30, 1e-3


@dataclass(frozen=True)
class NeighbourOptions:
    """The option of a kinetics plugin in which neighbours may have a say."""

    prior: Literal["spatial", "voxel"] = field(
        default="spatial",
        metadata={
            "help": "spatial: a voxel's neighbours tell of its flow as well (docs/models.md); voxel: its own curve "
            "alone"
        },
    )

    def __post_init__(self) -> None:
        if self.prior not in ("spatial", "voxel"):
            raise ValueError(f"prior is {self.prior!r}; it must be spatial or voxel")


def share_flow(log_flow: Array, log_sd: Array, voxels: Index, between: float) -> tuple[Array, Array]:
    """Log flow given the neighbours' as well: mean and standard deviation of the joint posterior.

    Each voxel's own posterior is taken as normal. Given how much each pair counts the joint one is normal too, and its
    mean solves a banded system for each slice; how much a pair counts follows from its expected difference
    (expectation maximisation). That is then taken as known: the standard deviation is up to a tenth too small.

    Parameters
    ----------
    log_flow, log_sd : (n,) arrays
        Mean and standard deviation by the voxel's own curve; NaN where there is none. Those stay NaN and tell their
        neighbours nothing.
    voxels : (n, 3) int array
        Where the voxels lie; the last axis counts slices. No two lie in one place.
    between : float
        Scale of the difference of neighbours' log flow.

    Returns
    -------
    (n,) array, (n,) array
        The same for any order of the voxels.
    """
    mean, sd = np.full((2, len(log_flow)), np.nan)
    known = np.isfinite(log_flow) & np.isfinite(log_sd)
    for k in np.unique(voxels[known, 2]):
        rows = np.flatnonzero(known & (voxels[:, 2] == k))
        rows = rows[np.lexsort(voxels[rows, :2].T)]
        mean[rows], sd[rows] = _share_in_slice(log_flow[rows], log_sd[rows], voxels[rows], between)
    return mean, sd


def pairs_of(voxels: Index) -> tuple[Index, Index]:
    """Rows of both of each pair of (n, 3) voxels that lie next to each other within a slice."""
    at = {tuple(place): row for row, place in enumerate(voxels.tolist())}
    found = [
        (row, other)
        for (i, j, k), row in at.items()
        for other in (at.get((i + 1, j, k)), at.get((i, j + 1, k)))
        if other is not None
    ]
    first, second = np.array(found, dtype=np.intp).reshape(-1, 2).T
    return first, second


def _share_in_slice(log_flow: Array, log_sd: Array, voxels: Index, between: float) -> tuple[Array, Array]:
    from scipy.linalg import cho_solve_banded, cholesky_banded

    first, second = pairs_of(voxels)
    if not len(first):
        return log_flow, log_sd
    n, low, high = len(log_flow), np.minimum(first, second), np.maximum(first, second)
    own, apart = 1.0 / np.maximum(log_sd, _LEAST_SD) ** 2, high - low
    weight, mean = _weight((log_flow[low] - log_flow[high]) ** 2, between), log_flow
    for _ in range(_ROUNDS):
        precision = weight / between**2
        band = np.zeros((int(apart.max()) + 1, n))
        band[0] = own + np.bincount(low, precision, n) + np.bincount(high, precision, n)
        band[apart, low] = -precision
        factor = cholesky_banded(band, lower=True)
        before, mean = mean, cho_solve_banded((factor, True), own * log_flow)
        covariance = _inverse_in_band(factor)
        if np.abs(mean - before).max() < _SETTLED:
            break
        variance = covariance[0, low] + covariance[0, high] - 2.0 * covariance[apart, low]
        weight = _weight((mean[low] - mean[high]) ** 2 + variance, between)
    return mean, np.sqrt(covariance[0])


def _inverse_in_band(factor: Array) -> Array:
    """Elements within the band (b + 1, n) of a matrix' inverse, from its Cholesky factor in SciPy's lower form.

    From the last column to the first, each from those after it (Takahashi's equations; Erisman and Tinney 1975,
    doi:10.1145/360680.360704): the whole inverse of a wall of many voxels would not fit into memory.
    """
    width, n = factor.shape[0] - 1, factor.shape[1]
    padded = np.zeros((width + 1, n + width))
    padded[:, :n] = factor / factor[0]
    padded[0, :n] = factor[0]
    found, later = np.zeros((width + 1, n)), np.zeros((width, width))
    for k in range(n - 1, -1, -1):
        column = padded[1:, k]
        beside = -(later @ column)
        found[0, k] = 1.0 / padded[0, k] ** 2 - column @ beside
        found[1:, k] = beside
        later[1:, 1:] = later[:-1, :-1].copy()
        later[0, 0] = found[0, k]
        later[0, 1:] = later[1:, 0] = beside[:-1]
    return found


def _weight(square: Array, between: float) -> Array:
    """How much pairs count by their expected squared difference."""
    return np.asarray((DEGREES_OF_FREEDOM + 1.0) / (DEGREES_OF_FREEDOM + square / between**2))
