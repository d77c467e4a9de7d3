"""The digital perfusion phantom: is its truth true, are its ranges those that are stated, are its bytes its seed's?"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from qperf_app.bids.tables import read_input_function, read_landmarks, read_table
from qperf_app.bids.validate import validate
from qperf_app.cli.tools import main
from qperf_app.geometry.segments import label_segments
from qperf_app.geometry.warp import warp
from qperf_app.phantom import DatasetPlan, PhantomConfig, Scan, sample_participant, simulate_scan, write_dataset
from qperf_app.phantom.bolus import blood_curves, sample_bolus
from qperf_app.phantom.heart import sample_heart
from qperf_app.phantom.motion import sample_motion
from qperf_app.phantom.perfusion import DENSITY, TERRITORIES, Defect, sample_defects, sample_kinetics
from qperf_app.phantom.shapes import capsule, coverage, ellipsoid
from qperf_app.phantom.triggering import Triggers, sample_triggers
from qperf_app.physics.constants import native_t1, relaxivity
from qperf_app.physics.models import MODELS
from qperf_app.physics.signal import relaxation_rate_from_saturation_recovery, spoiled_gradient_echo

TINY = PhantomConfig(matrix=64, frames=20)
#: Nothing that hides the truth: no noise, no motion, all of k-space.
PLAIN = replace(TINY, breathing="none", cnr=np.inf, aif_cnr=np.inf, phase_resolution=1.0, defects="none")
TINY_FLAGS = ["--matrix", "64", "--frames", "40", "--tasks", "stress", "--abnormal-bolus", "0"]


def scan_of(config: PhantomConfig, seed: int = 0) -> Scan:
    return simulate_scan(config, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def plain() -> Scan:
    return scan_of(replace(PLAIN, task="stress", matrix=128, frames=40), 3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants, made by the command line in one process."""
    out = tmp_path_factory.mktemp("phantom") / "made" / "here"
    assert main(["phantom", str(out), "--participants", "2", "--seed", "7", *TINY_FLAGS]) == 0
    return out


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2.0 * (one & other).sum() / (one.sum() + other.sum())


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# Shapes


@given(st.tuples(*[st.floats(5.0, 60.0)] * 3), st.tuples(*[st.floats(-1.0, 1.0)] * 3), st.floats(-2.0, 2.0))
@settings(deadline=None)
def test_distance_to_an_ellipsoid_is_right_near_its_surface(axes, direction, offset):
    direction, axes = np.array(direction), np.array(axes)
    if np.linalg.norm(direction) < 0.1:
        return
    on_surface = direction / np.linalg.norm(direction / axes)
    normal = on_surface / axes**2
    normal /= np.linalg.norm(normal)
    curvature = axes.max() / axes.min() ** 2
    point = on_surface + offset * normal
    assert ellipsoid(point, axes) == pytest.approx(offset, abs=4.0 * offset**2 * curvature + 1e-6)


def test_distance_to_a_tube_is_exact():
    start, end = (0.0, 0.0, 0.0), (0.0, 0.0, 10.0)
    points = np.array([[3.0, 4.0, 5.0], [0.0, 0.0, 14.0], [0.0, 1.0, 2.0]])
    np.testing.assert_allclose(capsule(points.T, start, end, 2.0), [3.0, 2.0, -1.0])


def test_coverage_is_the_part_of_a_voxel_inside_a_plane():
    np.testing.assert_allclose(coverage(np.array([-3.0, -1.0, 0.0, 0.5, 3.0]), 2.0), [1.0, 1.0, 0.5, 0.25, 0.0])


def test_partial_volumes_keep_the_area_whatever_the_matrix():
    """The blood pool's area does not depend on how coarse the voxels are."""
    areas = []
    for matrix in (48, 160):
        scan = scan_of(replace(PLAIN, matrix=matrix, frames=10, acquisition="single"), 5)
        parts = scan.truth["tissue"].parts
        voxel = scan.series["tissue"].voxel_size[0] ** 2
        areas.append([parts[name].sum(axis=(0, 1)) * voxel for name in ("LV", "RV", "myocardium")])
    np.testing.assert_allclose(areas[0], areas[1], rtol=0.06)


# Ranges


def test_hearts_have_the_published_sizes():
    rng = np.random.default_rng(0)
    for pathology, mean, spread in (("none", 68 * 1.85, 13 * 1.85), ("infarct", 97 * 1.85, 25 * 1.85)):
        hearts = [sample_heart(pathology, (0.0, 0.0, 0.0), rng) for _ in range(400)]
        volumes = np.array([heart.cavity_volume for heart in hearts])
        assert volumes.mean() == pytest.approx(mean, rel=0.06)
        assert volumes.std() == pytest.approx(np.hypot(spread, 0.1 * mean), rel=0.2)
        if pathology == "none":
            ratio = np.array([heart.wall / heart.radius for heart in hearts])
            assert ratio.mean() == pytest.approx(0.40, abs=0.02)
            assert ratio.std() == pytest.approx(0.10, abs=0.02)


def test_contraction_keeps_the_walls_cross_section():
    heart = sample_heart("none", (0.0, 0.0, 0.0), np.random.default_rng(0))
    smaller = heart.contracted(0.6)
    assert smaller.radius < heart.radius and smaller.wall > heart.wall
    assert smaller.outer_radius**2 - smaller.radius**2 == pytest.approx(heart.outer_radius**2 - heart.radius**2)


@pytest.mark.parametrize(("task", "mean", "spread"), [("rest", 0.65, 0.13), ("stress", 2.9, 0.6)])
def test_flow_has_the_published_distribution(task, mean, spread):
    seeds = np.random.default_rng(1).integers(2**32, size=(300, 2))
    flows = [
        sample_kinetics(task, (), 0.42, np.random.default_rng(a), np.random.default_rng(b)).MBF.mean() for a, b in seeds
    ]
    assert np.mean(flows) == pytest.approx(mean, rel=0.04)
    assert np.std(flows) == pytest.approx(spread, rel=0.12)


def test_rest_and_stress_share_what_belongs_to_the_person():
    def draw(task, seed):
        return sample_kinetics(task, (), 0.42, np.random.default_rng(9), np.random.default_rng(seed))

    rest, stress = draw("rest", 1), draw("stress", 2)
    np.testing.assert_array_equal(rest.ve, stress.ve)
    assert (stress.MBF > rest.MBF).all()


@pytest.mark.parametrize("pathology", ["ischaemia", "infarct"])
def test_defects_reach_down_to_the_stated_flow(pathology):
    rng = np.random.default_rng(0)
    lowest = []
    for seed in range(40):
        defects = sample_defects(pathology, rng)
        assert {d.territory for d in defects} <= set(TERRITORIES)
        maps = [
            sample_kinetics(task, defects, 0.42, np.random.default_rng(seed), np.random.default_rng(seed))
            for task in ("rest", "stress")
        ]
        if pathology == "infarct":
            assert maps[0].MBF.min() < 0.5 * np.quantile(maps[0].MBF, 0.9) + 0.2
        lowest.append(maps[1].MBF.min())
    assert 0.25 < min(lowest) < 0.5


def test_beats_are_irregular_and_some_triggers_missed():
    intervals = np.diff(sample_triggers("rest", 400, 0.05, np.random.default_rng(2)).times)
    assert (intervals > 0).all() and np.std(intervals) > 0.02
    doubled = intervals > 1.6 * np.median(intervals)
    assert 0.01 < doubled.mean() < 0.12
    steady = np.diff(sample_triggers("rest", 400, 0.0, np.random.default_rng(2)).times)
    assert steady.max() < 1.6 * np.median(steady)


def test_bolus_reaches_the_left_ventricle_5_to_7_seconds_after_the_right():
    rng, times = np.random.default_rng(3), np.arange(0.0, 90.0, 0.05)
    for task in ("rest", "stress") * 20:
        bolus = sample_bolus(task, True, 0.0, 3.0, 60.0, rng)
        curves = blood_curves(bolus, times)
        passage = times[curves["left"].argmax()] - times[curves["right"].argmax()]
        assert 4.9 <= passage <= 7.1
        assert curves["left"].max() == pytest.approx(bolus.peak, rel=0.1)
        # Recirculation: the blood never clears again.
        assert curves["left"][times > bolus.arrival + 40.0].min() > 0.03 * bolus.peak
        assert (curves["left"][times < bolus.arrival] == 0.0).all()


def test_rare_boluses_are_late_or_incomplete():
    rng = np.random.default_rng(4)
    drawn = [sample_bolus("rest", True, 1.0, 3.0, 60.0, rng) for _ in range(60)]
    assert {bolus.kind for bolus in drawn} == {"late", "incomplete"}
    assert all(bolus.arrival > 30.0 for bolus in drawn if bolus.kind == "late")
    assert all(bolus.peak < 3.5 for bolus in drawn if bolus.kind == "incomplete")


def test_population_input_function_is_the_same_for_everybody():
    rng = np.random.default_rng(5)
    one, other = (sample_bolus("rest", False, 0.0, 3.0, 60.0, rng) for _ in range(2))
    assert replace(one, arrival=0.0) == replace(other, arrival=0.0)


def test_breathing_modes_differ_in_depth():
    triggers = Triggers(np.arange(60) * 0.9, np.ones(60))
    depths = {
        mode: np.median([np.ptp(sample_motion(mode, triggers, np.random.default_rng(s)).breath) for s in range(30)])
        for mode in ("none", "mild", "free", "extreme")
    }
    assert depths["none"] == 0.0 and depths["mild"] < 6.0 < depths["free"] < depths["extreme"]


# Truth


def test_a_held_breath_rises_slowly_between_free_ones():
    triggers = Triggers(np.arange(90) * 0.9, np.ones(90))
    for seed in range(20):
        breath = sample_motion("held", triggers, np.random.default_rng(seed)).breath
        steps = np.diff(breath)
        slow = (steps < 0) & (np.abs(np.diff(steps, prepend=np.inf)) < 1e-9)
        assert slow.sum() >= 17 and -steps[slow].sum() * 53 / 18 >= 1.0 and -steps[slow].sum() <= 10.0
        assert np.ptp(breath) > 4.0


def test_nothing_moves_without_breathing(plain):
    for truth in plain.truth.values():
        assert not truth.displacement.any()
        for name, mask in truth.masks.items():
            assert (truth.frame_masks[name] == mask[..., None]).all()


@pytest.mark.parametrize(
    ("series", "tissue", "label"), [("tissue", "myocardium", "myocardium"), ("aif", "blood", "LV")]
)
def test_inverse_of_the_signal_recovers_the_true_concentration(plain, series, tissue, label):
    image, truth = plain.series[series], plain.truth[series]
    whole = truth.parts[label] > 0.9999
    assert whole.sum() > 20
    field, metadata = image.metadata["MagneticFieldStrength"], image.metadata
    spacing, n = metadata["RepetitionTimeExcitation"], metadata["ExcitationsToKSpaceCenter"]
    flips, t1 = metadata["FlipAngle"], native_t1(tissue, field)
    unit = spoiled_gradient_echo(np.array(1.0 / t1), spacing, flips[0], n)
    rho = image.proton_density[whole] / unit
    r1, invalid = relaxation_rate_from_saturation_recovery(
        image.dynamic().data[whole], metadata["SaturationDelayTime"], spacing, flips[-1], n, rho[:, None]
    )
    assert not invalid.any()
    found = (r1 - 1.0 / t1) / relaxivity(field)
    np.testing.assert_allclose(found, truth.concentration[whole], atol=0.005)


def test_tissue_series_saturates_where_the_input_function_series_does_not(plain):
    rises = {}
    for name in ("tissue", "aif"):
        blood = plain.series[name].dynamic().data[plain.truth[name].masks["LV"]].mean(axis=0)
        after = np.argmax(plain.aif.concentration) + 6
        rises[name] = (blood[after] - blood[0]) / (blood.max() - blood[0])
    true = plain.aif.concentration[after] / plain.aif.concentration.max()
    assert abs(rises["aif"] - true) < 0.12 < rises["tissue"] - true


def mixed(times, cp, rates):
    """Outflow (n, t) of mixing volumes that are turned over at ``rates`` (n,), by the trapezoidal rule."""
    outflow = np.zeros((len(rates), len(times)))
    for k, step in enumerate(np.diff(times)):
        half = 0.5 * rates * step
        outflow[:, k + 1] = (outflow[:, k] * (1 - half) + half * (cp[k] + cp[k + 1])) / (1 + half)
    return outflow


@pytest.mark.parametrize("model", ["2CXM", "ATH"])
def test_curves_are_those_of_the_stated_parameters(model):
    scan = scan_of(replace(PLAIN, model=model, matrix=128, frames=40, acquisition="single"), 6)
    truth, n = scan.truth["tissue"], scan.config.proton_density_frames
    whole = truth.parts["myocardium"] > 0.9999
    times = scan.series["tissue"].times
    fine = np.union1d(np.arange(0.0, times[-1], 0.1), times)
    cp = blood_curves(scan.bolus, fine)["left"] / (1.0 - scan.participant.haematocrit)
    chosen = MODELS[model]
    parameters = {p.name: truth.parameters[p.name][whole] for p in chosen.parameters}
    if model == "ATH":
        # Arterioles of 0.04 mL/mL that mix, then five capillaries of different flow.
        cp = mixed(fine, cp, truth.parameters["Fb"][whole] / 0.04 / 60.0)
        flows = np.exp(np.sqrt(np.log(1 + 0.55**2)) * norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9]))
        pathways = [{**parameters, "Fp": parameters["Fp"] * flow / flows.mean()} for flow in flows]
    else:
        pathways = [parameters]
    curves = np.mean([chosen(fine, cp, *pathway.values()) for pathway in pathways], axis=0)
    expected = curves[:, np.searchsorted(fine, times[n:])]
    error = np.abs(truth.concentration[whole] - expected).max(axis=1) / expected.max(axis=1)
    # A voxel's thickness may reach into the next cell of the wall.
    assert np.median(error) < 0.01 and error.max() < 0.06
    np.testing.assert_allclose(truth.parameters["MBF"][whole] * DENSITY, truth.parameters["Fb"][whole])
    plasma = truth.parameters["Fb"][whole] * (1.0 - scan.participant.haematocrit)
    np.testing.assert_allclose(truth.parameters["Fp"][whole], plasma)


def test_displacement_brings_every_frame_back():
    config = replace(TINY, matrix=224, frames=10, breathing="free", through_plane=0.0, acquisition="single")
    scan = scan_of(config, 2)
    truth, affine = scan.truth["tissue"], scan.series["tissue"].affine
    for name in ("myocardium", "LV", "RV"):
        moving, still = truth.frame_masks[name], truth.masks[name]
        back = warp(moving.astype(np.float32), affine, truth.displacement) > 0.5
        before = np.mean([dice(moving[..., t], still) for t in range(10)])
        after = np.mean([dice(back[..., t], still) for t in range(10)])
        assert after > 0.97 and after - before > 0.05
    inside = truth.displacement[truth.masks["myocardium"]]
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    assert np.abs(inside @ normal).max() < 0.01
    assert 3.0 < np.linalg.norm(inside.mean(axis=0), axis=-1).max() < 30.0


def test_a_defect_lies_in_its_territory_of_the_aha_model():
    """The phantom's angles and the app's segments are two definitions; they must agree."""
    segments = {"LAD": (1, 2, 7, 8, 13, 14), "RCA": (3, 4, 9, 10, 15), "LCX": (5, 6, 11, 12, 16)}
    config = replace(PLAIN, task="stress", frames=10, matrix=128, acquisition="single")
    person = sample_participant(config, np.random.default_rng(8))
    for name, (centre, half_width) in TERRITORIES.items():
        defect = Defect("ischaemia", name, centre, half_width, 0.5, 1.0, 1.0, 0.5, 0.4)
        scan = simulate_scan(config, np.random.default_rng(8), replace(person, defects=(defect,)))
        truth = scan.truth["tissue"]
        labels = label_segments(truth.masks["myocardium"], scan.series["tissue"].affine, truth.landmarks).labels
        flow = truth.parameters["MBF"]
        within = np.isin(labels, segments[name])
        outside = (labels > 0) & ~within
        assert within.any() and np.nanmedian(flow[within]) < 0.8 and np.nanmedian(flow[outside]) > 1.2


def test_subendocardial_defect_spares_the_outer_wall():
    defect = Defect("ischaemia", "LAD", *TERRITORIES["LAD"], 0.5, 0.5, 0.4, 0.6, 0.5)
    flow = sample_kinetics("stress", (defect,), 0.42, np.random.default_rng(0), np.random.default_rng(0)).MBF
    core = flow[20, :, 4]
    assert core[0] < 0.7 and core[-1] > 1.5


def test_every_slice_has_its_landmarks_on_the_wall(plain):
    truth, series = plain.truth["tissue"], plain.series["tissue"]
    assert {(m.name, m.slice) for m in truth.landmarks} == {
        (name, k) for name in ("RVInsertionAnterior", "RVInsertionInferior") for k in range(3)
    }
    for landmark in truth.landmarks:
        place = np.linalg.inv(series.affine) @ [*landmark.position, 1.0]
        assert place[2] == pytest.approx(landmark.slice, abs=1e-3)
        wall = np.argwhere(truth.masks["myocardium"][:, :, landmark.slice])
        assert np.linalg.norm(wall - place[:2], axis=1).min() < 1.5


def test_noise_is_as_stated():
    config = replace(TINY, task="stress", breathing="none", frames=40, phase_resolution=0.85)
    noisy, clean = (scan_of(replace(config, cnr=c, aif_cnr=5 * c), 4) for c in (20.0, np.inf))
    for name, cnr, label in (("tissue", 20.0, "myocardium"), ("aif", 100.0, "LV")):
        mask, n = clean.truth[name].masks[label], config.proton_density_frames
        wall = clean.series[name].data[mask].mean(axis=0)[n:]
        # High signals only: there the magnitude's noise is that of one channel.
        bright = clean.series[name].data > 0.3 * wall.max()
        sigma = np.std((noisy.series[name].data - clean.series[name].data)[bright])
        assert (wall.max() - wall[0]) / sigma == pytest.approx(cnr, rel=0.15)
        assert (noisy.series[name].data >= 0).all()


def test_field_strength_and_single_bolus():
    scan = scan_of(replace(TINY, field_strength=3.0, acquisition="single", frames=12))
    assert set(scan.series) == {"tissue"} and scan.series["tissue"].metadata["MagneticFieldStrength"] == 3.0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("cnr", 0.0), ("field_strength", 7.0), ("breathing", "deep"), ("matrix", 8), ("frames", 3),
        ("task", "exercise"), ("proton_density_frames", 58), ("missed_beats", 0.9),
        ("acquisition", "triple"), ("through_plane", 2.0),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match="MagneticFieldStrength" if option == "field_strength" else option):
        PhantomConfig(**{option: value})


# Dataset


def test_the_readmes_command_gives_the_same_bytes_whatever_the_processes(dataset, tmp_path, capsys):
    (command,) = [line.split() for line in (dataset / "README.md").read_text().splitlines() if "qperf phantom" in line]
    again = [str(tmp_path / "again") if word == "OUT" else word for word in command[1:]]
    assert main([*again, "--nprocs", "2"]) == 0
    assert digests(tmp_path / "again") == digests(dataset)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith(("[1/2] sub-0", "[2/2] sub-0")) for line in lines)


def test_a_participant_depends_on_the_seed_and_its_number_only(dataset, tmp_path):
    for seed in (7, 8):
        plan = DatasetPlan(1, seed, ("stress",), replace(TINY, frames=40, abnormal_bolus=0.0))
        write_dataset(tmp_path / str(seed), plan)
    first = {name: digest for name, digest in digests(dataset).items() if "/sub-01_" in name}
    alone, other = ({n: d for n, d in digests(tmp_path / s).items() if "/sub-01_" in n} for s in ("7", "8"))
    assert first == alone and len(first) > 30
    assert all(first[name] != other.get(name) for name in first if name.endswith(".nii.gz") and "conc" in name)


def test_both_datasets_pass_the_official_validator(dataset):
    for root in (dataset, dataset / "derivatives" / "truth"):
        errors = [str(issue) for issue in validate(root) if issue.severity == "error"]
        assert errors == []


def test_names_grids_and_sidecars_are_those_of_the_contract(dataset):
    raw, truth = dataset / "sub-01" / "perf", dataset / "derivatives" / "truth" / "sub-01" / "perf"
    for series, prefix, shape in (
        ("dce", "sub-01_task-stress", (64, 64, 3, 40)),
        ("acq-aif_dce", "sub-01_task-stress_acq-aif", (64, 48, 1, 40)),
    ):
        image = nib.load(raw / f"sub-01_task-stress_{series}.nii.gz")
        assert image.shape == shape and image.get_data_dtype() == np.int16
        assert np.asarray(image.dataobj).max() > 500
        sidecar = json.loads((raw / f"sub-01_task-stress_{series}.json").read_text())
        assert len(sidecar["VolumeTiming"]) == len(sidecar["FlipAngle"]) == 40
        assert np.ptp(np.diff(sidecar["VolumeTiming"])) > 0.01
        assert sidecar["ProtonDensityVolumeCount"] == 3 and sidecar["FlipAngle"][2] < sidecar["FlipAngle"][3]
        assert sidecar["Units"] == "arbitrary"
        shift = nib.load(truth / f"{prefix}_desc-moco_xfm.nii.gz")
        assert shift.shape == (*shape, 3)
        for label in ("LV", "RV"):
            mask = nib.load(truth / f"{prefix}_label-{label}_mask.nii.gz")
            frames = nib.load(truth / f"{prefix}_label-{label}_desc-frames_mask.nii.gz")
            assert mask.shape == shape[:3] and frames.shape == shape
            assert np.asarray(mask.dataobj).sum() > 5
            np.testing.assert_array_equal(mask.affine, image.affine)
    wall = np.asarray(nib.load(truth / "sub-01_task-stress_label-myocardium_mask.nii.gz").dataobj) > 0
    for quantity in ("MBF", "Fb", "Fp", "PS", "vp", "ve", "Ta"):
        (path,) = truth.glob(f"sub-01_task-stress_model-*_param-{quantity}_desc-truth_dcemap.nii.gz")
        np.testing.assert_array_equal(np.isfinite(nib.load(path).get_fdata()), wall)
    concentration = nib.load(truth / "sub-01_task-stress_desc-conc_dce.nii.gz")
    assert concentration.shape == (64, 64, 3, 37)


def test_tables_of_the_truth_read_as_hand_ins(dataset):
    truth = dataset / "derivatives" / "truth"
    path = truth / "sub-02" / "perf" / "sub-02_task-stress_desc-aif_timeseries.tsv"
    aif = read_input_function(path)
    assert not aif.plasma and aif.units == "mmol/L" and 1.0 < aif.concentration.max() < 10.0
    features = json.loads(path.with_suffix(".json").read_text())
    assert features["foot"] < features["peak"] and 0.3 < features["Haematocrit"] < 0.5
    assert len(read_landmarks(truth / "sub-02" / "perf" / "sub-02_task-stress_desc-landmarks_points.tsv")) == 6
    people = read_table(truth / "participants.tsv")
    assert [row["participant_id"] for row in people] == ["sub-01", "sub-02"]
    assert {row["pathology"] for row in people} <= {"none", "ischaemia", "infarct"}


def test_an_output_that_is_not_empty_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["phantom", str(tmp_path), *TINY_FLAGS]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert main(["phantom", str(tmp_path / "mine.txt"), *TINY_FLAGS]) == 2
    assert main(["phantom", str(tmp_path / "mine.txt" / "below"), *TINY_FLAGS]) == 2
    assert "can't be written" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--participants", "0"], "participants"),
        (["--nprocs", "0"], "nprocs"),
        (["--seed", "-1"], "seed"),
        (["--frames", "5"], "frames"),
        (["--tasks", "rest", "rest"], "tasks"),
        (["--cnr", "-3"], "cnr"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path, capsys, flags, named):
    assert main(["phantom", str(tmp_path / "out"), *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_behind_when_a_participant_fails(tmp_path, monkeypatch):
    def fail(*_args):
        raise RuntimeError("no more hearts")

    monkeypatch.setattr("qperf_app.phantom.dataset.write_scan", fail)
    with pytest.raises(RuntimeError, match="no more hearts"):
        write_dataset(tmp_path / "out", DatasetPlan(1, 0, ("rest",), TINY))
    assert list(tmp_path.iterdir()) == []
