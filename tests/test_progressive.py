"""Motion correction ``progressive``: series whose motion is known, its parts, and a real one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from qperf_app.bids import records
from qperf_app.bids.errors import DatasetError
from qperf_app.geometry import voxel_displacement, warp
from qperf_app.geometry.masks import rectangle_around
from qperf_app.plugins import Motion, RunContext, Series
from qperf_motion.affine import _between, refine_affine, translation_of
from qperf_motion.chain import chain, neighbour_pairs
from qperf_motion.edges import ComparedEdges, edge_tensors, reference_weights
from qperf_motion.grid import read_at, read_shifted, shifted_back, splines_of
from qperf_motion.progressive import ProgressiveMotionCorrection
from qperf_motion.quality import MARGIN, frame_quality, roughness, whole_energy
from qperf_motion.translation import _best_path, agree_over_slices, recover
from tests.realdata import ASSUMED_FRAME_INTERVAL
from tests.test_motion import FRAMES, breathing, chest, pairwise, series_of


def progressive(series: Series, threads: int = 1) -> Motion:
    return ProgressiveMotionCorrection().correct(series, RunContext(seed=0, threads=threads))


def heart_error(motion: Motion, series: Series, truth: np.ndarray, z: int = 0) -> np.ndarray:
    """Error (t,) of the mean displacement over the heart, pixels, whatever position was taken for reference."""
    shift = voxel_displacement(series.affine, motion.displacement)[30:46, 31:47, z, :, :2].mean(axis=(0, 1))
    return np.hypot(*(shift - truth - np.median(shift - truth, axis=0)).T)


def test_slices_with_known_shifts_and_threads_change_nothing() -> None:
    truths = [breathing(20, seed) for seed in (1, 2)]
    series = series_of([chest(truth, noise=4.0, seed=k) for k, truth in enumerate(truths)])
    motion, again = progressive(series), progressive(series, threads=3)
    np.testing.assert_array_equal(motion.displacement, again.displacement)
    np.testing.assert_array_equal(motion.residual, again.residual)
    assert motion.displacement.dtype == np.float32 and motion.corrected.all()
    assert (motion.cost >= 0).all() and (motion.cost <= 1).all()
    assert np.median(motion.residual) < 1.0
    for z, truth in enumerate(truths):
        assert np.median(heart_error(motion, series, truth, z)) < 0.4


def test_a_still_series_stays_and_a_blank_frame_keeps_the_identity() -> None:
    frames = chest(np.zeros((FRAMES, 2)), noise=6.0)
    frames[..., 20] = 7.0
    motion = progressive(series_of([frames]))
    size = np.linalg.norm(motion.displacement, axis=-1)[:, :, 0] / 2.4
    assert np.median(size) < 0.1
    assert not motion.corrected[0, 20] and not motion.displacement[:, :, 0, 20].any()


def test_without_a_first_pass_nothing_moves() -> None:
    series = Series(np.full((20, 20, 1, 5), 3.0), np.arange(5) * 0.8, np.diag([2.4, 2.4, 8.0, 1.0]))
    motion = progressive(series)
    assert not motion.displacement.any() and not motion.corrected.any()
    assert np.isnan(motion.residual).all()


def discs(scale: np.ndarray) -> np.ndarray:
    """Frames (t, 60, 60) of a textured disc of changing size whose contrast reverses every other frame."""
    x, y = np.indices((60, 60)) - 29.5
    frames = []
    for t, s in enumerate(scale):
        u, v = x / s, y / s
        image = (np.hypot(u, v) < 16) * 1.0 + (np.hypot(u - 4, v + 3) < 5) * 0.8
        frames.append(ndimage.gaussian_filter(image * (-1) ** t, 0.8))
    return np.array(frames, np.float32)


def test_affine_finds_a_change_of_size_through_reversed_contrast() -> None:
    scale = 1 + 0.06 * np.sin(np.arange(14) * 1.3)
    frames, region = discs(scale), np.hypot(*(np.indices((60, 60)) - 29.5)) < 22
    use = np.ones(14, bool)
    start = translation_of(np.zeros((14, 2)), region, np.ones(2))
    found = refine_affine(frames, region, start, use, np.inf, 0.0, 0.3)
    size = found.coefficients[:, 1, 0] / found.radius
    assert np.corrcoef(size, scale)[0, 1] > 0.98
    assert np.abs(size - np.median(size) - (scale - np.median(scale))).max() < 0.025


@settings(max_examples=20, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.floats(-5, 5).filter(lambda c: abs(c) > 0.1))
def test_edges_agree_at_the_shift_whatever_the_contrast(dx: int, dy: int, contrast: float) -> None:
    image = discs(np.ones(1))[0]
    pair = np.stack([image, contrast * np.roll(image, (dx, dy), axis=(0, 1))]).astype(np.float32)
    inside = np.zeros(image.shape, bool)
    inside[10:50, 10:50] = True
    surface = ComparedEdges.of(edge_tensors(pair), inside, np.ones(2, bool), 4).agreement()[1]
    assert np.unravel_index(surface.argmax(), surface.shape) == (4 + dx, 4 + dy)
    assert surface.max() == pytest.approx(1.0, abs=1e-4)


def test_a_frame_is_compared_with_the_mean_of_those_others_that_are_used() -> None:
    rng = np.random.default_rng(3)
    first, later = (edge_tensors(rng.normal(size=(7, 30, 26)).astype(np.float32)) for _ in range(2))
    inside, use = np.zeros((30, 26), bool), np.arange(7) != 4
    inside[6:20, 5:18] = True
    compared, moved = ComparedEdges.of(first.copy(), inside, use, 3), np.arange(7) % 3 == 0
    compared.put(moved, later[moved])
    tensors = np.where(moved[:, None, None, None], later, first).astype(float)
    found = compared.agreement()
    for t in range(7):
        mean = tensors[use & (np.arange(7) != t)].mean(axis=0)[:, inside]
        for a, b in ((0, 0), (-3, 2), (1, 3)):
            there = np.roll(tensors[t], (-a, -b), axis=(1, 2))[:, inside]
            expected = (mean * there).sum() / np.sqrt((mean**2).sum() * (there**2).sum())
            assert found[t, 3 + a, 3 + b] == pytest.approx(expected)


@given(st.integers(2, 12), st.floats(0.5, 10), st.floats(0.01, 1))
def test_no_frame_has_part_in_its_own_reference(n: int, window: float, floor: float) -> None:
    weights = reference_weights(np.ones(n, bool), window, floor)
    assert not np.diag(weights).any()
    np.testing.assert_allclose(weights.sum(axis=1), 1)


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.floats(-60, 60), st.floats(-60, 60)))
def test_a_shift_is_read_as_the_displacement_of_every_pixel(shift: tuple[float, float]) -> None:
    splines = splines_of(np.random.default_rng(0).normal(size=(30, 24, 1)).astype(np.float32))
    everywhere = read_at(splines, np.broadcast_to(shift, (30, 24, 1, 2)))
    found = read_shifted(splines, np.array([shift]), np.arange(30), np.arange(24))
    np.testing.assert_allclose(found, everywhere, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 1.0), st.sampled_from([(0.25, 2), (1.0, 4)]))
def test_the_best_path_is_the_best_of_all(seed: int, penalty: float, kind: tuple[float, int]) -> None:
    """Against the sum over every pair of steps."""
    grid, reach = kind
    random = np.random.default_rng(seed)
    information, shift = random.random((6, 2 * reach + 1, 2 * reach + 1)), random.normal(0, 2, (6, 2))
    edge = reach - 0.5 if grid < 1 else reach
    axis = np.arange(-edge, edge + grid / 2, grid)
    steps = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    value = [ndimage.map_coordinates(each, (steps + reach).T, order=3, mode="nearest") for each in information]

    def total(path: list[int]) -> float:
        moved = np.hypot(*np.diff(shift + steps[path], axis=0).T)
        return float(sum(v[k] for v, k in zip(value, path, strict=True)) - penalty * np.minimum(moved, 1).sum())

    best = value[0]
    for t in range(1, 6):
        between = (shift[t] + steps)[:, None] - (shift[t - 1] + steps)
        best = (best - penalty * np.minimum(np.hypot(*np.moveaxis(between, -1, 0)), 1)).max(axis=1) + value[t]
    found = _best_path(information, shift, penalty, grid) - shift
    path = [int(np.abs(steps - step).sum(axis=1).argmin()) for step in found]
    assert total(path) == pytest.approx(best.max(), abs=1e-9)


def test_frames_settle_where_their_surfaces_meet() -> None:
    """Every pair's surface peaks at the difference of two positions, whole or not, near or far."""
    truth, reach = np.array([[0.0, 0.0], [1.5, -2.0], [6.0, 0.5], [-3.0, 4.0], [0.0, 1.0]]), 10
    pairs, axis = neighbour_pairs(5, 2), np.arange(-reach, reach + 1)
    away = [np.hypot(axis[:, None] - dx, axis - dy) for dx, dy in (truth[j] - truth[i] for i, j in pairs)]
    found = chain(5, pairs, (1 - 0.01 * np.square(away)).astype(np.float32), 0.0)
    np.testing.assert_allclose(found.shift - found.shift[0], truth, atol=0.05)
    np.testing.assert_allclose(found.information, 1.0, atol=0.01)


def test_a_frame_lost_in_one_slice_is_found_by_the_others() -> None:
    path = breathing(24)
    lost = 0.8 * path
    lost[5] += 9.0
    found = agree_over_slices([path, lost, 1.1 * path], [np.ones(24, bool)] * 3)
    np.testing.assert_allclose(found[1], 0.8 * path, atol=0.3)
    np.testing.assert_array_equal(found[0], path)


def test_a_run_that_went_astray_together_comes_back_and_nothing_else_moves() -> None:
    """Mutual information with neighbours can't tell: within the run they agree. The edges of the other frames can."""
    truth = np.round(breathing(24, 5))
    frames = np.moveaxis(chest(truth, noise=4.0, seed=3), -1, 0)
    splines = np.stack([ndimage.spline_filter(frame, order=3, mode="nearest") for frame in frames]).astype(np.float32)
    region = np.zeros(frames.shape[1:], bool)
    region[22:54, 23:55] = True
    lost = truth.copy()
    lost[2:9] += [-6.0, 3.0]
    use = np.ones(len(truth), bool)
    found = recover(splines, region, lost, use, 9, 20.0)
    assert np.abs(found - truth)[2:9].max() <= 1.0
    np.testing.assert_array_equal(found[9:], lost[9:])
    np.testing.assert_array_equal(recover(splines, region, truth, use, 9, 20.0), truth)


def test_quality_tells_a_frame_that_is_off() -> None:
    frames = np.array(np.repeat(discs(np.ones(1)), 9, axis=0))
    frames[4] = np.roll(frames[4], 2, axis=0)
    region, use = np.hypot(*(np.indices((60, 60)) - 29.5)) < 22, np.ones(9, bool)
    cost, residual = frame_quality(frames, region, use, np.array([1.5, 1.5]))
    assert cost.argmax() == 4 and residual[4] == pytest.approx(3.0, abs=0.5)
    assert np.delete(residual, 4).max() < 0.5
    noise = np.random.default_rng(0).normal(size=frames.shape)
    assert roughness(noise, region, use) > 1.0


def test_quality_of_a_part_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    frames = (discs(np.ones(7)) + rng.normal(0.0, 0.05, (7, 60, 60))).astype(np.float32)
    region, use = np.hypot(*(np.indices((60, 60)) - 24.5)) < 12, np.ones(7, bool)
    whole = frame_quality(frames, region, use, np.ones(2))
    box = rectangle_around(region, MARGIN)
    part = frame_quality(frames[:, *box], region[box], use, np.ones(2), whole_energy(frames))
    np.testing.assert_allclose(part, whole, rtol=0, atol=1e-5)


def test_images_are_read_as_scipy_reads_them() -> None:
    rng = np.random.default_rng(6)
    images, (x, y) = rng.normal(size=(2, 3, 4, 21, 17)).astype(np.float32), rng.uniform(-3, 23, (2, 4, 50))
    read = _between(images, x, y)
    assert read.shape == (2, 3, 4, 50)
    for *kind, t in np.ndindex(2, 3, 4):
        expected = ndimage.map_coordinates(images[*kind, t], [x[t], y[t]], order=1, mode="nearest")
        np.testing.assert_allclose(read[*kind, t], expected, rtol=0, atol=2e-6)


def test_whole_shifts_repeat_the_edge() -> None:
    frames = np.random.default_rng(7).normal(size=(9, 8, 3)).astype(np.float32)
    shift = np.array([[0, 0], [3, -2], [-11, 12]])
    moved = shifted_back(frames, shift)
    rows, columns = np.indices((9, 8))
    for t, (i, j) in enumerate(shift):
        at = np.clip(rows + i, 0, 8), np.clip(columns + j, 0, 7)
        np.testing.assert_array_equal(moved[..., t], frames[..., t][at])


def test_residual_motion_survives_the_file(tmp_path) -> None:
    series = series_of([np.zeros((4, 5, 3))])
    residual = np.array([[0.5, np.nan, 1.25]])
    motion = Motion(np.zeros((4, 5, 1, 3, 3), np.float32), np.ones((1, 3), bool), None, residual)
    path = records.write_motion(tmp_path, "sub-01_task-rest", motion, series, ())
    read = records.read_motion(path)
    np.testing.assert_array_equal(read.residual, residual)
    assert read.cost is None


def test_real_series_overlaps_better_after_correction(data_dir) -> None:
    import nibabel as nib

    stem = data_dir / "mlperf" / "sub-03_task-rest_slice-mid"
    image = nib.load(f"{stem}_perf.nii.gz")
    drawn = np.asarray(nib.load(f"{stem}_dseg.nii.gz").dataobj)
    data = image.get_fdata(dtype=np.float32)
    series = Series(data, np.arange(data.shape[3]) * ASSUMED_FRAME_INTERVAL, image.affine)
    moved = warp((drawn == 1).astype(np.float32), series.affine, progressive(series).displacement) >= 0.5
    assert pairwise(drawn == 1) < 0.75
    assert pairwise(moved) > 0.87


def test_a_corrected_series_is_packed_where_it_becomes_smaller(tmp_path) -> None:
    """Noise hardly does, and is stored; an image of which most is masked is packed. Both are read as they were."""
    noise = np.random.default_rng(8).normal(size=(32, 32, 2, 40)).astype(np.float32)
    masked = noise * (np.hypot(*(np.indices((32, 32)) - 16)) < 8)[..., None, None]
    for name, data, part in (("noise", noise, 1.01), ("masked", masked, 0.5)):
        path = records.write_corrected(tmp_path, name, series_of([data[:, :, 0], data[:, :, 1]]), ())
        assert path.stat().st_size < part * data.nbytes
        np.testing.assert_array_equal(records.read_series(path).data, data)
        path.write_bytes(path.read_bytes()[:-9] + b"\0" + path.read_bytes()[-8:])
        with pytest.raises(DatasetError, match="damaged"):
            records.read_series(path)
