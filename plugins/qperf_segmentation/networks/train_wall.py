"""Trainer of the myocardium network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.training import LEFT_BLOOD, CaseKind, TrainingCase
from qperf_segmentation.networks import pool_input, wall_input
from qperf_segmentation.networks.architecture import Architecture
from qperf_segmentation.networks.learning import flips, intensities
from qperf_segmentation.networks.trainer import Example, NetworkTrainer, TrainerOptions

POINTS = ("RVInsertionAnterior", "RVInsertionInferior")


class WallTrainer(NetworkTrainer):
    """Left and right blood, wall and insertion points on a grid about the left ventricle, around its peak."""

    Options = TrainerOptions
    cases = CaseKind.MUSCLE
    file = "myocardium.npz"
    points = len(POINTS)
    title = "Left-ventricular wall, ventricular blood and right-ventricular insertion points in first-pass series"
    limits = (
        "Short-axis slices from the base to the apex, aligned by motion correction, with a left ventricle found "
        "before. The two insertion points are not told apart by the network but by the patient's orientation. Trained "
        "on simulated scans unless drawn ones are named above. Not a medical device."
    )

    def architecture(self) -> Architecture:
        """80x80 pixels, 32 samples; four classes and one map for both points, which look alike."""
        options = self.options
        shape, frames = wall_input.SHAPE, wall_input.FRAMES
        return Architecture(shape, frames, 4, 1, options.filters, options.modules, options.clock)

    def examples_of(self, case: TrainingCase, rng: np.random.Generator) -> Iterator[Example]:
        """Every slice with left blood, its middle and peak not quite right as a found pool's are not."""
        from scipy import ndimage

        series = case.series
        signal, voxel = pool_input.corrected_signal(series), series.voxel_size
        times = series.dynamic().times
        for k in range(signal.shape[2]):
            left = case.labels[..., k] == LEFT_BLOOD
            if left.sum() < 6:
                continue
            x, y = np.argwhere(left).mean(axis=0) + rng.normal(0.0, 4.0, 2) / voxel[:2]
            core = ndimage.binary_erosion(left) if rng.random() < 0.5 else left
            curve = signal[:, :, k][core if core.any() else left].mean(axis=0)
            shift, in_passes = float(rng.normal(0.0, 0.8)), self.options.clock == "passes"
            seen = wall_input.look_at(signal[:, :, k], times, voxel, (x, y), curve, shift, in_passes)
            yield Example(seen.image, _classes(case.labels[..., k], seen), self._points(case, k, seen), case.scene)

    @staticmethod
    def _points(case: TrainingCase, k: int, seen: wall_input.WallInput) -> NDArray[np.float64]:
        """Insertion points of a slice in the grid's pixels."""
        points = np.full((len(POINTS), 2), np.nan)
        inverse = np.linalg.inv(case.series.affine)
        grid = seen.grid
        for landmark in case.landmarks:
            if landmark.slice == k:
                at = (inverse @ [*landmark.position, 1.0])[:2]
                offset = (at - np.array(grid.centre)) * np.array(grid.voxel) / grid.pixel
                points[POINTS.index(landmark.name)] = offset + (np.array(grid.shape) - 1) / 2.0
        return points

    def augment(
        self, images: NDArray[Any], targets: NDArray[Any], rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mirror, exchange the axes, change intensities."""
        images, targets = flips(images, targets, rng)
        if rng.random() < 0.5:
            images, targets = np.swapaxes(images, 1, 2), np.swapaxes(targets, 1, 2)
        return intensities(images, rng), targets


def _classes(labels: NDArray[np.uint8], seen: wall_input.WallInput) -> NDArray[np.uint8]:
    """The label that fills most of each pixel."""
    shares = seen.grid.bring((labels[..., None] == np.arange(4)).astype(np.float32))
    return np.asarray(shares.argmax(axis=-1).astype(np.uint8))
