"""Masks against the series and the orientation: blood is where the bolus passes, the right ventricle on the right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.checks.findings import Finding, doubt
from qperf_app.geometry import voxel_to_world
from qperf_app.geometry.segments import APEX, label_segments, level_of
from qperf_app.geometry.slices import SlicePlane, base_to_apex
from qperf_app.plugins.records import BloodPools, Landmark

#: Share of the enhancement of the brightest blood that most voxels of a mask reach, by what they are.
LEAST_ENHANCED = {"lv": 0.35, "rv": 0.35, "aif-voxels": 0.35, "myocardium": 0.02}
#: Cosine between the way from left to right ventricle and the patient's right from which the image is mirrored.
MIRRORED = -0.3
#: How much wider than one nearer to the base a slice is where the slices are in the wrong order, and the voxels that a
#: slice of the wall has at least. A ventricle tapers.
WIDENING, LEAST_OF_A_SLICE = 1.1, 20
#: How far beside the septum, the arc between the insertion points, the middle of the right ventricle's blood may lie,
#: degrees: in slices at another level it turns by so much.
BESIDE_SEPTUM = 15.0
#: Share of voxels that have the same segment where segments are turned by half of one.
LEAST_ALIKE = 0.5


def enhancement_findings(
    file: str, role: str, inside: NDArray[np.bool_], data: NDArray[np.floating], affine: ArrayLike
) -> Iterator[Finding]:
    """The voxels of a mask enhance as blood or muscle does, and what a wall encloses as blood.

    Parameters
    ----------
    role : str
        ``lv``, ``rv``, ``aif-voxels`` or ``myocardium``.
    inside : (x, y, z) bool array
    data : (x, y, z, t) array
        Dynamic volumes of the series on the same grid.
    affine : (4, 4) array
        Voxel index to world mm.
    """
    least = LEAST_ENHANCED.get(role)
    if least is None or not inside.any():
        return
    rise = data.max(axis=-1) - np.median(data[..., : max(2, data.shape[-1] // 8)], axis=-1)
    blood = float(np.quantile(rise[:, :, inside.any(axis=(0, 1))], 0.99))
    if blood <= 0:
        return
    share = float(np.median(rise[inside])) / blood
    enclosed = rise[cavities(inside, affine)] if role == "myocardium" else np.zeros(0)
    if share < least:
        yield doubt(
            file, "",
            f"most of its voxels enhance by {max(share, 0):.0%} of what the brightest blood does, less than "
            f"{'muscle' if role == 'myocardium' else 'blood'} (some {least:.0%} at least): does it lie in its place?",
        )  # fmt: skip
    elif enclosed.size and np.median(enclosed) < LEAST_ENHANCED["lv"] * blood:
        yield doubt(
            file, "",
            f"most of what it encloses enhances by {max(np.median(enclosed) / blood, 0):.0%} of what the brightest "
            "blood does, less than blood: does it lie in its place?",
        )  # fmt: skip


def cavities(wall: NDArray[np.bool_], affine: ArrayLike) -> NDArray[np.bool_]:
    """What the wall encloses in each slice, (x, y, z); nothing where it is solid."""
    enclosed = np.zeros(wall.shape, bool)
    for z in np.flatnonzero(wall.any(axis=(0, 1))):
        enclosed[:, :, z] = SlicePlane.of(wall, affine, int(z)).cavity(wall[:, :, z]) & ~wall[:, :, z]
    return enclosed


def mirrored(left: NDArray[np.bool_], right: NDArray[np.bool_], affine: ArrayLike) -> str:
    """Say so where the right ventricle lies on the patient's left, as a short axis is orientated; else empty.

    Parameters
    ----------
    left, right : (x, y, z) bool arrays
        Blood of the ventricles.
    affine : (4, 4) array
        Voxel index to world mm.
    """
    if not (left.any() and right.any()) or base_to_apex(affine) is None:
        return ""
    matrix = np.asarray(affine, np.float64)
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    normal /= np.linalg.norm(normal)
    centres = [voxel_to_world(matrix, np.argwhere(mask).mean(axis=0)) for mask in (left, right)]
    way, right_hand = centres[1] - centres[0], np.array([1.0, 0.0, 0.0])
    way, right_hand = (v - (v @ normal) * normal for v in (way, right_hand))
    lengths = float(np.linalg.norm(way) * np.linalg.norm(right_hand))
    if lengths < 1.0 or float(way @ right_hand) > MIRRORED * lengths:
        return ""
    return (
        "The right ventricle lies on the patient's left, as the image is orientated: is the image mirrored, or are the "
        "ventricles exchanged? Segments may be the wrong ones."
    )


def widening(wall: NDArray[np.bool_], affine: ArrayLike) -> str:
    """Say so where a slice is wider than one nearer to the base, as the image is orientated; else empty.

    Parameters
    ----------
    wall : (x, y, z) bool array
        Myocardium.
    affine : (4, 4) array
        Voxel index to world mm.
    """
    slices, sign = np.flatnonzero(wall.sum(axis=(0, 1)) > LEAST_OF_A_SLICE), base_to_apex(affine)
    if sign is None or len(slices) < 2:
        return ""
    matrix = np.asarray(affine, np.float64)
    radii = {z: _radius(wall, matrix, z) for z in (slices if sign > 0 else slices[::-1]).tolist()}
    basal, apical = max(itertools.combinations(radii, 2), key=lambda pair: radii[pair[1]] / radii[pair[0]])
    if radii[apical] < WIDENING * radii[basal]:
        return ""
    return (
        f"The ventricle is wider in slice {apical + 1} ({radii[apical]:.0f} mm) than in slice {basal + 1} "
        f"({radii[basal]:.0f} mm), which lies nearer to the base, as the image is orientated: are the slices in the "
        "wrong order? Levels of segments may be exchanged."
    )


def _radius(wall: NDArray[np.bool_], affine: NDArray[np.float64], z: int) -> float:
    """Root mean square distance of a slice's wall from the middle of what it encloses, mm."""
    plane = SlicePlane.of(wall, affine, z)
    voxels = np.argwhere(wall[:, :, z])
    there = voxel_to_world(affine, np.column_stack([voxels, np.full(len(voxels), z)]))
    return float(np.sqrt(np.square(there - plane.centre).sum(axis=1).mean()))


def septum_apart(points: Sequence[Landmark], wall: NDArray[np.bool_], affine: ArrayLike, pools: BloodPools) -> str:
    """Say so where the wall's septum faces away from the right ventricle that the blood pools show; else empty.

    Pools and wall may come from different series: their world frames must agree.

    Parameters
    ----------
    points : sequence of Landmark
        Insertion points of the right ventricle.
    wall : (x, y, z) bool array
        Myocardium.
    affine : (4, 4) array
        Voxel index to world mm, of the wall.
    pools : BloodPools
    """
    if not (points and wall.any() and pools.lv.any() and pools.rv.any()):
        return ""
    # Each from the middle of its own slice: a stack may lean on the ventricle's axis.
    planes = {z: SlicePlane.of(wall, affine, z) for z in {m.slice for m in points} if wall[:, :, z].any()}
    ways = np.array([np.subtract(m.position, planes[m.slice].centre) for m in points if m.slice in planes])
    if not len(ways):
        return ""
    left, right = (voxel_to_world(pools.affine, np.argwhere(mask).mean(axis=0)) for mask in (pools.lv, pools.rv))
    plane = next(iter(planes.values()))
    septum, ventricle, *ends = plane.angles(plane.centre + np.vstack([ways.mean(axis=0), right - left, ways]))
    both = len({m.name for m in points}) == 2
    reach = float(np.median(np.abs(_turn(ends - septum)))) + BESIDE_SEPTUM if both else 90.0
    if abs(_turn(ventricle - septum)) <= min(reach, 90.0):
        return ""
    return (
        "The septum of the outlined wall faces away from the right ventricle of the blood pools: does one of the "
        "series, or what was handed in, lie the wrong way round? Segments may be the wrong ones."
    )


def segments_apart(labels: NDArray[np.integer], affine: ArrayLike, points: Sequence[Landmark]) -> str:
    """Say so where most voxels have other segments than the insertion points give them; else empty.

    That is where they are turned by more than half a segment: the points that the app finds are never that far off.
    The level of a slice is that of its labels.

    Parameters
    ----------
    labels : (x, y, z) int array
        AHA segments.
    affine : (4, 4) array
        Voxel index to world mm.
    points : sequence of Landmark
        Insertion points of the right ventricle.
    """
    levels = [level_of(int(np.bincount(here).argmax())) if (here := s[s > 0]).size else None for s in labels.T]
    expected = label_segments(labels > 0, affine, points, levels).labels
    # Of a slice without points, and of the apex, nothing is known.
    compared = (expected > 0) & (expected < APEX) & (labels > 0)
    share = float((labels[compared] == expected[compared]).mean()) if compared.any() else 1.0
    if share >= LEAST_ALIKE:
        return ""
    return (
        f"{1.0 - share:.0%} of the voxels have another segment than the right ventricle's insertion points give them: "
        "are the segments turned or mirrored, or are the points wrong? Look at both in qperf review."
    )


def _turn(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """An angle, degrees, as a turn from -180 to below 180."""
    return np.asarray((angle + 180.0) % 360.0 - 180.0)
