"""Insertion points of the right ventricle: the ends of the septum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import voxel_to_world
from qperf_app.plugins import Landmark
from qperf_segmentation.ring import Ring

#: Right-ventricular blood this close to the epicardium, mm, makes a ray septal.
SEPTAL_GAP = 6.0
#: The free wall joins the septum this far, mm along the epicardium, beyond the last right-ventricular blood: half of
#: its own thickness and the corner that the blood does not fill.
CORNER = 4.5
#: A septum narrower or wider than this, degrees, is no septum.
SEPTUM_RANGE = (20.0, 200.0)
#: Direction, RAS+, in which the anterior insertion lies from the inferior one: up, and a little to the front.
UPWARDS = np.array([0.0, 0.2, 1.0])


def find_insertions(ring: Ring, k: int, affine: NDArray[np.float64]) -> tuple[list[Landmark], str]:
    """Find the anterior and the inferior insertion point of slice ``k``.

    Returns
    -------
    landmarks : list
        Two, on the outer border of the wall in world mm, or none.
    doubt : str
        Why there are none, or why they should not be trusted; empty otherwise.

    Notes
    -----
    The septum is the arc of the wall with right-ventricular blood next to it, and ``CORNER`` on either side. Which end
    of it is the anterior one follows from the patient's orientation in the affine: it lies higher (superior, RAS +z),
    and farther to the front where the slice is level. An affine without orientation, such as the identity, has its
    slices level: there the anterior end is the one with the greater y, which viewers of NIfTI images show on top. That
    is the usual short-axis view with the right ventricle at the image's left; a mirrored image gives the same answer.
    """
    arc = septal_arc(septal_rays(ring))
    width = 360.0 * (arc[1] - arc[0]) / ring.grid.n_rays if arc else 0.0
    if arc is None or not SEPTUM_RANGE[0] <= width <= SEPTUM_RANGE[1]:
        return [], f"no insertion points: right-ventricular blood borders {width:.0f} degrees of the wall"
    rays = np.arange(ring.grid.n_rays)
    ends = np.array(arc, dtype=float)
    radius = np.interp(ends, rays, ring.outer, period=ring.grid.n_rays)
    ends += np.array([-1.0, 1.0]) * CORNER / radius * ring.grid.n_rays / (2 * np.pi)
    radius = np.interp(ends, rays, ring.outer, period=ring.grid.n_rays)
    angle = ends * (2 * np.pi / ring.grid.n_rays)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = ring.grid.centre + direction * radius[:, None] / ring.grid.voxel
    return name_points(points, k, affine)


def name_points(points: NDArray[np.floating], k: int, affine: NDArray[np.float64]) -> tuple[list[Landmark], str]:
    """Tell the anterior of two insertion points (2, 2), voxels of slice ``k``, from the inferior one.

    Returns
    -------
    landmarks : list
    doubt : str
        Why they may be swapped; empty where they can't.
    """
    world = voxel_to_world(affine, np.column_stack([points, np.full(2, k)]))
    height = (world - world.mean(axis=0)) @ UPWARDS
    anterior = int(height.argmax())
    landmarks = [
        Landmark("RVInsertionAnterior", k, _position(world[anterior])),
        Landmark("RVInsertionInferior", k, _position(world[1 - anterior])),
    ]
    level = np.ptp(height) < 0.3 * np.linalg.norm(world[1] - world[0]) * _steepness(affine)
    return landmarks, "the insertion points lie side by side: anterior and inferior may be swapped" if level else ""


def septal_rays(ring: Ring) -> NDArray[np.bool_]:
    """Rays with right-ventricular blood just outside the wall."""
    blood = ring.grid.sample(ring.right_blood)
    radii = ring.grid.radii[None, :]
    beside = (radii > ring.outer[:, None] - 2.0) & (radii < ring.outer[:, None] + SEPTAL_GAP)
    return np.asarray(np.where(beside, blood, 0.0).max(axis=1) > 0.4)


def septal_arc(septal: NDArray[np.bool_], bridge: int = 4) -> tuple[float, float] | None:
    """Longest run of septal rays round the circle, gaps of up to ``bridge`` rays closed.

    Returns
    -------
    (float, float) or None
        First and last ray, the last one beyond the number of rays where the run goes over the end; None where no ray
        or every ray is septal.
    """
    from scipy import ndimage

    n = len(septal)
    closed = ndimage.binary_closing(np.tile(septal, 3), np.ones(bridge + 1, dtype=bool))[n : 2 * n]
    if not closed.any() or closed.all():
        return None
    start = int(np.flatnonzero(~closed)[0])
    labels, _ = ndimage.label(np.roll(closed, -start))
    run = np.flatnonzero(labels == np.bincount(labels)[1:].argmax() + 1)
    return float(run[0] + start), float(run[-1] + start)


def _steepness(affine: NDArray[np.float64]) -> float:
    """Length of ``UPWARDS`` within the slice."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    return float(np.linalg.norm(UPWARDS - normal * (UPWARDS @ normal)))


def _position(point: NDArray[np.float64]) -> tuple[float, float, float]:
    return (float(point[0]), float(point[1]), float(point[2]))
