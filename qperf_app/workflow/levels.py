"""Levels of slices in several series of a study: told by their positions, not by how many there are in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qperf_app.geometry import Level
from qperf_app.geometry.levels import level_at, levels_from, short_stack_levels, slice_places
from qperf_app.geometry.slices import base_to_apex
from qperf_app.workflow.scans import Scan

#: Normals of two stacks farther apart than this, degrees, are those of different planes.
SAME_PLANE = 20.0
#: Slices that lie closer than this part of their thickness are the same one: those of a stack don't overlap.
SAME_SLICE = 0.9
Levels = tuple[Level | None, ...]


def shared_levels(scans: Sequence[Scan]) -> dict[str, tuple[Levels, str]]:
    """Levels, and a note, for each tissue series whose slices can't be told from itself alone.

    A stack of three is basal, mid and apical. What is called what in a shorter one can't be told from itself: it takes
    the levels of the slices that lie where its own do in another one of its study; slices in files of their own, which
    differ in ``acq`` alone, are a stack together.

    Returns
    -------
    dict
        By the series' prefix; only those whose levels differ from what they would be alone.
    """
    studies: dict[tuple[str | None, ...], list[Scan]] = {}
    for scan in scans:
        if scan.tissue is not None:
            key = tuple(scan.tissue.entities.get(k) for k in ("ses", "acq", "ce"))
            studies.setdefault(key, []).append(scan)
    found: dict[str, tuple[Levels, str]] = {}
    for study in studies.values():
        stacks = [scan for scan in study if scan.main.grid.shape[2] <= 3]
        reference = max(stacks, key=lambda scan: scan.main.grid.shape[2], default=None)
        for scan in stacks:
            levels = _from(reference, scan) if reference is not None else None
            if levels and levels != short_stack_levels(len(levels), scan.main.grid.affine):
                assert reference is not None
                words = ", ".join(level or "none" for level in levels)
                note = (
                    f"Its slices lie where those of {reference.label} are {words}: their levels are taken from there."
                )
                found[scan.main.prefix] = (levels, note)
    return _of_files(scans) | found


def _of_files(scans: Sequence[Scan]) -> dict[str, tuple[Levels, str]]:
    """Levels of slices that lie in files of their own."""
    stacks: dict[tuple[str | None, ...], list[Scan]] = {}
    for scan in scans:
        if scan.tissue is not None and scan.main.grid.shape[2] == 1:
            stacks.setdefault(tuple(scan.tissue.entities.get(k) for k in ("ses", "task", "ce", "run")), []).append(scan)
    found: dict[str, tuple[Levels, str]] = {}
    for stack in stacks.values():
        reference = stack[0].main.grid
        sign = base_to_apex(reference.affine)
        normals = np.array([scan.main.grid.normal for scan in stack])
        if sign is None or (np.abs(normals @ reference.normal) < np.cos(np.deg2rad(SAME_PLANE))).any():
            continue
        places = sign * np.array([float(slice_places(scan.main.grid, reference)[0]) for scan in stack])
        order = np.argsort(places)
        own = np.diff(places[order], prepend=-np.inf) >= SAME_SLICE * reference.voxel_size[2]
        for k, position in zip(order.tolist(), (np.cumsum(own) - 1).tolist(), strict=True):
            level = level_at(position, int(own.sum()))
            if level != level_at(0, 1):
                note = f"Its slice is the {level} one of {own.sum()} that lie in files of their own."
                found[stack[k].main.prefix] = ((level,), note)
    return found


def _from(reference: Scan, scan: Scan) -> Levels | None:
    """Levels from a longer stack, where the two lie in each other's place."""
    one, grid = reference.main.grid, scan.main.grid
    if grid.shape[2] >= one.shape[2]:
        return None
    levels = short_stack_levels(one.shape[2], one.affine)
    if levels is None or abs(float(one.normal @ grid.normal)) < np.cos(np.deg2rad(SAME_PLANE)):
        return None
    apart = np.abs(slice_places(grid, one)[:, None] - slice_places(one, one)).min(axis=1)
    return levels_from(one, levels, grid) if apart.min() <= one.voxel_size[2] / 2 else None
