"""Blood pools ``kmeans`` and myocardium ``classical`` through their public classes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

from qperf_app.plugins import BloodPools, RunContext, Series
from qperf_segmentation import ClassicalMyocardium, ClassicalOptions, KMeansBloodPool, KMeansOptions
from qperf_segmentation.pool_growth import grow
from qperf_segmentation.unmixing import unmix

CONTEXT = RunContext(seed=5)


@dataclass(frozen=True)
class Scene:
    """A made-up heart: right ventricle on the left of the picture, chest wall brighter than any blood."""

    series: Series
    lv: NDArray[np.bool_]
    rv: NDArray[np.bool_]
    wall: NDArray[np.bool_]
    ends: NDArray[np.float64]


def bolus(times: NDArray[np.float64], start: float, peak: float, rise: float) -> NDArray[np.float64]:
    """First pass with recirculation."""
    since = np.clip(times - start, 0.0, None) / rise
    return peak * (since**2 * np.exp(2.0 - 2.0 * since) + 0.25 * (1.0 - np.exp(-since / 3.0)))


def make_scene(
    shape: tuple[int, int] = (72, 64),
    voxel: float = 2.5,
    slices: int = 1,
    noise: float = 3.0,
    delay: float = 5.0,
    affine: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Scene:
    """Simulate a series of ``slices`` equal slices: cavity radius 20 mm, wall 10 mm, 60 beats of 0.8 s."""
    times = np.arange(60) * 0.8
    centre = np.array(shape) / 2 + [2.3, 0.4]
    x, y = np.indices(shape)
    dx, dy = (x - centre[0]) * voxel, (y - centre[1]) * voxel
    radius = np.hypot(dx, dy)
    lv, wall = radius < 20.0, (radius >= 20.0) & (radius < 30.0)
    rv = (np.hypot(dx + 32.0, dy) < 26.0) & (radius >= 30.0)
    fat = np.hypot(dx / 1.2, dy) > 72.0
    signal = np.full((*shape, len(times)), 8.0)
    signal[lv] = 20.0 + bolus(times, 12.0 + delay, 120.0, 4.0)
    signal[rv] = 20.0 + bolus(times, 12.0, 220.0, 3.0)
    signal[wall] = 25.0 + bolus(times, 14.5 + delay, 30.0, 8.0)
    signal[fat] = 500.0
    signal = ndimage.gaussian_filter(signal, (0.5, 0.5, 0.0))
    stack = np.repeat(signal[:, :, None], slices, axis=2)
    stack = np.abs(stack + np.random.default_rng(seed).normal(0.0, noise, stack.shape)).astype(np.float32)
    affine = np.diag([voxel, voxel, 8.0, 1.0]) if affine is None else affine
    # Circles of radius 30 and of radius 26 about a point 32 to the left cross here.
    cross = (30.0**2 - 26.0**2 + 32.0**2) / 64.0
    height = np.sqrt(30.0**2 - cross**2)
    ends = centre + np.array([[-cross, height], [-cross, -height]]) / voxel
    masks = (np.repeat(mask[:, :, None], slices, axis=2) for mask in (lv, rv, wall))
    return Scene(Series(stack, times, affine), *masks, ends)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0 to 1."""
    return 2.0 * float((first & second).sum()) / float(first.sum() + second.sum())


def find(series: Series) -> BloodPools:
    return KMeansBloodPool().find(series, CONTEXT)


# --- blood pools -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "voxel"), [((72, 64), 2.5), ((64, 48), 3.5)])
def test_both_ventricles_are_found_and_not_swapped(shape: tuple[int, int], voxel: float) -> None:
    scene = make_scene(shape, voxel)
    pools = find(scene.series)
    assert pools.found, pools.reason
    assert dice(pools.lv, scene.lv) > 0.85
    assert dice(pools.rv, scene.rv) > 0.85
    assert not (pools.lv & pools.rv).any()
    np.testing.assert_array_equal(pools.affine, scene.series.affine)


def test_input_function_voxels_are_the_brightest_share_of_the_left_pool() -> None:
    scene = make_scene()
    for fraction in (0.15, 0.5):
        pools = KMeansBloodPool(KMeansOptions(aif_fraction=fraction)).find(scene.series, CONTEXT)
        assert (pools.aif & ~pools.lv).sum() == 0
        assert pools.aif.sum() == pytest.approx(fraction * pools.lv.sum(), abs=1)
    peak = scene.series.data[..., 17:40].max(axis=-1)
    assert peak[pools.aif].mean() > peak[pools.lv & ~pools.aif].mean()


def test_three_slices_share_one_left_ventricle() -> None:
    scene = make_scene(slices=3)
    data = scene.series.data.copy()
    data[scene.rv[..., 2], 2] = 8.0
    pools = find(scene.series.with_data(data))
    for k in range(3):
        assert dice(pools.lv[..., k], scene.lv[..., k]) > 0.85
    assert pools.rv[..., :2].any(axis=(0, 1)).all()
    assert pools.rv[..., 2].sum() < 20
    assert np.count_nonzero(pools.aif.any(axis=(0, 1))) == 1


def test_the_left_ventricle_alone_is_told_by_its_wall() -> None:
    scene = make_scene()
    data = scene.series.data.copy()
    data[scene.rv] = 8.0
    pools = find(scene.series.with_data(data))
    assert pools.found, pools.reason
    assert dice(pools.lv, scene.lv) > 0.85
    assert not pools.rv.any()


def test_the_right_ventricle_alone_is_not_taken_for_the_left() -> None:
    scene = make_scene()
    data = scene.series.data.copy()
    data[scene.lv | scene.wall] = 20.0
    assert not find(scene.series.with_data(data)).found


def test_a_series_that_ends_before_the_left_ventricle_is_not_found() -> None:
    scene = make_scene()
    early = Series(scene.series.data[..., :20], scene.series.times[:20], scene.series.affine)
    pools = find(early)
    assert not pools.found
    assert pools.reason
    assert not pools.lv.any()


def test_proton_density_volumes_and_broken_volumes_do_not_matter() -> None:
    scene = make_scene()
    data = np.concatenate([np.full((*scene.lv.shape, 3), 900.0, np.float32), scene.series.data], axis=-1)
    data[..., 20] = np.nan
    times = np.arange(data.shape[-1]) * 0.8
    series = Series(data, times, scene.series.affine, {"ProtonDensityVolumeCount": 3})
    assert dice(find(series).lv, scene.lv) > 0.85


def test_irregular_times_and_concentration_are_fine() -> None:
    scene = make_scene()
    keep = np.delete(np.arange(60), [5, 18, 19, 33])
    series = Series(scene.series.data[..., keep] / 40.0, scene.series.times[keep], scene.series.affine)
    assert dice(find(series).lv, scene.lv) > 0.85


def test_same_seed_same_pools() -> None:
    scene = make_scene(noise=8.0)
    first, second = find(scene.series), find(scene.series)
    for name in ("lv", "rv", "aif"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


SHAPES = [(64, 48, 1, 60), (24, 24, 3, 30), (1, 1, 1, 40), (3, 2, 1, 40), (40, 1, 1, 40), (8, 8, 1, 3), (8, 8, 1, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["zero", "constant", "noise", "nan", "ramp"])
def test_no_bolus_is_an_answer(shape: tuple[int, int, int, int], kind: str) -> None:
    noise = np.abs(np.random.default_rng(1).normal(0.0, 10.0, shape))
    ramp = np.broadcast_to(np.arange(shape[3], dtype=float), shape) + noise / 100
    data = {"zero": 0 * noise, "constant": 0 * noise + 7.3, "noise": noise, "nan": noise * np.nan, "ramp": ramp}[kind]
    series = Series(data, np.arange(shape[3]) * 0.8, np.diag([2.5, 2.5, 8.0, 1.0]))
    pools = find(series)
    assert not pools.found
    assert pools.reason
    assert pools.lv.shape == pools.rv.shape == pools.aif.shape == shape[:3]
    assert not (pools.lv.any() or pools.rv.any() or pools.aif.any())
    outlined = ClassicalMyocardium().segment(series, None, None, CONTEXT)
    assert outlined.mask.shape == shape[:3]
    assert not outlined.mask.any()
    assert outlined.warnings


# --- myocardium --------------------------------------------------------------------------------------------------


def test_wall_is_one_closed_ring_in_each_slice() -> None:
    scene = make_scene(slices=2)
    outlined = ClassicalMyocardium().segment(scene.series, find(scene.series), None, CONTEXT)
    assert dice(outlined.mask, scene.wall) > 0.85
    for k in range(2):
        _, parts = ndimage.label(outlined.mask[..., k], np.ones((3, 3)))
        inside = ndimage.binary_fill_holes(outlined.mask[..., k]) & ~outlined.mask[..., k]
        assert parts == 1
        assert dice(inside, scene.lv[..., k]) > 0.85


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("upside_down", [False, True])
def test_insertion_points_keep_their_names_whatever_the_storage(mirror: bool, upside_down: bool) -> None:
    """World positions are what counts: flipping an axis and its affine together changes nothing."""
    scene = make_scene()
    series = scene.series
    for axis, wanted in enumerate((mirror, upside_down)):
        if wanted:
            flip = np.eye(4)
            flip[axis, axis], flip[axis, 3] = -1.0, series.data.shape[axis] - 1
            series = replace(series, data=np.flip(series.data, axis), affine=series.affine @ flip)
    outlined = ClassicalMyocardium().segment(series, find(series), None, CONTEXT)
    points = {point.name: np.array(point.position) for point in outlined.landmarks}
    expected = scene.ends * 2.5
    for name, end in zip(("RVInsertionAnterior", "RVInsertionInferior"), expected, strict=True):
        assert np.linalg.norm(points[name][:2] - end) < 6.0


def test_anterior_is_the_higher_end_in_an_oblique_slice() -> None:
    """A short-axis plane: columns run down (-z) here, so the end at small y is the anterior one."""
    normal = np.array([-0.65, 0.60, -0.47]) / np.linalg.norm([-0.65, 0.60, -0.47])
    down = np.array([0.0, 0.0, -1.0]) + normal * normal[2]
    down /= np.linalg.norm(down)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = 2.5 * np.cross(down, normal), 2.5 * down, 8.0 * normal
    scene = make_scene(affine=affine)
    outlined = ClassicalMyocardium().segment(scene.series, find(scene.series), None, CONTEXT)
    points = {point.name: np.linalg.solve(affine[:3, :3], point.position) for point in outlined.landmarks}
    assert points["RVInsertionAnterior"][1] < points["RVInsertionInferior"][1]


def test_pools_of_a_coarse_series_show_the_way() -> None:
    coarse = make_scene((32, 28), 5.625, seed=3)
    fine = make_scene((72, 64), 2.5, slices=3, affine=np.diag([2.5, 2.5, 10.0, 1.0]))
    shift = (np.array([36.0, 32.0]) + [2.3, 0.4]) * 2.5 - (np.array([16.0, 14.0]) + [2.3, 0.4]) * 5.625
    affine = np.diag([5.625, 5.625, 10.0, 1.0])
    affine[:3, 3] = [*shift, 10.0]
    pools = find(replace(coarse.series, affine=affine))
    assert pools.found, pools.reason
    outlined = ClassicalMyocardium().segment(fine.series, pools, None, CONTEXT)
    for k in range(3):
        assert dice(outlined.mask[..., k], fine.wall[..., k]) > 0.85


def test_pools_elsewhere_are_refused() -> None:
    scene = make_scene()
    pools = find(scene.series)
    far = scene.series.affine.copy()
    far[0, 3] = 5000.0
    outlined = ClassicalMyocardium().segment(scene.series, replace(pools, affine=far), None, CONTEXT)
    assert not outlined.mask.any()
    assert "outside" in outlined.warnings[0]


def test_without_pools_they_are_looked_for() -> None:
    scene = make_scene()
    outlined = ClassicalMyocardium().segment(scene.series, None, None, CONTEXT)
    assert dice(outlined.mask, scene.wall) > 0.85
    assert any("looked for" in warning for warning in outlined.warnings)


def test_a_slice_without_blood_gets_a_warning() -> None:
    scene = make_scene(slices=2)
    data = scene.series.data.copy()
    data[:, :, 1] = 8.0 + np.random.default_rng(0).normal(0.0, 3.0, data[:, :, 1].shape)
    series = scene.series.with_data(data)
    outlined = ClassicalMyocardium().segment(series, find(series), None, CONTEXT)
    assert outlined.mask[..., 0].any()
    assert not outlined.mask[..., 1].any()
    assert any(warning.startswith("slice 2") for warning in outlined.warnings)


def test_landmarks_can_be_left_out() -> None:
    scene = make_scene()
    outlined = ClassicalMyocardium(ClassicalOptions(landmarks=False)).segment(scene.series, None, None, CONTEXT)
    assert outlined.mask.any()
    assert outlined.landmarks == ()


@pytest.mark.parametrize("options", [KMeansOptions, ClassicalOptions])
def test_every_option_has_help(options: type) -> None:
    assert all(option.metadata.get("help") for option in fields(options))


# --- real data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", ["example1", "example3"])
@pytest.mark.parametrize("interval", [0.55, 0.8])
def test_real_input_function_series(data_dir: Path, example: str, interval: float) -> None:
    """Frame times were not recorded; both a fast and a slow heart rate have to do."""
    found = np.load(data_dir / "qperf" / "aif_images" / f"{example}.npz")
    data, drawn = found["series"][:, :, None], found["mask_lv1_rv2"][:, :, None]
    series = Series(data, np.arange(data.shape[-1]) * interval, np.diag([5.6, 5.6, 8.0, 1.0]))
    pools = find(series)
    assert pools.found, pools.reason
    assert dice(pools.lv, drawn == 1) > 0.5
    assert dice(pools.rv, drawn == 2) > 0.5
    assert ((drawn == 1) & pools.aif).sum() == pools.aif.sum()


def test_real_tissue_series_with_manual_motion_correction(data_dir: Path) -> None:
    """One free-breathing series, its volumes aligned by the centroids of the masks drawn on them."""
    nib = pytest.importorskip("nibabel")
    name = str(data_dir / "mlperf" / "sub-03_task-rest_slice-mid_{}.nii.gz")
    image = nib.load(name.format("perf"))
    data, drawn = image.get_fdata(), np.asarray(nib.load(name.format("dseg")).dataobj)
    frames = np.flatnonzero(drawn.any(axis=(0, 1, 2)))
    centroids = np.array([ndimage.center_of_mass(drawn[:, :, 0, t] > 0) for t in frames])
    path = [np.interp(np.arange(data.shape[-1]), frames, c - np.median(c)) for c in centroids.T]
    for t, shift in enumerate(zip(*path, strict=True)):
        data[:, :, 0, t] = ndimage.shift(data[:, :, 0, t], np.negative(shift), order=1, mode="nearest")
        drawn[:, :, 0, t] = ndimage.shift(drawn[:, :, 0, t], np.negative(shift), order=0)
    series = Series(data, np.arange(data.shape[-1]) * 0.8, image.affine)
    wall, cavity = ((drawn == label).sum(axis=-1) > len(frames) / 2 for label in (1, 2))
    pools = find(series)
    assert dice(pools.lv, cavity) > 0.7
    outlined = ClassicalMyocardium().segment(series, pools, None, CONTEXT)
    assert dice(outlined.mask, wall) > 0.75
    assert {point.name for point in outlined.landmarks} == {"RVInsertionAnterior", "RVInsertionInferior"}


def test_a_core_that_the_other_ventricle_has_taken_grows_to_nothing() -> None:
    core = np.zeros((20, 20), bool)
    core[8:11, 8:11] = True
    curves = np.random.default_rng(0).random((20, 20, 9))
    other = ndimage.binary_dilation(core, iterations=2)
    assert not grow(curves, core, other, np.array([2.0, 2.0, 8.0])).any()


@pytest.mark.parametrize("with_right", [True, False])
def test_shares_are_those_of_non_negative_least_squares(with_right: bool):
    random = np.random.default_rng(3)
    lv, rv, muscle = np.abs(random.normal(1.0, 0.5, (3, 40)))
    curves = random.normal(0.3, 1.0, (12, 10, 40))
    found = unmix(curves, lv, rv if with_right else None, muscle, np.ones((12, 10), bool))
    matrix = np.stack([lv, muscle, rv][: 3 if with_right else 2], axis=1)
    expected = np.array([nnls(matrix, curve)[0] for curve in curves.reshape(-1, 40)]).reshape(12, 10, -1)
    np.testing.assert_allclose(found.lv, expected[..., 0], atol=1e-10)
    np.testing.assert_allclose(found.myocardium, expected[..., 1], atol=1e-10)
    np.testing.assert_allclose(found.rv, expected[..., 2] if with_right else 0.0, atol=1e-10)
