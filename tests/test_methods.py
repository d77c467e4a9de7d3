"""The methods kit: reference values of its public functions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import qmc

from qperf_app.methods import judging, kinetic_inputs, noise, priors
from qperf_app.methods.exchange_quantities import exchange_quantities
from qperf_app.methods.input_voxels import choose_input_voxels
from qperf_app.methods.running import lowest_before, running_median
from qperf_app.methods.smoothing import gaussian
from qperf_app.methods.sobol import sobol
from qperf_app.physics.input_function import NoBolusError
from qperf_app.plugins import InputFunction, QualityCode, TissueConstants, TissueCurves

RNG = np.random.default_rng(0)


def autoregressive(r: float, shape: tuple[int, int]) -> np.ndarray:
    """Noise of lag-one autocorrelation r."""
    noise = np.random.default_rng(1).standard_normal(shape)
    for k in range(1, shape[1]):
        noise[:, k] += r * noise[:, k - 1]
    return noise


def test_the_kit_itself_imports_nothing():
    found = "[m for m in sys.modules if m.startswith(('qperf_app.methods.', 'qperf_app.plugins', 'numpy'))]"
    code = f"import sys, qperf_app, qperf_app.methods\nassert not {found}, {found}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_white_noise_level_is_that_of_second_differences():
    """By hand: second differences of 0, 1, 0, 2, 0 are -2, 3, -4; a straight line under them changes nothing."""
    curve = np.array([0.0, 1.0, 0.0, 2.0, 0.0])
    assert noise.white_noise_sd(curve) == pytest.approx(1.4826 * 3.0 / np.sqrt(6.0), rel=1e-15)
    assert noise.white_noise_sd(curve, robust=False) == pytest.approx(3.0 / 1.95, rel=1e-15)
    assert noise.white_noise_sd(curve + np.arange(5.0)) == pytest.approx(noise.white_noise_sd(curve), rel=1e-12)


@pytest.mark.parametrize("robust", [True, False])
def test_white_noise_level_is_the_standard_deviation_of_white_noise(robust):
    curves = 0.3 * RNG.standard_normal((400, 100)) + np.linspace(0.0, 1.0, 100) ** 2
    assert noise.white_noise_sd(curves, robust).mean() == pytest.approx(0.3, rel=0.02)


def test_a_missing_sample_costs_its_differences_only():
    curves = RNG.standard_normal((3, 40))
    gap = curves.copy()
    gap[1, 20] = np.nan
    found = noise.white_noise_sd(gap)
    assert (found[[0, 2]] == noise.white_noise_sd(curves)[[0, 2]]).all()
    differences = np.delete(np.abs(np.diff(curves[1], 2)), [18, 19, 20])
    assert found[1] == pytest.approx(1.4826 * np.median(differences) / np.sqrt(6.0), rel=1e-15)


@pytest.mark.parametrize("count", [20, 21, 700])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_white_noise_level_is_to_the_bit_what_each_caller_had(count, kind):
    """The forms in which the level stood in baseline, input function, fits, ventricles and networks."""
    curves = RNG.standard_normal((50, count)).astype(kind)
    found = noise.white_noise_sd(curves)
    single = [float(np.median(np.abs(np.diff(curve, n=2)))) * 1.4826 / np.sqrt(6.0) for curve in curves]
    assert (found == single).all() and (found[0] == noise.white_noise_sd(curves[0])).all()
    if kind is np.float64:
        assert (found == 1.4826 * np.nanmedian(np.abs(np.diff(curves, 2, axis=1)), axis=1) / np.sqrt(6.0)).all()
        assert (found == np.median(np.abs(np.diff(curves, n=2, axis=-1)), axis=-1) * 1.4826 / np.sqrt(6.0)).all()
        mean = np.nanmean(np.abs(np.diff(curves, 2, axis=1)), axis=1) / 1.95
        assert (noise.white_noise_sd(curves, robust=False) == mean).all()


def test_autocorrelation_by_hand():
    residual = np.array([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0], [0.0] * 4, [1.0, np.nan, 1.0, 1.0]])
    assert noise.lag_one_autocorrelation(residual) == pytest.approx([-0.75, 0.75, 0.0, 1.0 / 3.0])


def test_autocorrelated_samples_count_for_fewer():
    """White noise counts in full; noise of lag-one autocorrelation 0.6 for (1 - 0.6) / (1 + 0.6), a quarter."""
    white, coloured = autoregressive(0.0, (200, 400)), autoregressive(0.6, (200, 400))
    for significant in (True, False):
        found = noise.effective_sample_fraction(coloured, significant)
        assert np.median(found) == pytest.approx(0.25, abs=0.04)
    assert np.mean(noise.effective_sample_fraction(white, significant=True) == 1.0) > 0.95
    assert np.mean(noise.effective_sample_fraction(white) == 1.0) == pytest.approx(0.5, abs=0.1)
    assert noise.effective_sample_fraction(autoregressive(0.99, (5, 400))).tolist() == [0.1] * 5


def test_a_fit_must_explain_what_no_noise_would():
    """The gain over zeros is n / 2 log(energy / rss): 12 at rss = energy exp(-24 / n)."""
    data = np.tile(np.sin(np.arange(40.0)), (2, 1))
    data[:, 7] = np.nan
    energy, n = np.nansum(data[0] ** 2), 39
    rss = energy * np.exp(-24.0 / n) * np.array([0.99, 1.01])
    assert judging.enhances(data, rss).tolist() == [True, False]
    assert judging.enhances(np.zeros((1, 40)), np.zeros(1)).tolist() == [False]


def test_lack_of_fit_takes_both_little_explained_and_more_than_noise():
    smooth = np.sin(np.linspace(0.0, 3.0, 60))[None]
    rough = np.random.default_rng(3).standard_normal((1, 60))
    spread = [((curve - curve.mean()) ** 2).sum() for curve in (smooth, rough)]
    assert judging.lacks_fit(smooth, np.array([0.6 * spread[0]])).tolist() == [True]
    assert judging.lacks_fit(smooth, np.array([0.4 * spread[0]])).tolist() == [False]
    assert judging.lacks_fit(rough, np.array([0.9 * spread[1]])).tolist() == [False]


def test_priors_come_from_one_file():
    exchange = priors.read("", "2CXM", ("Fp", "PS", "vp", "ve", "Ta"))
    assert np.exp(exchange.mean[:4]) == pytest.approx([0.8, 0.8, 0.06, 0.18]) and exchange.mean[4] == 1.0
    assert exchange.sd.tolist() == [1.0, 1.0, 0.5, 1.0, 1.5]
    fermi = priors.read("", "Fermi", ("Fb", "width", "rate", "Ta"))
    assert np.exp(fermi.mean[:3]) == pytest.approx([1.4, 5.0, 0.3]) and fermi.between[0] == exchange.between[0] == 0.3
    assert fermi.positive == (True, True, True, False)
    parameters = np.array([[0.5, 1.0, 0.1, 0.2, -0.4]])
    x = exchange.coordinates(parameters)
    assert x[0, [0, 4]] == pytest.approx([np.log(0.5), -0.4])
    assert exchange.parameters(x) == pytest.approx(parameters)


def test_curves_are_screened_before_any_fit():
    curves = np.tile(np.sin(np.arange(20.0)), (4, 1))
    curves[1, :5] = np.nan
    curves[2] = 3.0
    curves[3, :4] = np.nan
    usable, code = kinetic_inputs.screen(curves)
    assert usable.tolist() == [True, False, False, True]
    assert code[[1, 2]].tolist() == [QualityCode.NOT_FINITE, QualityCode.NO_ENHANCEMENT]
    assert kinetic_inputs.usable_curves(curves).tolist() == [True, False, True, True]


def test_the_input_function_reaches_as_far_as_is_asked():
    times = np.arange(0.0, 30.0, 1.0)
    grid, c = kinetic_inputs.even_input(times, np.exp(-0.5 * ((times - 10.0) / 3.0) ** 2), 40.0)
    assert grid[-1] == 40.0 and np.ptp(np.diff(grid)) < 1e-9 and np.diff(grid)[0] <= kinetic_inputs.SPACING
    assert c[-1] == pytest.approx(np.exp(-0.5 * (19.0 / 3.0) ** 2)) and c.max() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"units": "1"}, ValueError, "flow needs both in one unit"),
        ({"frames": 7}, ValueError, "at least 8"),
        ({"gap": True}, ValueError, "not finite at 1 of its 40 samples"),
        ({"flat": True}, NoBolusError, "constant"),
    ],
)
def test_inputs_that_no_fit_can_use_are_refused(change, error, message):
    times = np.arange(40.0)
    blood = np.zeros(40) if change.get("flat") else np.exp(-0.5 * ((times - 15.0) / 4.0) ** 2)
    if change.get("gap"):
        blood[3] = np.nan
    n = change.get("frames", 40)
    curves = TissueCurves(np.zeros((1, n)), times[:n], np.zeros((1, 3), int), np.eye(4), change.get("units", "mmol/L"))
    with pytest.raises(error, match=message):
        kinetic_inputs.check(curves, InputFunction(times, blood))


def test_quantities_of_the_exchange_model():
    found = exchange_quantities(1.16, 0.58, 0.058, 0.2, 0.5, TissueConstants(0.42, 1.05))
    values = {name: value for name, (_, value) in found.items()}
    assert values["Fb"] == pytest.approx(2.0) and values["MBF"] == pytest.approx(2.0 / 1.05)
    assert values["Ktrans"] == pytest.approx(1.16 * 0.58 / 1.74) and values["vb"] == pytest.approx(0.1)
    assert exchange_quantities(1.0, 1.0, 0.1, 0.2, 0.0, TissueConstants(), 0.7)["Ktrans"] == ("mL/min/mL", 0.7)


def test_input_voxels_are_not_chosen_by_their_noise_at_the_peak():
    """A pool of equal voxels: the mean of those chosen is that of the pool, and not 1.5 standard deviations above."""
    times = np.arange(40.0)
    bolus = 20.0 * np.exp(-0.5 * ((times - 15.0) / 3.0) ** 2)
    pool = np.ones((20, 20, 1), bool)
    excess = []
    for seed in range(10):
        series = bolus + np.random.default_rng(seed).normal(0.0, 1.0, (20, 20, 1, 40))
        marked = choose_input_voxels(series, pool)
        assert marked.sum() == 60
        excess.append(series[marked][:, 15].mean() - 20.0)
    assert 0.0 < np.mean(excess) < 0.7


def test_input_voxels_are_those_that_enhance_and_not_those_that_are_bright():
    bolus = np.exp(-0.5 * ((np.arange(40.0) - 15.0) / 3.0) ** 2)
    series = np.multiply.outer(np.ones((4, 5, 1)), 10.0 * bolus)
    series[:2] *= 1.3
    series[3] = 50.0 + 0.1 * bolus
    assert set(np.nonzero(choose_input_voxels(series, np.ones((4, 5, 1), bool)))[0]) == {0, 1}


@pytest.mark.parametrize(("pool", "chosen"), [(400, 60), (60, 15), (30, 10), (2, 1)])
def test_a_small_pool_gives_more_of_its_voxels_to_the_input_function(pool: int, chosen: int):
    series = np.random.default_rng(0).normal(size=(pool, 1, 1, 40)) + 20.0 * (np.arange(40) > 9)
    assert choose_input_voxels(series, np.ones((pool, 1, 1), bool)).sum() == chosen


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.sampled_from([1, 3, 5, 7]), st.integers(0, 40))
def test_running_median_and_minimum(seed: int, count: int, median: int, width: int):
    values = np.random.default_rng(seed).normal(size=(4, count)).astype(np.float32)
    np.testing.assert_array_equal(
        running_median(values, median), ndimage.median_filter(values, (1, median), mode="nearest")
    )
    lowest = [values[:, max(0, t - width) : t + 1].min(axis=1) for t in range(count)]
    np.testing.assert_array_equal(lowest_before(values, width), np.stack(lowest, axis=1))


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize("dimensions", [1, 3, 8])
def test_sobol_points_are_those_of_scipy(dimensions: int, seed: int | None) -> None:
    expected = qmc.Sobol(dimensions, scramble=seed is not None, seed=seed).random(256)
    np.testing.assert_array_equal(sobol(256, dimensions, seed), expected)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["reflect", "nearest"])
def test_gaussian_smoothing_is_that_of_scipy(kind: type, mode: str) -> None:
    values = np.random.default_rng(3).normal(100.0, 30.0, (5, 23, 1, 31)).astype(kind)
    sigma, order = (0.0, 2.7, 0.6, 1.0), (0, 0, 0, 1)
    found = gaussian(values, sigma, order, mode)
    expected = ndimage.gaussian_filter(values.astype(np.float64), sigma, order=order, mode=mode)
    assert found.dtype == kind
    np.testing.assert_allclose(found, expected, rtol=0, atol=400 * np.finfo(kind).eps)
    np.testing.assert_array_equal(gaussian(values[:, ::-1], (0, 0, 0, 0)), values[:, ::-1])
