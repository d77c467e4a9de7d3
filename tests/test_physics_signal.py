"""Signal equations, their inverses, constants."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qperf_app.physics import constants, signal

TISSUE = {"delay": 0.1, "repetition_time": 0.0023, "flip_angle": 12.0, "n_pulses": 30}


def pulse_by_pulse(r1, start, repetition_time, flip_angle, n_pulses):
    """Transverse magnetisation of excitation n: rotate and relax, one pulse after another."""
    alpha, recovery = np.deg2rad(flip_angle), np.exp(-repetition_time * r1)
    m = start
    for _ in range(n_pulses - 1):
        m = 1.0 + (m * np.cos(alpha) - 1.0) * recovery
    return m * np.sin(alpha)


@pytest.mark.parametrize("n_pulses", [1, 2, 3, 30, 101])
@pytest.mark.parametrize("flip_angle", [0.01, 5.0, 25.0, 90.0])
def test_saturation_recovery_is_what_the_pulses_do(n_pulses, flip_angle):
    r1 = np.geomspace(0.05, 100.0, 50)
    expected = 3.0 * pulse_by_pulse(r1, 1.0 - np.exp(-0.08 * r1), 0.0025, flip_angle, n_pulses)
    actual = signal.saturation_recovery_flash(r1, 0.08, 0.0025, flip_angle, n_pulses, rho=3.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("n_pulses", [1, 4, 30])
def test_proton_density_frame_starts_from_equilibrium(n_pulses):
    r1 = np.geomspace(0.05, 100.0, 50)
    expected = 3.0 * pulse_by_pulse(r1, 1.0, 0.0025, 5.0, n_pulses)
    np.testing.assert_allclose(signal.spoiled_gradient_echo(r1, 0.0025, 5.0, n_pulses, rho=3.0), expected, rtol=1e-12)


def test_the_sum_has_no_pole_where_a_is_one():
    """alpha = 0 and R1 = 0: the quotient (1 - a^(n-1)) / (1 - a) is n - 1, not 0 / 0."""
    power, total = signal._power_and_sum(np.array([1.0, 1.0 - 1e-15]), 29)
    np.testing.assert_allclose(power, 1.0)
    np.testing.assert_allclose(total, 29.0)
    assert signal._power_and_sum(np.array(0.3), 0) == (1.0, 0.0)


def test_many_pulses_reach_the_steady_state_from_either_start():
    r1 = np.geomspace(0.2, 50.0, 20)
    steady = signal.spoiled_gradient_echo(r1, 0.004, 15.0)
    np.testing.assert_allclose(signal.spoiled_gradient_echo(r1, 0.004, 15.0, 5000), steady, rtol=1e-10)
    np.testing.assert_allclose(signal.saturation_recovery_flash(r1, 0.1, 0.004, 15.0, 5000), steady, rtol=1e-10)


def test_flip_angle_may_differ_from_volume_to_volume():
    r1 = np.full((2, 3), 1.5)
    mixed = signal.saturation_recovery_flash(r1, 0.1, 0.002, np.array([5.0, 12.0, 20.0]), 10)
    for column, flip in enumerate((5.0, 12.0, 20.0)):
        np.testing.assert_allclose(mixed[:, column], signal.saturation_recovery_flash(1.5, 0.1, 0.002, flip, 10))


def test_tensors_give_the_same_signal_and_a_gradient(tf):
    r1 = np.geomspace(0.3, 60.0, 25)
    for equation, arguments in (
        (signal.saturation_recovery_flash, (0.1, 0.0023, 12.0, 30)),
        (signal.spoiled_gradient_echo, (0.0023, 5.0, 30)),
        (signal.spoiled_gradient_echo, (0.0023, 5.0)),
        (signal.t2star_decay, (0.001, 0.04, 12.0)),
    ):
        np.testing.assert_allclose(equation(tf.constant(r1), *arguments).numpy(), equation(r1, *arguments), rtol=1e-12)
        single = equation(tf.constant(r1, tf.float32), *arguments)
        assert single.dtype == tf.float32
        np.testing.assert_allclose(single.numpy(), equation(r1, *arguments), rtol=2e-5)
    variable = tf.constant(r1)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = signal.saturation_recovery_flash(variable, *TISSUE.values())
    low, high = (signal.saturation_recovery_flash(r1 * by, *TISSUE.values()) for by in (1 - 1e-5, 1 + 1e-5))
    np.testing.assert_allclose(tape.gradient(value, variable).numpy(), (high - low) / (2e-5 * r1), rtol=1e-6)


@st.composite
def sequences(draw):
    delay = draw(st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.3]))
    n_pulses = draw(st.integers(1, 120))
    assume(delay > 0 or n_pulses > 1)
    return delay, draw(st.floats(5e-4, 0.02)), draw(st.floats(0.05, 90.0)), n_pulses


@settings(max_examples=150, deadline=None)
@given(sequences(), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=20), st.floats(1e-3, 1e5))
def test_the_inverse_finds_the_rate(sequence, fractions, rho):
    limit = signal._sensitive_limit(sequence, signal.MINIMUM_SENSITIVITY)
    r1 = np.array(fractions) * min(limit, 200.0)
    found, invalid = signal.relaxation_rate_from_saturation_recovery(
        signal.saturation_recovery_flash(r1, *sequence, rho=rho) * (1 - 1e-14), *sequence, rho=rho
    )
    assert not invalid.any()
    np.testing.assert_allclose(found, r1, rtol=1e-9)


@settings(max_examples=80, deadline=None)
@given(sequences())
def test_the_signal_rises_and_bends_down_with_the_rate(sequence):
    """What the inverse rests on."""
    r1 = np.linspace(0.01, 100.0, 400)
    values = signal.saturation_recovery_flash(r1, *sequence)
    assert (np.diff(values) >= -1e-15).all()
    assert (np.diff(values, 2) <= 1e-13).all()


def test_a_signal_that_no_rate_gives_is_flagged():
    ceiling = np.sin(np.deg2rad(12.0))
    values = np.array([-1e-3, 0.0, ceiling, 2.0, np.nan, np.inf])
    found, invalid = signal.relaxation_rate_from_saturation_recovery(values, **TISSUE)
    assert invalid.all() and np.isnan(found).all()
    found, invalid = signal.relaxation_rate_from_saturation_recovery(0.01, **TISSUE, rho=np.array([0.0, np.nan, 1.0]))
    assert invalid.tolist() == [True, True, False]
    assert np.isfinite(found[2])


def test_saturated_is_where_a_percent_of_signal_is_all_of_the_rate():
    """One pulse: x / (exp(x) - 1) = 0.01 at x = TD R1 = 6.6."""
    sequence = {"delay": 0.1, "repetition_time": 0.0023, "flip_angle": 90.0, "n_pulses": 1}
    r1 = np.array([60.0, 70.0])
    values = signal.saturation_recovery_flash(r1, **sequence)
    _, invalid = signal.relaxation_rate_from_saturation_recovery(values, **sequence)
    assert invalid.tolist() == [False, True]
    found, invalid = signal.relaxation_rate_from_saturation_recovery(values, **sequence, minimum_sensitivity=1e-4)
    assert not invalid.any()
    np.testing.assert_allclose(found, r1, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"flip_angle": 0.0}, "FlipAngle"),
        ({"flip_angle": 95.0}, "FlipAngle"),
        ({"delay": -0.1}, "SaturationDelayTime"),
        ({"repetition_time": 0.0}, "RepetitionTimeExcitation"),
        ({"n_pulses": 0}, "ExcitationsToKSpaceCenter"),
        ({"n_pulses": 2.5}, "ExcitationsToKSpaceCenter"),
        ({"delay": 0.0, "n_pulses": 1}, "SaturationDelayTime"),
    ],
)
def test_an_impossible_sequence_is_refused_by_name(change, field):
    with pytest.raises(ValueError, match=field):
        signal.relaxation_rate_from_saturation_recovery(0.1, **{**TISSUE, **change})


@settings(max_examples=100, deadline=None)
@given(st.floats(0.02, 60.0), st.floats(1.0, 60.0), st.floats(5e-4, 0.02))
def test_steady_state_inverse(r1, flip_angle, repetition_time):
    value = signal.spoiled_gradient_echo(r1, repetition_time, flip_angle, rho=7.0)
    found, invalid = signal.relaxation_rate_from_steady_state(value, repetition_time, flip_angle, rho=7.0)
    assert not invalid
    np.testing.assert_allclose(found, r1, rtol=1e-8)


def test_steady_state_inverse_flags_what_has_no_rate():
    _, invalid = signal.relaxation_rate_from_steady_state([0.0, 0.1, 1.0, np.nan], 0.004, 15.0)
    assert invalid.tolist() == [True, False, True, True]


def test_osipi_signal_to_concentration(data_dir):
    """All of OSIPI's curves at OSIPI's tolerance, 1e-5 absolute plus 1e-5 relative.

    Their reference takes the points 1 to ``numbaselinepts`` - 1 for the baseline and the steady state for the signal.
    """
    with (data_dir / "osipi" / "SI_to_Conc" / "SI2Conc_data.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 4
    for row in rows:
        measured, expected = (np.array(row[name].split(), float) for name in ("s", "conc"))
        repetition_time, flip, t1 = float(row["TR"]), float(row["FA"]), float(row["T1base"])
        baseline = measured[1 : int(row["numbaselinepts"])].mean()
        rho = baseline / signal.spoiled_gradient_echo(1.0 / t1, repetition_time, flip)
        r1, invalid = signal.relaxation_rate_from_steady_state(measured, repetition_time, flip, rho)
        assert not invalid.any()
        found = signal.concentration_from_rate(r1, 1.0 / t1, float(row["r1"]))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=row["label"])


def test_relaxation_rate_and_back():
    concentration = np.linspace(0.0, 10.0, 5)
    r1 = signal.relaxation_rate(concentration, 1.7, 5.57)
    np.testing.assert_allclose(r1, [1 / 1.7 + 5.57 * c for c in concentration])
    np.testing.assert_allclose(signal.concentration_from_rate(r1, 1 / 1.7, 5.57), concentration, atol=1e-12)


def test_two_echoes_give_back_the_signal_at_echo_time_zero():
    concentration, at_zero = np.linspace(0.0, 8.0, 9), np.linspace(100.0, 900.0, 9)
    echoes = [at_zero * signal.t2star_decay(concentration, te, 0.04, 15.0) for te in (0.0009, 0.0021)]
    corrected, r2star = signal.two_echo_correction(*echoes, 0.0009, 0.0021)
    np.testing.assert_allclose(corrected, at_zero, rtol=1e-12)
    np.testing.assert_allclose(r2star, 25.0 + 15.0 * concentration, rtol=1e-9)


def test_two_echo_correction_neither_amplifies_noise_nor_invents_signal():
    corrected, r2star = signal.two_echo_correction([10.0, 0.0, 5.0], [12.0, 3.0, -1.0], 0.001, 0.002)
    assert (corrected[0], r2star[0]) == (10.0, 0.0)
    assert np.isnan(corrected[1:]).all() and np.isnan(r2star[1:]).all()
    with pytest.raises(ValueError, match="EchoTime"):
        signal.two_echo_correction(1.0, 1.0, 0.002, 0.001)


def test_constants_know_their_fields():
    assert (constants.relaxivity(1.5), constants.relaxivity(3)) == (5.57, 4.92)
    assert (constants.native_t1("blood", 1.494), constants.native_t1("blood", 2.89)) == (1.7, 2.0)
    assert (constants.native_t1("myocardium", 1.5), constants.native_t1("myocardium", 3.0)) == (1.1, 1.3)


@pytest.mark.parametrize("field", [0.55, 1.0, 7.0, float("nan")])
def test_other_fields_are_refused(field):
    with pytest.raises(ValueError, match=r"MagneticFieldStrength is .* 1\.5 T and 3 T"):
        constants.relaxivity(field)
    with pytest.raises(ValueError, match="MagneticFieldStrength"):
        constants.native_t1("blood", field)


def test_an_unknown_tissue_is_refused():
    with pytest.raises(ValueError, match="liver"):
        constants.native_t1("liver", 1.5)
