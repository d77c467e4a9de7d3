"""An input function whose signal saturates: its posterior, what it does to intervals, and the step that runs it."""

from __future__ import annotations

import numpy as np
import pytest

from qperf_app.methods.input_uncertainty import widened
from qperf_app.methods.saturated_input import BloodSignal, estimate_input
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.physics.signal import saturation_recovery_flash, spoiled_gradient_echo
from qperf_app.plugins import KineticMaps, ParameterMap, Series
from qperf_concentration import RelativeEnhancement, SaturationRecoveryFlash

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
