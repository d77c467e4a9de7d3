"""One slice of myocardium by the network: looked at twice, made one ring, with how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import dice, largest_piece
from qperf_segmentation.networks import wall_input
from qperf_segmentation.networks.reading import ask, softmax

Mask = NDArray[np.bool_]

Array = NDArray[np.float32]

#: Channels of the network's classes.
LEFT, RIGHT, WALL = 1, 2, 3
#: The second insertion point lies at least this far from the first, mm.
APART = 15.0


@dataclass(frozen=True)
class HeartSlice:
    """A slice as the network has it, on the slice's own grid (x, y).

    Parameters
    ----------
    wall, left, right : (x, y) bool arrays
        Wall and left cavity without gaps; the papillary muscles belong to the cavity.
    points : (n, 2) array
        Insertion points, voxels; two or none.
    agreement : float
        Mean Dice of the wall seen in each mirrored or turned picture with the wall made of all.
    closed : bool
        Whether the wall goes all the way round the cavity.
    sure_points : float
        Part of the landmarks' map that lies about the two points.
    """

    wall: Mask
    left: Mask
    right: Mask
    points: NDArray[np.float64]
    agreement: float
    closed: bool
    sure_points: float


def outline_heart(
    model: Any,
    signal: NDArray[np.floating],
    times: NDArray[np.float64],
    voxel: NDArray[np.float64],
    pool: Mask,
    in_passes: bool = False,
) -> HeartSlice | None:
    """Outline the heart in a slice.

    Parameters
    ----------
    model : ForwardNetwork
    signal : (x, y, t) float array
    times : (t,) float array
        s.
    voxel : (3,) array
        mm.
    pool : (x, y) bool array
        Left blood to start from. The network looks about its middle first, then about that of the cavity it found.
    in_passes : bool
        Whether the network's clock is the first pass.

    Returns
    -------
    HeartSlice or None
        None where it sees no wall.
    """
    shape = (signal.shape[0], signal.shape[1])
    for turned in (False, True):
        x, y = np.argwhere(pool).mean(axis=0)
        curve = signal[_core(pool)].mean(axis=0)
        seen = wall_input.look_at(signal, times, voxel, (float(x), float(y)), curve, in_passes=in_passes)
        answers = ask(model, [seen.image], turned=turned)[:, 0]
        each = softmax(answers[..., :4])
        mean = seen.grid.back(each.mean(axis=0), shape)
        wall, left, closed = one_ring(mean)
        if not wall.any() or not left.any():
            return None
        pool = left
    on_grid = each.mean(axis=0).argmax(axis=-1) == WALL
    agreement = float(np.mean([dice(one.argmax(axis=-1) == WALL, on_grid) for one in each]))
    points, sure = find_points(_plane_softmax(answers[..., 4]).mean(axis=0))
    if len(points):
        middle = (np.array(seen.grid.shape) - 1) / 2.0
        points = (points - middle) * seen.grid.pixel / np.array(seen.grid.voxel) + np.array(seen.grid.centre)
    right = largest_piece((mean.argmax(axis=-1) == RIGHT) & (mean[..., RIGHT] > 0.5))
    return HeartSlice(wall, left, right & ~wall & ~left, points, agreement, closed, sure)


def one_ring(shares: Array) -> tuple[Mask, Mask, bool]:
    """Clean shares (x, y, 4) of the classes to one wall and one cavity.

    The heart is the largest piece of wall and left blood, filled; the cavity the largest piece of it that is not wall,
    filled; all the rest of the heart is wall.

    Returns
    -------
    wall, cavity : (x, y) bool arrays
    closed : bool
        Whether the cavity lies inside the wall everywhere.
    """
    from scipy import ndimage

    both = shares[..., LEFT] + shares[..., WALL]
    heart = ndimage.binary_fill_holes(largest_piece(both > 0.5))
    heart = largest_piece(ndimage.binary_opening(heart, iterations=1))
    inside = heart & (shares[..., WALL] < 0.5)
    # Between wall and right blood the shares may both be low: only pieces away from the border are cavity.
    cavity = ndimage.binary_fill_holes(
        largest_piece(inside & (ndimage.binary_erosion(heart) | (shares[..., LEFT] > 0.5)))
    )
    cavity &= heart
    closed = bool(not (cavity & ~ndimage.binary_erosion(heart)).any())
    return heart & ~cavity, cavity, closed


def find_points(shares: Array) -> tuple[NDArray[np.float64], float]:
    """The two tops of a map (gx, gy) of sum 1, pixels, and how much of it lies there; none where one is missing."""
    x, y = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shares.shape), indexing="ij")
    points, total, left = [], 0.0, shares.astype(np.float64)
    for _ in range(2):
        i, j = np.unravel_index(left.argmax(), left.shape)
        distance = np.hypot(x - i, y - j) * wall_input.PIXEL
        near = np.where(distance < 8.0, left, 0.0)
        mass = float(near.sum())
        if mass < 0.08:
            return np.zeros((0, 2)), total
        points.append([(near * x).sum() / mass, (near * y).sum() / mass])
        total += mass
        left = np.where(distance < APART, 0.0, left)
    return np.array(points), total


def _core(pool: Mask) -> Mask:
    """The inside of a pool, away from its border where it is large enough."""
    from scipy import ndimage

    core = ndimage.binary_erosion(pool)
    return core if core.sum() >= 4 else pool


def _plane_softmax(logits: Array) -> Array:
    """Shares (n, gx, gy) over the plane."""
    flat = softmax(logits.reshape(len(logits), -1))
    return flat.reshape(logits.shape)
