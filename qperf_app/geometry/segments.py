"""The American Heart Association's 17 segments of the left ventricle, and the two layers of its wall.

Numbers, names and sectors follow Cerqueira et al., Circulation 2002;105:539. Sectors of 60 degrees (basal, mid) are
counted from the anterior insertion of the right ventricle, through the septum: 2, 3, 4, 5, 6, 1. The two septal
sectors so take 120 degrees, whatever the angle between the insertion points; the inferior insertion point only says
which way round the septum lies. The four apical sectors of 90 degrees keep the septum's middle, 60 degrees from the
anterior insertion, as the middle of the septal one.

Everything is computed in world coordinates, so that neither the orientation nor a mirrored storage of the image
changes a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry.grids import voxel_to_world
from qperf_app.geometry.levels import Level, slice_levels
from qperf_app.geometry.slices import SlicePlane

#: Names by number.
SEGMENT_NAMES: Mapping[int, str] = {
    1: "basal anterior",
    2: "basal anteroseptal",
    3: "basal inferoseptal",
    4: "basal inferior",
    5: "basal inferolateral",
    6: "basal anterolateral",
    7: "mid anterior",
    8: "mid anteroseptal",
    9: "mid inferoseptal",
    10: "mid inferior",
    11: "mid inferolateral",
    12: "mid anterolateral",
    13: "apical anterior",
    14: "apical septal",
    15: "apical inferior",
    16: "apical lateral",
    17: "apex",
}

#: Coronary territories of the segments, the usual assignment.
TERRITORIES: Mapping[str, tuple[int, ...]] = {
    "LAD": (1, 2, 7, 8, 13, 14, 17),
    "RCA": (3, 4, 9, 10, 15),
    "LCx": (5, 6, 11, 12, 16),
}

#: Segments in the order in which they follow the anterior insertion, and the angle at which the first begins.
_SECTORS: Mapping[Level, tuple[tuple[int, ...], float]] = {
    "basal": ((2, 3, 4, 5, 6, 1), 0.0),
    "mid": ((8, 9, 10, 11, 12, 7), 0.0),
    "apical": ((14, 15, 16, 13), 15.0),
    "apex": ((17,), 0.0),
}

APEX = 17


def level_of(segment: int) -> Level:
    """The level that a segment lies on."""
    return next(level for level, (numbers, _) in _SECTORS.items() if segment in numbers)


class InsertionPoint(Protocol):
    """A landmark as the plugin interface knows it: its name, its slice, its position in world mm."""

    @property
    def name(self) -> Literal["RVInsertionAnterior", "RVInsertionInferior"]: ...

    @property
    def slice(self) -> int: ...

    @property
    def position(self) -> tuple[float, float, float]: ...


@dataclass(frozen=True)
class Segmentation:
    """Segment numbers (x, y, z) uint8, 0 outside the myocardium; the level of each slice; what the reader must know."""

    labels: NDArray[np.uint8]
    levels: tuple[Level | None, ...]
    warnings: tuple[str, ...] = ()


def label_segments(
    mask: NDArray[np.bool_],
    affine: ArrayLike,
    landmarks: Iterable[InsertionPoint],
    levels: Sequence[Level | None] | None = None,
) -> Segmentation:
    """Give every myocardial voxel its segment.

    A slice without usable insertion points takes the angle of the nearest slice that has them, with a warning; where
    none has, no voxel gets a segment. The anterior point alone is usable where the image's orientation is known.

    Parameters
    ----------
    mask : (x, y, z) bool array
        Myocardium of a short-axis stack.
    affine : (4, 4) array
        Voxel index to world mm.
    landmarks : iterable of landmarks
        Insertion points of the right ventricle, at most one of a name in a slice.
    levels : sequence, optional
        Level of each slice, None for a slice to leave out; :func:`~qperf_app.geometry.levels.slice_levels` decides
        where it isn't given.

    Returns
    -------
    Segmentation

    Raises
    ------
    ValueError
        Where a landmark names a slice that isn't there, or levels don't fit the slices.
    """
    mask = np.asarray(mask, bool)
    if levels is None:
        stack = slice_levels(mask, affine)
        levels, warnings = stack.levels, list(stack.warnings)
    else:
        levels, warnings = tuple(levels), []
    if len(levels) != mask.shape[2]:
        raise ValueError(f"{len(levels)} levels for {mask.shape[2]} slices")
    planes = {z: SlicePlane.of(mask, affine, z) for z in range(mask.shape[2]) if mask[:, :, z].any()}
    starts, unclear = _starting_angles(planes, landmarks, mask.shape[2])
    warnings += [f"slice {z + 1}: no inferior RV insertion point says which way round the septum lies" for z in unclear]
    labels = np.zeros(mask.shape, np.uint8)
    if planes and not starts:
        warnings.append("no slice has usable RV insertion points: no segments")
        return Segmentation(labels, levels, tuple(warnings))
    for z, plane in planes.items():
        level = levels[z]
        if level is None:
            continue
        nearest = min(starts, key=lambda other: (abs(other - z), other))
        if nearest != z and level != "apex":
            told = f"slice {z + 1} has no usable RV insertion point: its angle is taken from slice {nearest + 1}"
            warnings.append(told)
        start, turn = starts[nearest]
        voxels = np.argwhere(mask[:, :, z])
        angles = turn * (plane.angles(voxel_to_world(affine, _with_slice(voxels, z))) - start)
        labels[voxels[:, 0], voxels[:, 1], z] = _sectors(level, angles)
    return Segmentation(labels, levels, tuple(warnings))


def label_layers(mask: NDArray[np.bool_], affine: ArrayLike) -> NDArray[np.uint8]:
    """Halve the wall: 1 the inner, endocardial half, 2 the outer, epicardial half, 0 outside the mask.

    A voxel's depth is its distance from the cavity over the sum of its distances from cavity and outside, in plane,
    in mm. In a slice without a cavity its centre takes the cavity's part. Voxels exactly halfway, such as the middle
    one of three, go to the layers in turn, as a chessboard's squares do: neither layer is favoured.

    Parameters
    ----------
    mask : (x, y, z) bool array
        Myocardium.
    affine : (4, 4) array
        Voxel index to world mm.

    Returns
    -------
    (x, y, z) uint8 array
    """
    mask = np.asarray(mask, bool)
    layers = np.zeros(mask.shape, np.uint8)
    for z in np.flatnonzero(mask.any(axis=(0, 1))).tolist():
        inner, outer = _border_distances(mask, affine, z)
        halfway = np.isclose(inner, outer) & (np.indices(inner.shape).sum(axis=0) % 2 == 0)
        layers[:, :, z] = np.where(mask[:, :, z], np.where((inner < outer) | halfway, 1, 2), 0)
    return layers


def wall_depth(mask: NDArray[np.bool_], affine: ArrayLike) -> NDArray[np.float64]:
    """Depth of each voxel in the wall, (x, y, z): 0 at the cavity, 1 outside; NaN outside the mask.

    The distance from the cavity over the sum of the distances from cavity and outside, as :func:`label_layers` has it.
    """
    mask = np.asarray(mask, bool)
    depth = np.full(mask.shape, np.nan)
    for z in np.flatnonzero(mask.any(axis=(0, 1))).tolist():
        inner, outer = _border_distances(mask, affine, z)
        depth[:, :, z] = np.where(mask[:, :, z], inner / (inner + outer), np.nan)
    return depth


def _border_distances(
    mask: NDArray[np.bool_], affine: ArrayLike, index: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (x, y) of the voxels of a slice from the cavity, and from what lies outside the wall, mm."""
    from scipy.ndimage import distance_transform_edt

    spacing = np.linalg.norm(np.asarray(affine, np.float64)[:3, :2], axis=0)
    # A rim of background, so that a wall at the image's edge has an outside.
    wall = np.pad(mask[:, :, index], 1)
    cavity = np.pad(SlicePlane.of(mask, affine, index).cavity(mask[:, :, index]), 1)
    inner = distance_transform_edt(~cavity, sampling=spacing)
    outer = distance_transform_edt(wall | cavity, sampling=spacing)
    return inner[1:-1, 1:-1], outer[1:-1, 1:-1]


def _starting_angles(
    planes: Mapping[int, SlicePlane], landmarks: Iterable[InsertionPoint], n_slices: int
) -> tuple[dict[int, tuple[float, float]], list[int]]:
    """For each slice the angle of its anterior insertion point, and 1 or -1: the turn that leads to the septum.

    Second, the slices that have an anterior point, but nothing that tells the turn.
    """
    points: dict[tuple[str, int], tuple[float, float, float]] = {}
    for landmark in landmarks:
        if not 0 <= landmark.slice < n_slices:
            raise ValueError(f"landmark {landmark.name} lies in slice {landmark.slice} of {n_slices}")
        points[landmark.name, landmark.slice] = landmark.position
    starts: dict[int, tuple[float, float]] = {}
    unclear = []
    for z, plane in planes.items():
        anterior, inferior = points.get(("RVInsertionAnterior", z)), points.get(("RVInsertionInferior", z))
        if anterior is None:
            continue
        start = float(plane.angles(anterior))
        turn = plane.septal_turn
        if inferior is not None:
            # The septum is the shorter way from one insertion to the other.
            turn = 1.0 if (float(plane.angles(inferior)) - start) % 360.0 < 180.0 else -1.0
        if turn is None:
            unclear.append(z)
        else:
            starts[z] = (start, turn)
    return starts, unclear


def _sectors(level: Level, angles: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Segment of each angle, in degrees from the anterior insertion through the septum."""
    numbers, first = _SECTORS[level]
    # Rounded, so that a voxel on the border of two sectors falls to the same one however the image is stored.
    sector = np.floor(np.round((angles - first) % 360.0, 6) * len(numbers) / 360.0).astype(int)
    return np.asarray(np.asarray(numbers, np.uint8)[sector % len(numbers)])


def _with_slice(voxels: NDArray[Any], z: int) -> NDArray[Any]:
    return np.column_stack([voxels, np.full(len(voxels), z)])
