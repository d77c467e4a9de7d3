"""Blood pools by a trained network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.bolus_timing import BEFORE_BOLUS, half_rise_time
from qperf_app.methods.input_voxels import INPUT_SHARE, choose_input_voxels
from qperf_app.methods.noise import white_noise_sd
from qperf_app.plugins import BloodPools, Resources, Series
from qperf_app.plugins.digests import file_digests
from qperf_segmentation.enhancement import MIN_VOLUMES, measure_enhancement
from qperf_segmentation.networks.weights import SHIPPED, weights_file
from qperf_segmentation.pool_growth import curves_about, grow
from qperf_segmentation.templates import CanonicalBloodPool, not_found

Mask = NDArray[np.bool_]
Array = NDArray[np.float32]

#: Weights that come with the package.
WEIGHTS = SHIPPED / "blood-pool.npz"
#: Windows of a series that is longer than one begin so far apart, s.
WINDOW_STEP = 12.0
#: A slice that was seen this much more coarsely than the network can is looked at once more, about the ventricle.
COARSE = 1.35
#: Where the series' own voxels are smaller than this part of the network's, the pool is drawn on them.
FINE = 0.6
#: A series that ends sooner after the bolus reached the left ventricle, widths of the first pass, does not show whether
#: it was one.
FOLLOW_UP = 0.62
#: Threshold of the right ventricle's blood, and how near the left one it lies, mm.
RIGHT_THRESHOLD, RIGHT_REACH = 0.5, 40.0


@dataclass(frozen=True)
class PoolNetworkOptions:
    """Options of :class:`ResUNetBloodPool`."""

    weights: str = field(default="", metadata={"help": "weights made by qperf train blood-pool; empty: those shipped"})
    threshold: float = field(
        default=0.5, metadata={"help": "probability from which a voxel is left blood", "range": (0.0, 1.0)}
    )
    aif_fraction: float = field(
        default=INPUT_SHARE,
        metadata={
            "help": "share of the left pool, enhancing most, that the AIF is averaged over; of a small pool 15 voxels "
            "or a third",
            "range": (0.001, 1.0),
        },
    )
    min_area: float = field(
        default=100.0, metadata={"help": "least area of the left pool in a slice, mm^2", "range": (0.0, 1e6)}
    )
    min_contrast: float = field(
        default=5.0,
        metadata={"help": "least rise of the left pool's curve over its own beat-to-beat scatter", "range": (0.0, 1e6)},
    )
    saliency: bool = field(default=False, metadata={"help": "show in the report where and when the network looked"})


@dataclass(frozen=True)
class WindowAnswer:
    """Pools (x, y, z) that the network sees in the samples from ``start`` on, ``step`` apart, s.

    ``pixel``, mm, is how closely it saw them, ``about`` the voxel (x, y) that it looked closely at, None for the whole
    slice.
    """

    lv: Mask
    rv: Mask
    pixel: float
    start: float
    step: float
    about: NDArray[np.float64] | None


@dataclass(frozen=True)
class _Window:
    """What the network says of a window: probabilities (x, y, z) on the series' grid; see :class:`WindowAnswer`."""

    left: Array
    right: Array
    pixel: float
    start: float
    step: float
    about: NDArray[np.float64] | None


class ResUNetBloodPool(CanonicalBloodPool):
    """Find both ventricles with a residual U-Net that sees the frames as channels.

    The network of Xue et al. 2020 on its grid of 64x48 pixels and 64 samples 0.5 s apart, trained on simulated scans.
    Where the first 32 s hold no left ventricle, later ones are looked at. A wide field of view is looked at again
    closely, and a series of finer voxels than the network's has the pool's border drawn by its own curves, as
    ``kmeans`` does. Unlike the published method it can answer that there is none: no region is certain enough, nothing
    enhances in it, or it does so before the right one.
    """

    name = "resunet"
    version = "1.4"
    summary = "a residual U-Net, trained on simulated scans, labels left and right blood from 32 s of frames"
    trainer = "qperf_segmentation.networks.train_pools:PoolTrainer"
    Options = PoolNetworkOptions

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return weights_file(self.options.weights, WEIGHTS)

    def loaded_files(self) -> Mapping[str, str]:
        """The weights."""
        return file_digests(self.weights)

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """The network, and a few copies of the series."""
        return Resources(memory_gb=0.5 + 8 * 4 * math.prod(shape) / 2**30)

    def find_in_order(self, series: Series) -> BloodPools:
        """Find the pools of a series in canonical order.

        Raises
        ------
        WeightsError
            Where the weights that are asked for can't be read.
        """
        answer = self.answer(series)
        if isinstance(answer, str):
            return not_found(series, answer)
        lv, dynamic = answer.lv, series.dynamic()
        if series.voxel_size[:2].max() < FINE * answer.pixel:
            lv = _drawn(series, lv, answer.rv)
        aif = choose_input_voxels(dynamic.data, lv, self.options.aif_fraction)
        return BloodPools(lv, answer.rv, aif, series.affine)

    def answer(self, series: Series) -> WindowAnswer | str:
        """The first window of a series, in canonical order, in which a left ventricle is seen; or why in none."""
        from qperf_segmentation.networks.pool_input import PIXEL, corrected_signal, passage

        times = np.asarray(series.dynamic().times, np.float64)
        if len(times) < MIN_VOLUMES or not (np.diff(times) > 0).all():
            return f"fewer than {MIN_VOLUMES} dynamic volumes with increasing times"
        signal = corrected_signal(series)
        if not np.ptp(signal, axis=-1).any():
            return "nothing changes in the series: no bolus seen"
        middle, width = passage(signal, times, series.voxel_size)
        starts, step = self._windows(times, middle, width)
        reason = ""
        for start in starts:
            found = self._judge(series, signal, self._look(signal, times, series.voxel_size, start, step), width)
            if isinstance(found, str):
                reason = reason or found
                continue
            if found.pixel > COARSE * PIXEL[0]:
                about = np.argwhere(found.lv)[:, :2].mean(axis=0)
                window = self._look(signal, times, series.voxel_size, start, step, about)
                closer = self._judge(series, signal, window, width)
                found = found if isinstance(closer, str) else closer
            return found
        return reason

    def _windows(self, times: NDArray[np.float64], middle: float, width: float) -> tuple[list[float], float]:
        """Where the windows begin that are looked at, in their order, and the time between their samples, s.

        A network whose clock is the first pass looks about the middle of the passage first, since a series may hold
        much else; then, as one whose clock is in seconds, at the series from its beginning.
        """
        from qperf_segmentation.networks import pool_input
        from qperf_segmentation.networks.weights import read_architecture

        in_passes = read_architecture(self.weights).clock == "passes"
        step = width * pool_input.PART if in_passes else pool_input.STEP
        last = max(float(times[-1]) - pool_input.FRAMES * step, float(times[0]))
        apart = WINDOW_STEP * step / pool_input.STEP
        starts = [*map(float, np.arange(float(times[0]), last, apart)), last]
        return [middle - pool_input.BEFORE * width, *starts] if in_passes else starts, step

    def _look(
        self,
        signal: Array,
        times: NDArray[np.float64],
        voxel: NDArray[np.float64],
        start: float,
        step: float,
        about: NDArray[np.float64] | None = None,
    ) -> _Window:
        """Ask the network about a window of every slice, or closely about a voxel (x, y) of it."""
        from qperf_segmentation.networks import pool_input
        from qperf_segmentation.networks.reading import ask, softmax
        from qperf_segmentation.networks.weights import forward

        model = forward(self.weights, shape=pool_input.SHAPE, frames=pool_input.FRAMES, points=0)
        slices = [pool_input.look_at(signal[:, :, k], times, voxel, start, about, step) for k in range(signal.shape[2])]
        shares = softmax(ask(model, [s.image for s in slices])).mean(axis=0)
        shape = (signal.shape[0], signal.shape[1])
        maps = [one.back(share[..., 1:], shape) for one, share in zip(slices, shares, strict=True)]
        left = np.stack([m[..., 0] for m in maps], axis=2)
        right = np.stack([m[..., 1] if m.shape[-1] > 1 else np.zeros(shape, np.float32) for m in maps], axis=2)
        return _Window(left, right, slices[0].grid.pixel, start, step, about)

    def _judge(self, series: Series, signal: Array, window: _Window, width: float) -> WindowAnswer | str:
        """Turn probabilities into left and right pools, or say why they are none; ``width`` of the first pass, s."""
        from qperf_segmentation.networks.reading import one_blob

        options, voxel = self.options, series.voxel_size
        least = max(options.min_area / float(voxel[0] * voxel[1]), 2.0)
        lv = np.stack(
            [one_blob(window.left[..., k], options.threshold, 0.5 * options.threshold) for k in range(signal.shape[2])],
            axis=2,
        )
        lv &= (lv.sum(axis=(0, 1)) >= least)[None, None]
        if not lv.any():
            return f"no region is left-ventricular blood with a probability over {options.threshold:g}"
        rv = _right_pools(window.right, lv, voxel)
        times = series.dynamic().times
        k = int(lv.sum(axis=(0, 1)).argmax())
        curve = signal[:, :, k][lv[..., k]].mean(axis=0)
        # A voxel or two at an edge are no right ventricle to be compared with.
        right = signal[rv].mean(axis=0) if rv.sum() >= least else None
        doubt = doubts_of(times / width, curve, right, options.min_contrast)
        return doubt or WindowAnswer(lv, rv, window.pixel, window.start, window.step, window.about)


def _drawn(series: Series, cores: Mask, right: Mask) -> Mask:
    """Draw the left pool's border on the series' own voxels, by the curves in and around its cores."""
    found = measure_enhancement(series)
    if found is None:
        return cores
    lv = np.zeros_like(cores)
    for k in np.flatnonzero(cores.any(axis=(0, 1))):
        core = cores[..., k]
        arrival = half_rise_time(found.times, found.curves[:, :, k][core].mean(axis=0))
        near = curves_about(found, int(k), arrival)
        lv[..., k] = grow(near, core, right[..., k], series.voxel_size)
    return lv if lv.any() else cores


def _right_pools(probability: Array, lv: Mask, voxel: NDArray[np.float64]) -> Mask:
    """Right blood in the slices that have a left pool: the piece near it that holds most probability."""
    from scipy import ndimage

    rv = np.zeros_like(lv)
    for k in np.flatnonzero(lv.any(axis=(0, 1))):
        near = ndimage.distance_transform_edt(~lv[..., k], sampling=voxel[:2]) < RIGHT_REACH
        labels, count = ndimage.label((probability[..., k] > RIGHT_THRESHOLD) & near & ~lv[..., k])
        if count:
            weight = np.bincount(labels.ravel(), probability[..., k].ravel())
            weight[0] = 0.0
            rv[..., k] = labels == weight.argmax()
    return rv


def doubts_of(
    times: NDArray[np.float64], left: NDArray[np.floating], right: NDArray[np.floating] | None, min_contrast: float
) -> str:
    """Say why curves (t,) can't be those of left and right blood; empty where nothing is wrong with them.

    ``times`` (t,) are in widths of the first pass.
    """
    rise = float(left.max() - np.median(left[: max(int(left.argmax()) // 2, 3)]))
    scatter = float(white_noise_sd(left))
    if rise <= min_contrast * max(scatter, 1e-6 * float(np.abs(left).max())):
        return "the left ventricle's signal does not rise out of its scatter: no bolus seen"
    arrived = half_rise_time(times, left, BEFORE_BOLUS)
    if times[-1] < arrived + FOLLOW_UP:
        return "the series ends before the bolus has passed the left ventricle"
    if right is not None and half_rise_time(times, right, BEFORE_BOLUS) > arrived:
        return "what looks like the left ventricle enhances before the right one"
    return ""
