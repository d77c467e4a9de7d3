"""Concentration plugins and the baseline they stand on."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qperf_app.physics import signal
from qperf_app.physics.baseline import baseline_frames, bolus_curve
from qperf_app.physics.sequences import Relaxation, Sequence, signal_of_tissue
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.steps.concentration import choose_by_metadata
from qperf_concentration import (
    Identity,
    RelativeEnhancement,
    SaturationRecoveryBssfp,
    SaturationRecoveryEpi,
    SaturationRecoveryFlash,
)

CONTEXT = RunContext()
N_FRAMES = 60
TIMES = np.arange(N_FRAMES) * 0.8
BOLUS = np.where(TIMES > 10, (TIMES - 10) / 6 * np.exp(1 - (TIMES - 10) / 6), 0.0)
METADATA = {
    "RepetitionTimeExcitation": 0.0023,
    "FlipAngle": 12.0,
    "SaturationDelayTime": 0.1,
    "ExcitationsToKSpaceCenter": 30,
    "MagneticFieldStrength": 1.5,
}
SHAPE = (6, 5, 2)
FULL_SHAPE = (*SHAPE, N_FRAMES)


def truth(peak: float) -> np.ndarray:
    """Concentration (x, y, z, t): every voxel its own height up to ``peak``."""
    return peak * np.linspace(0.2, 1.0, 60).reshape(SHAPE)[..., None] * BOLUS


def acquire(concentration, t1, flip_angles=12.0, proton_density_flips=(), rho=None):
    """Series of a concentration: proton-density volumes first, rho smooth over the image."""
    rho = np.linspace(800.0, 1200.0, SHAPE[0])[:, None, None] * np.ones(SHAPE) if rho is None else rho
    r1 = signal.relaxation_rate(concentration, t1, 5.57)
    dynamic = signal.saturation_recovery_flash(r1, 0.1, 0.0023, flip_angles, 30, rho[..., None])
    leading = [
        signal.spoiled_gradient_echo(np.full(SHAPE, 1 / t1), 0.0023, flip, 30, rho) for flip in proton_density_flips
    ]
    data = np.concatenate([np.stack(leading, -1), dynamic], -1) if leading else dynamic
    n = len(leading)
    flips = [*proton_density_flips, *np.broadcast_to(flip_angles, N_FRAMES).tolist()]
    metadata = {**METADATA, "FlipAngle": flips, "ProtonDensityVolumeCount": n}
    return Series(data, np.arange(N_FRAMES + n) * 0.8, np.diag([2.0, 2.0, 8.0, 1.0]), metadata)


def flash(**options):
    return SaturationRecoveryFlash(SaturationRecoveryFlash.Options(**options))


def test_proton_density_measures_the_native_t1():
    """T1 is not the one of the tables, the proton-density volumes have flip angles of their own: still exact."""
    concentration = truth(5.0)
    series = acquire(concentration, t1=1.45, proton_density_flips=(5.0, 5.0, 4.0))
    result = flash().convert(series, "myocardium", CONTEXT)
    assert result.units == "mmol/L" and not result.invalid.any()
    np.testing.assert_allclose(result.data, concentration, atol=1e-7)
    # The median of a sloping sensitivity is itself, but for the image's edge.
    steadied = flash(scale_window=3).convert(series, "myocardium", CONTEXT)
    np.testing.assert_allclose(steadied.data[1:-1], concentration[1:-1], atol=1e-7)


@pytest.mark.parametrize(("tissue", "t1"), [("blood", 1.7), ("myocardium", 1.1)])
def test_without_proton_density_the_native_t1_of_the_tissue_serves(tissue, t1):
    concentration = truth(4.0)
    result = flash(scale_window=1).convert(acquire(concentration, t1), tissue, CONTEXT)
    np.testing.assert_allclose(result.data, concentration, atol=1e-8)


def test_native_t1_and_relaxivity_can_be_given():
    concentration = truth(4.0)
    series = acquire(concentration, t1=1.3)
    options = {"myocardium_t1": 1.3, "relaxivity": 2 * 5.57, "scale_window": 1}
    result = flash(**options).convert(series, "myocardium", CONTEXT)
    np.testing.assert_allclose(result.data, concentration / 2, atol=1e-8)


def test_proton_density_volumes_can_be_left_unused():
    series = acquire(truth(4.0), t1=1.1, proton_density_flips=(5.0, 5.0))
    disturbed = series.with_data(np.concatenate([series.data[..., :2] * 7.0, series.data[..., 2:]], -1))
    result = flash(use_proton_density=False, scale_window=1).convert(disturbed, "myocardium", CONTEXT)
    np.testing.assert_allclose(result.data, truth(4.0), atol=1e-8)


def test_dynamic_volumes_may_have_two_flip_angles():
    flips = np.where(np.arange(N_FRAMES) < 20, 12.0, 8.0)
    series = acquire(truth(3.0), t1=1.1, flip_angles=flips, proton_density_flips=(5.0,))
    result = flash(scale_window=1).convert(series, "myocardium", CONTEXT)
    np.testing.assert_allclose(result.data, truth(3.0), atol=1e-7)


@pytest.mark.parametrize("proton_density_flips", [(), (5.0, 5.0)])
def test_concentration_starts_at_zero_under_noise(proton_density_flips):
    series = acquire(truth(3.0), t1=1.2, proton_density_flips=proton_density_flips)
    noisy = series.with_data(series.data + np.random.default_rng(1).normal(0, 1.0, series.data.shape))
    result = flash(baseline_frames=12).convert(noisy, "myocardium", CONTEXT)
    np.testing.assert_allclose(result.data[..., :12].mean(-1), 0.0, atol=1e-12)


def test_the_median_keeps_noise_of_the_scale_off_the_curves():
    rng, shape = np.random.default_rng(2), (24, 24, 1)
    clean = acquire(np.broadcast_to(BOLUS, FULL_SHAPE), t1=1.1, proton_density_flips=(5.0, 5.0, 5.0)).data[:1, :1, :1]
    data = np.broadcast_to(clean, (*shape, clean.shape[-1])).copy()
    data[..., :3] *= 1 + rng.normal(0, 0.08, (*shape, 3))
    metadata = {**METADATA, "FlipAngle": [5.0] * 3 + [12.0] * N_FRAMES, "ProtonDensityVolumeCount": 3}
    series = Series(data, np.arange(63) * 0.8, np.eye(4), metadata)
    spread = [flash(scale_window=w).convert(series, "blood", CONTEXT).data.max(-1).std() for w in (1, 3)]
    assert spread[1] < 0.5 * spread[0]


def test_saturated_signal_is_flagged_and_the_rest_kept():
    series = acquire(truth(3.0), t1=1.1, proton_density_flips=(5.0, 5.0))
    data = series.data.copy()
    data[0, 0, 0, 30] = 1e5
    data[1, 0, 0, :] = 0.0
    result = flash(scale_window=1).convert(series.with_data(data), "myocardium", CONTEXT)
    assert result.invalid[0, 0, 0].sum() == 1 and result.invalid[0, 0, 0, 28]
    assert result.invalid[1, 0, 0].all()
    np.testing.assert_array_equal(np.isnan(result.data), result.invalid)
    kept = ~result.invalid
    np.testing.assert_allclose(result.data[kept], truth(3.0)[kept], atol=1e-7)


@pytest.mark.parametrize("proton_density_flips", [(), (5.0, 5.0)])
def test_a_part_of_the_voxels_converts_as_the_whole_does(proton_density_flips):
    series = acquire(truth(2.0), 1.1, proton_density_flips=proton_density_flips)
    series = series.with_data(series.data + np.random.default_rng(2).normal(0.0, 3.0, series.data.shape))
    where = np.random.default_rng(3).random(SHAPE) < 0.3
    whole = flash().convert(series, "myocardium", CONTEXT)
    part = flash().convert_within(series, where, "myocardium", CONTEXT)
    np.testing.assert_array_equal(part.data[where], whole.data[where])
    assert np.isnan(part.data[~where]).all() and part.invalid[~where].all()
    if proton_density_flips:
        np.testing.assert_array_equal(part.native_t1[where], whole.native_t1[where])


def test_a_single_curve_converts_as_the_input_function_does():
    """Shape (1, 1, 1, t): the same curve as that voxel of the image."""
    series = acquire(truth(6.0), t1=1.7, proton_density_flips=(5.0, 5.0))
    curve = Series(series.data[3:4, 2:3, 1:2], series.times, series.affine, series.metadata)
    result = flash().convert(curve, "blood", CONTEXT)
    np.testing.assert_allclose(result.data[0, 0, 0], truth(6.0)[3, 2, 1], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"FlipAngle": 0}, "FlipAngle is 0"),
        ({"FlipAngle": [12.0] * 5}, "FlipAngle lists 5 values for 60 volumes"),
        ({"FlipAngle": "twelve"}, "FlipAngle is 'twelve'"),
        ({"FlipAngle": [12.0] * 59 + [None]}, "FlipAngle lists values that are not numbers"),
        ({"SaturationDelayTime": -0.01}, "SaturationDelayTime is -0.01"),
        ({"RepetitionTimeExcitation": 0}, "RepetitionTimeExcitation is 0"),
        ({"RepetitionTimeExcitation": "2.3 ms"}, "RepetitionTimeExcitation is '2.3 ms'"),
        ({"RepetitionTimeExcitation": 0.2725}, "a whole shot's"),
        ({"ExcitationsToKSpaceCenter": 0}, "ExcitationsToKSpaceCenter is 0"),
        ({"MagneticFieldStrength": 0.55}, "MagneticFieldStrength is 0.55 T"),
        ({"ProtonDensityVolumeCount": 60}, "ProtonDensityVolumeCount is 60 in a series of 60"),
        ({"ProtonDensityVolumeCount": -1}, "ProtonDensityVolumeCount is -1"),
        ({"Units": "mmol/L"}, "Units is 'mmol/L'"),
    ],
)
def test_contradictory_metadata_is_named_before_anything_runs(change, phrase):
    metadata = {**METADATA, **change}
    problems = flash().problems(metadata, FULL_SHAPE)
    assert len(problems) == 1 and phrase in problems[0]
    series = Series(np.ones(FULL_SHAPE), TIMES, np.eye(4), metadata)
    with pytest.raises(ValueError, match=problems[0].split()[0]):
        flash().convert(series, "blood", CONTEXT)


QUANTITATIVE = {"ExcitationsToKSpaceCenter": 24, "SaturationDelayTime": 0.1}
RELATIVE = (
    "concentration is relative (linear in the signal), flow is not absolute. Complete the sidecar to make it so. "
)


def test_proton_density_frames_alone_do_not_ask_for_the_sequence():
    named = {"PulseSequenceType": "Saturation-recovery FLASH"}
    names, warnings = choose_by_metadata([{**named, "ProtonDensityVolumeCount": 3}, named])
    assert names == ["linear", "linear"] and "SaturationDelayTime, ExcitationsToKSpaceCenter" in warnings[0]
    assert choose_by_metadata([{**named, "ExcitationsToKSpaceCenter": 24}, named]) == (["sr-flash", "sr-flash"], ())


def test_each_series_is_converted_by_the_equation_of_its_own_read_out():
    flash, bssfp, epi = (
        {**QUANTITATIVE, **named}
        for named in (
            {"PulseSequenceType": "Saturation-recovery FLASH"},
            {"ScanningSequence": "SE", "SequenceVariant": "MP", "SequenceName": "*tfiperf2d1"},
            {"PulseSequenceType": "Saturation-recovery EPI", "ScanningSequence": ["EP", "GR"], "SequenceVariant": "SK"},
        )
    )
    assert choose_by_metadata([flash, bssfp]) == (["sr-flash", "sr-bssfp"], ())
    assert choose_by_metadata([epi, {"Units": "mmol/L"}]) == (["sr-epi", "identity"], ())


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "No field names the read-out (PulseSequenceType)"),
        ({"ScanningSequence": "RM", "SequenceVariant": "NONE"}, "No field names the read-out"),
        ({"PulseSequenceType": "FLASH", "SequenceVariant": ["SK", "SS"]}, "contradict each other about the read-out"),
        ({"PulseSequenceType": "Spin echo"}, "PulseSequenceType is 'Spin echo'"),
        ({"PulseSequenceType": "Inversion-recovery FLASH"}, "inversion, not saturation"),
    ],
)
def test_a_series_whose_read_out_is_not_known_is_relative(metadata, reason):
    flash = {**QUANTITATIVE, "PulseSequenceType": "Saturation-recovery FLASH"}
    names, (warning,) = choose_by_metadata([flash, {**QUANTITATIVE, **metadata}])
    assert names == ["linear", "linear"] and reason in warning and RELATIVE in warning


@pytest.mark.parametrize(
    ("plugin", "fields", "words"),
    [
        (SaturationRecoveryFlash, {"PulseSequenceType": "TrueFISP"}, ("PulseSequenceType", "bSSFP", "sr-flash")),
        (SaturationRecoveryFlash, {"SequenceName": "*tfiperf2d1", "ScanningSequence": "SE"}, ("SequenceName", "bSSFP")),
        (SaturationRecoveryBssfp, {"PulseSequenceType": "Saturation-recovery FLASH"}, ("FLASH", "sr-bssfp")),
        (SaturationRecoveryEpi, {"SequenceVariant": "SP", "SequenceName": "tfi2d1"}, ("contradict", "sr-epi")),
        (SaturationRecoveryFlash, {"PulseSequenceType": "IR FLASH, inversion"}, ("inversion, not saturation",)),
    ],
)
def test_a_plugin_refuses_another_read_out(plugin, fields, words):
    (problem,) = plugin().problems({**METADATA, "EchoTime": 0.001, **fields}, FULL_SHAPE)
    assert all(word in problem for word in words)


def test_a_read_out_that_nothing_names_is_the_one_of_the_plugin_asked_for():
    for plugin in (SaturationRecoveryFlash, SaturationRecoveryBssfp, SaturationRecoveryEpi):
        assert plugin().problems({**METADATA, "EchoTime": 0.001, "ScanningSequence": "RM"}, FULL_SHAPE) == []


def test_a_description_in_yaml_stands_over_the_metadata(tmp_path):
    concentration, tissue = truth(4.0), Relaxation(1 / 1.1, 1 / 0.052, 1 / 0.035, 5.57, 6.1, 6.1)
    sequence = Sequence("bSSFP", 50.0, 0.0028, 24, 0.09, 0.0014, 0.96, "ramp", 8)
    data = 900.0 * signal_of_tissue(sequence, tissue, signal.relaxation_rate(concentration, 1.1, 5.57))
    path = tmp_path / "trufi.yaml"
    path.write_text(
        "PulseSequenceType: SR-TrueFISP\nRepetitionTimeExcitation: 0.0028\nEchoTime: 0.0014\nFlipAngle: 50\n"
        "SaturationDelayTime: 0.09\nSaturationEfficiency: 0.96\nExcitationsToKSpaceCenter: 24\nCatalysation: ramp\n"
        "CatalysationExcitations: 8\n"
    )
    plugin = SaturationRecoveryBssfp(SaturationRecoveryBssfp.Options(sequence=str(path), scale_window=1))
    assert plugin.requires == ("MagneticFieldStrength",)
    assert plugin.loaded_files() == {"trufi.yaml": hashlib.sha256(path.read_bytes()).hexdigest()}
    series = Series(data, TIMES, np.eye(4), {"MagneticFieldStrength": 1.5})
    np.testing.assert_allclose(plugin.convert(series, "myocardium", CONTEXT).data, concentration, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SaturationDelay: 0.1", ("SaturationDelay:", "known are PulseSequenceType")),
        ("SaturationDelayTime: 100 ms", ("SaturationDelayTime", "'100 ms'")),
        ("ExcitationsToKSpaceCenter: 2.5", ("ExcitationsToKSpaceCenter", "2.5")),
        ("SaturationDelayTime: .inf", ("SaturationDelayTime", "finite")),
        ("- 0.1", ("expected fields",)),
        ("a: [", ("not a YAML file",)),
        ("EchoTime: 0.001\nEchoTime: 0.002", ("not a YAML file", "'EchoTime' is there twice")),
        ("!!python/object/apply:os.system ['true']", ("not a YAML file",)),
        ("Catalysation: two pulses", ("Catalysation is 'two pulses'",)),
        ("PulseSequenceType: TrueFISP", ("bSSFP",)),
        (None, ("No such file",)),
    ],
)
def test_a_bad_description_is_one_line_with_file_and_field(tmp_path, text, words):
    path = tmp_path / "sequence.yaml"
    if text is not None:
        path.write_text(text)
    (problem,) = flash(sequence=str(path)).problems(METADATA, FULL_SHAPE)
    assert all(word in problem for word in words) and "\n" not in problem


def test_the_decay_until_the_echo_is_corrected_in_blood_and_its_size_told():
    concentration = truth(6.0)[:1, :1, :1]
    tissue = Relaxation(1 / 1.7, 1 / 0.29, 1 / 0.113, 5.57, 6.1, 23.0)
    sequence = Sequence("FLASH", 5.0, 0.0014, 12, 0.01, 0.0007)
    data = 900.0 * signal_of_tissue(sequence, tissue, signal.relaxation_rate(concentration, 1.7, 5.57))
    fields = {"RepetitionTimeExcitation": 0.0014, "FlipAngle": 5.0, "SaturationDelayTime": 0.01}
    metadata = {**METADATA, **fields, "ExcitationsToKSpaceCenter": 12, "EchoTime": 0.0007}
    series = Series(data, TIMES, np.eye(4), metadata)
    on, off = (
        flash(t2star_correction=way, scale_window=1).convert(series, "blood", CONTEXT) for way in ("auto", "off")
    )
    np.testing.assert_allclose(on.data, concentration, atol=1e-6)
    change = on.data.max() / off.data.max() - 1
    assert change > 0.02 and on.summary == f"T2* correction: peak {change:+.1%}" and not off.summary
    # A series that was corrected already has its echo at 0.
    done = Series(data, TIMES, np.eye(4), {**metadata, "EchoTime": 0.0})
    np.testing.assert_array_equal(
        flash(t2star_correction="auto", scale_window=1).convert(done, "blood", CONTEXT).data, off.data
    )


def test_good_metadata_and_fields_left_to_the_host_are_no_problem():
    assert flash().problems(METADATA, FULL_SHAPE) == []
    for name in SaturationRecoveryFlash.requires:
        metadata = {key: value for key, value in METADATA.items() if key != name}
        assert flash().problems(metadata, FULL_SHAPE) == []


def test_another_field_strength_works_with_constants_given():
    metadata = {**METADATA, "MagneticFieldStrength": 0.55}
    given_all = flash(relaxivity=5.8, blood_t1=1.12, myocardium_t1=0.7)
    assert given_all.problems(metadata, FULL_SHAPE) == []
    assert "relaxivity" in flash(relaxivity=5.8).problems(metadata, FULL_SHAPE)[0]


def test_more_baseline_frames_than_volumes_are_named():
    (problem,) = flash(baseline_frames=FULL_SHAPE[3]).problems(METADATA, FULL_SHAPE)
    assert "option baseline_frames" in problem


def test_relative_enhancement_has_one_factor_in_blood_and_tissue():
    """To first order both are T1(blood) r1 C."""
    plugin = RelativeEnhancement(RelativeEnhancement.Options(t1_ratio=1.7 / 1.1))
    concentration = truth(0.05)
    for tissue, t1 in (("blood", 1.7), ("myocardium", 1.1)):
        r1 = signal.relaxation_rate(concentration, t1, 5.57)
        # A short delay and a small flip angle: the signal is proportional to R1.
        data = 900.0 * signal.saturation_recovery_flash(r1, 0.005, 0.001, 2.0, 4)
        result = plugin.convert(Series(data, TIMES, np.eye(4), {}), tissue, CONTEXT)
        assert result.units == "1" and not result.invalid.any()
        np.testing.assert_allclose(result.data, 1.7 * 5.57 * concentration, rtol=0.005, atol=1e-12)


def test_relative_enhancement_flags_voxels_without_signal():
    data = np.ones(FULL_SHAPE) * (1 + 3 * BOLUS)
    data[0, 0, 0] = 0.0
    result = RelativeEnhancement().convert(Series(data, TIMES, np.eye(4), {}), "blood", CONTEXT)
    assert result.invalid[0, 0, 0].all() and result.invalid.sum() == N_FRAMES
    np.testing.assert_allclose(result.data[1, 1, 1], 3 * BOLUS, atol=1e-12)


def test_relative_enhancement_refuses_what_is_no_signal():
    assert "Units" in RelativeEnhancement().problems({"Units": "mmol/L"}, FULL_SHAPE)[0]
    assert RelativeEnhancement().problems({"Units": "arbitrary"}, FULL_SHAPE) == []


def test_identity_passes_on_concentration_only():
    data = truth(2.0)
    data[0, 0, 0, 3] = np.nan
    result = Identity().convert(Series(data, TIMES, np.eye(4), {"Units": "mmol/L"}), "blood", CONTEXT)
    np.testing.assert_array_equal(result.data, data)
    assert result.invalid.sum() == 1 and result.invalid[0, 0, 0, 3]
    assert "Units is 'arbitrary'" in Identity().problems({}, FULL_SHAPE)[0]
    with pytest.raises(ValueError, match="Units"):
        Identity().convert(Series(data, TIMES, np.eye(4), {}), "blood", CONTEXT)


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 30), st.floats(0.0, 0.02), st.integers(0, 10**6), st.floats(-50, 50), st.floats(1e-3, 1e3))
def test_baseline_ends_where_the_bolus_comes(start, noise, seed, offset, scale):
    frames = np.arange(70.0)
    bolus = np.where(frames >= start, (frames - start) / 5 * np.exp(1 - (frames - start) / 5), 0.0)
    curve = bolus + np.random.default_rng(seed).normal(0, noise, 70)
    # Nothing is above baseline at ``start`` itself; a tenth of the height is reached in the frame after.
    assert start - max(2, start // 3) <= baseline_frames(offset + scale * curve) <= start + 1


def test_a_frame_that_went_wrong_is_no_bolus():
    curve = 10.0 + 5.0 * BOLUS
    curve[4] = 100.0
    assert baseline_frames(curve) == pytest.approx(13, abs=1)


def test_a_curve_without_bolus_is_all_baseline():
    assert baseline_frames(np.random.default_rng(0).normal(100, 1, 50)) == 50
    assert baseline_frames(np.full(20, 3.0)) == 20


@pytest.mark.parametrize("curve", [[1.0, 2.0], [[1.0, 2.0, 3.0]], [1.0, np.nan, 2.0, 3.0]])
def test_a_curve_that_cannot_be_judged_is_refused(curve):
    with pytest.raises(ValueError, match="curve"):
        baseline_frames(curve)


def test_bolus_curve_is_not_misled_by_an_edge_that_breathes():
    data = np.random.default_rng(3).normal(20, 0.5, (40, 40, 1, 60))
    data[8:14, 8:14] += 100 * BOLUS
    position = np.rint(3 * np.sin(np.arange(60) * 1.3)).astype(int)
    for t, shift in enumerate(position):
        data[25 : 30 + shift, :, 0, t] += 200
    assert baseline_frames(bolus_curve(data)) == pytest.approx(13, abs=1)


def test_bolus_curve_leaves_out_voxels_with_gaps():
    data = 10.0 + np.zeros((20, 20, 1, N_FRAMES))
    data[4:9, 4:9] += 50 * BOLUS
    data[0, 0, 0, 3] = np.nan
    data[6, 6] = np.inf
    assert baseline_frames(bolus_curve(data)) == pytest.approx(13, abs=1)
    with pytest.raises(ValueError, match="gaps"):
        bolus_curve(np.full((2, 2, 1, 9), np.nan))


def test_baseline_of_real_series(data_dir):
    """The bolus reaches the right ventricle before the left, and the image's baseline ends with the first."""
    for number, right, left in ((1, 16, 22), (3, 19, 29)):
        found = np.load(data_dir / "qperf" / "aif_images" / f"example{number}.npz")
        series, drawn = found["series"], found["mask_lv1_rv2"]
        of_left = baseline_frames(series[drawn == 1].mean(axis=0))
        assert of_left == pytest.approx(left, abs=1)
        assert right - 7 <= baseline_frames(bolus_curve(series[:, :, None])) <= right + 1
    rest = np.load(data_dir / "qperf" / "rest.npz")
    assert baseline_frames(rest["aif_mM"]) == pytest.approx(int(rest["foot_index"]), abs=1)


def test_listing_the_plugins_imports_nothing_heavy():
    heavy = ("scipy", "tensorflow", "SimpleITK", "skimage", "matplotlib")
    code = f"import sys, qperf_concentration; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
