"""What part of a voxel's enhancement is left blood, right blood and myocardium."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fractions:
    """Shares of the reference curves in each voxel's curve, (x, y), not negative, 1 where a voxel is like a reference.

    ``lv`` is left-, ``rv`` right-ventricular blood.
    """

    lv: Array
    rv: Array
    myocardium: Array

    @property
    def wall(self) -> Array:
        """How much more a voxel looks like myocardium than like blood, -1 to 1."""
        return np.clip(np.clip(self.myocardium, 0.0, 1.0) - self.lv - self.rv, -1.0, 1.0)


def unmix(curves: Array, lv: Array, rv: Array | None, myocardium: Array, inside: Mask) -> Fractions:
    """Fit each curve with the reference curves, by non-negative least squares.

    Parameters
    ----------
    curves : (x, y, t) array
        Enhancement of a slice.
    lv, rv, myocardium : (t,) arrays
        Reference curves; ``rv`` None where the slice has no right ventricle.
    inside : (x, y) bool array
        Where to fit; the fractions are 0 elsewhere.

    Returns
    -------
    Fractions
    """
    references = [curve for curve in (lv, myocardium, rv) if curve is not None]
    matrix = np.stack(references, axis=1)
    shares = np.zeros((*curves.shape[:2], 3))
    shares[inside, : len(references)] = _non_negative(matrix, curves[inside])
    return Fractions(lv=shares[..., 0], rv=shares[..., 2], myocardium=shares[..., 1])


def _non_negative(matrix: Array, curves: Array) -> Array:
    """Non-negative least squares of curves (n, t) by the few columns of a matrix (t, k), (n, k).

    Of the fits by each subset of the columns the best one without a negative share: as many as there are subsets.
    """
    count = matrix.shape[1]
    best, found = np.zeros(len(curves)), np.zeros((len(curves), count))
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            shares = curves @ np.linalg.pinv(matrix[:, chosen]).T
            # By how much the fit lessens the sum of squares.
            explained = (shares * (curves @ matrix[:, chosen])).sum(axis=1)
            better = (shares >= 0.0).all(axis=1) & (explained > best)
            best[better] = explained[better]
            found[better] = 0.0
            found[np.ix_(better, chosen)] = shares[better]
    return found


def typical_curve(curves: Array, mask: Mask) -> Array:
    """Median curve (t,) of the voxels of a mask."""
    return np.median(curves[mask], axis=0)
