"""Between the NIfTI world frame (RAS+) and the patient frame of DICOM (LPS+)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def slice_plane(
    affine: NDArray[np.floating], index: int, tilt: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position and orientation of a slice whose rows run along the first image axis.

    Parameters
    ----------
    affine : (4, 4) array
        Voxel index to world mm, RAS+.
    index : int
        Along the third image axis.
    tilt : float
        Degrees by which the slice is turned about the direction of its rows, through its first row.

    Returns
    -------
    position : (3,) array
        ``ImagePositionPatient``, mm: the centre of voxel (0, 0, index).
    orientation : (6,) array
        ``ImageOrientationPatient``.
    """
    matrix = np.asarray(affine, np.float64)
    position = _RAS_TO_LPS * (matrix[:3, :3] @ [0.0, 0.0, index] + matrix[:3, 3])
    row, column = (_RAS_TO_LPS * matrix[:3, axis] for axis in (0, 1))
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    angle = np.deg2rad(tilt)
    column = np.cos(angle) * column + np.sin(angle) * np.cross(row, column)
    return position, np.concatenate([row, column])
