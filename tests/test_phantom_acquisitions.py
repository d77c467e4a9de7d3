"""The phantom's acquisitions: is each series what its physics say, and does its sidecar tell it?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.acquisitions import COLUMNS, Found, scored
from qperf_app.bids.tables import read_input_function
from qperf_app.cli.tools import main
from qperf_app.phantom import PhantomConfig, Scan, simulate_scan
from qperf_app.phantom.acquisition import Grid
from qperf_app.phantom.bolus import Bolus, blood_curves, prebolus_of
from qperf_app.phantom.fields import interpolation, noise_amplification, sample_transmit_field
from qperf_app.phantom.heart import contraction, phase_of
from qperf_app.phantom.sequences import TISSUE, signal_of
from qperf_app.phantom.triggering import Triggers, plan_clock
from qperf_app.physics.constants import (
    native_t1,
    native_t2,
    native_t2star,
    relaxivity,
    t2star_relaxivity,
    transverse_relaxivity,
)
from qperf_app.physics.sequences import Relaxation, relaxation_rate, sequence_of, signal
from qperf_app.physics.signal import (
    relaxation_rate_from_steady_state,
    saturation_recovery_flash,
    spoiled_gradient_echo,
    two_echo_correction,
)

#: Nothing that hides the truth: no noise, no motion, all of k-space.
PLAIN = PhantomConfig(
    task="stress", matrix=64, frames=18, breathing="none", cnr=np.inf, aif_cnr=np.inf, phase_resolution=1.0,
    defects="none", abnormal_bolus=0.0, missed_beats=0.0,
)  # fmt: skip
BEATS = Triggers(np.arange(60) * 0.9, np.ones(60))


def scan_of(config: PhantomConfig = PLAIN, seed: int = 3, **options: object) -> Scan:
    return simulate_scan(replace(config, **options), np.random.default_rng(seed))  # type: ignore[arg-type]


def whole(scan: Scan, series: str, label: str) -> np.ndarray:
    """Voxels that are one tissue throughout."""
    found: np.ndarray = scan.truth[series].parts[label] > 0.9999
    return found


# Doses


def test_a_prebolus_is_its_dose_of_the_other_at_its_own_heart_rate():
    bolus = Bolus(arrival=8.0)
    small = prebolus_of(bolus, dose=0.1, arrival=5.0, slower=1.2)
    times = np.arange(0.0, 60.0, 0.01)
    left, other = (blood_curves(b, times)["left"] for b in (bolus, small))
    assert other.max() / left.max() == pytest.approx(0.1, rel=1e-3)
    # Stewart and Hamilton: the area is dose over cardiac output. To the first pass, before what recirculates.
    areas = [curve[: curve.argmax()].sum() for curve in (left, other)]
    assert areas[1] / areas[0] == pytest.approx(0.12, rel=0.02)


def test_dual_bolus_series_begin_with_the_rest_of_the_first_bolus():
    scan = scan_of(acquisition="dual-bolus", dose=0.1, frames=30)
    assert set(scan.series) == {"tissue", "prebolus"} and scan.prebolus is not None
    tissue, small = scan.series["tissue"], scan.series["prebolus"]
    np.testing.assert_array_equal(tissue.affine, small.affine)
    doses = [
        s.metadata["ContrastBolusVolume"] * s.metadata["ContrastBolusIngredientConcentration"] for s in (tissue, small)
    ]
    assert doses[1] / doses[0] == pytest.approx(0.1, abs=1e-4)
    assert doses[0] / 604.72 / 75.0 == pytest.approx(0.1, rel=1e-3)
    assert scan.prebolus.concentration[0] == 0.0
    assert scan.prebolus.concentration.max() / scan.bolus.peak == pytest.approx(0.1, rel=0.12)
    rest = scan.aif.concentration[0]
    assert 0.02 < rest / scan.prebolus.concentration.max() < 0.3
    wall = scan.truth["tissue"].concentration[whole(scan, "tissue", "myocardium")]
    assert (wall[:, 0] > 0.005).all()
    # The hearts beat at rates of their own.
    assert np.median(np.diff(tissue.times)) != pytest.approx(np.median(np.diff(small.times)), rel=0.002)


def test_blood_goes_with_the_dose_and_flattens_in_the_tissue_series():
    half, full = (scan_of(acquisition="single", dose=dose, frames=30) for dose in (0.05, 0.1))
    np.testing.assert_allclose(full.aif.concentration, 2.0 * half.aif.concentration, rtol=1e-9)
    peaks = [s.aif.signal.max() - s.aif.signal[0] for s in (half, full)]
    assert 1.0 < peaks[1] / peaks[0] < 1.25


# Times


def test_slices_one_after_another_have_curves_of_their_own_times():
    scan = scan_of(slice_order="within-beat", acquisition="single", frames=24)
    series, n = scan.series["tissue"], scan.config.proton_density_frames
    offsets = series.metadata["SliceTiming"]
    assert offsets == pytest.approx([0.0, 0.156, 0.311], abs=0.0015)
    blood = whole(scan, "tissue", "LV")
    for k, offset in enumerate(offsets):
        expected = blood_curves(scan.bolus, series.times[n:] + offset)["left"]
        found = scan.truth["tissue"].concentration[:, :, k][blood[:, :, k]]
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=0.02)
        assert np.abs(expected - scan.aif.concentration).max() > (0.1 if k else -1.0)


def test_slices_spread_over_the_beats_of_an_image():
    config = replace(PLAIN, beats_per_image=3, slice_order="over-beats")
    clock = plan_clock(config, BEATS, 3, 0.15)
    assert clock.slice_timing == [0.0, 0.9, 1.8]
    np.testing.assert_allclose(np.diff(clock.onsets), 2.7)
    two = plan_clock(replace(config, beats_per_image=2), BEATS, 3, 0.15)
    assert two.slice_timing == [0.0, 0.15, 0.9]
    once = plan_clock(replace(config, slice_order="together", beats_per_image=2), BEATS, 3, 0.15)
    assert once.slice_timing is None and np.diff(once.onsets) == pytest.approx(1.8)


def test_slices_of_one_beat_see_the_heart_in_phases_of_its_own():
    assert contraction(np.array([0.0, 0.35, 0.7, 0.9])) == pytest.approx([0.0, 1.0, 0.0, 0.0], abs=1e-12)
    assert contraction(np.array(phase_of(0.4))) == pytest.approx(0.4)
    together, apart = (scan_of(slice_order=order, acquisition="single") for order in ("together", "within-beat"))
    first, others = (np.s_[:, :, :1], np.s_[:, :, 1:])
    for at, same in ((first, True), (others, False)):
        masks = [s.truth["tissue"].masks["LV"][at] for s in (together, apart)]
        assert np.array_equal(*masks) is same
    assert {mark.slice for mark in apart.truth["tissue"].landmarks} == {0, 1, 2}


def test_ungated_volumes_are_evenly_spaced_and_see_all_phases():
    options = {"breathing": "mild", "acquisition": "single", "frames": 40, "matrix": 32}
    gated, ungated = scan_of(**options), scan_of(**options, interval=0.6)
    np.testing.assert_allclose(np.diff(ungated.series["tissue"].times), 0.6)
    spread = [np.ptp(s.truth["tissue"].motion.beat) for s in (gated, ungated)]
    assert spread[1] > 0.05 > spread[0]


# Signals


def inverted(scan: Scan, series: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Concentration that the sequence of the metadata gives of blood or myocardium, and the true one."""
    image, truth = scan.series[series], scan.truth[series]
    tissue = "blood" if label == "LV" else "myocardium"
    field, voxels = image.metadata["MagneticFieldStrength"], whole(scan, series, label)
    assert voxels.sum() > 8
    flips = image.metadata["FlipAngle"]
    sequence = sequence_of(image.metadata, flips[-1])
    relaxation = Relaxation(
        1.0 / native_t1(tissue, field), 1.0 / native_t2(tissue, field), 1.0 / native_t2star(tissue, field),
        relaxivity(field), transverse_relaxivity(field), t2star_relaxivity(tissue, field),
    )  # fmt: skip
    weighted = replace(sequence, flip_angle=flips[0]).proton_density
    unit = signal(weighted, relaxation.r1, relaxation.r2, 1.0, relaxation.r2star)
    rho = image.proton_density[voxels] / unit
    r1, invalid = relaxation_rate(image.dynamic().data[voxels], sequence, relaxation, rho=rho[:, None])
    assert not invalid.any()
    return (r1 - relaxation.r1) / relaxation.r1_relaxivity, truth.concentration[voxels]


@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("readout", ["bSSFP", "EPI"])
def test_read_outs_are_inverted_by_the_sequence_of_their_sidecar(readout, field):
    scan = scan_of(readout=readout, aif_readout=readout, field_strength=field, t2star=True, matrix=96)
    for series, label in (("tissue", "myocardium"), ("aif", "LV")):
        assert scan.series[series].metadata["PulseSequenceType"] == f"Saturation-recovery {readout}"
        found, true = inverted(scan, series, label)
        np.testing.assert_allclose(found, true, atol=0.02)


def test_a_steady_state_has_no_saturation():
    scan = scan_of(readout="steady-state", acquisition="single", interval=0.8, matrix=96)
    image, voxels = scan.series["tissue"], whole(scan, "tissue", "myocardium")
    metadata = image.metadata
    assert not {"SaturationDelayTime", "ExcitationsToKSpaceCenter"} & set(metadata)
    spacing, flips = metadata["RepetitionTimeExcitation"], metadata["FlipAngle"]
    t1 = native_t1("myocardium", 1.5)
    rho = image.proton_density[voxels] / spoiled_gradient_echo(1.0 / t1, spacing, flips[0])
    r1, invalid = relaxation_rate_from_steady_state(image.dynamic().data[voxels], spacing, flips[-1], rho[:, None])
    assert not invalid.any()
    found = (r1 - 1.0 / t1) / relaxivity(1.5)
    np.testing.assert_allclose(found, scan.truth["tissue"].concentration[voxels], atol=0.01)


def test_what_escapes_saturation_adds_the_signal_from_equilibrium():
    r1 = np.array([[0.9, 5.0, 20.0]])
    scanned = TISSUE["FLASH"].saturated(0.9)
    sequence = scanned.dynamic
    train = sequence.spacing, sequence.flip_angle, sequence.n_excitations
    expected = 0.9 * saturation_recovery_flash(r1, sequence.delay, *train) + 0.1 * spoiled_gradient_echo(r1, *train)
    np.testing.assert_allclose(signal_of(r1, scanned, 0), expected, rtol=1e-12)


def test_flip_angles_scale_with_b1():
    scan = scan_of(b1_variation=0.15, matrix=96)
    plain = scan_of(matrix=96)
    voxels, n = whole(scan, "tissue", "myocardium"), 3
    b1 = sample_transmit_field(0.15, np.random.default_rng(3).spawn(9)[8]).at(_grid_of(scan).world())[voxels]
    assert np.std(b1) > 0.02 and 0.5 < b1.min() < b1.max() < 1.5
    sequence = TISSUE["FLASH"].dynamic
    r1 = 1.0 / native_t1("myocardium", 1.5) + relaxivity(1.5) * scan.truth["tissue"].concentration[voxels]
    ratio = saturation_recovery_flash(
        r1, sequence.delay, sequence.spacing, 12.0 * b1[:, None], sequence.n_excitations
    ) / saturation_recovery_flash(r1, sequence.delay, sequence.spacing, 12.0, sequence.n_excitations)
    found = scan.series["tissue"].data[voxels][:, n:] / plain.series["tissue"].data[voxels][:, n:]
    np.testing.assert_allclose(found, ratio, rtol=2e-3)


def _grid_of(scan: Scan) -> Grid:
    series = scan.series["tissue"]
    return Grid(series.data.shape[:3], series.affine, series.metadata["SliceThickness"])


def test_transmit_field_has_the_stated_spread():
    points = np.random.default_rng(0).uniform(-150.0, 150.0, (4000, 3)).astype(np.float32)
    spreads = [np.std(sample_transmit_field(0.1, np.random.default_rng(s)).at(points)) for s in range(20)]
    assert np.mean(spreads) == pytest.approx(0.1, rel=0.25)
    nodes, weights = interpolation(np.linspace(0.7, 1.3, 50))
    np.testing.assert_allclose(weights @ nodes**2, np.linspace(0.7, 1.3, 50) ** 2, rtol=1e-6)


def test_two_echoes_tell_the_transverse_rate_of_the_blood():
    scan = scan_of(aif_echoes=2, t2star=True, frames=30)
    assert scan.second_echo is not None
    first, second = scan.series["aif"], scan.second_echo
    times = [s.metadata["EchoTime"] for s in (first, second)]
    voxels = whole(scan, "aif", "LV")
    _, rate = two_echo_correction(first.dynamic().data[voxels], second.dynamic().data[voxels], *times)
    expected = 1.0 / native_t2star("blood", 1.5) + t2star_relaxivity("blood", 1.5) * scan.aif.concentration
    np.testing.assert_allclose(rate, np.broadcast_to(expected, rate.shape), rtol=0.005, atol=0.5)
    # Kellman et al. 2017: about 10 ms at a peak of 3.5 to 4.4 mmol/L.
    assert 0.006 < 1.0 / rate.mean(axis=0).max() < 0.016


# Image


def test_noise_grows_with_the_g_factor():
    noisy, clean = (scan_of(cnr=c, noise_amplification=3.0, frames=40) for c in (20.0, np.inf))
    plain = scan_of(cnr=20.0, frames=40)
    grid = _grid_of(noisy)
    field_rng = np.random.default_rng(3).spawn(9)[8]
    sample_transmit_field(0.0, field_rng)
    g = noise_amplification(grid, 3.0, field_rng)
    assert g.max() == pytest.approx(3.0) and g.min() < 1.05
    bright = clean.series["tissue"].data.min(axis=-1) > 300.0
    differences = [(s.series["tissue"].data - clean.series["tissue"].data) for s in (noisy, plain)]
    for part in (bright & (g > 2.0), bright & (g < 1.3)):
        assert part.sum() > 20
        ratio = differences[0][part].std() / differences[1][part].std()
        assert ratio == pytest.approx(np.sqrt((g[part] ** 2).mean()), rel=0.1)


def test_bright_fat_moves_with_the_chest_wall():
    options = {"breathing": "free", "fat_brightness": 6.0, "acquisition": "single", "frames": 20, "matrix": 96}
    still, moving = scan_of(**options), scan_of(**options, wall_motion=0.4)
    plain = scan_of(**{**options, "fat_brightness": 1.0})
    n = 3
    ratios = [s.series["tissue"].data[..., n:].max() for s in (still, plain)]
    assert ratios[0] / ratios[1] > 2.0
    # The front edge of the fat: where the patient's front is, by the affine.
    breath = moving.truth["tissue"].motion.breath[n:]
    shifts = []
    for scan in (still, moving):
        data, affine = scan.series["tissue"].data[..., n:], scan.series["tissue"].affine
        fat = data > 0.5 * data.max()
        front = _grid_of(scan).world()[..., 1]
        middle = np.abs(_grid_of(scan).world()[..., 0]) < 60.0
        edge = np.array([np.quantile(front[fat[..., t] & middle & (front > 0)], 0.99) for t in range(data.shape[-1])])
        shifts.append(edge)
        assert affine.shape == (4, 4)
    assert np.ptp(shifts[0]) < 1.0
    assert np.corrcoef(shifts[1], breath)[0, 1] > 0.8
    assert np.ptp(shifts[1]) == pytest.approx(0.4 * np.ptp(breath), abs=4.0)


# Options and dataset


@pytest.mark.parametrize(
    "options",
    [
        {"readout": "steady-state"}, {"aif_echoes": 3}, {"aif_echoes": 2, "acquisition": "single"},
        {"slice_order": "over-beats"}, {"interval": 0.05}, {"interval": 0.8, "beats_per_image": 2}, {"dose": 1.0},
        {"prebolus_dose": 0.9}, {"saturation_efficiency": 0.1}, {"b1_variation": 0.9}, {"noise_amplification": 0.5},
    ],
)  # fmt: skip
def test_options_that_contradict_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PhantomConfig(**options)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dual bolus, and a dual sequence of two echoes, by the command line."""
    root = tmp_path_factory.mktemp("studies")
    common = ["--participants", "1", "--matrix", "40", "--frames", "24", "--tasks", "rest", "--abnormal-bolus", "0"]
    given = {
        "prebolus": ["--acquisition", "dual-bolus", "--dose", "0.1", "--slice-order", "within-beat"],
        "echoes": ["--aif-echoes", "2", "--t2star", "--beats-per-image", "2"],
    }
    for name, options in given.items():
        assert main(["phantom", str(root / name), *common, *options]) == 0
    return {name: root / name for name in given}


def test_files_of_a_dual_bolus(studies):
    raw = studies["prebolus"] / "sub-01" / "perf"
    truth = studies["prebolus"] / "derivatives" / "truth" / "sub-01" / "perf"
    names = sorted(path.name for path in raw.glob("*.nii.gz"))
    assert names == ["sub-01_task-rest_acq-prebolus_dce.nii.gz", "sub-01_task-rest_dce.nii.gz"]
    small = read_input_function(truth / "sub-01_task-rest_acq-prebolus_desc-aif_timeseries.tsv")
    full = read_input_function(truth / "sub-01_task-rest_desc-aif_timeseries.tsv")
    assert 0.05 < small.concentration.max() / full.concentration.max() < 0.2
    sidecar = json.loads((raw / "sub-01_task-rest_dce.json").read_text())
    assert len(sidecar["SliceTiming"]) == 3


def test_files_of_two_echoes(studies):
    raw = studies["echoes"] / "sub-01" / "perf"
    truth = studies["echoes"] / "derivatives" / "truth" / "sub-01" / "perf"
    sidecars = [json.loads((raw / f"sub-01_task-rest_acq-aif_echo-{n}_dce.json").read_text()) for n in (1, 2)]
    assert sidecars[0].pop("EchoTime") < sidecars[1].pop("EchoTime") < sidecars[0]["RepetitionTimeExcitation"]
    assert sidecars[0] == sidecars[1]
    assert (truth / "sub-01_task-rest_acq-aif_label-LV_mask.nii.gz").is_file()
    assert "--t2star" in (studies["echoes"] / "README.md").read_text()


@pytest.mark.parametrize("options", [["--aif-echoes", "2"], ["--slice-order", "within-beat"]])
def test_dicom_of_what_its_writer_does_not_know_is_refused(options, tmp_path, capsys):
    assert main(["phantom", str(tmp_path / "out"), "--dicom", "siemens", *options]) == 2
    assert "dicom: only series of one echo" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prebolus", "echoes"])
def test_datasets_of_other_acquisitions_are_valid(studies, name):
    from qperf_app.bids.validate import validate

    for root in (studies[name], studies[name] / "derivatives" / "truth"):
        assert [str(issue) for issue in validate(root) if issue.severity == "error"] == []


def test_the_benchmark_scores_flow_and_its_intervals():
    found = Found(
        scans={"rest", "stress"}, doubtful={"rest"}, true=[1.0, 2.0, 3.0], measured=[1.1, 2.2, 3.3],
        low=[0.9, 2.1, 2.9], high=[1.3, 2.5, 3.5],
    )  # fmt: skip
    row = dict(zip((column.name for column in COLUMNS), scored("dual bolus", 4, "hmc", found), strict=True))
    assert (row["without flow"], row["doubtful"], row["relative"], row["segments"]) == (2, 1, 0, 3)
    assert row["bias"] == pytest.approx(10.0)
    assert row["90 % intervals cover the truth"] == pytest.approx(200.0 / 3.0)
    assert row["width of the intervals, median"] == pytest.approx(100.0 * 0.6 / 3.3)
    nothing = scored("dual bolus", 4, "nlls", Found())
    assert nothing[2:4] == (4, 4) and nothing[-1] is None


def test_each_series_has_a_time_for_each_of_its_own_slices() -> None:
    config = PhantomConfig(matrix=32, frames=14, beats_per_image=3, slice_order="over-beats", breathing="none")
    for series in simulate_scan(config, np.random.default_rng(1)).series.values():
        assert len(series.metadata["SliceTiming"]) == series.data.shape[2]
