"""The exact exponential convolution against numerical quadrature, and its behaviour at the edges."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.convolution import (
    convolution_and_input,
    exponential_convolution,
    interpolate,
    phi_functions,
    running_integral,
)


def irregular_input(seed: int, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.uniform(0.05, 3.0, n)) + rng.uniform(-5.0, 5.0), rng.normal(1.0, 1.0, n)


def by_quadrature(rate: float, times: np.ndarray, values: np.ndarray, at: float) -> float:
    """The defining integral, interval by interval; the input keeps its last value."""
    if at <= times[0]:
        return 0.0
    borders = np.append(times[times < at], at)
    return sum(
        quad(lambda u: np.exp(-rate * (at - u)) * np.interp(u, times, values), a, b, epsabs=1e-14, epsrel=1e-12)[0]
        for a, b in itertools.pairwise(borders)
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), log_rate=st.floats(-12.0, 2.0), delay=st.floats(-8.0, 8.0))
def test_equals_quadrature_at_any_rate_and_delay(seed: int, log_rate: float, delay: float) -> None:
    times, values = irregular_input(seed)
    rate = 10.0**log_rate
    found = exponential_convolution(rate, times, values, times - delay)
    expected = [by_quadrature(rate, times, values, at) for at in times - delay]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("x", [0.0, 1e-300, 1e-12, 1e-3, 0.2499999, 0.25, 0.2500001, 1.0, 30.0, 1e3, 1e12])
def test_phi_functions_are_the_moments_that_they_say(x: float) -> None:
    decay, phi1, phi2 = phi_functions(NumpyOps, np.array(x))
    assert decay == np.exp(-x)
    inner = [max(0.0, 1.0 - 40.0 / max(x, 1.0)), 1.0]
    for power, found in ((0, phi1), (1, phi2)):
        moment = quad(lambda u, k=power: np.exp(-x * (1.0 - u)) * u**k, *inner, epsabs=1e-15, epsrel=1e-13)[0]
        assert found == pytest.approx(moment, rel=1e-12)


def test_rate_zero_is_the_running_integral() -> None:
    times, values = irregular_input(1)
    expected = np.concatenate([[0.0], np.cumsum(np.diff(times) * 0.5 * (values[1:] + values[:-1]))])
    np.testing.assert_allclose(running_integral(times, values, times), expected, rtol=1e-14)


def test_input_is_zero_before_its_first_sample_and_constant_after_its_last() -> None:
    times, values = np.array([2.0, 4.0]), np.array([3.0, 5.0])
    at = np.array([-10.0, 1.999, 2.0, 3.0, 4.0, 9.0])
    np.testing.assert_array_equal(interpolate(times, values, at), [0.0, 0.0, 3.0, 4.0, 5.0, 5.0])
    np.testing.assert_allclose(running_integral(times, values, at), [0.0, 0.0, 0.0, 3.5, 8.0, 33.0])


def test_batches_and_inputs_of_their_own_give_what_single_calls_give() -> None:
    times, _ = irregular_input(2)
    rng = np.random.default_rng(0)
    values, rate, delay = rng.normal(size=(5, len(times))), rng.uniform(0.0, 3.0, 5), rng.uniform(-3.0, 3.0, 5)
    together = exponential_convolution(rate, times, values, times - delay[:, None])
    for i in range(5):
        alone = exponential_convolution(rate[i], times, values[i], times - delay[i])
        np.testing.assert_allclose(together[i], alone, rtol=1e-13)


def test_even_and_uneven_grids_agree() -> None:
    times = np.arange(20) * 0.7
    values = np.sin(times)
    uneven = np.sort(np.append(times, 5.01))
    on_uneven = exponential_convolution(0.4, uneven, np.interp(uneven, times, values), times)
    np.testing.assert_allclose(exponential_convolution(0.4, times, values, times), on_uneven, rtol=1e-12, atol=1e-14)


def test_slope_in_time_is_input_minus_rate_times_itself() -> None:
    times, values = irregular_input(3)
    at = 0.5 * (times[1:] + times[:-1])
    convolved, present = convolution_and_input(0.3, times, values, at)
    step = 1e-5
    slope = np.subtract(*(exponential_convolution(0.3, times, values, at + s) for s in (step, -step))) / (2.0 * step)
    np.testing.assert_allclose(slope, present - 0.3 * convolved, rtol=1e-7, atol=1e-9)


def test_float32_stays_float32() -> None:
    times, values = (array.astype(np.float32) for array in irregular_input(4))
    found = exponential_convolution(np.float32(0.2), times, values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, exponential_convolution(0.2, times.astype(float), values.astype(float)), rtol=1e-5
    )


def test_numpy_users_never_load_tensorflow() -> None:
    code = (
        "import sys, numpy as np, qperf_kinetics\n"
        "from qperf_app.physics.models import MODELS\n"
        "MODELS['2CXM'](np.arange(9.), np.ones(9), 1., 1., .1, .2)\n"
        "print([m for m in ('tensorflow', 'scipy.optimize', 'scipy.stats') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
