"""Pixels of the frames that are taken, one series at a time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.dicom.frames import Frame
from qperf_app.dicom.nifti import is_nifti
from qperf_app.dicom.sources import Opener, UnreadableError
from qperf_app.dicom.stacks import orientation_of, position_of

#: Proton-density frames among the first ones: at most so many, and brighter than those after them by this factor.
_MOST_BRIGHT, _BRIGHTER, _ALIKE = 8, 1.6, 1.4
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def read_frame(frame: Frame, opener: Opener) -> NDArray[np.float64] | NDArray[np.integer[Any]]:
    """Values of one frame, (columns, rows): integers where the header scales nothing.

    Raises
    ------
    UnreadableError
    """
    from pydicom import config
    from pydicom.pixels.utils import pixel_array

    if is_nifti(frame.file.path):
        return _slice(frame, opener)
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            stored = pixel_array(opener.content(frame.file), index=frame.index)
    except UnreadableError:
        raise
    # A decoder tells of damaged data in many ways.
    except Exception as error:
        raise UnreadableError(f"pixels can't be read: {' '.join(str(error).split())}") from None
    if stored.shape != (frame.header.rows, frame.header.columns):
        raise UnreadableError(f"pixels are {stored.shape}, the header says otherwise")
    values = stored.T
    if frame.slope == 1.0 and frame.intercept == 0.0 and np.issubdtype(values.dtype, np.integer):
        return values
    return np.asarray(values * frame.slope + frame.intercept, np.float64)


def _slice(frame: Frame, opener: Opener) -> NDArray[np.float64] | NDArray[np.integer[Any]]:
    """A slice of a volume of a NIfTI file, scaled as the file says."""
    volumes = opener.volumes(frame.file)
    values = np.asarray(volumes.reshape(*volumes.shape[:2], -1, order="F")[:, :, frame.index])
    return values if np.issubdtype(values.dtype, np.integer) else values.astype(np.float64)


def read_series(
    frames: Sequence[Sequence[Frame]], opener: Opener
) -> tuple[NDArray[Any], list[int], list[tuple[Frame, str]]]:
    """Values of all frames (slices, volumes), the volumes that could be read, and what could not.

    Returns
    -------
    data : (columns, rows, slices, volumes) array
        Of the smallest integer type that holds the values exactly, or float32.
    kept : list of int
        Indices of the volumes that are there.
    bad : list of (Frame, str)
    """
    first = frames[0][0].header
    n_slices, n_volumes = len(frames), len(frames[0])
    data: NDArray[Any] = np.zeros((first.columns, first.rows, n_slices, n_volumes), np.int32)
    bad: list[tuple[Frame, str]] = []
    lost: set[int] = set()
    # By file, so that a multi-frame member of an archive is unpacked once after the other and not at random.
    places = ((_place(frames[k][t]), k, t) for k in range(n_slices) for t in range(n_volumes))
    for _, k, t in sorted(places):
        try:
            values = read_frame(frames[k][t], opener)
        except UnreadableError as error:
            bad.append((frames[k][t], str(error)))
            lost.add(t)
            continue
        if data.dtype == np.int32 and not np.issubdtype(values.dtype, np.integer):
            data = data.astype(np.float32)
        data[:, :, k, t] = values
    kept = [t for t in range(n_volumes) if t not in lost]
    return _compact(data[..., kept]), kept, bad


def bright_start(frames: Sequence[Frame], opener: Opener) -> int:
    """How many frames at the start of a slice are clearly brighter than those that follow: without saturation.

    The bolus arrives later and makes images brighter, never the first ones alone.
    """
    means = []
    for frame in frames[: _MOST_BRIGHT + 4]:
        try:
            means.append(float(np.abs(read_frame(frame, opener)).mean()))
        except UnreadableError:
            return 0
    for count in range(1, min(_MOST_BRIGHT, len(means) - 3) + 1):
        bright, after = means[:count], means[count : count + 3]
        if min(bright) >= _BRIGHTER * max(after) > 0 and max(bright) <= _ALIKE * min(bright):
            return count
    return 0


def affine_of(frames: Sequence[Sequence[Frame]]) -> NDArray[np.float64]:
    """Voxel index (column, row, slice) to world mm, RAS+.

    The step from slice to slice is that of their positions; of a single slice, the distance or thickness that the
    header names.
    """
    first = frames[0][-1]
    row, column, normal = orientation_of(first)
    between_rows, between_columns = first.header.spacing
    places = [np.mean([position_of(frame) for frame in of_slice], axis=0) for of_slice in frames]
    if len(places) > 1:
        step = (places[-1] - places[0]) / (len(places) - 1)
    else:
        values = first.header.values
        step = normal * max(values.get("SpacingBetweenSlices", 0.0), values.get("SliceThickness", 0.0), 1e-3)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * between_columns, column * between_rows, step], axis=1)
    affine[:3, 3] = places[0]
    affine[:3] *= _LPS_TO_RAS[:, None]
    return affine


def _place(frame: Frame) -> tuple[str, str, int]:
    return frame.file.path, frame.file.member, frame.index


def _compact(data: NDArray[Any]) -> NDArray[Any]:
    if data.dtype != np.int32 or not data.size:
        return data
    low, high = data.min(), data.max()
    for kind in (np.int16, np.uint16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return data.astype(kind)
    return data
