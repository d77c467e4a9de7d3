"""What part of a voxel's enhancement is left blood, right blood and myocardium."""

from __future__ import annotations

from dataclasses import dataclass

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
    from scipy.optimize import nnls

    references = [curve for curve in (lv, myocardium, rv) if curve is not None]
    matrix = np.stack(references, axis=1)
    shares = np.zeros((*curves.shape[:2], 3))
    shares[inside, : len(references)] = [nnls(matrix, curve)[0] for curve in curves[inside]]
    return Fractions(lv=shares[..., 0], rv=shares[..., 2], myocardium=shares[..., 1])


def typical_curve(curves: Array, mask: Mask) -> Array:
    """Median curve (t,) of the voxels of a mask."""
    return np.median(curves[mask], axis=0)
