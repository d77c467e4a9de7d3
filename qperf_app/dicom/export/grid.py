"""How the voxels of a result become frames, in the patient's frame of reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from qperf_app.dicom.geometry import slice_plane


@dataclass(frozen=True)
class Plane:
    """``ImagePositionPatient``, ``ImageOrientationPatient``, ``PixelSpacing`` and (rows, columns) of a frame."""

    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: NDArray[np.float64]
    shape: tuple[int, int]

    def agrees(self, other: Plane) -> bool:
        """Whether two planes are the same to a tenth of a millimetre at every pixel."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self._corners() - other._corners()).max() < 0.1)

    def _corners(self) -> NDArray[np.float64]:
        rows, columns = self.shape
        across = self.orientation[:3] * self.spacing[1] * (columns - 1)
        down = self.orientation[3:] * self.spacing[0] * (rows - 1)
        return np.stack([self.position, self.position + across, self.position + down])


@dataclass(frozen=True)
class FrameGrid:
    """Frames of a volume.

    Parameters
    ----------
    swapped : bool
        Whether rows run along the second image axis instead of the first.
    flipped : pair of bool
        Whether the first and the second image axis are read backwards.
    planes : tuple of Plane
        One for each slice of the volume.
    thickness : float
        mm.
    frame_of_reference : UID
    sources : tuple of Dataset
        Headers that stand for the images that the volume was made from; of new ones where there are none.
    named : bool
        Whether the sources are images that exist and may be named.
    """

    swapped: bool
    flipped: tuple[bool, bool]
    planes: tuple[Plane, ...]
    thickness: float
    frame_of_reference: UID
    sources: tuple[Dataset, ...]
    named: bool

    def frames(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """Volume (x, y, z) as frames (z, rows, columns)."""
        first, second = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        turned = volume[first, second]
        return np.ascontiguousarray(turned.transpose(2, 0, 1) if self.swapped else turned.transpose(2, 1, 0))


def arrangements(
    affine: NDArray[np.floating], shape: tuple[int, int, int]
) -> Iterator[tuple[bool, tuple[bool, bool], tuple[Plane, ...]]]:
    """The eight ways to lay the slices of a volume out as frames, the volume's own first: axes swapped or not, each
    read backwards or not, and the planes that follow."""
    matrix = np.asarray(affine, np.float64)
    for swapped in (False, True):
        for flipped in ((False, False), (False, True), (True, False), (True, True)):
            turned = matrix.copy()
            for axis, flip in enumerate(flipped):
                if flip:
                    turned[:3, 3] += turned[:3, axis] * (shape[axis] - 1)
                    turned[:3, axis] *= -1.0
            if swapped:
                turned[:, [0, 1]] = turned[:, [1, 0]]
            columns, rows = (shape[1], shape[0]) if swapped else (shape[0], shape[1])
            across, down = np.linalg.norm(turned[:3, 0]), np.linalg.norm(turned[:3, 1])
            spacing = np.array([down, across])
            yield (
                swapped,
                flipped,
                tuple(Plane(*slice_plane(turned, k), spacing, (rows, columns)) for k in range(shape[2])),
            )
