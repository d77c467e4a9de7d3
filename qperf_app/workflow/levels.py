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
#: What sites call slices in files of their own (``acq``), in the order from base to apex.
NAMED: dict[str, Level] = {"base": "basal", "basal": "basal", "mid": "mid", "apex": "apical", "apical": "apical"}
Levels = tuple[Level | None, ...]


def shared_levels(scans: Sequence[Scan]) -> dict[str, tuple[Levels, str]]:
    """Levels, and a note, for each tissue series whose slices can't be told from itself alone.

    A stack of three is basal, mid and apical. What is called what in a shorter one can't be told from itself: it takes
    the levels of the slices that lie where its own do in another one of its study; slices in files of their own, which
    differ in ``acq`` alone, are a stack together, and a name such as ``acq-base`` counts unless places contradict it.

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
    """Levels of slices that lie in files of their own: by their places, by the names that a site gives them."""
    stacks: dict[tuple[str | None, ...], list[Scan]] = {}
    for scan in scans:
        if scan.tissue is not None and scan.main.grid.shape[2] == 1:
            stacks.setdefault(tuple(scan.tissue.entities.get(k) for k in ("ses", "task", "ce", "run")), []).append(scan)
    found: dict[str, tuple[Levels, str]] = {}
    for stack in stacks.values():
        ranks = _ranks(stack)
        count = max(ranks, default=0) + 1
        names = [_named(scan) for scan in stack]
        usable = _in_order(names, ranks) and (count == 1 or None not in names)
        for k, (scan, name) in enumerate(zip(stack, names, strict=True)):
            level, note = level_at(ranks[k] if ranks else 0, count), ""
            if count > 1 and level != level_at(0, 1):
                note = f"Its slice is the {level} one of {count} that lie in files of their own."
            if name is not None and usable:
                told = len(set(ranks)) == len(stack) > 1 or name == level
                level, note = name, "" if told else f"Its slice is called {name}, as its name says."
            elif name is not None and name != level:
                note = (
                    f"Its slice is called {level}, by its place among {count}, but its name says {name}: correct the "
                    "name, or the orientation in the image's header."
                )
            elif name is None and not ranks and len(stack) > 1:
                note = f"Its image has no short axis' orientation: its slice is called {level}, and may be another one."
            if note or level != level_at(0, 1):
                found[scan.main.prefix] = ((level,), note)
    return found


def _named(scan: Scan) -> Level | None:
    """Level that the name of a slice's file says."""
    return NAMED.get((scan.main.entities.get("acq") or "").lower())


def _ranks(stack: Sequence[Scan]) -> list[int]:
    """Which slice from the base each file holds, from 0; none where the images' orientation doesn't tell."""
    reference = stack[0].main.grid
    sign = base_to_apex(reference.affine)
    normals = np.array([scan.main.grid.normal for scan in stack])
    if sign is None or (np.abs(normals @ reference.normal) < np.cos(np.deg2rad(SAME_PLANE))).any():
        return []
    places = sign * np.array([float(slice_places(scan.main.grid, reference)[0]) for scan in stack])
    order = np.argsort(places)
    own = np.diff(places[order], prepend=-np.inf) >= SAME_SLICE * reference.voxel_size[2]
    ranks = np.empty(len(stack), int)
    ranks[order] = np.cumsum(own) - 1
    return [int(rank) for rank in ranks]


def _in_order(names: Sequence[Level | None], ranks: Sequence[int]) -> bool:
    """Whether slices that are named lie in the order of their names, as far as they lie apart."""
    order = ("basal", "mid", "apical")
    named = [(order.index(name), rank) for name, rank in zip(names, ranks, strict=False) if name is not None]
    return all((a - b) * (p - q) >= 0 for a, p in named for b, q in named)


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
