"""The tracer-kinetic models against differential equations, quadrature, their limits and other people's code."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.special import spence

from qperf_app.physics import conversion, models
from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.fermi import tail_integrals
from qperf_app.physics.models import MODELS

TIMES = np.concatenate([[0.0], np.cumsum(np.random.default_rng(1).uniform(0.6, 1.1, 60))])
INPUT = np.interp(TIMES, [0.0, 8.0, 14.0, 22.0, 30.0, 60.0], [0.0, 0.0, 8.0, 1.0, 1.5, 1.2])
VALUES = {
    "Fp": 1.2,
    "Fb": 1.9,
    "PS": 0.8,
    "Ktrans": 0.6,
    "vp": 0.07,
    "ve": 0.2,
    "Ta": 1.3,
    "width": 5.0,
    "rate": 0.4,
}

flows = st.floats(0.05, 6.0)
surfaces = st.floats(0.01, 6.0)
volumes = st.floats(0.01, 0.5)
delays = st.floats(-3.0, 5.0)


def parameters(name: str) -> list[float]:
    return [VALUES[p.name] for p in MODELS[name].parameters]


def by_residue(residue, at: float, breaks: tuple[float, ...] = ()) -> float:
    """Convolution of the input with a residue function (1/s), by quadrature."""
    if at <= TIMES[0]:
        return 0.0
    lags = at - TIMES
    borders = sorted({0.0, at, *lags[lags > 0.0], *(b for b in breaks if 0.0 < b < at)})
    return sum(
        quad(lambda u: residue(u) * np.interp(at - u, TIMES, INPUT), a, b, epsabs=1e-13)[0]
        for a, b in itertools.pairwise(borders)
    )


@settings(max_examples=8, deadline=None)
@given(Fp=flows, PS=surfaces, vp=volumes, ve=volumes, Ta=delays)
def test_exchange_solves_its_differential_equations(Fp: float, PS: float, vp: float, ve: float, Ta: float) -> None:
    def slope(t: float, c: np.ndarray) -> list[float]:
        arterial = np.interp(t - Ta, TIMES, INPUT, left=0.0)
        return [(Fp * (arterial - c[0]) + PS * (c[1] - c[0])) / 60.0 / vp, PS * (c[0] - c[1]) / 60.0 / ve]

    solved = solve_ivp(slope, (-4.0, TIMES[-1]), [0.0, 0.0], "LSODA", TIMES, rtol=1e-9, atol=1e-11, max_step=0.5)
    found = models.two_compartment_exchange(TIMES, INPUT, Fp, PS, vp, ve, Ta)
    np.testing.assert_allclose(found, vp * solved.y[0] + ve * solved.y[1], rtol=1e-5, atol=1e-7)


def test_exchange_keeps_its_limits() -> None:
    exchange = models.two_compartment_exchange
    Fp, PS, vp, ve, Ta = 1.2, 0.8, 0.07, 0.2, 1.3
    one = models.one_compartment(TIMES, INPUT, Fp, vp, Ta)
    np.testing.assert_allclose(exchange(TIMES, INPUT, Fp, 0.0, vp, ve, Ta), one, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(exchange(TIMES, INPUT, Fp, PS, vp, 0.0, Ta), one, rtol=1e-6, atol=1e-8)
    limited = models.tofts(TIMES, INPUT, Fp * PS / (Fp + PS), ve, Ta)
    np.testing.assert_allclose(exchange(TIMES, INPUT, Fp, PS, 0.0, ve, Ta), limited, rtol=1e-6, atol=1e-8)
    mixed = models.one_compartment(TIMES, INPUT, Fp, vp + ve, Ta)
    np.testing.assert_allclose(exchange(TIMES, INPUT, Fp, 1e7, vp, ve, Ta), mixed, rtol=1e-4, atol=1e-7)
    trapped = models.two_compartment_uptake(TIMES, INPUT, Fp, PS, vp, Ta)
    np.testing.assert_allclose(exchange(TIMES, INPUT, Fp, PS, vp, 1e7, Ta), trapped, rtol=1e-6, atol=1e-8)
    assert not exchange(TIMES, INPUT, 0.0, 0.0, vp, ve, Ta).any()


@pytest.mark.parametrize("PS", [1e-3, 1e-6, 1e-9, 1e-12, 0.0])
def test_exchange_is_smooth_where_its_rates_coincide(PS: float) -> None:
    # (Fp + PS) / vp = PS / ve makes both rates PS / ve as PS -> 0.
    Fp, vp, ve = 10.0 * PS, 0.1, 0.1 / 11.0
    found = models.two_compartment_exchange(TIMES, INPUT, Fp, PS, vp, ve)
    near = models.two_compartment_exchange(TIMES, INPUT, Fp * (1.0 + 1e-7), PS, vp, ve)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(near, found, rtol=1e-6, atol=1e-15)


def test_the_other_models_equal_quadrature_of_their_residue_functions() -> None:
    F, K, vp, ve = (VALUES[name] / scale for name, scale in (("Fp", 60), ("Ktrans", 60), ("vp", 1), ("ve", 1)))
    PS, Ta = VALUES["PS"] / 60.0, VALUES["Ta"]
    E, Tc = 1.0 - np.exp(-PS / F), vp / F
    plasma = np.interp(TIMES - Ta, TIMES, INPUT, left=0.0)
    cases = {
        "Tofts": (lambda u: K * np.exp(-u * K / ve), 0.0),
        "ETM": (lambda u: K * np.exp(-u * K / ve), vp),
        "Patlak": (lambda u: K, vp),
        "1CM": (lambda u: F * np.exp(-u * F / vp), 0.0),
        "2CUM": (lambda u: F * (PS + F * np.exp(-u * (F + PS) / vp)) / (F + PS), 0.0),
        "ATH": (lambda u: F if u < Tc else F * E * np.exp(-(u - Tc) * E * F / ve), 0.0),
        "Fermi": (lambda u: 1.9 / 60 * (1 + np.exp(-0.4 * 5.0)) / (1 + np.exp(0.4 * (u - 5.0))), 0.0),
    }
    assert cases.keys() | {"2CXM"} == MODELS.keys()
    for name, (residue, direct) in cases.items():
        found = MODELS[name](TIMES, INPUT, *parameters(name))
        for i in range(0, len(TIMES), 12):
            expected = by_residue(residue, TIMES[i] - Ta, (Tc,)) + direct * plasma[i]
            assert found[i] == pytest.approx(expected, rel=1e-8, abs=1e-11), name


@pytest.mark.parametrize("x", [-800.0, -30.0, -1.0, -1e-9, 0.0, 1e-9, 0.3, 5.0, 800.0])
def test_tail_integrals_of_the_fermi_function(x: float) -> None:
    f, first, second = tail_integrals(NumpyOps, np.array(x))
    assert f == pytest.approx(1.0 / (1.0 + np.exp(min(x, 700.0))), rel=1e-13, abs=1e-300)
    assert first == pytest.approx(np.logaddexp(0.0, -x), rel=1e-13)
    if x > -700.0:
        assert second == pytest.approx(-spence(1.0 + np.exp(-x)), rel=1e-13)


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(sorted(MODELS)), factor=st.floats(1e-3, 1e3), beats=st.integers(0, 6))
def test_curves_scale_with_the_input_and_move_with_the_delay(name: str, factor: float, beats: int) -> None:
    times = np.arange(61) * 0.8
    c = np.interp(times, TIMES, INPUT)
    *kinetic, _ = parameters(name)
    plain = MODELS[name](times, c, *kinetic, 0.0)
    np.testing.assert_allclose(MODELS[name](times, factor * c, *kinetic, 0.0), factor * plain, rtol=1e-12)
    late = MODELS[name](times, c, *kinetic, beats * 0.8)
    np.testing.assert_allclose(late[beats:], plain[: len(times) - beats], rtol=1e-9, atol=1e-10)
    assert np.abs(late[:beats]).max(initial=0.0) < 1e-10


@pytest.mark.parametrize("name", sorted(MODELS))
def test_batches_broadcast(name: str) -> None:
    rng = np.random.default_rng(0)
    spread = [value * rng.uniform(0.8, 1.2, (3, 2)) for value in parameters(name)]
    inputs = INPUT * rng.uniform(0.5, 2.0, (3, 2, 1))
    together = MODELS[name](TIMES, inputs, *spread)
    assert together.shape == (3, 2, len(TIMES))
    alone = MODELS[name](TIMES, inputs[2, 1], *(value[2, 1] for value in spread))
    np.testing.assert_allclose(together[2, 1], alone, rtol=1e-11, atol=1e-13)


def test_registry_says_what_each_model_takes() -> None:
    for name, model in MODELS.items():
        assert model.name == name and name.isalnum()
        assert model.parameters[-1].name == "Ta" and model.parameters[-1].units == "s"
        assert all(parameter.units and parameter.meaning for parameter in model.parameters)
        assert model.input_kind == ("blood" if name == "Fermi" else "plasma")


def test_plasma_and_blood_are_one_conversion_apart() -> None:
    Fp, haematocrit, density = 0.58, 0.42, 1.05
    Fb = conversion.blood_flow(Fp, haematocrit)
    assert Fb == pytest.approx(1.0)
    assert conversion.plasma_flow(Fb, haematocrit) == pytest.approx(Fp)
    assert conversion.myocardial_blood_flow(Fb, density) == pytest.approx(1.0 / 1.05)
    # Plasma flow with plasma input and blood flow with blood input make the same tissue curve.
    by_plasma = models.one_compartment(TIMES, conversion.plasma_concentration(INPUT, haematocrit), Fp, 0.058)
    np.testing.assert_allclose(by_plasma, models.one_compartment(TIMES, INPUT, Fb, 0.1), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_tensors_give_the_same_values_and_their_derivatives(tf, name: str) -> None:
    rng = np.random.default_rng(2)
    spread = [value * rng.uniform(0.8, 1.2, 4) for value in parameters(name)]
    times, c = TIMES[::4], INPUT[::4]
    model = MODELS[name]

    def run(*x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            curve = model(times, c, *x)
            total = tf.reduce_sum(curve**2)
        return curve, tape.gradient(total, x)

    # Compiling takes seconds; these two hold every operation that the others use.
    run = tf.function(run, jit_compile=True) if name in ("2CXM", "Fermi") else run
    curve, gradient = run(*(tf.constant(value) for value in spread))
    assert curve.dtype == tf.float64
    np.testing.assert_allclose(curve, model(times, c, *spread), rtol=1e-10, atol=1e-13)
    for i, slope in enumerate(gradient):
        step = 1e-6 * spread[i]
        up, down = ([*spread[:i], spread[i] + s, *spread[i + 1 :]] for s in (step, -step))
        difference = ((model(times, c, *up) ** 2).sum(-1) - (model(times, c, *down) ** 2).sum(-1)) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=2e-5, atol=1e-7)


def test_float32_tensors_stay_float32(tf) -> None:
    x = [tf.constant(value, tf.float32) for value in parameters("2CXM")]
    curve = MODELS["2CXM"](TIMES, INPUT, *x)
    assert curve.dtype == tf.float32
    np.testing.assert_allclose(curve, MODELS["2CXM"](TIMES, INPUT, *parameters("2CXM")), rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_in_every_limit(tf) -> None:
    cases = np.array([[1.0, 0.0, 0.1, 0.2, 0.0], [1.0, 1.0, 0.0, 0.2, 0.0], [1.0, 1.0, 0.1, 0.0, 1.0], [0.0] * 5])
    x = [tf.constant(column) for column in cases.T]
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(MODELS["2CXM"](TIMES, INPUT, *x))
    assert all(np.isfinite(slope).all() for slope in tape.gradient(total, x))


def parker(minutes: np.ndarray, haematocrit: float) -> np.ndarray:
    """Population input function in plasma (Parker et al. 2006, doi:10.1002/mrm.21066)."""
    bolus = sum(
        a / (s * np.sqrt(2.0 * np.pi)) * np.exp(-((minutes - m) ** 2) / (2.0 * s**2))
        for a, m, s in ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
    )
    washout = 1.050 * np.exp(-0.1685 * minutes) / (1.0 + np.exp(-38.078 * (minutes - 0.483)))
    return (bolus + washout) / (1.0 - haematocrit)


def madym(data_dir: Path, name: str) -> tuple[int, np.ndarray]:
    """Leading integer and the numbers after it of one of madym's calibration files."""
    content = (data_dir / "madym" / f"{name}.dat").read_bytes()
    return int.from_bytes(content[:4], "little"), np.frombuffer(content[4:])


def madym_case(data_dir: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times (s), plasma input at the times less the delay, parameters before the delay, and madym's curve."""
    _, minutes = madym(data_dir, "dyn_times")
    injection, (haematocrit, _, *sampled) = madym(data_dir, "aif")
    np.testing.assert_allclose(parker(minutes - minutes[injection - 1], haematocrit), sampled, atol=1e-4)
    count, numbers = madym(data_dir, name)
    # madym shifts its population input before it samples it.
    plasma = parker(minutes - minutes[injection - 1] - numbers[count - 1], haematocrit)
    return 60.0 * minutes, plasma, numbers[: count - 1], numbers[count:]


@pytest.mark.parametrize(("name", "model"), [("2CXM", "2CXM"), ("PATLAK", "Patlak")])
def test_equals_madym_within_its_tolerance(data_dir: Path, name: str, model: str) -> None:
    times, plasma, found, curve = madym_case(data_dir, name)
    np.testing.assert_allclose(MODELS[model](times, plasma, *found, 0.0), curve, atol=1e-4)


def test_differs_from_madym_in_extended_tofts_by_the_trapezoidal_rule_only(data_dir: Path) -> None:
    times, plasma, (Ktrans, ve, vp), curve = madym_case(data_dir, "ETM")
    rate, integral = Ktrans / 60.0 / ve, np.zeros(len(times))
    for i, width in enumerate(np.diff(times)):
        decay = np.exp(-rate * width)
        integral[i + 1] = decay * integral[i] + 0.5 * width * (plasma[i + 1] + decay * plasma[i])
    np.testing.assert_allclose(vp * plasma + Ktrans / 60.0 * integral, curve, atol=1e-4)
    exact = models.extended_tofts(times, plasma, Ktrans, ve, vp)
    assert np.abs(exact - curve).max() < 4e-3  # at one sample in 5 s
    # Between samples the same rule on a fine grid tends to the exact value.
    fine = np.linspace(times[0], times[-1], 200 * (len(times) - 1) + 1)
    on_fine = models.extended_tofts(fine, np.interp(fine, times, plasma), Ktrans, ve, vp)[::200]
    np.testing.assert_allclose(exact, on_fine, rtol=1e-10, atol=1e-12)
