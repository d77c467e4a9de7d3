"""Where the right ventricle's wall meets the left one's: the points that the segments hang on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom import heart as anatomy
from qperf_app.phantom.acquisition import Grid
from qperf_app.phantom.heart import HeartShape
from qperf_app.phantom.motion import Deformation
from qperf_app.plugins import Landmark

_ANGLES = np.deg2rad(np.arange(0.0, 360.0, 1.0))


def insertion_points(shape: HeartShape, deformation: Deformation, grid: Grid) -> tuple[Landmark, ...]:
    """Insertion points of every slice in the reference frame, world mm; none where the right ventricle isn't cut."""
    found: list[Landmark] = []
    for k in range(grid.shape[2]):
        points = _contour(shape, deformation, grid, k)
        if points is None:
            continue
        at = anatomy.centred(shape, *deformation.heart(*np.moveaxis(points, -1, 0), frame=None))
        # The middle of the free wall meets the left ventricle's surface.
        attached = anatomy.right_ventricle(shape, at) < 0.5 * shape.rv_wall
        for name, nominal, inwards in (("RVInsertionAnterior", 120.0, True), ("RVInsertionInferior", 240.0, False)):
            before, after = (~attached[:-1], attached[1:]) if inwards else (attached[:-1], ~attached[1:])
            crossings = np.flatnonzero(before & after)
            if len(crossings):
                first = crossings[np.argmin(np.abs(np.rad2deg(_ANGLES[crossings]) - nominal))]
                place = 0.5 * (points[first] + points[first + 1])
                found.append(Landmark(name, k, tuple(round(float(c), 3) for c in place)))  # type: ignore[arg-type]
    return tuple(found)


def _contour(shape: HeartShape, deformation: Deformation, grid: Grid, k: int) -> NDArray[np.float64] | None:
    """Outer surface of the left ventricle in a slice, world mm, counter-clockwise from the lateral wall."""
    origin, normal = grid.affine[:3, :3] @ [0, 0, k] + grid.affine[:3, 3], grid.normal
    apex = deformation.axes[2]
    # Where the ventricle's axis goes through the slice.
    start = deformation.centre + apex * ((origin - deformation.centre) @ normal / (apex @ normal))
    lateral = deformation.axes[0] - normal * (deformation.axes[0] @ normal)
    lateral /= np.linalg.norm(lateral)
    anterior = np.cross(normal, lateral)
    directions = np.cos(_ANGLES)[:, None] * lateral + np.sin(_ANGLES)[:, None] * anterior
    reach = np.arange(0.0, 90.0, 1.0)
    points = start + directions[:, None, :] * reach[:, None]
    distance = anatomy.outer_wall(
        shape, anatomy.centred(shape, *deformation.heart(*np.moveaxis(points, -1, 0), frame=None))
    )
    if (distance[:, 0] > 0.0).any() or (distance[:, -1] < 0.0).any():
        return None
    # Linear between the last place inside and the first one outside.
    rows, first = np.arange(len(_ANGLES)), (distance > 0.0).argmax(axis=1)
    inner, outer = distance[rows, first - 1], distance[rows, first]
    wall: NDArray[np.float64] = start + directions * (reach[first - 1] - inner / (outer - inner))[:, None]
    return wall
