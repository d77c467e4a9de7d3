"""Features of the input function: on smooth, noisy, late, cut and missing boluses, and on a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qperf_app.physics.input_function import NoBolusError, find_features, smooth_input

TIMES = np.arange(60) * 0.8


def bolus(times: np.ndarray, foot: float = 8.0, recirculation: float = 0.15, tail: float = 0.1) -> np.ndarray:
    """First pass of peak 5 at ``foot`` + 6 s, its end at about ``foot`` + 15 s, recirculation from there on."""

    def pass_(start: float, width: float) -> np.ndarray:
        x = np.maximum(times - start, 0.0) / width
        return (x * np.exp(1.0 - x)) ** 4

    mixed = 1.0 - np.exp(-np.maximum(times - foot - 9.0, 0.0) / 10.0)
    return 5.0 * (pass_(foot, 6.0) + recirculation * pass_(foot + 11.0, 9.0) + tail * mixed)


def test_smooth_bolus() -> None:
    times = np.arange(0.0, 60.0, 0.05)
    found = find_features(times, bolus(times))
    x = np.linspace(0.0, 1.0, 100001)
    tenth = x[np.argmax((x * np.exp(1.0 - x)) ** 4 > 0.1)]
    assert found.foot == pytest.approx(8.0 + 6.0 * tenth, abs=0.1)
    assert found.peak == pytest.approx(14.0, abs=0.1)
    assert found.peak_value == pytest.approx(5.0, rel=0.01)
    after = (times > 14.0) & (times < 30.0)
    assert found.valley == pytest.approx(times[after][np.argmin(bolus(times)[after])], abs=0.05)
    assert found.first_pass_duration == found.valley - found.foot
    inside = (times >= found.foot) & (times <= found.valley)
    assert found.area == pytest.approx(np.trapezoid(bolus(times)[inside], times[inside]), rel=0.01)
    assert found.baseline == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_noise_moves_features_by_little(seed: int) -> None:
    noisy = bolus(TIMES) + np.random.default_rng(seed).normal(0.0, 0.15, len(TIMES))
    clean, found = find_features(TIMES, bolus(TIMES)), find_features(TIMES, noisy)
    assert found.foot == pytest.approx(clean.foot, abs=0.8)
    assert found.peak == pytest.approx(clean.peak, abs=0.8)
    assert found.area == pytest.approx(clean.area, rel=0.2)
    assert found.noise == pytest.approx(0.15, rel=0.5)


def test_offset_and_scale_change_nothing_but_heights() -> None:
    plain, moved = find_features(TIMES, bolus(TIMES)), find_features(TIMES + 100.0, 1e-3 * bolus(TIMES) + 7.0)
    for name in ("foot", "peak", "valley"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name) + 100.0)
    assert moved.area == pytest.approx(1e-3 * plain.area)
    assert moved.baseline == pytest.approx(7.0, abs=1e-6)


def test_a_single_spike_is_not_the_peak() -> None:
    spiked = bolus(TIMES)
    spiked[3] = 9.0
    assert find_features(TIMES, spiked).peak == find_features(TIMES, bolus(TIMES)).peak


def test_missing_samples_are_left_out() -> None:
    gaps = bolus(TIMES)
    gaps[[2, 16, 40]] = np.nan
    assert find_features(TIMES, gaps).peak == find_features(TIMES, bolus(TIMES)).peak


def test_recirculation_that_never_dips_ends_where_the_decline_leads() -> None:
    washed = bolus(TIMES, recirculation=0.0, tail=0.0) + 0.05 * np.clip((TIMES - 8.0) / 30.0, 0.0, 1.0)
    found = find_features(TIMES, washed)
    assert 18.0 < found.valley < 28.0


@pytest.mark.parametrize("end", [16.0, 17.6])
def test_series_that_ends_before_the_first_pass_has_no_valley(end: float) -> None:
    cut = end > TIMES
    found = find_features(TIMES[cut], bolus(TIMES[cut]))
    assert found.peak == pytest.approx(14.0, abs=0.8)
    assert np.isnan([found.valley, found.first_pass_duration, found.area]).all()


def test_late_bolus_that_still_rises_peaks_at_the_last_sample() -> None:
    found = find_features(TIMES, bolus(TIMES, foot=TIMES[-1] - 4.0))
    assert found.peak == TIMES[-1] and np.isnan(found.valley)


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        (np.zeros(60), "constant"),
        (np.full(60, 2.5), "constant"),
        (np.full(60, np.nan), "0 finite samples"),
        (5.0 - TIMES / 20.0, "before the series"),
        (np.random.default_rng(3).normal(size=60), "no bolus|before the series"),
    ],
)
def test_no_bolus_is_an_error_that_says_why(curve: np.ndarray, reason: str) -> None:
    with pytest.raises(NoBolusError, match=reason):
        find_features(TIMES, curve)


def test_noise_is_hardly_ever_a_bolus() -> None:
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(300):
        try:
            find_features(TIMES, rng.normal(size=60))
            taken += 1
        except NoBolusError:
            continue
    assert taken <= 3


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(60,\).*\(59,\)"):
        find_features(TIMES, np.zeros(59))


def test_smooth_input_restores_the_peak_between_beats_and_stays_zero_before_the_bolus() -> None:
    fine = np.arange(0.0, TIMES[-1], 0.01)
    area = np.trapezoid(bolus(fine), fine)
    times, curve = smooth_input(TIMES, bolus(TIMES), 0.2)
    assert np.ptp(np.diff(times)) < 1e-9 and np.diff(times)[0] <= 0.2
    assert times[0] == TIMES[0] and times[-1] == TIMES[-1]
    assert (curve[times < 7.2] == 0.0).all() and curve.min() >= 0.0
    error_linear = np.abs(np.interp(fine, TIMES, bolus(TIMES)) - bolus(fine)).max()
    error_smooth = np.abs(np.interp(fine, times, curve) - bolus(fine)).max()
    assert error_smooth < 0.7 * error_linear
    assert np.trapezoid(curve, times) == pytest.approx(area, rel=2e-3)


def test_real_input_function_agrees_with_its_authors(data_dir: Path) -> None:
    with np.load(data_dir / "qperf" / "rest.npz") as real:
        times = float(real["dt_s"]) * np.arange(len(real["aif_mM"]))
        found = find_features(times, real["aif_mM"])
        assert abs(found.foot - times[int(real["foot_index"])]) <= 0.5
        assert found.peak == times[int(real["peak_index"])]
    assert 20.0 < found.valley < 27.0
