"""Where an image lies in the world, and how one that is stored otherwise is brought onto the grid of another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry.grids import voxel_to_world
from qperf_app.geometry.orientation import Reorientation

#: Farthest that a corner of one grid may lie from that of another, in voxels, for both to be the same grid. Programs
#: write affines with some four digits, which is a tenth of a voxel at the far end of a large image.
SAME_GRID = 0.25


@dataclass(frozen=True)
class Grid:
    """Voxels in the world: shape (x, y, z) and the rows of the affine, voxel index to world mm. Plain values."""

    shape: tuple[int, int, int]
    rows: tuple[tuple[float, float, float, float], ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: ArrayLike) -> Grid:
        """Make it of an image's shape, of which the first three axes count, and its affine."""
        x, y, z = (*shape, 1, 1, 1)[:3]
        rows = tuple(tuple(row) for row in np.asarray(affine, np.float64).tolist())
        return cls((int(x), int(y), int(z)), rows)

    @property
    def affine(self) -> NDArray[np.float64]:
        """The affine, (4, 4)."""
        return np.array(self.rows, np.float64)

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Edge lengths of a voxel, mm, shape (3,)."""
        size: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return size

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre, world mm."""
        return voxel_to_world(self.affine, (np.array(self.shape) - 1) / 2)

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector through the slices, towards higher indices; zero where the affine has none."""
        matrix = self.affine[:3, :3]
        normal = np.cross(matrix[:, 0], matrix[:, 1])
        length = float(np.linalg.norm(normal))
        return normal * np.sign(normal @ matrix[:, 2]) / length if length else np.zeros(3)

    @property
    def corners(self) -> NDArray[np.float64]:
        """Voxel indices of the corners' centres, (8, 3)."""
        return np.array(list(itertools.product(*((0, n - 1) for n in self.shape))), np.float64)


def reorientation(stored: Grid, target: Grid) -> Reorientation | None:
    """How the axes of a stored image are to be put so that it lies on another grid; None where it is another grid.

    Two grids are the same where, but for the order and direction of their axes, no corner lies farther than
    :data:`SAME_GRID` voxels from its counterpart.
    """
    if not np.isfinite(stored.affine).all() or abs(np.linalg.det(target.affine[:3, :3])) < 1e-9:
        return None
    step = np.linalg.inv(target.affine) @ stored.affine
    turn = np.rint(step[:3, :3])
    if not ((np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all()):
        return None
    axes = np.abs(turn).argmax(axis=1)
    back = turn.sum(axis=1) < 0
    if tuple(np.array(stored.shape)[axes].tolist()) != target.shape:
        return None
    ends = np.array(target.shape) - 1
    wanted = np.where(back, ends - stored.corners[:, axes], stored.corners[:, axes])
    found = stored.corners @ step[:3, :3].T + step[:3, 3]
    if np.abs(found - wanted).max() > SAME_GRID:
        return None
    return Reorientation(tuple(axes.tolist()), tuple(back.tolist()))


def grid_difference(stored: Grid, target: Grid) -> str:
    """Say in words how a grid differs from that of a series: shape, voxel size, orientation, shift."""
    words = []
    if sorted(stored.shape) != sorted(target.shape):
        words.append(f"shape {stored.shape}, the series has {target.shape}")
    ours, theirs = (np.sort(grid.voxel_size) for grid in (stored, target))
    if not np.allclose(ours, theirs, rtol=0.01, atol=1e-3):
        words.append(f"voxels of {_by(stored.voxel_size)} mm, the series has {_by(target.voxel_size)} mm")
    if np.allclose(stored.affine, np.eye(4)) and not np.allclose(target.affine, np.eye(4)):
        words.append("it was stored without its position in the scanner (its affine is the identity)")
    else:
        turned = _angle(stored, target)
        if turned > 1.0:
            words.append(f"turned by {turned:.0f} degrees")
        shift = stored.centre - target.centre
        if np.linalg.norm(shift) > 0.25 * float(target.voxel_size.min()):
            along = ", ".join(f"{s:.1f}" for s in shift)
            words.append(f"shifted by {np.linalg.norm(shift):.1f} mm ({along} to the right, front and head)")
    return "; ".join(words) or f"its axes are those of another grid, shape {stored.shape} for {target.shape}"


def _angle(stored: Grid, target: Grid) -> float:
    """Degrees by which the axes differ, whatever their order and direction."""
    one, other = (grid.affine[:3, :3] / np.maximum(grid.voxel_size, 1e-9) for grid in (stored, target))
    nearest = np.abs(one.T @ other).max(axis=0)
    return float(np.rad2deg(np.arccos(np.clip(nearest.min(), -1.0, 1.0))))


def _by(values: NDArray[np.float64]) -> str:
    return " × ".join(f"{value:.3g}" for value in values)
