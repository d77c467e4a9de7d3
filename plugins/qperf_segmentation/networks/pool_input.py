"""What the blood-pool network sees of a series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.heart import first_pass
from qperf_app.plugins import Series
from qperf_segmentation.networks.resampling import PlaneGrid, on_time_grid, without_coils

SHAPE = (64, 48)
#: Time samples and their distance, s.
FRAMES, STEP = 64, 0.5
#: Distance of the samples of a network whose clock is the first pass, and how long before the middle of the passage
#: they begin, both in widths of the first pass: the usual one has 13 samples by either clock.
PART, BEFORE = 1.0 / 13.0, 1.8
#: Edge of a pixel, mm: as small as shows the whole field of view, within what the network was trained with.
PIXEL = (4.3, 7.0)


@dataclass(frozen=True)
class PoolInput:
    """A slice as the network sees it, (64, 48, 64), and the way back; ``turned`` where its axes were exchanged."""

    image: NDArray[np.float32]
    grid: PlaneGrid
    turned: bool

    def back(self, values: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Values (64, 48, ...) on the slice (x, y, ...)."""
        if not self.turned:
            return self.grid.back(values, shape)
        return np.swapaxes(self.grid.back(values, (shape[1], shape[0])), 0, 1)


def corrected_signal(series: Series) -> NDArray[np.float32]:
    """Signal (x, y, z, t) of the dynamic volumes without the coils' shading, NaN replaced by 0."""
    return without_coils(series.dynamic().data, series.proton_density, series.voxel_size)


def passage(
    signal: NDArray[np.floating], times: NDArray[np.float64], voxel: NDArray[np.float64]
) -> tuple[float, float]:
    """Middle of the bolus' passage through the ventricles and width of the first pass, s, in a signal (x, y, z, t)."""
    frame, width = first_pass(list(np.moveaxis(signal, 2, 0)), voxel[:2], float(np.median(np.diff(times))))
    return float(np.interp(frame, np.arange(len(times)), times)), width


def look_at(
    signal: NDArray[np.floating],
    times: NDArray[np.float64],
    voxel: NDArray[np.float64],
    start: float,
    about: NDArray[np.float64] | None = None,
    step: float = STEP,
) -> PoolInput:
    """Bring a slice to the network's grid.

    Parameters
    ----------
    signal : (x, y, t) float array
    times : (t,) float array
        s.
    voxel : (3,) array
        mm.
    start : float
        Time of the first sample, s.
    about : (2,) array, optional
        Voxel that is looked at as closely as the network was trained for; the whole slice otherwise.
    step : float
        Time between samples, s.
    """
    shape = np.array(signal.shape[:2])
    middle = (shape - 1) / 2.0 if about is None else np.asarray(about)
    extent = shape * voxel[:2]
    turned = bool(extent[1] > extent[0])
    if turned:
        signal, extent, voxel, middle = np.swapaxes(signal, 0, 1), extent[::-1], voxel[[1, 0, 2]], middle[::-1]
    pixel = float(np.clip((extent / SHAPE).max(), *PIXEL)) if about is None else PIXEL[0]
    grid = PlaneGrid(SHAPE, pixel, (float(middle[0]), float(middle[1])), (float(voxel[0]), float(voxel[1])))
    sampled = on_time_grid(signal, times, start + step * np.arange(FRAMES))
    image = grid.bring(sampled)
    top = float(np.percentile(image.max(axis=-1), 99.5))
    return PoolInput(np.clip(image / top, -0.5, 3.0) if top > 0 else image, grid, turned)
