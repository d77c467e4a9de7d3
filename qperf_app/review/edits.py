"""What a reader draws on a scan: regions, insertion points, frames left out; and the masks that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qperf_app.bids import records
from qperf_app.methods.kinetic_inputs import MIN_FRAMES, frames_kept
from qperf_app.plugins import Landmark
from qperf_app.plugins.steps import BLOOD_POOL, MYOCARDIUM, SPLEEN
from qperf_app.review.curves import fit_handles, from_runs, inside, to_runs
from qperf_app.review.planes import Plane
from qperf_app.workflow.status import ScanRecord

Structure = Literal["myocardium", "lv", "rv", "aif-voxels", "spleen"]
Touched = Literal["myocardium", "lv", "rv", "aif-voxels", "spleen", "landmarks", "frames"]
PlaneName = Literal["tissue", "blood"]
#: Structures, and whether they are drawn on the series of the blood rather than that of the tissue.
ON_BLOOD: Mapping[Structure, bool] = {"myocardium": False, "lv": True, "rv": True, "aif-voxels": True, "spleen": False}
#: What belongs together: where one of these was touched, the structure is the reader's. Untouched voxels of the input
#: function are the app's choice in the pool that was given.
TOGETHER: Mapping[Structure | Literal["landmarks"], tuple[Touched, ...]] = {
    "myocardium": ("myocardium", "landmarks"),
    "landmarks": ("myocardium", "landmarks"),
    "lv": ("lv", "rv", "aif-voxels"),
    "rv": ("lv", "rv", "aif-voxels"),
    "aif-voxels": ("aif-voxels",),
    "spleen": ("spleen",),
}
Handles = Annotated[list[tuple[float, float]], Field(min_length=3, max_length=64)]


@dataclass(frozen=True)
class Region:
    """A region in one slice: within the outer curve and without the inner one, or as painted.

    ``painted`` are runs of pixels (:func:`~qperf_app.review.curves.to_runs`); where they are given they count, and
    the curves are only near them.
    """

    outer: Handles | None = None
    inner: Handles | None = None
    painted: Annotated[list[int], Field(max_length=200_000)] | None = None

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Pixels (rows, columns)."""
        if self.painted is not None:
            return from_runs(self.painted, shape)
        whole = np.zeros(shape, bool) if self.outer is None else inside(self.outer, shape)
        return whole if self.inner is None else whole & ~inside(self.inner, shape)


@dataclass(frozen=True)
class Point:
    """An insertion point of the right ventricle."""

    name: Literal["RVInsertionAnterior", "RVInsertionInferior"]
    slice: int
    x: float
    y: float


@dataclass(frozen=True)
class Edits:
    """All that can be drawn on a scan. ``touched`` names what the reader changed; the rest is as it was published.

    ``regions`` has a region for each slice of the series that a structure is drawn on; ``left_out`` are frames of
    each series, proton-density frames counted.
    """

    regions: dict[Structure, list[Region]] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    left_out: dict[PlaneName, list[int]] = field(default_factory=dict)
    touched: list[Touched] = field(default_factory=list)

    def is_drawn(self, what: Structure | Literal["landmarks"]) -> bool:
        """Whether a structure, or the points, are the reader's."""
        return any(name in self.touched for name in TOGETHER[what])


def plane_name(structure: Structure, planes: Mapping[str, Plane]) -> str:
    """Name of the plane that a structure is drawn on; empty where there is none."""
    wanted = ("blood", "tissue") if ON_BLOOD[structure] else ("tissue",)
    return next((name for name in wanted if name in planes), "")


def region_of(mask: NDArray[np.bool_]) -> Region:
    """A region as painted, with curves near its borders."""
    from scipy.ndimage import binary_fill_holes

    filled = np.asarray(binary_fill_holes(mask), bool)
    return Region(fit_handles(filled), fit_handles(filled & ~mask), to_runs(mask))


def published_files(scan: ScanRecord, out_dir: Path) -> dict[str, Path]:
    """Published files of what can be drawn, by role."""
    return {
        str(role): out_dir / name
        for step in (MYOCARDIUM.name, BLOOD_POOL.name, SPLEEN.name)
        if (record := scan.find(step)) is not None
        for role, name in record.paths.items()
        if (out_dir / name).is_file()
    }


def edits_of(
    files: Mapping[str, Path],
    planes: Mapping[str, Plane],
    touched: list[Touched],
    left_out: Mapping[PlaneName, list[int]] | None = None,
) -> Edits:
    """What masks and points in files show, as if it had been drawn."""
    regions: dict[Structure, list[Region]] = {}
    for structure in ON_BLOOD:
        name = plane_name(structure, planes)
        if not name:
            continue
        plane = planes[name]
        shape = plane.shape
        stack = np.zeros(shape, bool)
        if structure in files:
            stack = plane.to_screen(records.read_mask(files[structure], plane.grid))
        regions[structure] = [region_of(mask) for mask in stack]
    points = records.read_landmarks(files["landmarks"]) if "landmarks" in files and "tissue" in planes else ()
    return Edits(regions, [_shown(planes["tissue"], mark) for mark in points], dict(left_out or {}), touched)


def _shown(plane: Plane, mark: Landmark) -> Point:
    x, y = plane.point_to_screen(mark.position)
    return Point(mark.name, mark.slice, round(x, 3), round(y, 3))


def mask_of(edits: Edits, structure: Structure, plane: Plane) -> NDArray[np.bool_]:
    """Mask (x, y, z) of a structure on its plane."""
    regions = edits.regions.get(structure, [])
    stack = np.stack([region.mask(plane.shape[1:]) for region in regions])
    return np.asarray(plane.from_screen(stack), bool)


def landmarks_of(edits: Edits, plane: Plane) -> tuple[Landmark, ...]:
    """Insertion points in the world."""
    return tuple(Landmark(p.name, p.slice, plane.point_to_world(p.x, p.y, p.slice)) for p in edits.points)


def check_edits(edits: Edits, planes: Mapping[str, Plane]) -> None:
    """Refuse what does not fit the scan.

    Raises
    ------
    ValueError
    """
    for structure in ON_BLOOD:
        if plane_name(structure, planes) and structure not in edits.regions:
            raise ValueError(f"{structure}: its regions are missing")
    for structure, regions in edits.regions.items():
        name = plane_name(structure, planes)
        if not name or len(regions) != planes[name].shape[0]:
            raise ValueError(f"{structure}: {len(regions)} regions do not fit the slices of the series")
        for region in regions:
            if not all(np.isfinite(curve).all() for curve in (region.outer, region.inner) if curve is not None):
                raise ValueError(f"{structure}: a curve is not finite")
            _check_curves(structure, region, planes[name].shape[1:])
    tissue = planes.get("tissue")
    slices = tissue.shape[0] if tissue else 0
    for point in edits.points:
        if not 0 <= point.slice < slices or not np.isfinite([point.x, point.y]).all():
            raise ValueError(f"{point.name} lies in no slice of the series")
        if tissue and is_far([(point.x, point.y)], tissue.shape[1:]):
            raise ValueError(f"{point.name} lies far outside of the image")
    if len({(point.name, point.slice) for point in edits.points}) < len(edits.points):
        raise ValueError("an insertion point is there twice in a slice")
    for name, frames in edits.left_out.items():
        volumes = len(planes[name].series.times) if name in planes else 0
        if not all(0 <= frame < volumes for frame in frames):
            raise ValueError(f"a frame that is left out is none of the {volumes} of the {name} series")
        if frames and (kept := frames_kept(volumes, planes[name].series.n_proton_density, frames)) < MIN_FRAMES:
            raise ValueError(f"{kept} dynamic frames of the {name} series would be left; flow needs {MIN_FRAMES}")


def is_far(places: Sequence[tuple[float, float]], shape: tuple[int, int]) -> bool:
    """Whether any of some places (column, row) leaves the image (rows, columns) by more than its size."""
    most = np.array(shape[::-1], float)
    return not ((np.array(places) >= -most) & (np.array(places) <= 2 * most)).all()


def _check_curves(structure: str, region: Region, shape: tuple[int, int]) -> None:
    """Refuse curves that lie far outside of the image, or an inner one that lies outside of the outer one."""
    for curve in (region.outer, region.inner):
        if curve is not None and is_far(curve, shape):
            raise ValueError(f"{structure}: a curve lies far outside of the image")
    region.mask(shape)
    if region.painted is None and region.outer is not None and region.inner is not None:
        outer, inner = inside(region.outer, shape), inside(region.inner, shape)
        if 2 * (inner & ~outer).sum() > inner.sum():
            raise ValueError(f"{structure}: the inner border lies outside of the outer one")
