"""Sequences as data: their signal, its inverse, and which read-out the metadata name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qperf_app.physics import signal as equations
from qperf_app.physics.sequences import (
    Relaxation,
    Sequence,
    excitations_to_centre,
    named_readout,
    relaxation_rate,
    sequence_of,
    signal,
    signal_of_tissue,
    signal_table,
)
from qperf_app.physics.sequences.spoiled import spoiled_train

R1, R2 = np.array([0.5, 1.0, 5.0, 20.0, 60.0]), np.array([4.0, 20.0, 10.0, 30.0, 80.0])
FLASH = Sequence("FLASH", 12.0, 0.0022, 24, 0.05)
BALANCED = Sequence("bSSFP", 50.0, 0.0028, 24, 0.1, 0.0014)
EPI = Sequence("EPI", 25.0, 0.0068, 12, 0.08, 0.0015)
BLOOD = Relaxation(1 / 1.7, 1 / 0.29, 1 / 0.113, 5.57, 6.1, 23.0)
MUSCLE = Relaxation(1 / 1.1, 1 / 0.052, 1 / 0.035, 5.57, 6.1, 6.1)


def test_ideally_spoiled_flash_is_the_closed_equation_bit_for_bit():
    np.testing.assert_array_equal(
        signal(FLASH, R1, R2), equations.saturation_recovery_flash(R1, 0.05, 0.0022, 12.0, 24)
    )
    np.testing.assert_array_equal(
        signal(FLASH.proton_density, R1, R2), equations.spoiled_gradient_echo(R1, 0.0022, 12.0, 24)
    )


@pytest.mark.parametrize("efficiency", [1.0, 0.93])
def test_phase_graphs_whose_transverse_part_is_destroyed_are_the_closed_equation(efficiency):
    first = 1.0 - efficiency * np.exp(-0.05 * R1)
    train = spoiled_train(first, R1, R2, np.float64(12.0), 0.0022, 24, None)
    np.testing.assert_allclose(train, signal(replace(FLASH, saturation_efficiency=efficiency), R1, R2), rtol=1e-12)


def test_a_long_balanced_train_reaches_its_steady_state():
    e1, e2, alpha = np.exp(-0.0028 * R1), np.exp(-0.0028 * R2), np.deg2rad(50.0)
    steady = np.sin(alpha) * (1 - e1) / (1 - (e1 - e2) * np.cos(alpha) - e1 * e2) * np.exp(-0.0014 * R2)
    for catalysation, pulses in (("half-alpha", 0), ("ramp", 10), ("none", 0)):
        train = replace(BALANCED, n_excitations=6000, catalysation=catalysation, ramp_excitations=pulses)
        np.testing.assert_allclose(signal(train, R1, R2), steady, rtol=1e-6)


def test_the_half_pulse_takes_the_oscillation_of_the_first_excitations_away():
    values = {
        way: np.array([signal(replace(BALANCED, n_excitations=n, catalysation=way), 1.0, 20.0) for n in range(1, 12)])
        for way in ("half-alpha", "none")
    }
    roughness = {way: np.abs(np.diff(value, 2)).max() / value.max() for way, value in values.items()}
    assert roughness["half-alpha"] < 0.1 * roughness["none"]


def test_arguments_broadcast_and_blocks_change_nothing():
    r1 = np.linspace(0.3, 30.0, 9000)
    whole = signal(EPI, r1, 3 * r1, 0.9, 5 * r1)
    assert whole[4711] == signal(EPI, r1[4711], 3 * r1[4711], 0.9, 5 * r1[4711])
    for sequence in (FLASH, BALANCED, replace(EPI, spoiling_increment=117.0)):
        field = signal(sequence, R1[:, None], R2[:, None], np.array([0.85, 1.0, 1.15]))
        assert field.shape == (5, 3)
        np.testing.assert_allclose(field[:, 2], signal(sequence, R1, R2, 1.15), rtol=1e-14)


@pytest.mark.parametrize("tissue", [BLOOD, MUSCLE], ids=["blood", "muscle"])
@pytest.mark.parametrize(
    "sequence",
    [
        replace(FLASH, echo_time=0.0011),
        replace(FLASH, spoiling_increment=50.0),
        replace(FLASH, saturation_efficiency=0.95),
        replace(FLASH, saturation_efficiency=1.05),
        replace(FLASH, delay=0.01, n_excitations=4, flip_angle=5.0),
        BALANCED,
        replace(BALANCED, catalysation="ramp", ramp_excitations=6),
        EPI,
    ],
)
def test_the_inverse_finds_the_rate_or_says_that_there_is_none(sequence, tissue):
    concentration = np.linspace(0.0, 40.0, 500)
    r1 = tissue.r1 + tissue.r1_relaxivity * concentration
    values = 700.0 * signal_of_tissue(sequence, tissue, r1)
    found, invalid = relaxation_rate(values, sequence, tissue, rho=700.0)
    assert not invalid[concentration < (5.0 if sequence.echo_time and tissue is BLOOD else 8.0)].any()
    np.testing.assert_array_equal(np.isnan(found), invalid)
    rising = np.arange(500) <= values.argmax()
    np.testing.assert_allclose(found[rising & ~invalid], r1[rising & ~invalid], rtol=1e-6)
    limit = 1.5 * np.nanmax(found)
    weak = r1[:-1] > limit
    sensitivity = np.diff(np.log(values)) / np.diff(np.log(r1))
    assert (sensitivity[weak] < equations.MINIMUM_SENSITIVITY).all()
    assert relaxation_rate(np.array([-1.0, 0.0, np.nan, 1e9]), sequence, tissue, rho=700.0)[1].all()


def test_tables_are_kept_by_their_content():
    one = signal_table(replace(EPI), MUSCLE, 1.0, 0.01)
    assert signal_table(Sequence("EPI", 25.0, 0.0068, 12, 0.08, 0.0015), replace(MUSCLE), 1.0, 0.01) is one
    assert signal_table(EPI, MUSCLE, 0.9, 0.01) is not one


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"flip_angle": 95.0}, "FlipAngle"),
        ({"spacing": 0.0}, "RepetitionTimeExcitation"),
        ({"n_excitations": 0}, "ExcitationsToKSpaceCenter"),
        ({"delay": -0.1}, "SaturationDelayTime"),
        ({"echo_time": 0.003}, "EchoTime"),
        ({"saturation_efficiency": 0.0}, "SaturationEfficiency"),
        ({"readout": "bSSFP", "catalysation": "ramp", "ramp_excitations": 100}, "catalysation"),
        ({"catalysation": "twice"}, "Catalysation"),
        ({"readout": "spiral"}, "readout"),
    ],
)
def test_a_sequence_that_cannot_be_is_refused(change, field):
    with pytest.raises(ValueError, match=field):
        replace(FLASH, **change)


def test_what_moves_the_centre_of_k_space():
    assert excitations_to_centre(96) == 49
    assert excitations_to_centre(96, acceleration=2) == 25
    assert excitations_to_centre(96, partial_fourier=0.75) == 25
    assert excitations_to_centre(96, partial_fourier=0.75, acceleration=2) == 13
    assert excitations_to_centre(96, order="centric") == 1
    # Three trains' segments of 32 lines: the 49th line is the 17th excitation's second echo.
    assert excitations_to_centre(96, echoes_per_excitation=3) == 17
    with pytest.raises(ValueError, match="partial Fourier"):
        excitations_to_centre(96, partial_fourier=0.4)


METADATA = {
    "PulseSequenceType": "Saturation-recovery EPI", "RepetitionTimeExcitation": 0.0068, "EchoTime": [0.0015, 0.003],
    "SaturationDelayTime": 0.08, "ExcitationsToKSpaceCenter": 12,
}  # fmt: skip


def test_a_sequence_from_metadata():
    assert sequence_of(METADATA, 25.0) == EPI
    further = {"SaturationEfficiency": 0.97, "SpoilingRFPhaseIncrement": 117}
    expected = replace(EPI, saturation_efficiency=0.97, spoiling_increment=117.0)
    assert sequence_of({**METADATA, **further}, 25.0) == expected
    balanced = {name: value for name, value in METADATA.items() if name != "EchoTime"}
    assert sequence_of(balanced, 25.0, "bSSFP").echo_time == 0.0034
    assert sequence_of(balanced, 25.0, "FLASH").echo_time == 0.0
    with pytest.raises(ValueError, match="no field names the read-out"):
        sequence_of({**METADATA, "PulseSequenceType": ""}, 25.0)


@pytest.mark.parametrize(
    ("metadata", "readout"),
    [
        ({"PulseSequenceType": "Saturation-recovery FLASH"}, "FLASH"),
        ({"PulseSequenceType": "TFE", "ScanningSequence": "GR", "SequenceVariant": "SP"}, "FLASH"),
        ({"PulseSequenceDetails": "SR spoiled gradient echo"}, "FLASH"),
        ({"SequenceName": "*tfl2d1_48", "ScanningSequence": "GR", "SequenceVariant": ["SK", "SP", "MP"]}, "FLASH"),
        ({"PulseSequenceType": "balanced TFE"}, "bSSFP"),
        ({"PulseSequenceDetails": "b-TFE"}, "bSSFP"),
        ({"ScanningSequence": "SE", "SequenceVariant": "MP", "SequenceName": "*tfiperf2d1"}, "bSSFP"),
        ({"ScanningSequence": "GR", "SequenceVariant": "SK\\SS"}, "bSSFP"),
        ({"PulseSequenceType": "GRE-EPI", "ScanningSequence": "EP\\GR", "SequenceVariant": "SP"}, "EPI"),
        ({"SequenceName": "epfid2d1_64"}, "EPI"),
        ({}, None),
        ({"ScanningSequence": "RM", "SequenceVariant": "NONE"}, None),
        ({"PulseSequenceType": "Gradient echo"}, None),
        ({"PulseSequenceType": "SE-EPI"}, None),
        ({"ScanningSequence": "EP\\SE"}, None),
        ({"PulseSequenceType": "Inversion-recovery FLASH"}, None),
        ({"PulseSequenceType": "FLASH", "SequenceName": "tfi2d1_60"}, None),
        ({"PulseSequenceType": "FLASH", "PulseSequenceDetails": "TrueFISP"}, None),
        ({"PulseSequenceType": 3, "ScanningSequence": None}, None),
    ],
)
def test_the_read_out_that_metadata_name(metadata, readout):
    named = named_readout(metadata)
    assert named.readout == readout and bool(named.reason) == (readout is None)
    assert set(named.fields) <= set(metadata)
