"""The models that ``hmc`` tabulates, each by itself and beside the other: coordinates, draws, evidence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.methods.priors import read
from qperf_app.physics.models import MODELS
from qperf_app.plugins import RunContext, TissueConstants
from qperf_app.testing.examples import example_aif, example_curves
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import ExchangeOptions


@pytest.fixture(scope="module")
def input_function():
    aif = example_aif()
    return (aif.times, *even_input(aif.times, aif.in_plasma(0.42), aif.times[-1] + 5.0))


@pytest.mark.parametrize(("model", "most"), [("2CXM", 2e-3), ("ATH", 3e-3)])
def test_table_gives_the_models_curves(input_function, model, most):
    """Over the prior's range the table stays within a few permil of the exact curve's peak, between its cells too."""
    tf = pytest.importorskip("tensorflow")
    from qperf_hmc import table
    from qperf_hmc.forward import Direct, make_grid
    from qperf_hmc.setting import SEPARABLE

    times, grid, cp = input_function
    separable, priors = SEPARABLE[model], model_priors(model)
    x = priors.mean + priors.sd * np.clip(np.random.default_rng(0).standard_normal((500, 5)), -2.5, 2.5)
    parameters = [tf.constant(v) for v in (*np.exp(x[:, :4]).T, x[:, 4])]
    tables = table.build(times, grid, cp, separable.delays((-4.25, 6.25), times[-1] - grid[0]), separable.ranks)
    exact = Direct(MODELS[model])(make_grid(times, grid, cp), parameters).numpy()
    found = tables.basis @ separable.forward(tables, parameters).numpy()
    assert np.quantile(np.sqrt(((found - exact) ** 2).mean(axis=0)) / exact.max(axis=0), 0.99) < most

    u, v, delay = separable.place(x.T)
    axes = [np.linspace(a.min(), a.max(), n) for a, n in ((u, 192), (v, 192), (delay, 176))]
    point = np.stack([u, v, delay]).astype(np.float32)
    members = [m.numpy() for m in separable.members_at(separable.interpolants(tables, *axes), point)]
    logarithms = amplitude_logarithms(model, x)
    coefficients = separable.coefficients(*(tf.constant(a) for a in logarithms))
    found = tables.basis @ sum(c.numpy() * m.T for c, m in zip(coefficients, members, strict=True))
    assert np.quantile(np.sqrt(((found - exact) ** 2).mean(axis=0)) / exact.max(axis=0), 0.99) < most


def model_priors(model):
    """The built-in priors in the order of the model's parameters."""
    return read("", model, [p.name for p in MODELS[model].parameters])


def amplitude_logarithms(model, x):
    """The two logarithms (2, n) that are drawn given the grid's numbers, of coordinates (n, 5)."""
    if model == "ATH":
        return x[:, :2].T - np.log(60)
    from qperf_app.physics.backend import NumpyOps
    from qperf_app.physics.models import exchange_response

    Fp, PS, vp, ve = np.exp(x[:, :4]).T
    share = exchange_response(NumpyOps, Fp / 60, PS / 60, vp, ve)[2]
    return np.log(Fp / 60 * np.stack([1 - share, share]))


@pytest.mark.parametrize("model", ["2CXM", "ATH"])
def test_the_grids_numbers_are_the_parameters_in_other_words(model):
    """Parameters come back, and volumes of the logarithms are kept: the determinant is 1."""
    tf = pytest.importorskip("tensorflow")
    from qperf_hmc.setting import SEPARABLE

    priors, separable = model_priors(model), SEPARABLE[model]
    x = priors.mean + np.random.default_rng(0).standard_normal((200, 5))
    u, v, _ = (tf.constant(np.asarray(a)) for a in separable.place(x.T))
    z = [u, v, *(tf.constant(a) for a in amplitude_logarithms(model, x))]
    with tf.GradientTape(persistent=True) as tape:
        for a in z:
            tape.watch(a)
        back = separable.parameters(*z)
    zero = tf.UnconnectedGradients.ZERO
    expected = x[:, :4] - [np.log(60), np.log(60), 0.0, 0.0]
    assert np.stack(back, axis=1) == pytest.approx(expected, abs=1e-9)
    slopes = np.array([[tape.gradient(b, a, unconnected_gradients=zero).numpy() for a in z] for b in back])
    assert np.abs(np.linalg.det(slopes.transpose(2, 0, 1))) == pytest.approx(1.0, abs=1e-9)


@pytest.fixture(scope="module", params=["2CXM", "ATH"])
def prior_curves(input_function, request):
    """A model, draws of its prior (5, n) and its exact curves (n, t) of them."""
    pytest.importorskip("tensorflow")
    from qperf_hmc.setting import prior_draws

    times, points, cp = input_function
    joined = np.union1d(points, times)
    x = prior_draws(model_priors(request.param), 65536)
    curves = MODELS[request.param](joined, np.interp(joined, points, cp), *np.exp(x[:4]), x[4])
    return request.param, x, curves[:, np.searchsorted(joined, times)]


@pytest.mark.slow
@pytest.mark.parametrize("missing", [[], [12, 13, 14, 15, 16, 20, 21]])
def test_the_octrees_draws_weigh_to_the_posterior(input_function, prior_curves, missing):
    """Their weighed means and the evidence are those of draws of the prior, weighed by the exact model's likelihood."""
    pytest.importorskip("tensorflow")
    from scipy.special import logsumexp

    from qperf_hmc import importance
    from qperf_hmc.posterior import Sampling
    from qperf_hmc.setting import choose

    times, points, cp = input_function
    model, x, models = prior_curves
    rng, priors = np.random.default_rng(3), model_priors(model)
    joined = np.union1d(points, times)
    cp_joined, index = np.interp(joined, points, cp), np.searchsorted(joined, times)
    # Noise so strong that the prior's own draws are enough to weigh.
    noise = 0.02 * cp.max()
    curve = MODELS[model](joined, cp_joined, *np.exp(priors.mean[:4]), priors.mean[4])[index]
    curve = curve + noise * rng.standard_normal(len(times))
    curve[missing] = np.nan
    setting = choose(MODELS[model], priors, times, curve[None], points, cp)
    scale = priors.noise_scale * cp.max()
    problem = Sampling(setting, priors, scale, curve[None], 100, RunContext()).problem(np.zeros(4, dtype=int))
    pool = importance.propose(setting.octree, problem, 8192, 1e-3, seed=4)
    weight = np.exp(pool.log_weight[0] - pool.log_weight[0].max())
    assert weight.sum() ** 2 / (weight**2).sum() > 800
    found = np.average(pool.x[:, 0], weights=weight, axis=1)

    squares, count = np.nansum((curve - models) ** 2, axis=1), np.isfinite(curve).sum()
    level = -(priors.noise_shape + 0.5 * count) * np.log(scale**2 + 0.5 * squares)
    weight = np.exp(level - level.max())
    assert weight.sum() ** 2 / (weight**2).sum() > 800
    mean = np.average(x, weights=weight, axis=1)
    sd = np.sqrt(np.average((x - mean[:, None]) ** 2, weights=weight, axis=1))
    assert np.abs((found - mean) / sd).max() < 0.15
    assert pool.log_evidence[0] == pytest.approx(logsumexp(level) - np.log(len(level)), abs=0.1)


@pytest.mark.slow
def test_a_curve_tells_its_tissue_where_the_models_differ(input_function):
    """Curves of long transit times and little noise: the log Bayes factor is for the model that made them, either way.

    It is the same whichever model was asked for, and each model's flow is right for its own curves.
    """
    pytest.importorskip("tensorflow")
    times, grid, cp = input_function
    # Transit times of 8 to 20 s: a front that blood runs through beside a space that mixes at once.
    Fp = np.repeat([0.4, 0.6, 0.9], 2)
    known = {"Fp": Fp, "PS": 0.5 * Fp, "vp": np.full(6, 0.12), "ve": np.full(6, 0.2), "Ta": np.full(6, 1.0)}
    joined = np.union1d(grid, times)
    at, rng = np.searchsorted(joined, times), np.random.default_rng(0)
    curves = []
    for model in ("2CXM", "ATH"):
        order = [known[p.name] for p in MODELS[model].parameters]
        clean = MODELS[model](joined, np.interp(joined, grid, cp), *order)[:, at]
        curves.append(clean + 2e-3 * cp.max() * rng.standard_normal(clean.shape))
    tissue = dataclasses.replace(
        example_curves(), concentration=np.concatenate(curves), times=times, voxels=np.zeros((12, 3), dtype=np.intp)
    )
    found = {}
    for model in ("2CXM", "ATH"):
        options = ExchangeOptions(model=model, evidence=True, passes=1)
        maps = ExchangePosterior(options).fit(tissue, example_aif(), TissueConstants(), RunContext(seed=1, threads=2))
        assert maps.model == model
        found[model] = maps.values
    for values in found.values():
        assert (values["logBF"][6:] > 1.0).mean() >= 0.8 and (values["logBF"][:6] < -1.0).mean() >= 0.8
    assert found["2CXM"]["logBF"] == pytest.approx(found["ATH"]["logBF"], abs=0.3)
    assert np.median(found["ATH"]["Fp"][6:] / Fp) == pytest.approx(1.0, abs=0.1)
    extracted = found["ATH"]["Ktrans"][6:] / found["ATH"]["Fp"][6:]
    assert np.median(extracted) == pytest.approx(1.0 - np.exp(-0.5), abs=0.1)


def test_a_model_that_hmc_does_not_know_is_refused():
    with pytest.raises(ValueError, match="model is 'BTEX'; it must be 2CXM or ATH"):
        ExchangeOptions(model="BTEX")
