"""Masks and labels that are handed in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.anatomy import cavities
from qperf_app.checks.findings import Finding, doubt, refusal

#: Numbers of the AHA segments.
SEGMENTS = range(1, 18)
#: A mask that covers more of its slices than this is no outline of anything.
MOST_COVERED = 0.5
#: Least cavity of a slice of the wall, as a share of the wall's area.
LEAST_CAVITY = 0.05


def mask_findings(file: str, values: NDArray[np.floating], may_be_empty: bool) -> Iterator[Finding]:
    """A mask is 0 and one other value; a soft one lies between 0 and 1."""
    values = np.nan_to_num(values)
    found = np.unique(values)
    marks = found[found != 0]
    if not marks.size:
        if not may_be_empty:
            yield refusal(file, "", "the mask is empty")
        return
    if found.min() < 0:
        yield refusal(file, "", f"the mask has values below 0, down to {found.min():g}; a mask is 0 or 1")
    elif marks.size > 1 and found.max() <= 1:
        yield doubt(file, "", "the mask has fractions between 0 and 1; it counts from 0.5 on")
        if not (values > 0.5).any() and not may_be_empty:
            yield refusal(file, "", "the mask is empty above 0.5")
    elif marks.size > 1:
        some = ", ".join(f"{v:g}" for v in marks[:5]) + (", …" if marks.size > 5 else "")
        yield refusal(
            file, "", f"has the labels {some}: a label image is no mask. Write the one label alone, as 1 and 0"
        )
    elif marks[0] <= 0.5:
        yield refusal(file, "", f"the mask marks its voxels with {marks[0]:g}; a mask is 0 or 1")
    inside = values > 0.5
    used = inside.any(axis=tuple(range(2)))
    if used.any() and inside[:, :, used].mean() > MOST_COVERED:
        yield doubt(file, "", f"the mask covers {inside[:, :, used].mean():.0%} of its slices")


def wall_findings(file: str, wall: NDArray[np.bool_]) -> Iterator[Finding]:
    """A wall has a cavity in it, in the slices that are not the apex."""
    slices = np.flatnonzero(wall.sum(axis=(0, 1)) > 8)
    # A pool's outline is seldom convex, and papillary muscles leave holes in it: what counts is what is in the middle.
    enclosed = cavities(wall, np.eye(4)).sum(axis=(0, 1))[slices]
    if len(slices) and (enclosed < LEAST_CAVITY * wall.sum(axis=(0, 1))[slices]).all():
        yield doubt(file, "", "the myocardium has no cavity in any slice: is it the mask of a blood pool?")


def pools_findings(file: str, wall: NDArray[np.bool_], left: NDArray[np.bool_]) -> Iterator[Finding]:
    """The left ventricle's blood lies within the wall, not in it.

    Parameters
    ----------
    file : str
        The mask of the blood.
    wall, left : (x, y, z) bool arrays
        Myocardium and left-ventricular blood on one grid.
    """
    both = int((wall & left).sum())
    if left.any() and both > 0.5 * min(int(left.sum()), int(wall.sum())):
        yield doubt(file, "", f"{both} of its {int(left.sum())} voxels lie in the myocardium that is handed in")
        return
    slices = [z for z in range(wall.shape[2]) if wall[:, :, z].any() and left[:, :, z].any()]
    outside = [z for z in slices if not _within(wall[:, :, z], left[:, :, z])]
    if outside and len(outside) > len(slices) / 2:
        yield doubt(
            file, "", "the left ventricle's blood lies outside of the wall: are the names of LV and RV exchanged?"
        )


def labels_findings(file: str, values: NDArray[np.floating]) -> Iterator[Finding]:
    """AHA segments are whole numbers from 1 to 17, 0 outside."""
    found = np.unique(np.nan_to_num(values))
    odd = [v for v in found.tolist() if v != 0 and v not in SEGMENTS]
    if odd:
        yield refusal(
            file,
            "",
            f"has the label {odd[0]:g}; AHA segments are whole numbers from 1 to 17, 0 outside",
        )
    elif not found.any():
        yield refusal(file, "", "no voxel has a segment")


def _within(wall: NDArray[np.bool_], region: NDArray[np.bool_]) -> bool:
    """Whether a region's middle lies in the box around the wall."""
    middle = np.argwhere(region).mean(axis=0)
    voxels = np.argwhere(wall)
    return bool((middle >= voxels.min(axis=0)).all() and (middle <= voxels.max(axis=0)).all())
