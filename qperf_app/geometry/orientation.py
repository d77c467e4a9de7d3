"""One order for the voxels of an image, however it is stored.

The same image may be stored with its in-plane axes exchanged or any axis reversed; its affine says so. Sums of
floating-point numbers, ties between equal values and steps from one slice to the next depend on the order of voxels all
the same. A method that works in canonical order, and brings its result back, gives the same answer for every way of
storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry.slices import LONG_AXIS

# Components of a direction that differ by less than this are the same: more than the rounding of an affine in a file.
_SAME = 1e-3


@dataclass(frozen=True)
class AxisOrder:
    """An exchange of the two in-plane axes, and then a reversal of some of the three axes (x, y, slice)."""

    exchanged: bool
    reversed: tuple[bool, bool, bool]

    @property
    def inverse(self) -> AxisOrder:
        """The order that brings back what this one has changed."""
        x, y, z = self.reversed
        return AxisOrder(self.exchanged, (y, x, z) if self.exchanged else (x, y, z))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Array (x, y, z, ...) in this order, contiguous in memory whatever it was before."""
        moved = np.swapaxes(array, 0, 1) if self.exchanged else array
        return np.ascontiguousarray(np.flip(moved, tuple(axis for axis in range(3) if self.reversed[axis])))

    def apply_to_slices(self, array: NDArray[Any]) -> NDArray[Any]:
        """Array (z, ...) in this order."""
        return np.ascontiguousarray(array[::-1] if self.reversed[2] else array)

    def apply_to_affine(self, affine: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Affine of an image of ``shape`` (x, y, z, ...) once its array has been brought into this order."""
        result = np.array(affine, np.float64)
        sizes = list(shape[:3])
        if self.exchanged:
            result[:, [0, 1]] = result[:, [1, 0]]
            sizes[:2] = sizes[1::-1]
        for axis in range(3):
            if self.reversed[axis]:
                result[:3, 3] += (sizes[axis] - 1) * result[:3, axis]
                result[:3, axis] *= -1.0
        return result

    def slice_index(self, index: int, n_slices: int) -> int:
        """Where slice ``index`` of ``n_slices`` lies in this order."""
        return n_slices - 1 - index if self.reversed[2] else index


def canonical_order(affine: ArrayLike) -> AxisOrder:
    """Order in which an image's voxels are the same however it is stored.

    In-plane axes point up, level ones to the front, and those that are level and transverse to the right; the second
    axis is the one that rises more. Slices run from base to apex, as far as the orientation says.

    Parameters
    ----------
    affine : (4, 4) array
        Voxel index to world mm (RAS+).
    """
    directions = np.asarray(affine, np.float64)[:3, :3]
    directions = directions / np.linalg.norm(directions, axis=0)
    signs = [_sign(directions[::-1, axis]) for axis in (0, 1)]
    first, second = (directions[::-1, axis] * signs[axis] for axis in (0, 1))
    exchanged = _sign(second - first) < 0
    along = float(directions[:, 2] @ LONG_AXIS)
    slices = along if abs(along) > _SAME else _sign(directions[::-1, 2])
    flips = [sign < 0 for sign in (signs[::-1] if exchanged else signs)]
    return AxisOrder(exchanged, (flips[0], flips[1], slices < 0))


def _sign(components: NDArray[np.float64]) -> float:
    """Sign of the first component that is not zero."""
    found = components[np.abs(components) > _SAME]
    return float(np.sign(found[0])) if len(found) else 1.0
