"""Motion correction against the series it was made for, slice by slice: lies the heart stiller, and still enough?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from qperf_app.geometry import canonical_order
from qperf_app.geometry.masks import rectangle_around
from qperf_app.geometry.warp import voxel_displacement
from qperf_app.methods.steadiness import Steadiness, heart_regions, read_moved, smoothed, steadiness_of
from qperf_app.plugins.records import Motion, Series

#: A correction is one where it leaves at most this share of what the frames did not explain of each other. To move a
#: heart that lies still explains nothing more; a tenth less is within what contrast and noise do.
GAIN = 0.9
#: Share of the contrast between blood, muscle and lung that is still there: a heart that was moved keeps all of it.
SHOWN = 0.5
#: Motion that is left at the heart, root mean square over the frames, mm, from which a slice is doubtful: a fifth of
#: the thickness of a wall, and above what noise and contrast make of a heart that lies still, whatever its pixels.
UNSTEADY = 1.8
#: What to do about a slice that isn't steady.
MEND = "look at the moving picture in qperf review and leave out the frames that lie aside, or try another plugin"
#: Pixels beside the region and the longest displacement that a spline needs.
_MARGIN = 8


@dataclass(frozen=True)
class JudgedMotion:
    """The motion without the slices that it made no stiller (``undone``), and why which slices aren't trusted."""

    motion: Motion
    undone: tuple[int, ...]
    doubts: tuple[str, ...]


def judge_motion(series: Series, motion: Motion, may_undo: bool = True) -> JudgedMotion:
    """Compare every slice as it was corrected with what it was before.

    It is judged where blood passes, by how well its frames explain one another
    (:mod:`qperf_app.methods.steadiness`), whatever the correction was made by. One that does not make that better is
    undone: the frames of the slice stay where they were. A slice without a first pass or of few frames isn't judged.

    Parameters
    ----------
    series : Series
        As it was acquired.
    motion : Motion
        Of that series.
    may_undo : bool
        False for a displacement that was handed in.
    """
    undone, doubts = [], []
    for k, raw, corrected in sorted(_compared(series, motion), key=lambda each: each[0]):
        better = corrected is raw or _is_better(corrected, raw)
        if may_undo and not better:
            undone.append(k)
        left = (corrected if better or not may_undo else raw).motion
        if left > UNSTEADY:
            doubts.append(
                f"slice {k + 1}: the heart still moves by {left:.1f} mm (root mean square over the frames): {MEND}"
            )
    return JudgedMotion(_without(motion, undone), tuple(undone), tuple(doubts))


def _is_better(corrected: Steadiness, raw: Steadiness) -> bool:
    """Whether the frames explain each other better, and still show what they showed."""
    shown = float(np.median(corrected.contrast / raw.contrast))
    return shown >= SHOWN and float(corrected.unexplained.mean()) <= GAIN * float(raw.unexplained.mean())


def _compared(series: Series, motion: Motion) -> Iterator[tuple[int, Steadiness, Steadiness]]:
    """Of every slice that can be judged: its number, and how still it is before and after; the same where unmoved.

    Slice by slice in canonical order, so that the way of storage changes nothing, and no copy of the field is made.
    """
    order, first = canonical_order(series.affine), series.n_proton_density
    affine = order.apply_to_affine(series.affine, series.data.shape)
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    times = series.times[first:]
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    numbers = [order.inverse.slice_index(z, series.data.shape[2]) for z in range(series.data.shape[2])]
    slices = [smoothed(order.apply(series.data[:, :, k : k + 1, first:])[:, :, 0], spacing) for k in numbers]
    for k, frames, region in zip(numbers, slices, heart_regions(slices, spacing, interval), strict=True):
        if not region.any():
            continue
        field = order.apply(motion.displacement[:, :, k : k + 1, first:])
        shift = voxel_displacement(affine, field)[:, :, 0, :, :2]
        box = rectangle_around(region, _MARGIN + int(np.ceil(np.abs(shift).max(initial=0.0))))
        before = steadiness_of(frames[box], region[box], spacing)
        moved = shift.any()
        after = steadiness_of(read_moved(frames[box], shift[box]), region[box], spacing) if moved else before
        if before and after:
            yield k, before, after


def _without(motion: Motion, slices: list[int]) -> Motion:
    """The motion with no displacement in some slices, whose cost and residual are no longer those of its frames."""
    if not slices:
        return motion
    displacement = motion.displacement.copy()
    displacement[:, :, slices] = 0.0
    cost, residual = (None if each is None else np.array(each, float) for each in (motion.cost, motion.residual))
    for each in (cost, residual):
        if each is not None:
            each[slices] = np.nan
    return replace(motion, displacement=displacement, cost=cost, residual=residual)
