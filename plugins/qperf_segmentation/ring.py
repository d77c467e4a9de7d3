"""The ring of myocardium in one slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import BloodPools
from qperf_segmentation.borders import closed_borders
from qperf_segmentation.enhancement import Enhancement
from qperf_segmentation.polar import PolarGrid
from qperf_segmentation.unmixing import Fractions, typical_curve, unmix

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Farthest from the cavity that myocardium is looked for, mm.
REACH = 45.0
#: Thickness of a wall that is expected before one has been seen, mm.
USUAL_THICKNESS = 10.0
#: Times that the myocardium's curve is measured anew in the ring just found.
ROUNDS = 3
#: Interval about the arrival in the left ventricle whose curves are unmixed, widths of the first pass.
_INTERVAL = (-1.23, 2.77)
#: Fewer samples in it, or voxels of a mask, are no curve.
_LEAST_SAMPLES, _LEAST_VOXELS = 4, 4
#: Depth from which a pool's voxels are its core, mm, and as a part of the greatest depth.
_CORE_DEPTH, _CORE_SHARE = 4.0, 0.6
#: Tissue at this distance from the cavity, mm, which enhances up to so long after it, widths, is taken for myocardium
#: first; later enhancement alone counts where that leaves so many voxels.
_BESIDE, _LATER, _LATER_VOXELS = (3.0, 8.0), 1.23, 5
#: Part of the usual thickness at either border that the middle of a wall leaves out: partial volume.
_BORDER_SHARE = 0.15
#: Least thickness of a wall, mm.
_MIN_THICKNESS = 4.0
#: Voxels of the right ventricle in a slice that make a curve of its own.
_RIGHT_VOXELS = 3
#: Share of right blood that joins a voxel to the right pool.
_RIGHT_SHARE = 0.3
#: A ring is doubted below this mean likeness to myocardium, and where more than the second part of it is thicker than
#: the first part of what is allowed.
_LEAST_LIKENESS, _THICK, _THICK_SHARE = 0.5, 0.9, 0.2


@dataclass(frozen=True)
class RingOptions:
    """How the ring is found; see ``ClassicalOptions``."""

    stiffness: float
    evenness: float
    blood_level: float
    wall_level: float
    max_thickness: float


@dataclass(frozen=True)
class Ring:
    """A wall in one slice.

    Parameters
    ----------
    mask : (x, y) bool array
    inner, outer : (ray,) arrays
        Radii of the borders on the rays of ``grid``, mm.
    grid : PolarGrid
    right_blood : (x, y) array
        Share of right-ventricular blood, 0 to 1, where it belongs to the right pool; 0 elsewhere.
    doubts : tuple of str
        Why the ring should not be trusted.
    """

    mask: Mask
    inner: Array
    outer: Array
    grid: PolarGrid
    right_blood: Array
    doubts: tuple[str, ...]


def find_ring(found: Enhancement, pools: BloodPools, k: int, voxel: Array, options: RingOptions) -> Ring | str:
    """Find the wall of slice ``k``, or say why there is none.

    Parameters
    ----------
    found : Enhancement
    pools : BloodPools
        On the grid of ``found``, with left-ventricular voxels in this slice.
    k : int
    voxel : (3,) array
        Edge lengths, mm.
    options : RingOptions
    """
    from scipy import ndimage

    lv, rv = pools.lv[..., k], pools.rv[..., k]
    arrival = found.arrival[..., k]
    at = float(np.median(arrival[lv]))
    curves = found.curves[:, :, k, _about(found, at)]
    outside = ndimage.distance_transform_edt(~lv, sampling=voxel[:2])
    near = outside < REACH
    left = typical_curve(curves, _core(lv, voxel))
    right = _right_curve(found, pools, k, at)
    muscle_mask = _first_guess(outside, arrival, rv, at)
    if not muscle_mask.any() or curves.shape[-1] < _LEAST_SAMPLES:
        return "no tissue around the left ventricle enhances after it"
    muscle = typical_curve(curves, muscle_mask)
    centre, usual = np.argwhere(lv).mean(axis=0), USUAL_THICKNESS
    for _ in range(ROUNDS):
        if not muscle.max() > 0:
            return "the tissue around the left ventricle does not enhance"
        fractions = unmix(curves, left, right, muscle, near)
        grid = PolarGrid(centre, voxel[:2])
        inner, outer = _borders(fractions, grid, usual, voxel, options)
        usual = float(np.median(outer - inner))
        middle = grid.fill(inner + _BORDER_SHARE * usual, outer - _BORDER_SHARE * usual, lv.shape)
        if middle.sum() >= _LEAST_VOXELS:
            muscle = typical_curve(curves, middle)
        centre = np.argwhere(grid.fill(np.full_like(inner, -1.0), outer, lv.shape)).mean(axis=0)
    mask = grid.fill(inner, outer, lv.shape)
    if not mask.any():
        return "the wall found is thinner than a voxel"
    doubts = _doubts(mask, fractions, inner, outer, options)
    return Ring(mask, inner, outer, grid, _right_blood(fractions, rv), doubts)


def _about(found: Enhancement, at: float) -> Mask:
    """Samples (t,) of the interval about an arrival time."""
    return np.asarray((found.times > at + _INTERVAL[0]) & (found.times < at + _INTERVAL[1]))


def _core(lv: Mask, voxel: Array) -> Mask:
    """The inside of a pool."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(lv, sampling=voxel[:2])
    return np.asarray(depth >= min(_CORE_DEPTH, _CORE_SHARE * depth.max()))


def _right_curve(found: Enhancement, pools: BloodPools, k: int, at: float) -> Array | None:
    """Curve of right-ventricular blood in this slice, else in all of them, else None."""
    window = _about(found, at)
    if pools.rv[..., k].sum() >= _RIGHT_VOXELS:
        return typical_curve(found.curves[:, :, k, window], pools.rv[..., k])
    return typical_curve(found.curves[..., window], pools.rv) if pools.rv.any() else None


def _first_guess(outside: Array, arrival: Array, rv: Mask, at: float) -> Mask:
    """Tissue close to the cavity that enhances after it."""
    close = (outside > _BESIDE[0]) & (outside < _BESIDE[1]) & ~rv
    later = close & (arrival > at) & (arrival < at + _LATER)
    return later if later.sum() >= _LATER_VOXELS else close


def _borders(
    fractions: Fractions, grid: PolarGrid, usual: float, voxel: Array, options: RingOptions
) -> tuple[Array, Array]:
    """Radii of the borders, mm, smoothed over neighbouring rays."""
    from scipy import ndimage

    blood = grid.sample(np.clip(fractions.lv, 0.0, 1.0))
    wall = grid.sample(fractions.wall)
    least = int(np.ceil(max(_MIN_THICKNESS, voxel[:2].max()) / grid.step))
    thickness = np.arange(max(least + 1, round(options.max_thickness / grid.step)) + 1, dtype=np.float64) * grid.step
    inner, outer = closed_borders(
        (blood - options.blood_level) * grid.step,
        (wall - options.wall_level) * grid.step,
        options.evenness * (thickness - usual) ** 2,
        options.stiffness,
        least,
    )
    return tuple(ndimage.gaussian_filter1d(border * grid.step, 1.0, mode="wrap") for border in (inner, outer))


def _right_blood(fractions: Fractions, rv: Mask) -> Array:
    from scipy import ndimage

    labels, _ = ndimage.label((fractions.rv > _RIGHT_SHARE) | rv)
    wanted = np.unique(labels[rv])
    return np.where(np.isin(labels, wanted[wanted > 0]), np.clip(fractions.rv, 0.0, 1.0), 0.0)


def _doubts(mask: Mask, fractions: Fractions, inner: Array, outer: Array, options: RingOptions) -> tuple[str, ...]:
    doubts = []
    likeness = float(np.mean(fractions.wall[mask]))
    if likeness < _LEAST_LIKENESS:
        doubts.append(f"the ring enhances unevenly (mean likeness to myocardium {likeness:.2f}): check its outline")
    thick = float(np.mean(outer - inner > _THICK * options.max_thickness))
    if thick > _THICK_SHARE:
        doubts.append(f"{100 * thick:.0f} % of the wall is as thick as allowed: check its outer border")
    if mask[[0, -1]].any() or mask[:, [0, -1]].any():
        doubts.append("the ring touches the image's edge")
    return tuple(doubts)
