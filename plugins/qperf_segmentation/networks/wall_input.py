"""What the myocardium network sees of a slice: the heart, cut out about the left ventricle, around its peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.bolus_timing import peak_time
from qperf_segmentation.networks.resampling import PlaneGrid, on_time_grid

SHAPE = (80, 80)
#: Edge of a pixel, mm.
PIXEL = 1.75
#: Time samples: from so long before the left ventricle's peak, s, at this distance, s.
FRAMES, BEFORE, STEP = 32, 11.0, 1.0


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
    """
    from scipy.ndimage import gaussian_filter1d

    smooth = gaussian_filter1d(np.asarray(curve, np.float64), 0.7)
    start = peak_time(times, smooth) + shift - BEFORE
    grid = PlaneGrid(SHAPE, PIXEL, centre, (float(voxel[0]), float(voxel[1])))
    image = grid.bring(on_time_grid(signal, times, start + STEP * np.arange(FRAMES)))
    top = float(smooth.max())
    return WallInput(np.clip(image / top, -0.5, 3.0) if top > 0 else image, grid)
