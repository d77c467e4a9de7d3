"""Which slice of a short-axis stack is basal, mid, apical or the apex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.geometry.placement import Grid
from qperf_app.geometry.slices import base_to_apex, is_solid

Level = Literal["basal", "mid", "apical", "apex"]

_FEW: dict[int, tuple[Level, ...]] = {1: ("mid",), 2: ("basal", "mid"), 3: ("basal", "mid", "apical")}
_THIRDS: tuple[Level, ...] = ("basal", "mid", "apical")


@dataclass(frozen=True)
class StackLevels:
    """Level of each slice, None where it has none; and what was assumed."""

    levels: tuple[Level | None, ...]
    warnings: tuple[str, ...] = ()


def slice_levels(mask: NDArray[np.bool_], affine: ArrayLike) -> StackLevels:
    """Assign levels to the slices of a stack, as it was acquired or as far as the myocardium reaches.

    A stack of one slice is mid; of two basal and mid; of three basal, mid and apical, whether or not all have
    myocardium. In a longer stack the slices that have some are divided into equal thirds (Cerqueira et al.,
    Circulation 2002;105:539), after the last has become the apex if there is no cavity in it.

    The base is found from the image's orientation: the slice normal, compared with the heart's long axis. Where that
    says nothing, slices count from base to apex as they are stored.

    Parameters
    ----------
    mask : (x, y, z) bool array
        Myocardium.
    affine : (4, 4) array
        Voxel index to world mm.

    Returns
    -------
    StackLevels
    """
    n_slices = mask.shape[2]
    sign = base_to_apex(affine)
    warnings: tuple[str, ...] = ()
    if sign is None and n_slices > 1:
        warnings = ("the image's orientation is no short axis: slices count from base to apex as they are stored",)
    occupied = range(n_slices) if n_slices <= 3 else np.flatnonzero(mask.any(axis=(0, 1))).tolist()
    order = list(occupied) if sign is None or sign > 0 else list(occupied)[::-1]
    levels: list[Level | None] = [None] * n_slices
    if len(order) > 3 and is_solid(mask[:, :, order[-1]]):
        levels[order.pop()] = "apex"
    count = len(order)
    for position, z in enumerate(order):
        levels[z] = level_at(position, count)
    return StackLevels(tuple(levels), warnings)


def level_at(position: int, count: int) -> Level:
    """Level of the slice at a position from the base, from 0, among ``count`` that have myocardium round a cavity."""
    return _FEW[count][position] if count in _FEW else _THIRDS[int(3 * (position + 0.5) / count)]


def short_stack_levels(n_slices: int, affine: ArrayLike) -> tuple[Level, ...] | None:
    """Level of each slice of a stack of up to three, from its orientation alone; None for a longer one."""
    if n_slices not in _FEW:
        return None
    sign = base_to_apex(affine)
    levels = _FEW[n_slices]
    return levels if sign is None or sign > 0 else levels[::-1]


def levels_from(reference: Grid, levels: Sequence[Level | None], grid: Grid) -> tuple[Level | None, ...]:
    """Level of each slice of a stack from another stack of the same heart, by their positions in the world.

    Each slice takes the level of the nearest slice of the reference, along its normal.
    """
    places = slice_places(reference, reference)
    return tuple(levels[int(np.abs(places - place).argmin())] for place in slice_places(grid, reference))


def slice_places(grid: Grid, reference: Grid) -> NDArray[np.float64]:
    """Where the slices lie along the normal of another stack, mm, at its middle."""
    along = reference.centre @ reference.normal
    matrix = grid.affine
    # The point of each slice that lies on the line through the reference's middle.
    own = grid.normal
    cosine = float(own @ reference.normal)
    starts = np.array([matrix[:3, 3] + k * matrix[:3, 2] for k in range(grid.shape[2])])
    distances = (starts - reference.centre) @ own / cosine if abs(cosine) > 1e-6 else np.full(len(starts), np.inf)
    return np.asarray(along + distances, np.float64)
