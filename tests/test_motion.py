"""Motion correction: plugins ``chained`` and ``none`` on series whose motion is known, and on a real one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from qperf_app.geometry import voxel_displacement, warp
from qperf_app.plugins import Motion, RunContext, Series
from qperf_motion.chain import Positions, place_leading
from qperf_motion.chained import ChainedMotionCorrection, ChainedOptions
from qperf_motion.mutual_information import information_surfaces
from qperf_motion.none import NoMotionCorrection
from tests.realdata import ASSUMED_FRAME_INTERVAL

SPACING = 2.4
FRAMES = 32


def bolus(times: NDArray[np.float64], start: float, width: float, height: float) -> NDArray[np.float64]:
    """Gamma-variate with some of it staying behind."""
    x = np.maximum(times - start, 0) / width
    return height * (x**2 * np.exp(2 * (1 - x)) + 0.25 * (1 - np.exp(-x)))


def chest(shift: NDArray[np.float64], size: int = 76, noise: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """Slice (x, y, t) of a heart that moves by ``shift`` (t, 2) pixels in a chest wall that stays."""
    times = np.arange(len(shift)) * ASSUMED_FRAME_INTERVAL
    random = np.random.default_rng(seed)
    x, y = np.ogrid[:size, :size]
    wall = np.where(np.hypot(x - size / 2, y - size / 2) > 0.45 * size, 140.0, 12.0)
    frames = np.empty((size, size, len(shift)))
    for t, (dx, dy) in enumerate(shift):
        u, v = x - 0.5 * size - dx, y - 0.52 * size - dy
        image = wall.copy()
        image[np.broadcast_to(np.hypot(u + 13, v) < 12, image.shape)] = 25 + bolus(times, 4.0, 3.2, 190.0)[t]
        image[np.broadcast_to(v + 0.4 * u > 15, image.shape) & (wall < 100)] = 45 + bolus(times, 9.0, 9.0, 25.0)[t]
        image[np.hypot(u, v) < 14.5] = 30 + bolus(times, 9.5, 9.0, 45.0)[t]
        image[np.hypot(u, v) < 9.5] = 25 + bolus(times, 8.5, 3.6, 170.0)[t]
        image[np.hypot(u - 4, v - 3) < 2.2] = 30 + bolus(times, 9.5, 9.0, 45.0)[t]
        frames[..., t] = ndimage.gaussian_filter(image, 0.8)
    return frames + noise * random.standard_normal(frames.shape)


def breathing(n: int = FRAMES, seed: int = 1) -> NDArray[np.float64]:
    """Shallow breathing, then a deep breath from one frame to the next; pixels (t, 2)."""
    random = np.random.default_rng(seed)
    depth = 2.5 * np.sin(np.arange(n) * 1.9) + random.normal(0, 0.4, n)
    depth[n // 2 :] += 6.0
    return np.stack([0.35 * depth, depth], axis=1)


def series_of(
    slices: list[NDArray[np.floating]], affine: NDArray[np.float64] | None = None, **metadata: object
) -> Series:
    data = np.stack(slices, axis=2)
    affine = np.diag([SPACING, SPACING, 8.0, 1.0]) if affine is None else affine
    return Series(data, np.arange(data.shape[3]) * ASSUMED_FRAME_INTERVAL, affine, metadata)


def chained(series: Series, threads: int = 1, options: ChainedOptions | None = None) -> Motion:
    return ChainedMotionCorrection(options).correct(series, RunContext(seed=0, threads=threads))


def voxel_shift(motion: Motion, affine: NDArray[np.float64], z: int = 0) -> NDArray[np.float64]:
    """Shift (t, 3) of a slice in voxels; the same everywhere in it."""
    shift = voxel_displacement(affine, motion.displacement)[:, :, z]
    assert np.ptp(shift, axis=(0, 1)).max() < 1e-4
    return shift[0, 0]


def error(motion: Motion, series: Series, truth: NDArray[np.float64], z: int = 0) -> NDArray[np.float64]:
    """Distance (t,) of the found from the true shift, pixels, whatever position was taken for reference."""
    difference = voxel_shift(motion, series.affine, z)[:, :2] - truth
    return np.hypot(*(difference - np.median(difference, axis=0)).T)


def test_recovers_known_shifts_through_contrast_change_and_a_sudden_breath() -> None:
    truth = breathing()
    series = series_of([chest(truth, noise=4.0)])
    motion = chained(series)
    assert motion.displacement.dtype == np.float32
    assert motion.displacement.shape == (*series.data.shape, 3)
    assert motion.corrected.all()
    assert motion.cost is not None and motion.cost.shape == motion.corrected.shape and (motion.cost < 0).all()
    assert np.median(error(motion, series, truth)) < 0.5
    assert error(motion, series, truth).max() < 1.3


def test_displacement_points_to_where_the_corrected_voxel_was() -> None:
    """The host's warp with the written displacement brings the heart to rest."""
    truth = breathing()
    still, moving = chest(np.zeros_like(truth)), chest(truth)
    series = series_of([moving])
    motion = chained(series)
    corrected = warp(moving[:, :, None], series.affine, motion.displacement)[:, :, 0]
    x, y = np.ogrid[: still.shape[0], : still.shape[1]]
    shift = np.median(truth - voxel_shift(motion, series.affine)[:, :2], axis=0)
    at_rest = np.stack([ndimage.shift(still[..., t], shift, order=1, mode="nearest") for t in range(FRAMES)], axis=-1)
    heart = np.hypot(x - 38 - shift[0], y - 39.5 - shift[1]) < 13
    before = np.abs(moving - at_rest)[heart].mean()
    assert np.abs(corrected - at_rest)[heart].mean() < 0.35 * before


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_affine_oblique_or_mirrored(seed: int) -> None:
    """World mm of the same voxel shifts, whatever way the slice lies; in the plane of the slice only."""
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array([SPACING, SPACING, 8.0]) * random.choice([-1.0, 1.0], 3)
    affine[:3, 3] = random.normal(0, 50, 3)
    truth = breathing(16)
    series = series_of([chest(truth)], affine)
    motion = chained(series)
    assert np.median(error(motion, series, truth)) < 0.5
    world = motion.displacement[0, 0, 0]
    assert np.abs(world @ rotation[:, 2]).max() < 1e-3
    np.testing.assert_allclose(voxel_shift(motion, affine), plain_shift(), atol=1e-3)


@cache
def plain_shift() -> NDArray[np.float64]:
    series = series_of([chest(breathing(16))])
    return voxel_shift(chained(series), series.affine)


@pytest.mark.parametrize("zoom", [(1.0, 0.5), (0.45, 0.45), (2.2, 2.2)])
def test_other_pixel_sizes(zoom: tuple[float, float]) -> None:
    truth = breathing()
    frames = ndimage.zoom(chest(truth), (*zoom, 1.0), order=1, grid_mode=True, mode="nearest")
    series = series_of([frames], np.diag([SPACING / zoom[0], SPACING / zoom[1], 8.0, 1.0]))
    found = voxel_shift(chained(series), series.affine)[:, :2] / np.array(zoom)
    difference = found - truth
    distance = np.hypot(*((difference - np.median(difference, axis=0)) * np.minimum(zoom, 1)).T)
    assert np.median(distance) < 0.5


def test_proton_density_frames_are_corrected_too() -> None:
    truth = np.concatenate([[[0.0, 3.0]] * 3, breathing()])
    frames = chest(truth)
    flat = np.where(frames[..., :3] > 100, 90.0, 160.0) + 0.3 * (255 - frames[..., :3])
    frames[..., :3] = ndimage.gaussian_filter(flat, (0.5, 0.5, 0))
    series = series_of([frames], ProtonDensityVolumeCount=3)
    motion = chained(series)
    assert motion.corrected.all()
    assert error(motion, series, truth)[:3].max() < 1.0
    assert np.median(error(motion, series, truth)) < 0.5


def test_a_still_series_stays() -> None:
    series = series_of([chest(np.zeros((FRAMES, 2)), noise=6.0)])
    shift = voxel_shift(chained(series), series.affine)
    assert np.median(np.hypot(shift[:, 0], shift[:, 1])) < 0.1
    assert np.abs(shift).max() < 0.5


def test_a_blank_frame_keeps_its_place_and_is_reported() -> None:
    truth = breathing()
    frames = chest(truth, noise=4.0)
    frames[..., 20] = 7.0
    frames[..., 25] = np.random.default_rng(3).normal(50, 20, frames.shape[:2])
    series = series_of([frames])
    motion = chained(series)
    assert not motion.corrected[0, [20, 25]].any()
    assert not motion.displacement[:, :, 0, [20, 25]].any()
    good = np.setdiff1d(np.arange(FRAMES), [20, 25])
    assert motion.corrected[0, good].all()
    difference = (voxel_shift(motion, series.affine)[:, :2] - truth)[good]
    assert np.hypot(*(difference - np.median(difference, axis=0)).T).max() < 1.3


def test_slices_move_independently_and_threads_change_nothing() -> None:
    truths = [breathing(18, seed) for seed in (1, 2)]
    series = series_of([chest(truth, noise=4.0, seed=k) for k, truth in enumerate(truths)])
    one, three = chained(series, threads=1), chained(series, threads=3)
    np.testing.assert_array_equal(one.displacement, three.displacement)
    np.testing.assert_array_equal(one.cost, three.cost)
    for z, truth in enumerate(truths):
        assert np.median(error(one, series, truth, z)) < 0.5


@pytest.mark.parametrize("shape", [(5, 7, 1, 4), (1, 1, 1, 6), (24, 31, 2, 2), (20, 20, 1, 1), (40, 33, 3, 9)])
def test_tiny_and_constant_series_stay(shape: tuple[int, int, int, int]) -> None:
    affine = np.diag([SPACING, SPACING, 8.0, 1.0])
    times = np.arange(shape[3]) * ASSUMED_FRAME_INTERVAL
    motion = chained(Series(np.full(shape, 3.7), times, affine))
    assert motion.displacement.shape == (*shape, 3)
    assert not motion.displacement.any() and not motion.corrected.any()
    noise = chained(Series(np.random.default_rng(0).normal(size=shape), times, affine))
    assert np.isfinite(noise.displacement).all() and noise.corrected.shape == (shape[2], shape[3])


def test_information_peaks_at_the_shift_between_two_frames() -> None:
    random = np.random.default_rng(0)
    image = ndimage.gaussian_filter(random.standard_normal((60, 50)), 1.5).astype(np.float32)
    # Another contrast altogether: the dark becomes bright.
    other = ndimage.shift(-(image**3), (-4, 3), order=1, mode="nearest")
    region = np.zeros(image.shape, bool)
    region[18:42, 15:35] = True
    surface = information_surfaces(np.stack([image, other], axis=-1), region, [(0, 1)], 6, 8)[0]
    assert np.unravel_index(surface.argmax(), surface.shape) == (6 - 4, 6 + 3)


def test_leading_frames_go_to_the_summit_of_their_information_with_the_mean() -> None:
    found = Positions(np.ones((4, 2)), np.full(4, 0.3), np.array([True, False, True, False]))
    x, y = np.mgrid[-3:4, -3:4]
    surface = np.exp(-0.1 * ((x - 2) ** 2 + (y + 1) ** 2)).astype(np.float32)
    placed = place_leading(found, np.stack([surface, 0.1 * surface]), chance=0.5)
    np.testing.assert_allclose(placed.shift[:2], [[2, -1], [2, -1]], atol=1e-6)
    np.testing.assert_allclose(placed.shift[2:], 1)
    assert placed.found.tolist() == [True, False, True, False]


def test_none_moves_nothing() -> None:
    series = series_of([chest(breathing(6))])
    motion = NoMotionCorrection().correct(series, RunContext())
    assert not motion.displacement.any() and motion.corrected.all() and motion.cost is None
    np.testing.assert_array_equal(warp(series.data, series.affine, motion.displacement), series.data)


def test_real_series_overlaps_better_after_correction(data_dir) -> None:
    import nibabel as nib

    stem = data_dir / "mlperf" / "sub-03_task-rest_slice-mid"
    image = nib.load(f"{stem}_perf.nii.gz")
    drawn = np.asarray(nib.load(f"{stem}_dseg.nii.gz").dataobj)
    data = image.get_fdata(dtype=np.float32)
    series = Series(data, np.arange(data.shape[3]) * ASSUMED_FRAME_INTERVAL, image.affine)
    motion = chained(series)
    moved = warp((drawn == 1).astype(np.float32), series.affine, motion.displacement) >= 0.5
    assert pairwise(drawn == 1) < 0.75
    assert pairwise(moved) > 0.87


def pairwise(masks: NDArray[np.bool_]) -> float:
    """Mean Dice overlap of all pairs of frames that have a mask."""
    drawn = masks.reshape(-1, masks.shape[-1])[:, masks.any(axis=(0, 1, 2))].astype(float)
    size = drawn.sum(axis=0)
    dice = 2 * drawn.T @ drawn / (size[:, None] + size)
    return float(dice[np.triu_indices(len(size), 1)].mean())
