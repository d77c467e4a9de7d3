"""Insertion points of the right ventricle that are handed in: in their slice, at the wall, the right way round.

Where they are not, some mistakes are tried, and the one that would make them fit is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.geometry import Grid, voxel_to_world, world_to_voxel
from qperf_app.geometry.slices import SlicePlane
from qperf_app.plugins.records import Landmark

#: Farthest that an insertion point may lie from the nearest voxel of the wall in its slice, mm: the wall's thickness
#: and some of the right ventricle's.
FARTHEST = 15.0
#: Distance from the plane of the slice, in slice distances, within which a point lies in it.
IN_PLANE = 0.5
_OTHER = {"RVInsertionAnterior": "RVInsertionInferior", "RVInsertionInferior": "RVInsertionAnterior"}

Points = Sequence[Landmark]


def point_findings(
    file: str, points: Points, grid: Grid, wall: NDArray[np.bool_] | None, outline: str = "the wall"
) -> Iterator[Finding]:
    """Check landmarks against the slices and, where it is known, the wall.

    Parameters
    ----------
    grid : Grid
        Of the series.
    wall : (x, y, z) bool array or None
        Myocardium on that grid.
    outline : str
        What it is called.
    """
    missing = [m for m in points if not 0 <= m.slice < grid.shape[2]]
    if missing:
        text = f"column 'slice' has {missing[0].slice}, the series has {grid.shape[2]} slices"
        yield refusal(file, "slice", text + (": count from 0" if missing[0].slice == grid.shape[2] else ""))
        return
    twice = [m for k, m in enumerate(points) if any((m.name, m.slice) == (o.name, o.slice) for o in points[:k])]
    if twice:
        yield refusal(file, "name", f"{twice[0].name} is there twice in slice {twice[0].slice} (from 0)")
        return
    problems = _Fit.of(points, grid, wall, outline).problems
    if problems:
        likely = next((words for words, change in _mistakes(grid) if _fits(change(points), grid, wall)), "")
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield refusal(file, "x, y, z", f"{problems[0]}{more}{f'. {likely}' if likely else ''}")
    elif not _pairs(points):
        yield doubt(file, "name", "no slice has both insertion points: the image says which way round the septum is")


@dataclass(frozen=True)
class _Fit:
    """What speaks against a set of points, the plainest first."""

    problems: tuple[str, ...]

    @classmethod
    def of(cls, points: Points, grid: Grid, wall: NDArray[np.bool_] | None, outline: str = "the wall") -> _Fit:
        placed = [p for m in points for p in _place(m, grid, wall, outline)]
        return cls(tuple(placed or [*_same_place(points, grid)] or _turned(points, grid, wall)))


def _fits(points: Points, grid: Grid, wall: NDArray[np.bool_] | None) -> bool:
    if any(not 0 <= m.slice < grid.shape[2] for m in points):
        return False
    return not _Fit.of(points, grid, wall).problems


def _place(point: Landmark, grid: Grid, wall: NDArray[np.bool_] | None, outline: str) -> Iterator[str]:
    """Say where a point lies that is not in its slice, or not at the wall."""
    where = f"{point.name} of slice {point.slice} (from 0) lies"
    position = np.asarray(point.position)
    offset = position - voxel_to_world(grid.affine, (0, 0, point.slice))
    along, apart = abs(float(offset @ grid.normal)), float(grid.voxel_size[2])
    # What the plane is crossed by is the distance along the normal, however the slices are sheared.
    if along > max(IN_PLANE * apart, 1.0):
        yield f"{where} {along:.0f} mm off the plane of its slice, slices are {apart:.3g} mm apart"
        return
    voxel = world_to_voxel(grid.affine, position)[:2]
    if (voxel < -0.5).any() or (voxel > np.array(grid.shape[:2]) - 0.5).any():
        yield f"{where} outside of the image"
        return
    if wall is not None and wall[:, :, point.slice].any():
        voxels = np.argwhere(wall[:, :, point.slice])
        there = voxel_to_world(grid.affine, np.column_stack([voxels, np.full(len(voxels), point.slice)]))
        distance = float(np.linalg.norm(there - position, axis=1).min())
        if distance > FARTHEST:
            yield f"{where} {distance:.0f} mm from {outline}, {FARTHEST:g} mm are possible"


def _same_place(points: Points, grid: Grid) -> Iterator[str]:
    """Say in which slices both points lie within a pixel: there is no septum between them."""
    for z, (anterior, inferior) in _pairs(points).items():
        if np.linalg.norm(np.subtract(anterior.position, inferior.position)) < min(grid.voxel_size[:2]):
            yield f"both insertion points of slice {z + 1} lie at the same place"


def _turned(points: Points, grid: Grid, wall: NDArray[np.bool_] | None) -> Iterator[str]:
    """Say where the way from the anterior to the inferior point contradicts the image's orientation."""
    if wall is None:
        return
    for z, (anterior, inferior) in _pairs(points).items():
        if not wall[:, :, z].any():
            continue
        plane = SlicePlane.of(wall, grid.affine, z)
        if plane.septal_turn is None:
            continue
        one, other = (float(plane.angles(m.position)) for m in (anterior, inferior))
        septum = (plane.septal_turn * (other - one)) % 360.0
        # At the base a wide right ventricle may embrace the left one by more than half: its side is then the patient's
        # right, where the middle of the way lies.
        middle = np.deg2rad(one + plane.septal_turn * septum / 2.0)
        rightwards = float(np.cos(middle) * plane.first[0] + np.sin(middle) * plane.second[0])
        if septum > 180.0 and rightwards <= 0.0:
            yield (
                f"in slice {z + 1} the septum lies on the wrong side of the way from RVInsertionAnterior to "
                "RVInsertionInferior, as the image is orientated"
            )


def _pairs(points: Points) -> dict[int, tuple[Landmark, Landmark]]:
    """Anterior and inferior point of each slice that has both."""
    named = {(m.name, m.slice): m for m in points}
    return {
        z: (named["RVInsertionAnterior", z], named["RVInsertionInferior", z])
        for z in sorted({m.slice for m in points})
        if ("RVInsertionAnterior", z) in named and ("RVInsertionInferior", z) in named
    }


def _mistakes(grid: Grid) -> Iterator[tuple[str, Callable[[Points], Points]]]:
    """Common mistakes, in words, and what undoes each."""

    def moved(how: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[Points], Points]:
        def change(points: Points) -> Points:
            places = [how(np.asarray(m.position)).tolist() for m in points]
            return [replace(m, position=tuple(p)) for m, p in zip(points, places, strict=True)]

        return change

    def exchanged(points: Points) -> Points:
        return [replace(m, name=_OTHER[m.name]) for m in points]  # type: ignore[arg-type]

    def counted(points: Points) -> Points:
        return [replace(m, slice=m.slice - 1) for m in points]

    lps = moved(lambda p: p * (-1, -1, 1))
    yield "It fits with x and y negated: are the points in LPS? RAS+ is asked for", lps
    yield "It fits as voxel indices: world mm are asked for", moved(lambda p: voxel_to_world(grid.affine, p))
    yield (
        "It fits as voxel indices counted from 1: world mm are asked for",
        moved(lambda p: voxel_to_world(grid.affine, p - 1)),
    )
    yield "It fits with the two names exchanged", exchanged
    yield "It fits with slices counted from 1: they count from 0", counted
    yield "It fits in cm: mm are asked for", moved(lambda p: p * 10)
    yield "It fits in m: mm are asked for", moved(lambda p: p * 1000)
    yield "It fits with x and y exchanged", moved(lambda p: p[[1, 0, 2]])
    yield "It fits in LPS with the two names exchanged", lambda points: exchanged(lps(points))
