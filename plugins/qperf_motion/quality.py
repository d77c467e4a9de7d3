"""How still a corrected slice is: against itself, with nothing known of the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import rectangle_around
from qperf_motion.edges import ComparedEdges, edge_tensors, gradient_energy
from qperf_motion.grid import peak_offsets

#: Residual motion is looked for this far, pixels; what of a frame around its region has a part in that.
_REACH = 3
MARGIN = _REACH + 5


def roughness(frames: NDArray[np.floating], region: NDArray[np.bool_], use: NDArray[np.bool_]) -> float:
    """Usual deviation of the region's pixels from the mean of the frames before and after, as a part of their spread.

    A frame has no part in its own prediction. Contrast comes and goes smoothly, breathing does not. 0 where there
    are fewer than three frames (t, x, y) to use.
    """
    curves = frames[use][:, region]
    if len(curves) < 3:
        return 0.0
    middle = curves[1:-1]
    miss = np.sqrt(((middle - (curves[2:] + curves[:-2]) / 2) ** 2).mean(axis=1))
    return float(np.median(miss / np.maximum(middle.std(axis=1), np.finfo(np.float32).tiny)))


def whole_energy(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Energy (t,) of whole frames (t, x, y) by which :func:`frame_quality` judges parts of them."""
    return gradient_energy(_padded(frames))


def _padded(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(frames, ((0, 0), (_REACH + 1, _REACH + 1), (_REACH + 1, _REACH + 1)), mode="edge")


def frame_quality(
    frames: NDArray[np.float32],
    region: NDArray[np.bool_],
    use: NDArray[np.bool_],
    spacing: NDArray[np.float64],
    energy: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cost and residual motion (mm) of every corrected frame (t, x, y) against the mean edges of the others.

    The cost is 1 less the correlation of the edge tensors: 0 for a frame all of whose edges lie where they usually
    do. The residual is the shift at which that correlation would be largest. Frames may be cut to the region with
    :data:`MARGIN` pixels around it, if their ``energy`` as a whole is given (:func:`whole_energy`).
    """
    inside = np.pad(region, _REACH + 1)
    box = rectangle_around(inside, _REACH)
    tensors = edge_tensors(_padded(frames), box, energy)
    surfaces = ComparedEdges.of(tensors, inside[box], use, _REACH).agreement()
    offset = peak_offsets(surfaces) * spacing
    return 1 - surfaces[:, _REACH, _REACH], np.hypot(offset[:, 0], offset[:, 1])
