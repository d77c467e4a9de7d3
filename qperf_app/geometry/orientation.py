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
class Reorientation:
    """Another order of an image's axes: the stored axis that becomes each one, and which are reversed then."""

    axes: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]

    @property
    def inverse(self) -> Reorientation:
        """The order that brings back what this one has changed."""
        back = [self.axes.index(axis) for axis in range(3)]
        x, y, z = (self.reversed[axis] for axis in back)
        return Reorientation((back[0], back[1], back[2]), (x, y, z))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """The same values (x, y, z, ...) in this order, contiguous in memory whatever they were; later axes stay."""
        return np.ascontiguousarray(self.view(array))

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """What :meth:`apply` copies, as a view."""
        moved = np.transpose(array, (*self.axes, *range(3, array.ndim)))
        return np.flip(moved, tuple(axis for axis in range(3) if self.reversed[axis]))

    def apply_to_slices(self, array: NDArray[Any]) -> NDArray[Any]:
        """Array (z, ...) in this order, of images whose slices stay the third axis."""
        return np.ascontiguousarray(array[::-1] if self.reversed[2] else array)

    def apply_to_affine(self, affine: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Affine of an image of ``shape`` (x, y, z, ...) once its array has been brought into this order."""
        result = np.array(affine, np.float64)[:, [*self.axes, 3]]
        for axis in range(3):
            if self.reversed[axis]:
                result[:3, 3] += (shape[self.axes[axis]] - 1) * result[:3, axis]
                result[:3, axis] *= -1.0
        return result

    def slice_index(self, index: int, n_slices: int) -> int:
        """Where slice ``index`` of ``n_slices`` lies in this order, of images whose slices stay the third axis."""
        return n_slices - 1 - index if self.reversed[2] else index


def canonical_order(affine: ArrayLike) -> Reorientation:
    """Order in which an image's voxels are the same however it is stored; slices stay the third axis.

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
    return Reorientation((1, 0, 2) if exchanged else (0, 1, 2), (flips[0], flips[1], slices < 0))


def _sign(components: NDArray[np.float64]) -> float:
    """Sign of the first component that is not zero."""
    found = components[np.abs(components) > _SAME]
    return float(np.sign(found[0])) if len(found) else 1.0
