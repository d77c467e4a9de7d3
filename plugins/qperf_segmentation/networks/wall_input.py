"""What the myocardium network sees of a slice: the heart, cut out about the left ventricle, around its peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.bolus_timing import peak_time, width_at_half
from qperf_app.methods.heart import SHORTEST_PASS
from qperf_segmentation.networks.resampling import PlaneGrid, on_time_grid

SHAPE = (80, 80)
#: Edge of a pixel, mm.
PIXEL = 1.75
#: Time samples: from so long before the left ventricle's peak, s, at this distance, s.
FRAMES, BEFORE, STEP = 32, 11.0, 1.0
#: First pass that these are made for, s: a network whose clock is the first pass sees all others stretched to it,
#: within these limits, s.
USUAL_PASS, PASSES = 6.5, (SHORTEST_PASS, 25.0)


@dataclass(frozen=True)
class WallInput:
    """A slice as the network sees it, (80, 80, 32), and the grid that leads back."""

    image: NDArray[np.float32]
    grid: PlaneGrid


def look_at(
    signal: NDArray[np.floating],
    times: NDArray[np.float64],
    voxel: NDArray[np.float64],
    centre: tuple[float, float],
    curve: NDArray[np.floating],
    shift: float = 0.0,
    in_passes: bool = False,
) -> WallInput:
    """Bring a slice to the network's grid.

    Parameters
    ----------
    signal : (x, y, t) float array
    times : (t,) float array
        s.
    voxel : (3,) array
        mm.
    centre : tuple of two floats
        Middle of the left ventricle, voxels.
    curve : (t,) float array
        Its signal.
    shift : float
        Error of its peak time, s, for training.
    in_passes : bool
        Whether the samples' distance goes with the width of the curve's first pass.
    """
    from scipy.ndimage import gaussian_filter1d

    smooth = gaussian_filter1d(np.asarray(curve, np.float64), 0.7)
    unit = curve_width(times, smooth) / USUAL_PASS if in_passes else 1.0
    start = peak_time(times, smooth) + unit * (shift - BEFORE)
    grid = PlaneGrid(SHAPE, PIXEL, centre, (float(voxel[0]), float(voxel[1])))
    image = grid.bring(on_time_grid(signal, times, start + unit * STEP * np.arange(FRAMES)))
    top = float(smooth.max())
    return WallInput(np.clip(image / top, -0.5, 3.0) if top > 0 else image, grid)


def curve_width(times: NDArray[np.float64], curve: NDArray[np.floating]) -> float:
    """Width of a blood curve's (t,) first pass at half of its height over the higher level beside it, s."""
    peak = int(curve.argmax())
    beside = max(float(curve[: peak + 1].min()), float(curve[peak:].min()))
    frames = width_at_half(curve[None], np.array([peak]), np.array([float(curve[peak]) - beside]))
    return float(np.clip(frames[0] * np.median(np.diff(times)), *PASSES))
