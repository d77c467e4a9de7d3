"""Trainer of the blood-pool network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.training import LEFT_BLOOD, RIGHT_BLOOD, CaseKind, TrainingCase
from qperf_segmentation.networks import pool_input
from qperf_segmentation.networks.architecture import Architecture
from qperf_segmentation.networks.learning import flips, intensities
from qperf_segmentation.networks.trainer import Example, NetworkTrainer, TrainerOptions


@dataclass(frozen=True)
class PoolTrainerOptions(TrainerOptions):
    """Options of :class:`PoolTrainer`."""

    two_class: bool = field(default=False, metadata={"help": "left ventricle against everything else"})


class PoolTrainer(NetworkTrainer):
    """Left and right blood on the low-resolution grid, about the passage of the bolus."""

    Options = PoolTrainerOptions
    cases = CaseKind.POOLS
    file = "blood-pool.npz"
    title = "Left- and right-ventricular blood in first-pass series"
    limits = (
        "Short-axis slices that cut the left ventricle, aligned by motion correction; the bolus passes within the five "
        "widths of the first pass (with the clock in seconds 32 s) that are looked at. Trained on simulated scans "
        "unless drawn ones are named above. Not a medical device."
    )

    def architecture(self) -> Architecture:
        """64x48 pixels, 64 samples; two or three classes."""
        classes = 2 if self.options.two_class else 3
        options = self.options
        shape, frames = pool_input.SHAPE, pool_input.FRAMES
        return Architecture(shape, frames, classes, 0, options.filters, options.modules, options.clock)

    def examples_of(self, case: TrainingCase, rng: np.random.Generator) -> Iterator[Example]:
        """Every slice, from the first saturation-recovery volume."""
        signal = pool_input.corrected_signal(case.series)
        times = case.series.dynamic().times
        voxel, start, step = case.series.voxel_size, float(times[0]), pool_input.STEP
        if self.options.clock == "passes":
            middle, width = pool_input.passage(signal, times, voxel)
            # Of a series that is not simulated it is told no better.
            width *= float(np.exp(rng.normal(0.0, 0.1)))
            start, step = middle - pool_input.BEFORE * width, pool_input.PART * width
        for k in range(signal.shape[2]):
            seen = pool_input.look_at(signal[:, :, k], times, voxel, start, step=step)
            labels = case.labels[..., k]
            labels = np.swapaxes(labels, 0, 1) if seen.turned else labels
            classes = np.zeros(pool_input.SHAPE, np.uint8)
            kept = (LEFT_BLOOD,) if self.options.two_class else (LEFT_BLOOD, RIGHT_BLOOD)
            for label in kept:
                classes[seen.grid.bring((labels == label).astype(np.float32)) > 0.5] = label
            yield Example(seen.image, classes, np.zeros((0, 2)), case.scene)

    def augment(
        self, images: NDArray[Any], targets: NDArray[Any], rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mirror, change intensities, move in time by up to three samples."""
        images, targets = flips(images, targets, rng)
        shifts = rng.integers(-3, 4, len(images))
        index = np.clip(np.arange(images.shape[-1])[None] - shifts[:, None], 0, images.shape[-1] - 1)
        images = np.take_along_axis(images, index[:, None, None, :], axis=-1)
        return intensities(images, rng), targets
