"""An input function whose signal saturates: its posterior, what it does to intervals, and the step that runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from qperf_app import api
from qperf_app.bids.validate import validate
from qperf_app.cli.app import main
from qperf_app.methods import priors
from qperf_app.methods.saturated_input import BloodSignal, estimate_input
from qperf_app.methods.tissue_witness import log_evidence
from qperf_app.methods.wider_intervals import widened
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.physics.signal import saturation_recovery_flash, spoiled_gradient_echo
from qperf_app.plugins import KineticMaps, ParameterMap, Series
from qperf_app.plugins.keys import StepKey
from qperf_app.plugins.steps import JOINT_INPUT_FUNCTION
from qperf_concentration import RelativeEnhancement, SaturationRecoveryFlash
from tests.datasets import hand_drawn, small_dataset

TIMES = np.arange(0.0, 60.0, 0.9)
METADATA = {
    "MagneticFieldStrength": 1.5,
    "RepetitionTimeExcitation": 0.0022,
    "SaturationDelayTime": 0.05,
    "ExcitationsToKSpaceCenter": 24,
    "FlipAngle": 12.0,
}
SEQUENCE = (0.05, 0.0022, 12.0, 24)
WEIGHTED = (0.0022, 12.0, 24)


def blood(
    peak: float, noise: float, seed: int, weighted: int = 3, native: float = 1 / 1.7
) -> tuple[BloodSignal, np.ndarray]:
    """Signal of a bolus, and its true concentration."""
    rng = np.random.default_rng(seed)
    true = blood_curves(Bolus(arrival=6.0, peak=peak), TIMES)["left"]
    clean = 1000.0 * saturation_recovery_flash(native + 5.57 * true, *SEQUENCE)
    reference = np.full(weighted, 1000.0 * spoiled_gradient_echo(native, *WEIGHTED))
    series = Series(
        np.zeros((1, 1, 1, 3 + len(TIMES))),
        np.arange(3.0 + len(TIMES)),
        np.eye(4),
        {**METADATA, "ProtonDensityVolumeCount": 3},
    )
    equation = SaturationRecoveryFlash().signal_equation(series)
    assert equation is not None
    sd = noise * clean.max()
    return BloodSignal(
        TIMES, clean + rng.normal(0, sd, clean.shape), reference + rng.normal(0, sd, weighted), equation, 8
    ), true


@pytest.mark.parametrize("peak", [3.0, 9.0, 20.0])
def test_the_peak_lies_in_its_interval_which_grows_with_saturation(peak):
    found = estimate_input(blood(peak, 0.003, 1)[0], np.random.default_rng(0))
    assert found.peak[0] < peak < found.peak[2]
    assert found.concentration.max() == pytest.approx(peak, rel=2.0 * found.log_peak_sd)


def test_intervals_grow_with_saturation_and_without_proton_density():
    def sd(peak, weighted):
        return estimate_input(blood(peak, 0.003, 1, weighted)[0], np.random.default_rng(0)).log_peak_sd

    assert sd(3.0, 3) < sd(6.0, 3) < sd(12.0, 3)
    assert sd(6.0, 0) > 2 * sd(6.0, 3)


def test_intervals_cover_where_scale_and_native_t1_err_as_assumed():
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        signal, _ = blood(6.0, 0.004, seed, native=np.exp(0.08 * rng.standard_normal()) / 1.7)
        off = np.exp(0.02 * rng.standard_normal())
        signal = BloodSignal(TIMES, signal.signal, off * signal.proton_density, signal.equation, 8)
        low, _, high = estimate_input(signal, rng).peak
        inside.append(low < 6.0 < high)
    # 30 draws of 0.9: fewer than 22 has a chance of one in a hundred.
    assert sum(inside) >= 22


def test_a_frame_that_is_left_out_is_bridged():
    signal, true = blood(6.0, 0.002, 3)
    top = int(true.argmax())
    gap = signal.signal.copy()
    gap[[top - 4, top + 3]] = np.nan
    found = estimate_input(BloodSignal(TIMES, gap, signal.proton_density, signal.equation, 8), np.random.default_rng(0))
    assert found.concentration[[top - 4, top + 3]] == pytest.approx(true[[top - 4, top + 3]], rel=0.15)


def test_the_signals_gain_does_not_matter():
    signal, _ = blood(6.0, 0.003, 4)
    scaled = BloodSignal(TIMES, 7.0 * signal.signal, 7.0 * signal.proton_density, signal.equation, 8)
    one, other = (estimate_input(s, np.random.default_rng(0)) for s in (signal, scaled))
    np.testing.assert_allclose(one.concentration, other.concentration, rtol=1e-3, atol=1e-3)


def test_a_plugin_says_no_equation_where_flip_angles_vary_or_it_knows_none():
    flips = [12.0] * 30 + [11.0] * 36
    series = Series(np.zeros((1, 1, 1, 66)), np.arange(66.0), np.eye(4), {**METADATA, "FlipAngle": flips})
    assert SaturationRecoveryFlash().signal_equation(series) is None
    assert not hasattr(RelativeEnhancement, "signal_equation")


def test_widening_adds_in_squares_on_the_logarithm_and_leaves_the_rest():
    def one(quantity, statistic, value):
        return ParameterMap(quantity, "1", np.array([value, np.nan]), statistic)

    maps = (
        one("MBF", "q05", 1.0),
        one("MBF", "q50", 2.0),
        one("MBF", "q95", 4.0),
        one("Ta", "q05", 0.5),
        one("Ta", "q50", 1.0),
        one("ve", None, 0.2),
    )
    draws = np.full((2, 4000), 2.0, dtype=np.float32)
    result = KineticMaps("2CXM", maps, np.zeros(2, np.uint8), {}, flow_draws=draws)
    found = widened(result, 0.3, np.random.default_rng(0))
    low, middle, high, *rest = (m.values for m in found.maps)
    expected = np.exp(np.hypot(np.log(2.0), 1.6449 * 0.3))
    assert (low[0], middle[0], high[0]) == pytest.approx((2.0 / expected, 2.0, 2.0 * expected))
    assert np.isnan(low[1]) and [v[0] for v in rest] == [0.5, 1.0, 0.2]
    assert found.flow_draws is not None and np.log(found.flow_draws).std() == pytest.approx(0.3, rel=0.05)
    # One input for all curves.
    np.testing.assert_array_equal(found.flow_draws[0], found.flow_draws[1])


def planned(raw: Path, **configuration: str) -> dict[str, bool]:
    """Whether each scan's joint step is planned, by task."""
    study = api.plan(raw, raw.parent / "out", configuration={"motion-correction": "none", **configuration})
    (participant,) = study.participants
    key = StepKey(JOINT_INPUT_FUNCTION.name)
    return {scan.scan.main.entities["task"]: key in scan.nodes for scan in participant.scans}


def test_the_joint_step_is_for_a_single_bolus_whose_equation_is_known(tmp_path):
    raw = small_dataset(tmp_path / "raw", tasks=("rest", "stress"))
    for path in sorted((raw / "sub-01" / "perf").glob("*stress_dce.*")):
        shutil.copyfile(path, path.with_name(path.name.replace("_dce", "_acq-aif_dce")))
    assert planned(raw) == {"rest": True, "stress": False}
    assert planned(raw, concentration="linear") == {"rest": False, "stress": False}


def test_flow_of_a_single_bolus_rests_on_the_joint_input_function(tmp_path):
    raw, out = small_dataset(tmp_path / "raw"), tmp_path / "out"
    arguments = ["-w", str(tmp_path / "work"), "--nprocs", "1", "--skip-bids-validation", "--kinetics", "fermi"]
    drawn = hand_drawn(tmp_path / "drawn")
    assert main([str(raw), str(out), "participant", *arguments, "--motion-correction", "none", "-d", f"d={drawn}"]) == 0
    perf = out / "sub-01" / "perf"
    joint = json.loads((perf / "sub-01_task-rest_desc-aifjoint_timeseries.json").read_text())
    assert 0.0 < joint["peak_value_log_sd"] < 0.5
    flow = json.loads((perf / "sub-01_task-rest_model-Fermi_param-MBF_desc-fermi_dcemap.json").read_text())
    assert any("desc-aifjoint" in uri for uri in flow["Sources"])
    (scan,) = json.loads((out / "sub-01" / "sub-01_status.json").read_text())["scans"]
    (step,) = [s["outcome"] for s in scan["steps"] if s["key"]["step"] == JOINT_INPUT_FUNCTION.name]
    assert "90 % interval of its peak" in step["warnings"][0]
    assert [str(issue) for issue in validate(out) if issue.severity == "error"] == []


def test_the_tissue_tells_the_height_that_its_curves_were_made_with():
    true = blood_curves(Bolus(arrival=6.0, peak=5.0), TIMES)["left"] / 0.58
    parameters = (np.array([0.7, 1.4, 2.6]), np.full(3, 0.7), np.full(3, 0.06), np.full(3, 0.18), np.full(3, 0.8))
    curves = two_compartment_exchange(TIMES, true, *parameters)
    curves = curves + np.random.default_rng(0).normal(0.0, 0.01, curves.shape)
    # The first pass too low and too high, the tail as it is.
    first = np.exp(-0.5 * ((TIMES - TIMES[true.argmax()]) / 4.0) ** 2)
    inputs = np.stack([true * (1.0 + off * first) for off in (-0.4, -0.2, 0.0, 0.2, 0.4)])
    prior = priors.read("", "2CXM", ("Fp", "PS", "vp", "ve", "Ta"))
    found = log_evidence(TIMES, curves, inputs, prior)
    assert found.argmax() == 2
    gaps = curves.copy()
    gaps[0, 10] = np.nan
    assert log_evidence(TIMES, gaps, inputs, prior).argmax() == 2
