"""Compartment models as matrices against the closed forms, their gradients, and what no closed form gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import gammainc, i1e

from qperf_app.physics import compartments, models
from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.compartments import SYSTEMS, LinearSystem
from qperf_app.physics.linear_response import EvenSolver, solve
from qperf_app.physics.matrix_exponential import expm1, squarings_for
from qperf_app.physics.nonlinear import solve_nonlinear

TIMES = np.concatenate([[0.0], np.cumsum(np.random.default_rng(1).uniform(0.6, 1.1, 40))])
SHAPE = ([0.0, 8.0, 14.0, 22.0, 30.0, 60.0], [0.3, 0.0, 8.0, 1.0, 1.5, 1.2])
INPUT = np.interp(TIMES, *SHAPE)
GRID = np.arange(0.0, 40.0, 0.25)
EVEN = np.interp(GRID, *SHAPE)
WEIGHTS = np.cos(np.arange(len(TIMES)))

flows, volumes, delays = st.floats(0.01, 8.0), st.floats(0.005, 0.6), st.floats(-3.0, 5.0)
CLOSED = ("2CXM", "2CUM", "ETM", "Tofts", "1CM")


def closed(name, times, c, values, Ta):
    """The closed form, its parameters in the order that the matrices take them."""
    by_name = dict(zip(SYSTEMS[name].parameters, values, strict=True)) | {"Ta": Ta}
    model = models.MODELS[name]
    return model(times, c, *(by_name[p.name] for p in model.parameters))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CLOSED), flows, flows, volumes, volumes, delays)
def test_curves_are_those_of_the_closed_forms(name, Fp, PS, vp, ve, Ta):
    by_name = {"Fp": Fp, "PS": PS, "Ktrans": PS, "vp": vp, "ve": ve}
    values = [np.array(by_name[p]) for p in SYSTEMS[name].parameters]
    system = SYSTEMS[name].system(*values)
    expected = closed(name, TIMES, INPUT, values, Ta)
    np.testing.assert_allclose(solve(system, TIMES, INPUT, Ta), expected, rtol=1e-8, atol=1e-9)
    if system.direct is None:
        found = EvenSolver(GRID, EVEN, GRID, (-3.0, 5.0))(system, Ta)
        np.testing.assert_allclose(found, closed(name, GRID, EVEN, values, Ta), rtol=1e-8, atol=1e-9)


@settings(max_examples=6, deadline=None)
@given(Fp=flows, PS=flows, vp=volumes, ve=volumes, Ta=st.floats(-2.0, 4.0))
def test_gradients_are_those_of_the_closed_form(tf, Fp, PS, vp, ve, Ta):
    # The input jumps at its first sample: a curve that is read just there has no slope in the delay.
    assume(min(np.abs(TIMES - Ta).min(), np.abs(GRID - Ta).min()) > 1e-6)
    values = [tf.constant([v], tf.float64) for v in (Fp, PS, vp, ve, Ta)]

    def slopes(function):
        with tf.GradientTape() as tape:
            tape.watch(values)
            curve = function(*values)
            total = tf.reduce_sum(curve * np.resize(WEIGHTS, curve.shape[-1]))
        return np.array([g.numpy()[0] for g in tape.gradient(total, values)])

    c, even = tf.constant(INPUT), tf.constant(EVEN)
    exact = slopes(lambda *x: models.two_compartment_exchange(tf.constant(TIMES), c, *x))
    ours = slopes(lambda *x: solve(compartments.two_compartment_exchange(*x[:4]), TIMES, c, x[4]))
    np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-7)
    solver = EvenSolver(GRID, EVEN, GRID, (-2.0, 4.0))
    exact = slopes(lambda *x: models.two_compartment_exchange(tf.constant(GRID), even, *x))
    ours = slopes(lambda *x: solver(compartments.two_compartment_exchange(*x[:4]), x[4]))
    np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-7)


def test_rates_may_coincide_or_vanish():
    for Fp, PS, vp, ve in ((1.0, 0.0, 0.1, 0.2), (0.0, 0.0, 0.1, 0.2), (1.0, 1e-12, 0.1, 0.1), (1.0, 1.0, 1e-4, 0.2)):
        values = [np.array(v) for v in (Fp, PS, vp, ve)]
        found = solve(compartments.two_compartment_exchange(*values), TIMES, INPUT, 1.0)
        np.testing.assert_allclose(found, closed("2CXM", TIMES, INPUT, values, 1.0), rtol=1e-6, atol=1e-8)
    # Two equal time constants in a row: a Jordan block, which no sum of exponentials describes.
    rate = 0.2
    chain = LinearSystem(rate * compartments.transfer(2, (0, 1), (1, None)), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    step = solve(chain, np.array([0.0, 50.0]), np.array([1.0, 1.0]), at=TIMES)
    np.testing.assert_allclose(step, gammainc(2, rate * TIMES) / rate, rtol=1e-10, atol=1e-12)


def test_compiled_single_precision_keeps_its_digits(tf):
    rng = np.random.default_rng(0)
    values = [
        np.exp(rng.uniform(np.log(low), np.log(high), 30))
        for low, high in ((0.05, 6), (0.02, 5), (0.02, 0.2), (0.05, 0.4))
    ]
    Ta = rng.uniform(-1.0, 4.0, 30)
    solver = EvenSolver(GRID, EVEN, GRID, (-1.0, 4.0), squarings=8)
    compiled = tf.function(lambda *x: solver(compartments.two_compartment_exchange(*x[:4]), x[4]), jit_compile=True)
    found = compiled(*(tf.constant(v, tf.float32) for v in (*values, Ta)))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, closed("2CXM", GRID, EVEN, values, Ta), atol=2e-5 * EVEN.max())


def test_samples_between_the_grid_are_interpolated_closely():
    c = np.exp(-0.5 * ((GRID - 12.0) / 2.5) ** 2) + 0.1 * (1.0 + np.tanh((GRID - 14.0) / 4.0))
    system = compartments.two_compartment_exchange(np.array([0.5, 1.5, 4.0]), 0.8, 0.05, 0.2)
    at = TIMES[TIMES < 36.0]
    found = EvenSolver(GRID, c, at, (0.0, 3.0))(system, np.array([0.1, 0.7, 2.9]))
    exact = solve(system, GRID, c, np.array([0.1, 0.7, 2.9]), at)
    np.testing.assert_allclose(found, exact, atol=2e-4 * exact.max())


def test_a_grid_that_is_not_even_is_refused():
    with pytest.raises(ValueError, match="not evenly spaced"):
        EvenSolver(TIMES, INPUT, TIMES, (0.0, 1.0))
    with pytest.raises(ValueError, match="segments is 0"):
        compartments.capillary(1.0, 1.0, 0.1, 0.2, segments=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31), st.floats(-6.0, 3.0))
def test_matrix_exponential_is_scipys(size, seed, decades):
    matrix = np.random.default_rng(seed).standard_normal((size, size))
    matrix *= 10.0**decades / np.abs(matrix).sum(axis=1).max()
    matrix -= np.abs(matrix).sum(axis=1).max() * np.eye(size)
    norm = np.abs(matrix).sum(axis=1).max()
    # Halving more often than needed loses nothing.
    for more in (0, 12):
        found = expm1(NumpyOps, matrix, squarings_for(norm) + more)
        np.testing.assert_allclose(found, expm(matrix) - np.eye(size), atol=1e-11 * min(norm, 1.0) + 1e-16)


def test_a_capillary_without_exchange_is_a_row_of_tanks():
    Fp, vp, n = 1.5, 0.08, 20
    system = compartments.capillary(Fp, 0.0, vp, 0.2, segments=n)
    at = np.arange(0.0, 12.0, 0.25)
    found = solve(system, np.array([0.0, 20.0]), np.array([1.0, 1.0]), at=at)
    # The response to a step is the integral of the residue Q(n, k t) = 1 - P(n, k t).
    rate = n * Fp / 60.0 / vp
    lost = at * gammainc(n, rate * at) - n / rate * gammainc(n + 1, rate * at)
    np.testing.assert_allclose(found, Fp / 60.0 * (at - lost), rtol=1e-9, atol=1e-11)


def test_many_segments_come_to_the_blood_tissue_exchange_unit():
    """Plug flow past an interstitium that does not mix along the capillary (Sangren and Sheppard 1953)."""
    Fp, PS, vp, ve = 1.0, 0.8, 0.06, 0.2
    t = np.linspace(0.0, 60.0, 6001)
    transit, a, b = vp / Fp * 60.0, PS / Fp, PS / ve / 60.0
    tau = np.maximum(t - transit, 1e-12)
    z = 2.0 * np.sqrt(a * b * tau)
    out = np.exp(-a - b * tau + z) * np.sqrt(a * b / tau) * i1e(z) * (t > transit)
    left = np.exp(-a) * (t > transit) + np.concatenate([[0.0], np.cumsum(0.5 * (out[1:] + out[:-1]) * 0.01)])
    curve = np.concatenate([[0.0], np.cumsum(0.5 * (2.0 - left[1:] - left[:-1]) * 0.01)]) * Fp / 60.0
    errors = []
    for n in (10, 40):
        found = solve(compartments.capillary(Fp, PS, vp, ve, n), np.array([0.0, 60.0]), np.ones(2), at=t[::100])
        errors.append(np.abs(found - curve[::100]).max() / curve.max())
    assert errors[1] < 0.005 and errors[1] < 0.6 * errors[0]


def test_a_model_of_ones_own_is_solved():
    """Two parallel exits and a slow store: against a general integrator."""
    rates = 0.3 * compartments.transfer(3, (0, 1)) + 0.05 * compartments.transfer(3, (1, 2), (0, None))
    system = LinearSystem(rates, np.array([0.02, 0.0, 0.0]), np.array([1.0, 1.0, 0.5]))
    found = solve(system, TIMES, INPUT, 0.7)

    def slope(t, x):
        return rates @ x + system.inflow * np.interp(t - 0.7, TIMES, INPUT, left=0.0)

    states = solve_ivp(slope, (0.0, TIMES[-1]), np.zeros(3), t_eval=TIMES, rtol=1e-9, atol=1e-12, max_step=0.1).y
    np.testing.assert_allclose(found, system.readout @ states, rtol=1e-5, atol=1e-7)


def test_nonlinear_models_are_integrated_and_differentiated(tf):
    vp, uptake, half = 0.1, tf.constant([0.02, 0.05], tf.float64), 0.2
    Ta, flow = tf.constant([0.5, 1.5], tf.float64), 1.2 / 60.0
    arterial = np.where(TIMES < 8.0, 0.0, INPUT)

    def curves(uptake):
        def slope(x, c):
            plasma = x[..., 0] / vp
            carried = uptake * plasma / (half + plasma)
            return tf.stack([flow * (c - plasma) - carried, carried], -1)

        return tf.reduce_sum(solve_nonlinear(slope, 2, TIMES, arterial, TIMES, Ta), -1)

    @tf.function
    def both(uptake):
        with tf.GradientTape() as tape:
            tape.watch(uptake)
            found = curves(uptake)
            total = tf.reduce_sum(found)
        return found, total, tape.gradient(total, uptake)

    found, _, gradient = both(uptake)
    for k in range(2):

        def slope(t, x, k=k):
            plasma = x[0] / vp
            carried = float(uptake[k]) * plasma / (half + plasma)
            return [flow * (np.interp(t - float(Ta[k]), TIMES, arterial, left=0.0) - plasma) - carried, carried]

        exact = solve_ivp(slope, (0, TIMES[-1]), [0.0, 0.0], t_eval=TIMES, rtol=1e-9, atol=1e-11, max_step=0.05).y.sum(
            0
        )
        np.testing.assert_allclose(found[:, k], exact, atol=1e-4 * exact.max())
        shift = np.eye(2)[k] * 1e-5
        change = (both(uptake + shift)[1] - both(uptake - shift)[1]) / 2e-5
        assert float(gradient[k]) == pytest.approx(float(change), rel=1e-5)


def test_every_system_keeps_its_tracer():
    """What flows in and has not left is in the tissue: columns of the matrices sum to what leaves."""
    for model, sample in itertools.product(SYSTEMS.values(), (0.1, 0.7)):
        A = np.asarray(model.system(*(np.array(sample) for _ in model.parameters)).rates)
        off = A - np.diag(np.diag(A))
        assert (off >= 0.0).all() and (np.diag(A) <= 0.0).all() and (A.sum(axis=0) < 1e-12).all()
