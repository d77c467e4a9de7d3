"""The judgement on a motion correction, whatever plugin made it: a slice that is no stiller stays as acquired."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from qperf_app.checks.motion import judge_motion
from qperf_app.geometry import Reorientation, world_displacement
from qperf_app.phantom import PhantomConfig, simulate_scan
from qperf_app.plugins import Motion, Series
from tests.test_motion import FRAMES, SPACING, breathing, chest, series_of

Shifts = NDArray[np.float64]


def motion_of(series: Series, shifts: list[Shifts]) -> Motion:
    """Motion that reads every frame of a slice (t, 2) pixels aside."""
    field = np.zeros((*series.data.shape, 3), np.float32)
    for z, shift in enumerate(shifts):
        whole = np.concatenate([shift, np.zeros((len(shift), 1))], axis=1)
        field[:, :, z] = world_displacement(series.affine, whole)
    shape = series.data.shape[2:]
    return Motion(field, np.ones(shape, bool), np.full(shape, -1.0), np.full(shape, 0.5))


def random_shifts(size: float, seed: int = 8) -> Shifts:
    return np.random.default_rng(seed).normal(0.0, size, (FRAMES, 2))


@cache
def moving(noise: float = 4.0) -> Series:
    """Two slices that breathe, each its own way."""
    return series_of([chest(breathing(FRAMES, seed), noise=noise, seed=seed) for seed in (1, 2)])


@cache
def held() -> Series:
    """A breath that is held."""
    return series_of([chest(np.zeros((FRAMES, 2)), noise=4.0)])


def test_a_correction_that_aligns_is_left_as_it_is() -> None:
    motion = motion_of(moving(), [breathing(FRAMES, seed) for seed in (1, 2)])
    judged = judge_motion(moving(), motion)
    assert judged.motion is motion
    assert judged.undone == () and judged.doubts == ()


def test_one_that_shifts_a_slice_at_random_is_undone_there_and_nowhere_else() -> None:
    motion = motion_of(moving(), [breathing(FRAMES, 1), random_shifts(3.0)])
    judged = judge_motion(moving(), motion)
    assert judged.undone == (1,)
    assert not judged.motion.displacement[:, :, 1].any()
    np.testing.assert_array_equal(judged.motion.displacement[:, :, 0], motion.displacement[:, :, 0])
    assert judged.motion.cost is not None and judged.motion.residual is not None
    for values, before in ((judged.motion.cost, motion.cost), (judged.motion.residual, motion.residual)):
        assert np.isnan(values[1]).all()
        np.testing.assert_array_equal(values[0], before[0])
    assert [text.split(":")[0] for text in judged.doubts] == ["slice 2"]


@pytest.mark.parametrize("size", [0.3, 1.0])
def test_a_held_breath_stays_held(size: float) -> None:
    judged = judge_motion(held(), motion_of(held(), [random_shifts(size)]))
    assert judged.undone == (0,) and not judged.motion.displacement.any()
    assert judged.doubts == ()


def test_the_blur_of_reading_between_pixels_is_no_gain() -> None:
    """Half a pixel in every frame takes the most noise away that interpolation can, and moves nothing."""
    noisy = series_of([chest(np.zeros((FRAMES, 2)), noise=25.0)])
    judged = judge_motion(noisy, motion_of(noisy, [np.tile([[0.5, 0.5], [-0.5, -0.5]], (FRAMES // 2, 1))]))
    assert judged.undone == (0,)


def test_reading_all_of_the_heart_from_one_place_is_no_gain() -> None:
    """A field that draws everything together shows the same in every frame, and no heart."""
    x, y = np.indices(held().data.shape[:2], dtype=float)
    inward = np.stack([37.0 - x, 38.0 - y, np.zeros_like(x)], axis=-1) * 0.95
    field = np.repeat(world_displacement(held().affine, inward)[:, :, None, None], FRAMES, axis=3)
    motion = Motion(field.astype(np.float32), np.ones((1, FRAMES), bool))
    assert judge_motion(moving_one(), motion).undone == (0,)


def moving_one() -> Series:
    return replace(moving(), data=moving().data[:, :, :1])


def test_what_still_moves_is_said_with_what_to_do() -> None:
    judged = judge_motion(moving_one(), motion_of(moving_one(), [np.zeros((FRAMES, 2))]))
    assert judged.undone == ()
    (text,) = judged.doubts
    assert text.startswith("slice 1: the heart still moves by ") and "qperf review" in text


@pytest.mark.parametrize("seed", [2, 5])
@pytest.mark.parametrize("breathing", ["none", "free"])
def test_a_heart_on_large_pixels_is_not_told_to_move_where_it_lies_still(breathing: str, seed: int) -> None:
    """Few and blurred edges make shifts of noise."""
    config = PhantomConfig(task="rest", acquisition="single", cnr=8.0, breathing=breathing, matrix=40, frames=36)
    series = simulate_scan(config, np.random.default_rng(seed)).series["tissue"]
    assert series.voxel_size[0] > 9.0
    unmoved = Motion(np.zeros((*series.data.shape, 3), np.float32), np.ones(series.data.shape[2:], bool))
    assert bool(judge_motion(series, unmoved).doubts) is (breathing == "free")


def test_what_was_handed_in_is_not_undone_but_spoken_of() -> None:
    motion = motion_of(moving_one(), [random_shifts(3.0)])
    judged = judge_motion(moving_one(), motion, may_undo=False)
    assert judged.motion is motion and judged.undone == () and len(judged.doubts) == 1


def test_proton_density_frames_have_no_say() -> None:
    motion = motion_of(moving_one(), [breathing(FRAMES, 1)])
    series = replace(moving_one(), metadata={"ProtonDensityVolumeCount": 3})
    field = motion.displacement.copy()
    field[:, :, :, :3] += 9.0
    assert judge_motion(series, replace(motion, displacement=field)).undone == ()


def test_the_way_of_storage_changes_nothing() -> None:
    motion = motion_of(moving(), [random_shifts(3.0), breathing(FRAMES, 2)])
    straight = judge_motion(moving(), motion)
    for order in (Reorientation((1, 0, 2), (False, True, False)), Reorientation((0, 1, 2), (True, False, True))):
        judged = judge_motion(moving().reordered(order), motion.reordered(order))
        np.testing.assert_array_equal(judged.motion.reordered(order.inverse).displacement, straight.motion.displacement)
        turned = tuple(sorted(order.slice_index(k, 2) for k in straight.undone))
        assert judged.undone == turned
        values = [[text.split(": ", 1)[1] for text in each.doubts] for each in (straight, judged)]
        assert values[0] == values[1] and len(values[0]) == 1


@pytest.mark.parametrize("shape", [(5, 7, 1, 4), (20, 20, 2, 12), (24, 31, 2, 30), (1, 1, 1, 40)])
def test_nothing_to_judge_by_is_not_judged(shape: tuple[int, int, int, int]) -> None:
    affine = np.diag([SPACING, SPACING, 8.0, 1.0])
    series = Series(np.full(shape, 3.7), np.arange(shape[3]) * 0.8, affine)
    motion = Motion(np.ones((*shape, 3), np.float32), np.ones(shape[2:], bool))
    judged = judge_motion(series, motion)
    assert judged.motion is motion and judged.undone == () and judged.doubts == ()
