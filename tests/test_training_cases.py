"""Training cases on real anatomy: a cine image told apart, its scene, its curves. Drawn pictures stand in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from qperf_app.methods.bolus_timing import half_rise_time
from qperf_app.phantom.bolus import Bolus
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.participant import sample_participant
from qperf_app.phantom.scenes import SOURCES
from qperf_app.training import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind, TrainingCase
from qperf_app.training.anatomy import Anatomy, UnclearAnatomyError, tell_apart
from qperf_app.training.case_ranges import CaseDraws, case_ranges
from qperf_app.training.case_signals import draw_protocol, source_signals
from qperf_app.training.cases import HELD_OUT, is_held_out
from qperf_app.training.cine import Anatomies, cine_files, read_picture
from qperf_app.training.simulated_cases import simulate_case
from qperf_segmentation.networks import pool_input, wall_input

DATA = Path(os.environ.get("QPERF_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
INNER, OUTER, CENTRE = 24.0, 32.0, (140.0, 128.0)


def cine(blood: float = 110.0, with_right: bool = True) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A picture as a cine has it, and its cavity: a chest with fat at the skin, a lung, both ventricles and a liver."""
    x, y = np.meshgrid(np.arange(256.0), np.arange(256.0), indexing="ij")
    image = np.full(x.shape, 2.0)
    skin = np.hypot((x - 128) / 110, (y - 128) / 95)
    image[skin < 1.0] = 180.0
    image[skin < 0.9] = 38.0
    image[np.hypot((x - 165) / 55, (y - 115) / 55) < 1.0] = 8.0
    from_left = np.hypot(x - CENTRE[0], y - CENTRE[1])
    if with_right:
        image[np.hypot((x - 105) / 30, (y - 128) / 34) < 1.0] = 112.0
    image[from_left < OUTER] = 36.0
    image[from_left < INNER] = blood
    image[np.hypot(x - 150, y - 120) < 4.0] = 36.0
    noise = np.random.default_rng(3).normal(0.0, 2.0, image.shape)
    return np.clip(ndimage.gaussian_filter(image, 0.6) + noise, 0, 255).astype(np.float32), from_left < INNER


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return tell_apart(*cine(), "drawn")


def of(anatomy: Anatomy, kind: CaseKind, seed: int, **more: float) -> TrainingCase:
    return simulate_case(kind, np.random.default_rng(seed), absence="", anatomies=lambda _: anatomy, share=1.0, **more)


# ------------------------------------------------------------------ a cine image told apart


def test_wall_and_right_ventricle_are_grown_from_the_cavity(anatomy: Anatomy) -> None:
    np.testing.assert_allclose(anatomy.inner, INNER, atol=1.0)
    np.testing.assert_allclose(anatomy.outer, OUTER, atol=1.6)
    right = anatomy.right
    assert right[95, 128] and not right[140, 128] and 1200 < right.sum() < 3200
    assert anatomy.insertions is not None
    (_, above), (_, below) = anatomy.insertions
    assert above < CENTRE[1] < below, "the anterior one lies higher"
    away = np.linalg.norm(anatomy.insertions - CENTRE, axis=1)
    np.testing.assert_allclose(away, OUTER, atol=2.0)
    assert (anatomy.insertions[:, 0] < CENTRE[0]).all(), "on the right ventricle's side"


def test_what_can_not_be_told_apart_is_refused() -> None:
    with pytest.raises(UnclearAnatomyError, match="hardly brighter than muscle"):
        tell_apart(*cine(blood=42.0))
    image, cavity = cine()
    with pytest.raises(UnclearAnatomyError, match="no clear border"):
        tell_apart(np.where(cavity, image, 36.0).astype(np.float32), cavity)
    with pytest.raises(UnclearAnatomyError, match="pixels"):
        tell_apart(image, np.zeros_like(cavity))


def test_a_slice_may_have_no_right_ventricle() -> None:
    without = tell_apart(*cine(with_right=False))
    assert without.insertions is None and not without.right.any()
    case = of(without, CaseKind.MUSCLE, 1)
    assert not case.landmarks and not (case.labels == RIGHT_BLOOD).any()


# ------------------------------------------------------------------ cases


@pytest.mark.parametrize("kind", list(CaseKind))
def test_a_case_on_real_anatomy_is_the_same_from_the_same_seed(anatomy: Anatomy, kind: CaseKind) -> None:
    first, again, other = (of(anatomy, kind, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.series.data, again.series.data)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.landmarks == again.landmarks and first.scene == again.scene and first.scene.startswith("cine ")
    assert first.series.data.shape != other.series.data.shape or (first.series.data != other.series.data).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_wall_encloses_the_cavity_and_bears_the_insertion_points(anatomy: Anatomy, seed: int) -> None:
    case = of(anatomy, CaseKind.MUSCLE, seed)
    labels = case.labels[..., 0]
    left, wall, right = (labels == label for label in (LEFT_BLOOD, WALL, RIGHT_BLOOD))
    assert left.sum() > 20 and wall.sum() > 40 and right.any()
    assert ndimage.binary_fill_holes(wall)[left].all(), "cavity within the wall"
    assert len(case.landmarks) == 2
    inverse = np.linalg.inv(case.series.affine)
    to_wall = ndimage.distance_transform_edt(~wall, sampling=case.series.voxel_size[:2])
    for point in case.landmarks:
        i, j, k = inverse @ [*point.position, 1.0] @ np.eye(4)[:, :3]
        assert k == pytest.approx(0.0, abs=1e-6)
        inside = 0 <= i < labels.shape[0] - 1 and 0 <= j < labels.shape[1] - 1
        assert not inside or to_wall[round(i), round(j)] < 6.0


@pytest.mark.parametrize("sequence", ["input-FLASH", "input-bSSFP", "input-EPI", "tissue-FLASH"])
def test_the_bolus_reaches_right_left_and_muscle_in_this_order(sequence: str) -> None:
    times = np.arange(60) * 0.8
    for seed in range(3):
        draw = CaseDraws(np.random.default_rng(seed))
        config = PhantomConfig(task="rest", field_strength=1.5)
        person = sample_participant(config, draw.rng)
        signals = source_signals(config, person, Bolus(8.0), times, 0, draw_protocol(sequence, draw), draw)
        right, left, muscle = (half_rise_time(times, signals[SOURCES.index(n)]) for n in ("right", "left", "wall-3-0"))
        assert right + 2.0 < left < muscle
        tops = [float(np.ptp(signals[SOURCES.index(name)])) for name in ("left", "myocardium", "fat")]
        assert tops[0] > tops[1] > 0 and tops[2] < tops[0]


def test_spread_goes_beyond_the_ranges_but_not_below_nothing() -> None:
    values = [CaseDraws(np.random.default_rng(i), 1.25).value("bolus", "width") for i in range(300)]
    low, high = case_ranges()["bolus"]["width"]
    assert min(values) < low and max(values) > high and min(values) > 0


def test_every_range_of_the_file_can_be_drawn_from() -> None:
    draw = CaseDraws(np.random.default_rng(0), 1.25)
    for section, names in case_ranges().items():
        for name, given in names.items():
            if isinstance(given, dict) and "log" not in given:
                assert draw.one_of(section, name) in [str(word) for word in given]
            else:
                assert np.isfinite(draw.value(section, name)), (section, name)
    for use in ("input", "tissue"):
        for sequence in case_ranges()["sequences"][use]:
            for _ in range(20):
                assert draw_protocol(f"{use}-{sequence}", draw).dynamic.spacing > 0


# ------------------------------------------------------------------ a folder of cine images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four persons' pictures, laid out as the Sunnybrook data are."""
    from PIL import Image

    root = tmp_path_factory.mktemp("cine")
    image, cavity = cine()
    for person in "ABCD":
        for kind, picture in (("Images", image), ("Labels", 255.0 * cavity)):
            (root / kind / "Part1").mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.T.astype(np.uint8)).save(root / kind / "Part1" / f"SC-{person}-IM-0001.png")
    return root


def test_persons_held_out_are_never_trained_on(folder: Path) -> None:
    anatomies = Anatomies(folder)
    assert sorted(anatomies.persons(False) + anatomies.persons(True)) == ["SC-A", "SC-B", "SC-C", "SC-D"]
    drawn = [
        {anatomies.draw(np.random.default_rng(i), held).name.split("-IM")[0] for i in range(20)}
        for held in (False, True)
    ]
    assert drawn == [{"SC-A", "SC-B", "SC-D"}, {"SC-C"}]
    assert is_held_out(HELD_OUT) and is_held_out(HELD_OUT + 30 * HELD_OUT)
    assert not is_held_out(0) and not is_held_out(7 + 10 * HELD_OUT)


def test_a_folder_without_cine_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no cine images"):
        cine_files(tmp_path)


@pytest.mark.slow
def test_most_real_slices_are_told_apart() -> None:
    """Every 40th image; on the others the quality tests refuse to guess."""
    if not (DATA / "sunnybrook").is_dir():
        pytest.skip(f"no cine images at {DATA / 'sunnybrook'}")
    found = []
    for image, drawn in cine_files(DATA / "sunnybrook")[::40]:
        try:
            found.append(tell_apart(read_picture(image), read_picture(drawn) > 127, image.name))
        except UnclearAnatomyError:
            found.append(None)
    clear = [one for one in found if one is not None]
    assert len(clear) > 0.55 * len(found)
    assert sum(one.insertions is not None for one in clear) > 0.7 * len(clear)
    for one in clear:
        assert (one.outer - one.inner > 1.5).all() and not (one.right & one.cavity).any()


def test_kinds_of_scene_that_fail_are_drawn_more_often() -> None:
    from qperf_segmentation.networks.learning import Examples, ImageBatches, flips

    scenes = np.array(["cine tissue-bSSFP"] * 10 + ["phantom input-FLASH"] * 30)
    shape = (40, 4, 4)
    images = np.broadcast_to(np.arange(40.0)[:, None, None, None], (*shape, 2)).astype(np.float16)
    examples = Examples(images, np.zeros(shape, np.uint8), np.zeros((40, 0, 2), np.float32), scenes)
    failed = {"loss": 0.3, "failed cine tissue-bSSFP": 0.4, "failed phantom input-FLASH": 0.05}
    figures: dict[str, float] = {}
    batches = ImageBatches(examples, 4, flips, 0, 0.5, lambda: figures)
    assert batches.chances() is None, "nothing is known before the first epoch"
    figures.update(failed)
    chances = batches.chances()
    assert chances is not None and chances.sum() == pytest.approx(1.0)
    assert chances[0] / chances[-1] == pytest.approx((1 / 40 + 0.4 / 5.5) / (1 / 40 + 0.05 / 5.5))
    assert ImageBatches(examples, 4, flips, 0, 0.0, lambda: figures).chances() is None
    drawn = [np.asarray(batch[0])[:, 0, 0, 0] for batch in batches.draw(np.random.default_rng(0))]
    assert np.mean(np.concatenate(drawn) < 10) > 0.35, "a quarter of the examples, more than a third of the epoch"


# ------------------------------------------------------------------ time in passes of the bolus


@pytest.mark.parametrize("slower", [1.6, 2.5])
def test_a_network_counting_in_passes_sees_slow_and_fast_series_alike(anatomy: Anatomy, slower: float) -> None:
    case = of(anatomy, CaseKind.POOLS, 3)
    signal, voxel = pool_input.corrected_signal(case.series), case.series.voxel_size
    # The usual pass and longer ones: the least width that is measured lies below.
    times = 1.5 * case.series.dynamic().times
    seen = []
    for clock in (times, slower * times):
        middle, width = pool_input.passage(signal, clock, voxel)
        start, step = middle - pool_input.BEFORE * width, pool_input.PART * width
        seen.append(pool_input.look_at(signal[:, :, 0], clock, voxel, start, step=step).image)
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-4)
    left = case.labels[..., 0] == LEFT_BLOOD
    curve, centre = signal[:, :, 0][left].mean(axis=0), tuple(np.argwhere(left).mean(axis=0))
    looks = [
        wall_input.look_at(signal[:, :, 0], clock, voxel, centre, curve, in_passes=in_passes).image
        for in_passes in (True, False)
        for clock in (times, slower * times)
    ]
    assert wall_input.PASSES[0] < wall_input.curve_width(times, curve) < wall_input.PASSES[1] / slower
    np.testing.assert_allclose(looks[0], looks[1], atol=1e-4)
    assert np.abs(looks[2] - looks[3]).max() > 0.05, "by a clock in seconds they differ"


def test_weights_that_are_shipped_have_names() -> None:
    from qperf_segmentation.networks.weights import read_architecture, weights_file
    from qperf_segmentation.resunet_blood_pool import WEIGHTS

    assert weights_file("", WEIGHTS) == WEIGHTS
    named = weights_file("cine", WEIGHTS)
    assert named.is_file() and named != WEIGHTS
    assert read_architecture(named).clock == "passes" and read_architecture(WEIGHTS).clock == "seconds"
    assert weights_file("some/cine", WEIGHTS) == Path("some/cine"), "a path stays one"
    assert weights_file("none", WEIGHTS) == Path("none")
