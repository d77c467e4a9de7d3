"""Outlines that lie wrong are doubted, whoever drew them; right ones are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qperf_app.checks.outlines import blood_outside_wall, judge_pool, judge_wall, right_after_left
from qperf_app.geometry.masks import dice
from qperf_app.geometry.warp import warp
from qperf_app.methods.bolus_timing import half_rise_time
from qperf_app.methods.outline_features import seen_slices
from qperf_app.methods.outline_trust import pool_model, trust_pool, trust_wall, wall_model
from qperf_app.phantom import PhantomConfig, simulate_scan
from qperf_app.plugins import BloodPools, Landmark, Myocardium, Resources, RunContext, Series
from qperf_app.training import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind, TrainingCase
from qperf_app.training.outline_trust import examples, fit
from qperf_app.training.simulated_cases import simulate_case
from qperf_app.training.worse_outlines import worse_walls
from qperf_segmentation import EnsembleBloodPool, EnsembleMyocardium, KMeansBloodPool, ensemble
from qperf_segmentation.ensemble import mean_wall
from qperf_segmentation.templates import CanonicalBloodPool, SliceOutline, SliceOutliner, SliceWiseMyocardium

Mask = NDArray[np.bool_]
#: A seed whose slice lies at mid level, far from those of the training.
SEED = [2031, 5]


@pytest.fixture(scope="module")
def case() -> TrainingCase:
    return simulate_case(CaseKind.MUSCLE, np.random.default_rng(SEED))


def masks(case: TrainingCase) -> tuple[Mask, Mask, Mask]:
    wall, left, right = (case.labels == label for label in (WALL, LEFT_BLOOD, RIGHT_BLOOD))
    return wall, left, right


def in_order(case: TrainingCase) -> Series:
    """The series in the order in which plugins work, so that members of an ensemble need not turn their outlines."""
    return replace(case.series, affine=np.diag([*case.series.voxel_size, 1.0]))


def moved(mask: Mask, by: int) -> Mask:
    return np.roll(mask, by, axis=0)


def test_a_right_outline_is_trusted_and_wrong_ones_are_not(case: TrainingCase) -> None:
    wall, left, right = masks(case)
    judged = judge_wall(case.series, wall)
    assert judged.dice[0] > 0.85 and not judged.doubts
    from scipy.ndimage import binary_dilation

    heart = wall | left
    wrong = {
        "beside the heart": moved(wall, 12),
        "wall taken for cavity": binary_dilation(heart, iterations=4) & ~heart,
        "right ventricle": binary_dilation(right, iterations=4) & ~right,
    }
    for what, outline in wrong.items():
        told = judge_wall(case.series, outline)
        assert told.dice[0] < wall_model().trusted and "qperf review" in told.doubts[0], what


def test_worse_outlines_are_estimated_worse(case: TrainingCase) -> None:
    wall, left, right = masks(case)
    estimated = [judge_wall(case.series, moved(wall, by)).dice[0] for by in (0, 3, 6, 12)]
    assert estimated[0] > max(estimated[1:])
    assert judge_pool(case.series, left).dice[0] > judge_pool(case.series, right).dice[0]


def test_units_and_storage_change_nothing(case: TrainingCase) -> None:
    wall, _, _ = masks(case)
    series = case.series
    other = Series(
        series.data[::-1].transpose(1, 0, 2, 3) * 37.0, series.times + 100.0, series.affine, dict(series.metadata)
    )
    turned = wall[::-1].transpose(1, 0, 2)
    assert judge_wall(other, turned).dice[0] == pytest.approx(judge_wall(series, wall).dice[0], abs=0.03)


def test_a_plugin_that_doubts_its_own_outline_is_believed(case: TrainingCase) -> None:
    wall, left, _ = masks(case)
    assert judge_wall(case.series, wall, own=(0.3,)).doubts
    assert not judge_wall(case.series, wall, own=(0.99,)).doubts
    assert not judge_pool(case.series, left, own=(float("nan"),)).doubts


def test_exchanged_ventricles_and_blood_beside_the_wall_are_said(case: TrainingCase) -> None:
    wall, left, right = masks(case)
    pools = BloodPools(left, right, left, case.series.affine)
    assert not right_after_left(case.series, pools)
    assert "exchanged" in right_after_left(case.series, BloodPools(right, left, right, case.series.affine))
    assert not blood_outside_wall(wall, case.series.affine, pools)
    assert "outside of the" in blood_outside_wall(moved(wall, 20), case.series.affine, pools)


def test_masks_without_anything_to_judge_are_not_trusted(case: TrainingCase) -> None:
    seen = seen_slices(case.series)[0]
    solid = masks(case)[1][..., 0]
    still = seen_slices(Series(np.ones((20, 20, 1, 30)), np.arange(30.0), np.diag([2.0, 2.0, 8.0, 1.0])))
    assert trust_wall(seen, np.zeros_like(solid)).dice == 0.0
    assert trust_wall(seen, solid).dice < trust_wall(seen, solid).least
    assert trust_pool(still[0], np.ones((20, 20), bool)).dice == 0.0


def test_a_model_learns_to_tell_wrong_from_right() -> None:
    learnt = [one for number in range(6) for one in examples("wall", number, 3)]
    model = fit([features for _, _, features in learnt], np.array([d for _, d, _ in learnt]))
    kept = [one for number in range(6, 9) for one in examples("wall", number, 3)]
    estimated, truth = (np.array(v) for v in zip(*((model.dice(f), d) for _, d, f in kept), strict=True))
    assert np.corrcoef(estimated, truth)[0, 1] > 0.6
    assert type(model).from_dict(model.as_dict()).dice(kept[0][2]) == pytest.approx(estimated[0], abs=1e-3)


def test_outlines_made_worse_depend_on_the_seed_alone(case: TrainingCase) -> None:
    wall, left, right = (mask[..., 0] for mask in masks(case))
    spacing = case.series.voxel_size[:2]
    made = [
        [
            (kind, mask.sum())
            for kind, mask in worse_walls(
                wall, left, right, np.random.default_rng(0).random(wall.shape), spacing, np.random.default_rng(1)
            )
        ]
        for _ in range(2)
    ]
    assert made[0] == made[1] and len(made[0]) == 13


def test_a_wrong_outline_is_doubtful_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wall beside the heart: its numbers are there, marked, and out of the summary."""
    import json

    from qperf_app.cli.app import main
    from qperf_segmentation import ClassicalMyocardium
    from tests.datasets import small_dataset

    right = ClassicalMyocardium.segment

    def wrong(self: ClassicalMyocardium, series: Series, pools: object, aif: object, context: RunContext) -> Myocardium:
        found = right(self, series, pools, aif, context)  # type: ignore[arg-type]
        return Myocardium(np.roll(found.mask, 8, axis=0), found.landmarks)

    monkeypatch.setattr(ClassicalMyocardium, "segment", wrong)
    raw, out = small_dataset(tmp_path / "raw", tasks=("rest", "stress")), tmp_path / "out"
    fast = ("--motion-correction", "none", "--kinetics", "fermi", "--myocardium", "classical")
    fast += ("--skip-bids-validation", "--nprocs", "1")
    assert main([str(raw), str(out), "participant", "-w", str(tmp_path / "work"), *fast]) == 0
    status = json.loads((out / "sub-01" / "sub-01_status.json").read_text())
    doubtful = {one["step"]: one["reason"] for one in status["steps_doubtful"]}
    assert any("estimated Dice of the wall" in reason for reason in doubtful.values())
    assert any("estimated Dice of the wall" in text for text in status["scans"][0]["doubtful"])
    sidecar = json.loads((out / "sub-01" / "perf" / "sub-01_task-rest_label-myocardium_mask.json").read_text())
    assert min(d for d in sidecar["EstimatedDice"] if d is not None) < wall_model().trusted
    assert "left out of the summary" in (out / "sub-01.html").read_text(encoding="utf-8")
    told = [line for line in capsys.readouterr().err.splitlines() if ": doubtful: " in line]
    assert any("task-stress" in line for line in told)
    # Scans that a run leaves out are not told of again.
    assert main([str(raw), str(out), "participant", "-w", str(tmp_path / "work"), "-t", "rest", *fast]) == 0
    again = [line for line in capsys.readouterr().err.splitlines() if ": doubtful: " in line]
    assert again == [line for line in told if "task-rest" in line] != []


class Fixed(SliceWiseMyocardium):
    """A member that always gives one wall, wherever the pools lie."""

    name, version, summary = "fixed", "1", "one wall"
    pool_finder = KMeansBloodPool

    def __init__(self, wall: Mask, *points: tuple[str, float]) -> None:
        super().__init__()
        self.wall = wall
        self.points = tuple(Landmark(name, 0, (x, 0.0, 0.0)) for name, x in points)  # type: ignore[arg-type]

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        return Resources(memory_gb=1.0)

    def outliner(self, series: Series) -> SliceOutliner:
        return lambda pools, k: SliceOutline(self.wall[..., k], self.points)


def test_what_one_member_says_is_taken_and_doubtful(case: TrainingCase, monkeypatch: pytest.MonkeyPatch) -> None:
    wall, left, right = masks(case)
    series = in_order(case)
    pools = BloodPools(left, right, left, series.affine)
    monkeypatch.setattr(EnsembleMyocardium, "members", (Fixed(moved(wall, 12)), Fixed(wall)))
    found = EnsembleMyocardium().segment(series, pools, None, RunContext())
    assert np.array_equal(found.mask, wall)
    alone = judge_wall(series, wall).dice[0]
    assert found.estimated_dice[0] == pytest.approx(dice(wall, moved(wall, 12)))
    assert found.estimated_dice[0] < wall_model().trusted < alone
    assert any("draw different walls" in text for text in found.warnings)
    for members in ((Fixed(wall), Fixed(wall)), (Fixed(wall),)):
        monkeypatch.setattr(EnsembleMyocardium, "members", members)
        agreed = EnsembleMyocardium().segment(series, pools, None, RunContext())
        assert agreed.estimated_dice[0] == pytest.approx(alone) and not agreed.warnings
    # One that is asked alone disagrees with nobody; what it looks like decides.
    wrong = moved(wall, 12)
    monkeypatch.setattr(EnsembleMyocardium, "members", (Fixed(wrong),))
    doubted = EnsembleMyocardium().segment(series, pools, None, RunContext())
    assert doubted.estimated_dice[0] == pytest.approx(judge_wall(series, wrong).dice[0])
    assert doubted.estimated_dice[0] < wall_model().trusted and not any("draw" in text for text in doubted.warnings)


def test_a_network_that_looks_right_outvotes_the_rules(case: TrainingCase, monkeypatch: pytest.MonkeyPatch) -> None:
    # What an outline looks like is what the rules look for: theirs always look right.
    wall, left, right = masks(case)
    series = in_order(case)
    pools = BloodPools(left, right, left, series.affine)
    monkeypatch.setattr(ensemble, "SAME", 1.1)
    other = wall | moved(wall, 1)
    for first, second in ((wall, other), (other, wall)):
        assert min(judge_wall(series, first).dice[0], judge_wall(series, second).dice[0]) > wall_model().trusted
        monkeypatch.setattr(EnsembleMyocardium, "members", (Fixed(first), Fixed(second)))
        assert np.array_equal(EnsembleMyocardium().segment(series, pools, None, RunContext()).mask, second)


def test_networks_that_agree_are_trusted_no_more_than_what_they_share_with_rules_that_look_right(
    case: TrainingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Taught alike they can be wrong alike.
    wall, left, right = masks(case)
    series, wrong = in_order(case), moved(masks(case)[0], 12)
    pools = BloodPools(left, right, left, series.affine)

    def segment(*walls: Mask) -> Myocardium:
        monkeypatch.setattr(EnsembleMyocardium, "members", tuple(map(Fixed, walls)))
        return EnsembleMyocardium().segment(series, pools, None, RunContext())

    assert np.array_equal(segment(wrong, wall, wall).mask, wall)
    assert segment(wrong, wall, wall).estimated_dice[0] > wall_model().trusted
    monkeypatch.setattr(ensemble, "trust_wall", lambda seen, mask: replace(trust_wall(seen, mask), dice=0.9))
    assert segment(wall, wrong, wrong).estimated_dice[0] == pytest.approx(dice(wall, wrong))
    assert segment(wall, wall, wrong).estimated_dice[0] == 0.9


def test_of_two_that_can_be_trusted_and_agree_the_mean_is_taken(
    case: TrainingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, left, right = masks(case)
    series = in_order(case)
    pools = BloodPools(left, right, left, series.affine)
    wider = wall | moved(wall, 1)
    both = mean_wall([wall[..., 0], wider[..., 0]], series.voxel_size[:2])
    monkeypatch.setattr(EnsembleMyocardium, "members", (Fixed(wall), Fixed(wider)))
    found = EnsembleMyocardium().segment(series, pools, None, RunContext())
    assert np.array_equal(found.mask[..., 0], both) and not np.array_equal(both, wall[..., 0])
    assert found.estimated_dice[0] == pytest.approx(judge_wall(series, both[..., None]).dice[0])
    monkeypatch.setattr(EnsembleMyocardium, "members", (Fixed(wall), Fixed(moved(wall, 12))))
    apart = EnsembleMyocardium().segment(series, pools, None, RunContext())
    assert np.array_equal(apart.mask, wall)


class FixedPools(CanonicalBloodPool):
    """A member that always gives one left pool, or none."""

    name, version, summary = "fixed", "1", "one pool"

    def __init__(self, left: Mask) -> None:
        super().__init__()
        self.left = left

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        return Resources(memory_gb=1.0)

    def find_in_order(self, series: Series) -> BloodPools:
        nothing = np.zeros_like(self.left)
        if not self.left.any():
            return BloodPools(nothing, nothing, nothing, series.affine, found=False, reason="nothing enhances")
        return BloodPools(self.left, nothing, self.left, series.affine)


def test_blood_on_which_two_members_agree_is_taken_and_what_one_alone_says_is_doubtful(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = simulate_case(CaseKind.POOLS, np.random.default_rng(SEED), absence="")
    _, left, _ = masks(case)
    series = in_order(case)
    wrong, none = moved(left, 14), np.zeros_like(left)
    least, right = pool_model().trusted, judge_pool(series, left).dice[0]
    assert right > least > judge_pool(series, wrong).dice[0]

    def found(*lefts: Mask) -> BloodPools:
        monkeypatch.setattr(EnsembleBloodPool, "members", tuple(map(FixedPools, lefts)))
        return EnsembleBloodPool().find(series, RunContext())

    for order in ((wrong, left, left), (left, none, left), (left, left, none)):
        pools = found(*order)
        assert np.array_equal(pools.lv, left) and pools.estimated_dice[0] > right
    alone = found(none, left, none)
    assert np.array_equal(alone.lv, left) and alone.estimated_dice[0] < least
    # What pools look like is what the rules look for: theirs alone are none.
    assert not found(wrong, none, none).found and not found(left, none, none).found
    assert found(none, none, wrong).reason.count("nothing enhances") == 1
    # Two that agree on what looks doubtful have found something, unless it is more likely nothing.
    near, far = moved(left, 3), moved(left, 4)
    assert not found(none, near, none).found and not found(none, far, far).found
    assert 0.5 <= found(none, near, near).estimated_dice[0] < least
    # They don't outvote a network that looks right elsewhere.
    aside = moved(left, 2)
    assert np.array_equal(found(none, aside, aside, left).lv, aside)
    monkeypatch.setattr(ensemble, "WITHIN", 0.6)
    apart = found(none, aside, aside, left)
    assert np.array_equal(apart.lv, left)
    # Of two that look right in two places neither is known, though a third says the same as one of them.
    monkeypatch.setattr(ensemble, "trust_pool", lambda seen, mask: replace(trust_pool(seen, mask), dice=0.9))
    apart = found(none, left, left, wrong)
    assert np.array_equal(apart.lv, left) and apart.estimated_dice[0] == 0.0


def test_papillary_muscles_belong_to_the_left_pool_and_not_to_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = simulate_scan(PhantomConfig(task="rest", acquisition="single", frames=45), np.random.default_rng(3))
    truth = scan.truth["tissue"]
    data = warp(scan.series["tissue"].data, scan.series["tissue"].affine, truth.displacement)
    left, wall = (truth.masks[name][..., 1] for name in ("LV", "myocardium"))
    (x, y), radius = np.argwhere(left).mean(axis=0), np.sqrt(left.sum() / np.pi)
    i, j = np.indices(left.shape)
    # As in a heart they stand on the wall.
    muscles = left & (np.minimum(*(np.hypot(i - x - side * radius, j - y) for side in (-0.75, 0.75))) < 0.35 * radius)
    data[muscles, 1] = np.median(data[wall, 1], axis=0)
    series = replace(scan.series["tissue"], data=data)
    bright, found = (plugin.find(series, RunContext()) for plugin in (KMeansBloodPool(), EnsembleBloodPool()))
    share = [float((pools.lv[..., 1] & muscles).sum() / muscles.sum()) for pools in (bright, found)]
    assert share[0] < 0.2 and share[1] > 0.6
    assert dice(found.lv[..., 1], left) > dice(bright.lv[..., 1], left) and not (found.lv & found.rv).any()
    assert np.array_equal(found.aif, bright.aif) and not (found.aif & ~found.lv).any()
    # Pixels that don't show the wall leave it as it was found.
    monkeypatch.setattr(ensemble, "FINE", 0.5 * series.voxel_size[0])
    assert np.array_equal(EnsembleBloodPool().find(series, RunContext()).lv, bright.lv)


def test_insertion_points_lie_half_way_where_both_see_them_near_each_other(
    case: TrainingCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, left, right = masks(case)
    series, anterior, inferior = in_order(case), "RVInsertionAnterior", "RVInsertionInferior"
    pools = BloodPools(left, right, left, series.affine)
    for ours, theirs, expected in (
        (((anterior, 1.0), (inferior, 9.0)), ((anterior, 5.0), (inferior, 60.0)), {anterior: 3.0, inferior: 9.0}),
        (((anterior, 1.0),), ((inferior, 5.0),), {anterior: 1.0, inferior: 5.0}),
        ((), ((anterior, 5.0),), {anterior: 5.0}),
    ):
        monkeypatch.setattr(EnsembleMyocardium, "members", (Fixed(wall, *ours), Fixed(wall, *theirs)))
        found = EnsembleMyocardium().segment(series, pools, None, RunContext()).landmarks
        assert {point.name: point.position[0] for point in found} == expected


def test_the_mean_of_two_walls_lies_between_them() -> None:
    x, y = np.indices((48, 48)) - 24
    radius = np.hypot(x, y)
    thin, thick = (radius >= 8) & (radius < 12), (radius >= 8) & (radius < 16)
    mean = mean_wall([thin, thick], np.array([1.5, 1.5]))
    assert thin.sum() < mean.sum() < thick.sum() and not (thin & ~mean).any() and not (mean & ~thick).any()


def test_recirculation_in_a_signal_that_saturates_is_not_the_bolus() -> None:
    """As in a real series of a full single bolus: the plateau after the first passage is higher than its peak."""
    times = np.arange(60.0)
    since = times[:, None] - [10.0, 16.0]
    passage = np.exp(-0.5 * (since / 2.0) ** 2)
    later = 0.18 / (1.0 + np.exp(-since)) + 1.0 / (1.0 + np.exp(-(since - 16.0) / 1.5))
    data = np.zeros((2, 1, 1, 60))
    data[:, 0, 0] = 100.0 + 400.0 * np.tanh(2.0 * (passage + later)).T
    right, left = np.zeros((2, 1, 1), bool), np.zeros((2, 1, 1), bool)
    right[0], left[1] = True, True
    series = Series(data, times, np.diag([2.0, 2.0, 8.0, 1.0]))
    assert half_rise_time(times, data[0, 0, 0]) > 15 > half_rise_time(times, data[0, 0, 0], 0.25)
    assert not right_after_left(series, BloodPools(left, right, left, series.affine))
    assert right_after_left(series, BloodPools(right, left, right, series.affine))
