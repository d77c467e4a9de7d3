"""One short-axis slice of the myocardium in the world: its plane, its centre, its cavity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry.grids import voxel_to_world, world_to_voxel

#: From the base of the heart to its apex in the RAS+ frame: to the left, to the front and down. Individual long axes
#: lie within some 30 degrees of it.
LONG_AXIS = np.array([-0.65, 0.60, -0.47])
#: A slice normal farther than this from the long axis, degrees, says nothing about base and apex.
LONG_AXIS_TOLERANCE = 50.0


def base_to_apex(affine: ArrayLike) -> float | None:
    """Sign of the slice index from base to apex, by the orientation of the image.

    Returns
    -------
    float or None
        1 where slices of higher index lie nearer the apex, -1 nearer the base; None where the slices don't look like
        a short axis, as in an image whose orientation wasn't recorded.
    """
    matrix = np.asarray(affine, np.float64)[:3, :3]
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    normal *= np.sign(normal @ matrix[:, 2]) / np.linalg.norm(normal)
    along = float(normal @ LONG_AXIS) / float(np.linalg.norm(LONG_AXIS))
    return float(np.sign(along)) if abs(along) >= np.cos(np.deg2rad(LONG_AXIS_TOLERANCE)) else None


@dataclass(frozen=True)
class SlicePlane:
    """A slice with the centre of its myocardium.

    Parameters
    ----------
    centre : (3,) array
        Centroid of the area inside the epicardium, world mm: of the convex hull, so that a gap in the wall doesn't
        matter.
    first, second : (3,) arrays
        Orthonormal in-plane directions, world.
    septal_turn : float or None
        1 where the septum follows the anterior wall when turning from ``first`` to ``second``, -1 when turning back:
        it is counter-clockwise as seen from the apex. None where the orientation of the image is no short axis.
    affine : (4, 4) array
        Voxel index to world mm.
    index : int
        Slice.
    """

    centre: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    septal_turn: float | None
    affine: NDArray[np.float64]
    index: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_], affine: ArrayLike, index: int) -> SlicePlane:
        """Return the plane of slice ``index`` of a mask (x, y, z) that has voxels there."""
        matrix = np.asarray(affine, np.float64)
        first = matrix[:3, 0] / np.linalg.norm(matrix[:3, 0])
        second = matrix[:3, 1] - (matrix[:3, 1] @ first) * first
        second /= np.linalg.norm(second)
        centre = np.append(_hull_centroid(np.argwhere(mask[:, :, index])), index)
        sign = base_to_apex(matrix)
        turn = None if sign is None else float(np.sign(sign * np.cross(first, second) @ matrix[:3, 2]))
        return cls(voxel_to_world(matrix, centre), first, second, turn, matrix, index)

    def angles(self, points: ArrayLike) -> NDArray[np.float64]:
        """Angle, degrees, of world points (..., 3) around the centre, from ``first`` towards ``second``."""
        offset = np.asarray(points, np.float64) - self.centre
        return np.rad2deg(np.arctan2(offset @ self.second, offset @ self.first))

    def cavity(self, wall: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Cavity (x, y) inside the wall (x, y): what is connected to the centre within the convex hull.

        Where the wall is solid, the voxel at the centre.
        """
        from scipy.ndimage import label
        from skimage.morphology import convex_hull_image

        middle = tuple(np.rint(world_to_voxel(self.affine, self.centre))[:2].astype(int))
        solid = np.zeros(wall.shape, bool)
        solid[middle] = True
        if wall.sum() < 3 or wall[middle]:
            return solid
        components, _ = label(convex_hull_image(wall) & ~wall)
        return components == components[middle] if components[middle] else solid


def is_solid(wall: NDArray[np.bool_]) -> bool:
    """Whether a slice of myocardium (x, y) has no cavity: under a tenth of its convex hull is missing."""
    from skimage.morphology import convex_hull_image

    return bool(wall.sum() > 0.9 * convex_hull_image(wall).sum()) if wall.any() else False


def _hull_centroid(points: NDArray[np.intp]) -> NDArray[np.float64]:
    """Centroid of the convex hull's area; the mean of points on a line."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        corners = points[ConvexHull(points).vertices].astype(np.float64)
    except (QhullError, ValueError):
        return np.asarray(points.mean(axis=0))
    following = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]
    return np.asarray(((corners + following) * cross[:, None]).sum(axis=0) / (3.0 * cross.sum()))
