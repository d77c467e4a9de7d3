"""Networks of the segmentation plugins: what goes in, what comes out, weights, training from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qperf_app.cli.tools import main as qperf
from qperf_app.methods.bolus_timing import half_rise_time
from qperf_app.phantom import PhantomConfig, simulate_scan
from qperf_app.plugins import BloodPools, ParticipantResult, RunContext, ScanResult, Series, StepOutcome
from qperf_app.training import LEFT_BLOOD, WALL, CaseKind, WeightsError, read_arrays, write_weights
from qperf_app.training.simulated_cases import ABSENCES, simulate_case
from qperf_segmentation import ResUNetBloodPool, ResUNetMyocardium
from qperf_segmentation.networks import pool_input
from qperf_segmentation.networks.architecture import Architecture, build
from qperf_segmentation.networks.forward import ForwardNetwork, shapes
from qperf_segmentation.networks.heart_slice import LEFT, find_points, one_ring
from qperf_segmentation.networks.heart_slice import WALL as WALL_CLASS
from qperf_segmentation.networks.reading import one_blob
from qperf_segmentation.networks.resampling import PlaneGrid, on_time_grid, without_coils
from qperf_segmentation.resunet_blood_pool import PoolNetworkOptions, doubts_of
from qperf_segmentation.saliency import SaliencySection, saliency_of

CONTEXT = RunContext(seed=3)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


# ------------------------------------------------------------------ what the network sees


@given(
    size=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    voxel=st.tuples(st.floats(1.0, 6.0), st.floats(1.0, 6.0)),
    pixel=st.floats(1.5, 6.0),
)
@settings(max_examples=30, deadline=None)
def test_grid_keeps_a_constant_inside_and_nothing_outside(
    size: tuple[int, int], voxel: tuple[float, float], pixel: float
) -> None:
    grid = PlaneGrid((40, 32), pixel, ((size[0] - 1) / 2, (size[1] - 1) / 2), voxel)
    image = grid.bring(np.ones((*size, 1), np.float32))[..., 0]
    assert image.max() <= 1 + 1e-5 and image.min() >= 0
    inside = [
        (grid.positions(a) > pixel / voxel[a]) & (grid.positions(a) < size[a] - 1 - pixel / voxel[a]) for a in (0, 1)
    ]
    np.testing.assert_allclose(image[np.ix_(*inside)], 1.0, rtol=1e-5)
    far = [
        (grid.positions(a) < -pixel / voxel[a] - 1) | (grid.positions(a) > size[a] + pixel / voxel[a]) for a in (0, 1)
    ]
    assert not image[far[0]].any() and not image[:, far[1]].any()


def test_there_and_back_keeps_a_smooth_picture() -> None:
    x, y = np.meshgrid(np.arange(60), np.arange(50), indexing="ij")
    picture = np.exp(-((x - 28.0) ** 2 + (y - 25.0) ** 2) / 200.0).astype(np.float32)
    grid = PlaneGrid((64, 48), 2.5, (29.5, 24.5), (2.2, 2.2))
    again = grid.back(grid.bring(picture), (60, 50))
    assert np.abs(again - picture)[10:-10, 10:-10].max() < 0.02


def test_time_grid_is_linear_and_holds_its_ends() -> None:
    values = on_time_grid(np.array([[0.0, 2.0, 3.0]]), np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.5, 3.0, 9.0]))
    np.testing.assert_allclose(values, [[0.0, 1.0, 2.5, 3.0]])


def test_proton_density_takes_the_coils_out() -> None:
    shading = np.linspace(1.0, 4.0, 64, dtype=np.float32)[:, None, None] * np.ones((64, 48, 1), np.float32)
    series = shading[..., None] * np.ones(9, np.float32)
    flat = without_coils(series, shading, np.array([2.0, 2.0, 8.0]))
    assert np.ptp(flat[12:-12]) / flat.mean() < 0.15 < np.ptp(series[12:-12]) / series.mean()


def test_longer_edge_lies_on_the_longer_axis() -> None:
    case = simulate_case(CaseKind.POOLS, np.random.default_rng(0), absence="")
    signal = pool_input.corrected_signal(case.series)[:, :, 0]
    times, voxel = case.series.dynamic().times, case.series.voxel_size
    straight = pool_input.look_at(signal, times, voxel, 0.0)
    turned = pool_input.look_at(np.swapaxes(signal, 0, 1), times, voxel, 0.0)
    np.testing.assert_allclose(straight.image, turned.image, atol=1e-5)
    values = np.random.default_rng(1).random((64, 48)).astype(np.float32)
    np.testing.assert_allclose(turned.back(values, (48, 64)), straight.back(values, (64, 48)).T)


@pytest.mark.parametrize("shape", [(160, 140), (140, 160)])
def test_a_closer_look_lies_about_its_middle(shape: tuple[int, int]) -> None:
    voxel, about = np.array([2.3, 2.3, 8.0]), np.array([100.0, 40.0])
    signal = np.zeros((*shape, 20), np.float32)
    signal[98:103, 38:43] = 1.0
    times = np.arange(20.0)
    wide, close = (pool_input.look_at(signal, times, voxel, 0.0, a) for a in (None, about))
    assert close.grid.pixel == pool_input.PIXEL[0] < wide.grid.pixel
    brightest = np.argwhere(close.image[..., 5] > 0.9).mean(axis=0)
    np.testing.assert_allclose(brightest, (np.array(pool_input.SHAPE) - 1) / 2, atol=0.6)
    back = close.back(close.image[..., 5], shape)
    np.testing.assert_allclose(np.argwhere(back > 0.5).mean(axis=0), about, atol=0.5)


# ------------------------------------------------------------------ the answer itself


def test_the_network_in_numpy_answers_as_keras_does() -> None:
    """Weights and statistics of all layers at random, so that no exchanged array goes unnoticed."""
    architecture = Architecture((16, 12), 6, 3, points=1, filters=5, modules=5)
    model = build(architecture)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.2, 1.0, a.shape) * rng.choice([-1, 1], a.shape) for a in model.get_weights()]
    for k, shape in enumerate(shapes(architecture)):
        # Every fourth of four arrays of one shape is a variance.
        if len(shape) == 1 and k >= 3 and all(arrays[k - i].shape == shape for i in range(4)):
            arrays[k] = np.abs(arrays[k])
    model.set_weights(arrays)
    images = rng.standard_normal((3, 16, 12, 6)).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    found = ForwardNetwork(architecture, arrays)(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_arrays_of_another_network_are_refused() -> None:
    small, large = (Architecture((16, 12), 6, 3, filters=n, modules=5) for n in (4, 5))
    with pytest.raises(ValueError, match="array 2 is another one"):
        ForwardNetwork(large, [np.zeros(shape, np.float32) for shape in shapes(small)])
    with pytest.raises(ValueError, match="arrays instead of"):
        ForwardNetwork(large, [np.zeros(shape, np.float32) for shape in shapes(large)][:-1])


# ------------------------------------------------------------------ what is made of its answer


def test_one_blob_lowers_the_threshold_until_the_pieces_meet() -> None:
    probability = np.zeros((20, 20), np.float32)
    probability[4:9, 8:12] = probability[11:16, 8:12] = 0.9
    probability[9:11, 8:12] = 0.4
    assert one_blob(probability, 0.5, 0.25).sum() == 48
    apart = probability.copy()
    apart[9:11] = 0.0
    apart[11:16, 8:12] = 0.8
    found = one_blob(apart, 0.5, 0.25)
    assert found[4:9, 8:12].all() and found.sum() == 20, "the likelier piece stays"


def test_ring_is_one_and_holds_the_papillary_muscles() -> None:
    x, y = np.meshgrid(np.arange(60) - 30.0, np.arange(60) - 28.0, indexing="ij")
    radius = np.hypot(x, y)
    shares = np.zeros((60, 60, 4), np.float32)
    shares[(radius < 10)] = np.eye(4)[LEFT]
    shares[np.hypot(x - 6, y) < 2] = np.eye(4)[0]
    shares[(radius >= 10) & (radius < 16)] = np.eye(4)[WALL_CLASS]
    shares[2:5, 2:5] = np.eye(4)[WALL_CLASS]
    wall, cavity, closed = one_ring(shares)
    assert closed
    np.testing.assert_array_equal(cavity, radius < 10)
    assert dice(wall, (radius >= 10) & (radius < 16)) > 0.97 and not wall[:6, :6].any()
    shares[(x > 0) & (np.abs(y) < 5)] = np.eye(4)[LEFT]
    assert not one_ring(shares)[2], "a wall with a gap is reported"


def test_two_points_or_none() -> None:
    x, y = np.meshgrid(np.arange(80), np.arange(80), indexing="ij")
    spots = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 4.5) for a, b in ((20.25, 30.0), (50.0, 41.5))]
    shares = (spots[0] + 0.8 * spots[1]) / (spots[0] + 0.8 * spots[1]).sum()
    points, mass = find_points(shares.astype(np.float32))
    np.testing.assert_allclose(points, [[20.25, 30.0], [50.0, 41.5]], atol=0.1)
    assert mass > 0.95
    single, _ = find_points((spots[0] / spots[0].sum()).astype(np.float32))
    assert len(single) == 0


def test_curves_that_no_ventricle_has_are_refused() -> None:
    # In widths of the first pass.
    times = np.arange(40.0) / 5.0
    bolus = lambda at: np.exp(-(((times - at / 5.0) / 0.6) ** 2))  # noqa: E731
    assert doubts_of(times, bolus(18.0), bolus(12.0), 5.0) == ""
    assert "before the right one" in doubts_of(times, bolus(12.0), bolus(18.0), 5.0)
    assert "ends before" in doubts_of(times, bolus(39.0), bolus(33.0), 5.0)
    assert "no bolus" in doubts_of(times, np.random.default_rng(0).random(40), None, 5.0)
    assert half_rise_time(times, np.clip((times - 2.0) / 0.8, 0.0, 1.0)) == pytest.approx(2.4, abs=0.02)


# ------------------------------------------------------------------ weights on disk


def _card(architecture: Architecture) -> dict:
    return {"architecture": architecture.as_dict()}


def test_damaged_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    architecture = Architecture((64, 48), 64, 3, filters=4, modules=5)
    path = tmp_path / "w.npz"
    write_weights(path, [np.zeros(3)], _card(architecture))
    np.testing.assert_array_equal(read_arrays(path)[0], np.zeros(3, np.float32))
    series = simulate_case(CaseKind.POOLS, np.random.default_rng(0), absence="").series
    with pytest.raises(WeightsError, match="don't fit the architecture"):
        ResUNetBloodPool(PoolNetworkOptions(weights=str(path))).find(series, CONTEXT)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"w\.npz: its SHA-256"):
        read_arrays(path)
    with pytest.raises(WeightsError, match=r"none\.json"):
        read_arrays(tmp_path / "none.npz")


def test_weights_never_unpickle(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    write_weights(path, [np.zeros(3)], _card(Architecture((64, 48), 64, 3)))
    np.savez(path, **{"0000": np.array([{"a": 1}], dtype=object)})
    import hashlib

    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**card, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    with pytest.raises(WeightsError, match="not weights"):
        read_arrays(path)


# ------------------------------------------------------------------ loss


def test_loss_is_cross_entropy_minus_half_the_log_of_the_overlap() -> None:
    from qperf_segmentation.networks.learning import loss_of

    logits = np.log(np.array([[[[0.8, 0.2]], [[0.3, 0.7]]]], np.float32))
    classes, maps = np.array([[[0], [1]]], np.int32), np.zeros((1, 2, 1, 0), np.float32)
    overlap = (0.7 + 1.0) / (0.2 + 1.0 + 1.0)
    expected = -(np.log(0.8) + np.log(0.7)) / 2 - 0.5 * np.log(overlap)
    assert float(loss_of(logits, classes, maps, 2)) == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------ simulated cases


@pytest.mark.parametrize("kind", list(CaseKind))
def test_cases_have_their_labels_where_they_enhance(kind: str) -> None:
    case = simulate_case(kind, np.random.default_rng(5), absence="")
    again = simulate_case(kind, np.random.default_rng(5), absence="")
    np.testing.assert_array_equal(case.series.data, again.series.data)
    dynamic = case.series.dynamic()
    rise = {label: np.ptp(dynamic.data[case.labels == label].mean(axis=0)) for label in (LEFT_BLOOD, WALL)}
    assert rise[LEFT_BLOOD] > rise[WALL] > 0
    assert np.isfinite(case.series.data).all() and (np.diff(case.series.times) > 0).all()


@pytest.mark.parametrize("absence", ABSENCES)
def test_cases_without_a_bolus_have_no_labels(absence: str) -> None:
    case = simulate_case(CaseKind.POOLS, np.random.default_rng(5), absence=absence)
    assert not case.labels.any() and case.name == absence


# ------------------------------------------------------------------ training from the command line

TINY = ("--filters", "4", "--modules", "5", "--batch", "4", "--patience", "9")


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--cases", "8", "--held-out", "3", "--seed", "4", *TINY)
    whole, broken = str(tmp_path / "whole"), str(tmp_path / "broken")
    assert qperf(["train", "blood-pool", whole, *options, "--epochs", "2"]) == 0
    assert qperf(["train", "blood-pool", broken, *options, "--epochs", "1"]) == 0
    assert qperf(["train", "blood-pool", broken, *options, "--epochs", "2"]) == 2
    assert "resume it" in capsys.readouterr().err
    assert qperf(["train", "blood-pool", broken, *options, "--epochs", "2", "--resume"]) == 0
    first, second = (read_arrays(Path(folder) / "blood-pool.npz") for folder in (whole, broken))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    # Cases may be added: the clock may not be another.
    more = ("--cases", "10", "--held-out", "3", "--seed", "4", *TINY, "--epochs", "3", "--resume")
    assert qperf(["train", "blood-pool", broken, *more, "--clock", "seconds"]) == 2
    assert qperf(["train", "blood-pool", broken, *more]) == 0
    grown = json.loads((Path(broken) / "blood-pool.json").read_text())
    assert grown["data"]["examples"] == 10 and grown["epochs"] == 3 and grown["architecture"]["clock"] == "passes"
    card = json.loads((tmp_path / "whole" / "blood-pool.json").read_text())
    assert card["command"].startswith("qperf train blood-pool OUT") and card["seed"] == 4 and len(card["sha256"]) == 64
    assert (tmp_path / "whole" / "blood-pool.png").stat().st_size > 1000
    series = simulate_case(CaseKind.POOLS, np.random.default_rng(0), absence="").series
    weights = str(tmp_path / "whole" / "blood-pool.npz")
    assert isinstance(ResUNetBloodPool(PoolNetworkOptions(weights=weights)).find(series, CONTEXT), BloodPools)


def test_fine_tuning_on_a_dataset_with_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    small = ("--participants", "1", "--tasks", "rest", "--matrix", "64", "--frames", "30", "--seed", "2")
    assert qperf(["phantom", str(raw), *small]) == 0
    masks = str(raw / "derivatives" / "truth")
    first = tmp_path / "first.npz"
    architecture = Architecture((64, 48), 64, 3, filters=4, modules=5)
    write_weights(first, build(architecture).get_weights(), _card(architecture))
    for step, more in (("myocardium", ()), ("blood-pool", ("--start-from", str(first)))):
        out = tmp_path / step
        options = ("--cases", "0", "--drawn-copies", "4", "--epochs", "1", *TINY, *more)
        assert qperf(["train", step, str(out), "--dataset", str(raw), masks, *options]) == 0
        card = json.loads((out / f"{step}.json").read_text())
        assert card["data"]["drawn"] >= 1 and card["data"]["examples"] >= 4
        assert card["started_from"] == ("first.npz" if more else None)
    capsys.readouterr()
    assert qperf(["train", "blood-pool", str(tmp_path / "no"), "--dataset", str(raw), str(raw), "--cases", "0"]) == 16
    assert "no series" in capsys.readouterr().err


def test_nothing_to_train_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qperf(["train", "blood-pool", str(tmp_path / "out"), "--cases", "0"]) == 2
    assert "nothing to train on" in capsys.readouterr().err


def test_training_without_anything_held_out_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its figures would be those of no example, and the first epoch its best."""
    assert qperf(["train", "blood-pool", str(tmp_path / "out"), "--cases", "2", "--held-out", "0"]) == 2
    assert "of 0 drawn series none is held out" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.npz"))


# ------------------------------------------------------------------ shipped weights


@pytest.fixture(scope="module")
def scan() -> dict[str, tuple[Series, dict]]:
    """A whole phantom scan, not of the training's own simulator, its true motion corrected."""
    from qperf_app.geometry.warp import warp

    made = simulate_scan(PhantomConfig(matrix=96, defects="ischaemia"), np.random.default_rng(11))
    return {
        name: (
            series.with_data(warp(series.data, series.affine, made.truth[name].displacement)),
            dict(made.truth[name].masks) | {"landmarks": made.truth[name].landmarks},
        )
        for name, series in made.series.items()
    }


def test_shipped_network_finds_the_pools(scan: dict) -> None:
    series, truth = scan["aif"]
    pools = ResUNetBloodPool().find(series, CONTEXT)
    assert pools.found, pools.reason
    assert dice(pools.lv, truth["LV"]) > 0.75 and dice(pools.rv, truth["RV"]) > 0.7
    assert (pools.aif <= pools.lv).all()


def test_saliency_lies_at_the_heart_and_is_shown_on_request_only(scan: dict) -> None:
    series, _ = scan["aif"]
    pools = ResUNetBloodPool().find(series, CONTEXT)

    def section(saliency: bool) -> list:
        step = StepOutcome("blood-pool", "resunet", "done", options={"weights": "", "saliency": saliency})
        scan_ = ScanResult("task-rest", {"task": "rest"}, corrected=series, pools=pools, steps=(step,))
        return list(SaliencySection().render(ParticipantResult("01", (scan_,))))

    assert section(False) == []
    words, picture = section(True)
    assert "certainty" in words.text and picture.alt.startswith("Saliency of the blood-pool network, task-rest")
    found = saliency_of(series, 0, float(series.dynamic().times[0]), ResUNetBloodPool().weights)
    where, region = found.slope.max(axis=-1), found.share > 0.5
    assert found.slope.max() == pytest.approx(1.0) and region.any()
    # A pixel of the pool matters several times as much as one of the picture does on average.
    assert where[region].mean() > 3 * where.mean()


def test_saliency_is_of_the_window_that_the_pools_come_from(scan: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bolus that comes after the first 32 s is found in a later window, and that one is shown."""
    from qperf_segmentation import saliency

    series, _ = scan["aif"]
    dynamic, wait = series.dynamic(), 40
    lead = np.repeat(dynamic.data[..., :1], wait, axis=-1)
    noise = np.random.default_rng(0).normal(0.0, 0.01 * float(lead.max()), lead.shape)
    step = float(np.median(np.diff(dynamic.times)))
    times = np.concatenate([dynamic.times[0] + step * np.arange(wait), dynamic.times + step * wait])
    late = Series(
        np.concatenate([lead + noise, dynamic.data], axis=-1).astype(np.float32), times, series.affine, dynamic.metadata
    )
    pools = ResUNetBloodPool().find(late, CONTEXT)
    assert pools.found, pools.reason
    drawn = []
    monkeypatch.setattr(saliency, "_draw", lambda found, *_: drawn.append(found))
    outcome = StepOutcome("blood-pool", "resunet", "done", options={"weights": "", "saliency": True})
    scan_ = ScanResult("task-rest", {"task": "rest"}, corrected=late, pools=pools, steps=(outcome,))
    list(SaliencySection().render(ParticipantResult("01", (scan_,))))
    (shown,) = drawn
    bolus = times[int(late.data[pools.lv].mean(axis=0).argmax())]
    assert shown.times[0] > times[0] and shown.times[0] < bolus < shown.times[-1]
    assert (shown.share > 0.5).any()


def test_pool_of_a_fine_series_is_drawn_on_its_own_voxels(scan: dict) -> None:
    series, truth = scan["tissue"]
    pools = ResUNetBloodPool().find(series, CONTEXT)
    assert pools.found, pools.reason
    k = int(pools.lv.sum(axis=(0, 1)).argmax())
    # Blurred to the network's pixels, half the border's voxels would be wrong.
    assert dice(pools.lv[..., k], truth["LV"][..., k]) > 0.85
    again = ResUNetBloodPool().find(series, CONTEXT)
    np.testing.assert_array_equal(pools.lv, again.lv)


def test_pools_turn_with_the_picture(scan: dict) -> None:
    series, _ = scan["aif"]
    turned = Series(np.flip(np.swapaxes(series.data, 0, 1), 1), series.times, series.affine, series.metadata)
    straight, other = (ResUNetBloodPool().find(s, CONTEXT) for s in (series, turned))
    assert dice(np.flip(np.swapaxes(straight.lv, 0, 1), 1), other.lv) > 0.99


def test_no_left_ventricle_where_there_is_no_bolus(scan: dict) -> None:
    series, _ = scan["aif"]
    before = Series(series.data[..., :9], series.times[:9], series.affine, series.metadata)
    still = series.with_data(np.repeat(series.data[..., 4:5], series.data.shape[-1], axis=-1))
    noise = series.with_data(np.random.default_rng(0).random(series.data.shape).astype(np.float32))
    for absent in (before, still, noise):
        pools = ResUNetBloodPool().find(absent, CONTEXT)
        assert not pools.found and pools.reason


def test_shipped_network_outlines_the_wall(scan: dict) -> None:
    series, truth = scan["tissue"]
    pools = ResUNetBloodPool().find(scan["aif"][0], CONTEXT)
    found = ResUNetMyocardium().segment(series, pools, None, CONTEXT)
    assert dice(found.mask, truth["myocardium"]) > 0.75
    assert len(found.landmarks) >= 4
    true = {(p.name, p.slice): np.array(p.position) for p in truth["landmarks"]}
    errors = [np.linalg.norm(true[p.name, p.slice] - p.position) for p in found.landmarks if (p.name, p.slice) in true]
    assert np.median(errors) < 6.0
