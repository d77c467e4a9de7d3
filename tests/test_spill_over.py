"""Blood in the voxels of the wall: mixtures are told apart, muscle is left alone, the app writes what it found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from qperf_app.bids.images import read_image
from qperf_app.cli.app import main
from qperf_app.methods import moving_border, spill_over
from qperf_app.methods.spill_over import COARSE, FRACTIONS
from qperf_app.physics import signal
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.plugins import QualityCode, RunContext, Series, SpillOver, TissueConstants
from qperf_app.testing import examples
from qperf_spill_over import TwoPool
from tests.datasets import hand_drawn, small_dataset, write_image, write_json

Array = NDArray[np.float64]
WALL = examples.example_masks()["myocardium"]
PERF, PREFIX = Path("sub-01", "perf"), "sub-01_task-rest"
#: Saturation delay, s, spacing of excitations, s, flip angle, excitations: blood at 8 mmol/L is deep in saturation.
SEQUENCE = (0.12, 0.0022, 12.0, 20)
R1_PER_MMOL, NATIVE = 4.5, 0.9


def as_signal(concentration: Array) -> Array:
    return np.asarray(signal.saturation_recovery_flash(NATIVE + R1_PER_MMOL * concentration, *SEQUENCE), np.float64)


def as_concentration(values: Array) -> Array:
    rates, _ = signal.relaxation_rate_from_saturation_recovery(values, *SEQUENCE)
    return np.asarray((rates - NATIVE) / R1_PER_MMOL)


@pytest.fixture(scope="module")
def mixture() -> tuple[Array, Array, Array, Array]:
    """Exact signal (n, t) of voxels of muscle and saturated blood, that of the blood, true fractions, true curves."""
    aif = examples.example_aif()
    muscle = two_compartment_exchange(
        aif.times, aif.in_plasma(0.42), np.array([0.4, 0.8, 1.2, 1.8]), 0.8, 0.06, 0.16, 1.0
    )
    blood = as_signal(2.0 * aif.concentration)
    gain = np.diff(as_signal(np.array([0.0, 0.1, 8.0, 8.1])))
    assert gain[2] < 0.1 * gain[0] and 2.0 * aif.concentration.max() > 7.9
    fractions = np.array([0.0, 0.1, 0.3, 0.5])
    return (1.0 - fractions[:, None]) * as_signal(muscle) + fractions[:, None] * blood, blood, fractions, muscle


def test_given_the_fraction_the_muscle_is_what_it_was(mixture: tuple[Array, Array, Array, Array]) -> None:
    mixed, blood, fractions, muscle = mixture
    np.testing.assert_allclose(
        as_concentration(spill_over.muscle_signal(mixed, fractions[:, None], blood)), muscle, atol=1e-9
    )


def test_the_curve_alone_tells_the_fraction(mixture: tuple[Array, Array, Array, Array]) -> None:
    mixed, blood, fractions, _ = mixture
    aif = examples.example_aif()
    mixed = mixed + np.random.default_rng(0).normal(0.0, 0.01 * np.ptp(mixed[0]), mixed.shape)
    left = spill_over.muscle_signal(mixed[:, None], COARSE[:, None], blood)
    # Signal over a straight line through the origin: all that matters here, and defined below zero too.
    curves = (left - as_signal(np.zeros(1))) / (as_signal(np.ones(1)) - as_signal(np.zeros(1)))
    weight = np.broadcast_to(1.0 - COARSE, curves.shape[:2])
    draws = spill_over.MuscleCurves.of(aif.times, aif.times, aif.in_plasma(0.42))
    frames = np.ones(mixed.shape)
    prior = spill_over.muscle_log_prior(curves[:, 0], weight[:, 0], frames, draws, np.zeros(len(mixed), bool))
    likely, _ = spill_over.log_likelihood(curves, weight, frames, draws, prior)
    assert np.abs(COARSE[likely.argmax(axis=1)] - fractions).max() <= 0.1


def test_about_the_best_fraction_all_are_tried() -> None:
    """A fraction that a curve tells to a hundredth is no longer known to a twentieth only, nor said to be surer."""
    true, sd = np.array([0.013, 0.128, 0.31, 0.46]), 0.012
    coarse, fine = (-0.5 * ((grid - true[:, None]) / sd) ** 2 for grid in (COARSE, FRACTIONS))
    chosen = spill_over.about_the_best(coarse)
    found = spill_over.refined(coarse, chosen, np.take_along_axis(fine, chosen, axis=1))
    weights = np.exp(found - found.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    mean = weights @ FRACTIONS
    np.testing.assert_allclose(mean, true, atol=0.004)
    spread = np.sqrt(weights @ FRACTIONS**2 - mean**2)
    np.testing.assert_allclose(spread[1:], sd, rtol=0.15)


def test_border_prior_is_a_distribution_that_falls_with_depth() -> None:
    prior = np.exp(spill_over.log_border_prior(np.array([0.5, 1.5, 4.0, np.inf]), np.array([-2.0, 0.0, 2.0]), 2.0))
    np.testing.assert_allclose(prior.sum(axis=2), 1.0, atol=1e-9)
    expected = prior @ FRACTIONS
    assert (np.diff(expected, axis=0) <= 0).all() and (np.diff(expected, axis=1) >= 0).all()
    assert expected[-1].max() < 1e-6


def test_neighbours_share_the_border() -> None:
    """A voxel that says nothing takes after those beside it, not after those across the cavity."""
    angle = np.linspace(0.0, 2.0 * np.pi, 40, endpoint=False)
    positions = 20.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    blood = np.where(np.abs(angle - np.pi) < 1.0, 0.4, 0.0)
    likelihood = -0.5 * ((FRACTIONS - blood[:, None]) / 0.03) ** 2
    silent = [0, 20]
    likelihood[silent] = 0.0
    found = spill_over.posterior([spill_over.Pool(np.full(40, 1.5), likelihood)], positions, 3.0)
    assert found.mean[0, 20] > 0.3 and found.mean[0, 0] < 0.1
    assert found.sd[0, silent].min() > found.sd[0, 10]


def test_a_jump_is_left_out_and_a_bolus_is_not() -> None:
    aif = examples.example_aif(60)
    curve = np.tile(aif.concentration, (2, 1)) + np.random.default_rng(1).normal(0, 0.02, (2, 60))
    curve[1, 40] += 2.0
    weight = spill_over.frame_weights(curve, 0.85)
    assert weight[0].min() > 0.25
    assert weight[1, 40] < 0.1
    # One image in 2.4 s: a bolus is then no longer than a jump.
    assert (spill_over.frame_weights(curve, 2.4) == 1.0).all()


def breathing_ring(seed: int) -> tuple[Array, Array, Array, Array, Array]:
    """Motion (3, t) of a cavity's border, voxels' edges; normals, fractions, muscle's signal and the pool's."""
    rng = np.random.default_rng(seed)
    aif, angle = examples.example_aif(60), rng.uniform(0.0, 2.0 * np.pi, 150)
    normal = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    breath = np.sin(2.0 * np.pi * aif.times / 4.5)
    motion = np.stack([0.3 * breath, 0.4 * breath, -0.2 * np.cos(2.0 * np.pi * aif.times / 4.5)])
    fraction = np.exp(rng.uniform(np.log(0.001), np.log(0.5), 150))
    flow = rng.uniform(0.5, 1.0, 150)
    muscle = two_compartment_exchange(aif.times, aif.in_plasma(0.42), flow, 0.8, 0.06, 0.16, 1.0)
    return motion, normal, fraction, 10.0 + 5.0 * muscle, 10.0 + 3.0 * aif.concentration


def test_all_voxels_together_tell_where_the_border_is() -> None:
    motion, normal, fraction, muscle, blood = breathing_ring(3)
    into = (np.concatenate([np.ones((150, 1)), normal], axis=1) @ motion) / spill_over.BLUR
    share = moving_border.moved_fraction(fraction, into)
    noise = np.random.default_rng(4).normal(0.0, 0.1, share.shape)
    signal = (1.0 - share) * muscle + share * blood + noise
    # No more is known of the muscle than its mean curve.
    expected = np.broadcast_to(muscle.mean(axis=0), muscle.shape)
    found = moving_border.border_motion(signal, expected, blood, fraction, normal, spill_over.BLUR)
    first_pass = blood - blood[0] > 0.3 * np.ptp(blood)
    error = (found - into)[:, first_pass] * spill_over.BLUR
    assert np.sqrt((error**2).mean()) < 0.25 * np.sqrt((into[:, first_pass] ** 2).mean()) * spill_over.BLUR
    # What it is for: the muscle's curve, first as if nothing moved.
    still, moved = (
        spill_over.muscle_signal(signal, moving_border.moved_fraction(fraction, by), blood)
        for by in (np.zeros_like(found), found)
    )
    before, after = (np.sqrt(((each - muscle)[:, first_pass] ** 2).mean()) for each in (still, moved))
    assert after < 0.3 * before


def test_a_border_that_rests_is_left_where_it_is() -> None:
    """Also where all muscle brightens more in a frame than is expected: that is no motion."""
    _, normal, fraction, muscle, blood = breathing_ring(5)
    share = moving_border.moved_fraction(fraction, np.zeros(muscle.shape))
    common = 1.0 + np.random.default_rng(6).normal(0.0, 0.03, muscle.shape[1])
    signal = (1.0 - share) * common * muscle + share * blood
    found = moving_border.border_motion(signal, muscle, blood, fraction, normal, spill_over.BLUR)
    assert np.abs(found).max() * spill_over.BLUR < 0.1


def separated(series: Series) -> SpillOver:
    found = TwoPool(None).separate(
        series,
        examples.example_myocardium(),
        examples.example_pools(),
        examples.example_aif(),
        TissueConstants(),
        examples.example_conversion,
        RunContext(),
    )
    return found


def test_the_shift_is_what_one_standard_deviation_more_blood_takes_away() -> None:
    """In the frames of the bolus muscle has less where there is more blood, the more the less is known of it."""
    series, _ = examples.mixed_series()
    found = separated(series)
    assert found.muscle is not None and found.shift is not None
    inner = found.fractions["LV"] > 0.05
    peak = int(examples.example_aif().concentration.argmax())
    change = found.shift[inner][:, peak]
    assert (change <= 0).all() and (change < 0).mean() > 0.9
    assert np.corrcoef(-change, found.sd["LV"][inner])[0, 1] > 0.5


def test_muscle_alone_is_left_alone() -> None:
    series = examples.example_series()
    found, before = separated(series), examples.example_conversion(series).data
    assert found.fractions["LV"][WALL].max() < 0.1 and found.fractions["LV"][WALL].mean() < 0.01
    assert found.muscle is not None
    change = (found.muscle.data - before)[WALL]
    noise = (before - examples.example_concentration())[WALL].std()
    assert np.sqrt(np.nanmean(change**2)) < 0.5 * noise


def test_blood_of_either_ventricle_is_known_by_its_time() -> None:
    """In voxels beside the right ventricle both would fit the outline."""
    series, masks = examples.example_series(), examples.example_masks()
    x, y = np.indices(WALL.shape)
    septum = WALL & (np.hypot(x - 17, y - 16) > 7.0) & (x < 12)
    right = series.data[masks["rv"], 0].mean(axis=0)
    mixed = series.data.copy()
    mixed[septum, 0] = 0.7 * mixed[septum, 0] + 0.3 * right
    found = separated(series.with_data(mixed))
    assert found.fractions["RV"][septum].mean() == pytest.approx(0.3, abs=0.06)
    assert found.fractions["LV"][septum].max() < 0.05


def test_without_pools_the_cavity_is_known_all_the_same() -> None:
    series, true = examples.mixed_series()
    found = TwoPool(None).separate(
        series, examples.example_myocardium(), None, examples.example_aif(), TissueConstants(),
        examples.example_conversion, RunContext(),
    )  # fmt: skip
    assert found.fractions["LV"][WALL][true[WALL] == 0.4].mean() == pytest.approx(0.4, abs=0.06)
    assert (found.fractions["RV"][WALL] == 0.0).all()


def test_blood_that_comes_and_goes_with_the_breath_is_taken_out() -> None:
    """The cavity widens and narrows by a quarter of a voxel, as it does where the heart moves through the slice."""
    series, masks = examples.example_series(), examples.example_masks()
    x, y = np.indices(WALL.shape)
    depth = np.hypot(x - 17, y - 16) - 5.0
    breath = 0.25 * np.sin(2.0 * np.pi * series.times / 4.5)
    share = WALL[..., None] * moving_border.moved_fraction(ndtr(-depth / 0.5), breath / 0.5)
    blood = series.data[masks["lv"], 0].mean(axis=0)
    mixed = (1.0 - share[:, :, None]) * series.data + share[:, :, None] * blood
    found = separated(series.with_data(mixed.astype(np.float32)))
    assert found.muscle is not None
    inner = WALL & (depth < 2.0) & (found.fractions["LV"][..., 0] <= 0.5)
    true = examples.example_concentration()[inner, 0]
    mean = share[inner].mean(axis=-1, keepdims=True)
    constant = series.with_data(np.where(inner[..., None, None], 0.0, mixed).astype(np.float32))
    constant.data[inner, 0] = spill_over.muscle_signal(mixed[inner, 0], mean, blood)
    errors = [
        np.sqrt(np.nanmean((curves[inner, 0] - true) ** 2))
        for curves in (found.muscle.data, examples.example_conversion(constant).data)
    ]
    assert errors[0] < 0.7 * errors[1]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Raw dataset whose wall has blood in it, and the folder of the outputs, with and without it taken out."""
    root = tmp_path_factory.mktemp("spill-over")
    raw = small_dataset(root / "raw")
    # Of 0.6 most of the voxel is blood.
    write_image(raw / PERF / f"{PREFIX}_dce.nii.gz", examples.mixed_series(0.6, 0.2)[0].data)
    hand_drawn(root / "drawn")
    for plugin in ("two-pool", "none"):
        assert run(root, plugin, "--spill-over", plugin) == 0
    return raw, root


def run(root: Path, out: str, *arguments: str) -> int:
    quick = ["-w", str(root / "work"), "--nprocs", "1", "--skip-bids-validation", "--motion-correction", "none"]
    inputs = ["-d", f"drawn={root / 'drawn'}", "--kinetics", "nlls"]
    return main([str(root / "raw"), str(root / out), "participant", *quick, *inputs, *arguments])


def image(root: Path, out: str, name: str) -> Array:
    return np.asarray(read_image(root / out / PERF / f"{PREFIX}_{name}.nii.gz", np.float64)[0])


def test_the_app_gives_the_muscles_flow(app: tuple[Path, Path]) -> None:
    _, root = app
    _, true = examples.mixed_series(0.6, 0.2)
    flow = {out: image(root, out, "model-2CXM_param-Fp_desc-nlls_dcemap") for out in ("two-pool", "none")}
    wall = WALL[..., None]
    # The example heart's wall has one flow throughout.
    error = {out: abs(f[wall & (true == 0.2)] / np.nanmedian(f[wall & (true == 0)]) - 1) for out, f in flow.items()}
    # Neighbours without blood take a part of it away even where nothing is corrected.
    assert np.nanmedian(error["two-pool"]) < 0.15 < 0.25 < np.nanmedian(error["none"])
    shares = image(root, "two-pool", "model-mixture_param-fLV_desc-spillover_dcemap")
    assert np.median(shares[wall & (true == 0.6)]) == pytest.approx(0.6, abs=0.06)
    assert np.isnan(shares[~wall]).all()


def test_a_voxel_that_is_mostly_blood_says_so(app: tuple[Path, Path]) -> None:
    _, root = app
    shares = image(root, "two-pool", "model-mixture_param-fLV_desc-spillover_dcemap")
    codes, flow = (image(root, "two-pool", n) for n in ("desc-nlls_qc", "model-2CXM_param-MBF_desc-nlls_dcemap"))
    assert ((codes == QualityCode.MOSTLY_BLOOD) == (shares > 0.5)).all() and (shares > 0.5).any()
    assert np.isnan(flow[shares > 0.5]).all()
    levels = json.loads((root / "two-pool" / PERF / f"{PREFIX}_desc-nlls_qc.json").read_text())["Levels"]
    assert "blood" in levels[str(int(QualityCode.MOSTLY_BLOOD))]
    assert "Blood and fat in the voxels of the wall" in (root / "two-pool" / "sub-01.html").read_text(encoding="utf-8")


def test_without_correction_the_curves_are_those_of_the_series(app: tuple[Path, Path]) -> None:
    _, root = app
    np.testing.assert_array_equal(
        image(root, "none", "desc-muscle_dce")[WALL], image(root, "none", "desc-conc_dce")[WALL]
    )
    assert not list((root / "none").rglob("*_desc-spillover_*"))


def test_concentration_handed_in_is_corrected_as_it_is_and_says_so(app: tuple[Path, Path]) -> None:
    _, root = app
    mine = root / "mine"
    write_json(mine / "dataset_description.json", {"Name": "mine", "BIDSVersion": "1.10.0"})
    name = f"{PREFIX}_desc-conc_dce"
    content = nib.load(root / "none" / PERF / f"{name}.nii.gz")
    # A single value above what can be in blood is refused.
    write_image(mine / PERF / f"{name}.nii.gz", np.clip(np.asarray(content.dataobj), -1.0, 20.0), content.affine)
    sidecar = json.loads((root / "none" / PERF / f"{name}.json").read_text())
    write_json(mine / PERF / f"{name}.json", sidecar)
    assert run(root, "mixed", "-d", f"mine={mine}") == 0
    text = (root / "mixed" / "sub-01" / "sub-01_status.json").read_text()
    assert "blood was taken out of it, not out of the signal" in text


def test_muscle_handed_in_is_what_flow_is_made_of(app: tuple[Path, Path]) -> None:
    _, root = app
    mine, name = root / "muscle", f"{PREFIX}_desc-muscle_dce"
    write_json(mine / "dataset_description.json", {"Name": "muscle", "BIDSVersion": "1.10.0"})
    (mine / PERF).mkdir(parents=True)
    for ending in (".nii.gz", ".json"):
        shutil.copyfile(root / "none" / PERF / f"{name}{ending}", mine / PERF / f"{name}{ending}")
    assert run(root, "given", "-d", f"muscle={mine}") == 0
    flow = "model-2CXM_param-Fp_desc-nlls_dcemap"
    np.testing.assert_array_equal(image(root, "given", flow), image(root, "none", flow))
    assert not list((root / "given").rglob("*_desc-spillover_*"))
