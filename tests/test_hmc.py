"""The posterior plugin: its density is the model's, its draws are the posterior's, its verdicts are right."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from qperf_app.physics.models import MODELS, two_compartment_exchange
from qperf_app.plugins import RunContext, TissueConstants
from qperf_app.plugins.kinetic_inputs import even_input
from qperf_app.testing.examples import example_aif, example_curves
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import PosteriorOptions
from qperf_hmc.priors import parse, read

NAMES = ("Fp", "PS", "vp", "ve", "Ta")


@pytest.fixture(scope="module")
def priors():
    return read("", "2CXM", NAMES)


@pytest.fixture(scope="module")
def input_function():
    aif = example_aif()
    return (aif.times, *even_input(aif.times, aif.in_plasma(0.42), aif.times[-1] + 5.0))


@pytest.fixture(scope="module")
def fitted():
    """Twelve curves, one of them with a missing frame."""
    curves = example_curves(noise=0.02)
    concentration = curves.concentration.copy()
    concentration[4, 7] = np.nan
    curves = dataclasses.replace(curves, concentration=concentration)
    plugin = ExchangePosterior(PosteriorOptions(passes=2))
    return curves, plugin.fit(curves, example_aif(), TissueConstants(), RunContext(seed=5, threads=2))


def test_table_gives_the_models_curves(input_function, priors):
    """Over the prior's range the table stays within 2 permil of the exact curve's peak."""
    tf = pytest.importorskip("tensorflow")
    from qperf_hmc import exchange, table
    from qperf_hmc.forward import make_grid

    times, grid, cp = input_function
    rng = np.random.default_rng(0)
    x = priors.mean + priors.sd * np.clip(rng.standard_normal((500, 5)), -2.5, 2.5)
    parameters = [*np.exp(x[:, :4]).T, x[:, 4]]
    tables = table.build(times, grid, cp, (-4.25, 6.25))
    found = tables.basis @ exchange.forward(tables, [tf.constant(v) for v in parameters]).numpy()
    joined = make_grid(times, grid, cp)
    exact = two_compartment_exchange(joined.times, joined.input, *parameters)[:, joined.index]
    error = np.sqrt(((found.T - exact) ** 2).mean(axis=1)) / exact.max(axis=1)
    assert np.quantile(error, 0.99) < 2e-3


def test_density_is_the_students_likelihood_times_the_prior(input_function, priors):
    """Differences of the log density are those of the formula, evaluated with the exact model in float64."""
    tf = pytest.importorskip("tensorflow")
    from qperf_hmc.forward import Direct, make_grid
    from qperf_hmc.target import Coordinates, Problem, log_posterior

    times, grid, cp = input_function
    joined = make_grid(times, grid, cp)
    x = np.stack([priors.mean, priors.mean + 0.3 * priors.sd])
    curve = two_compartment_exchange(joined.times, joined.input, *np.exp(x[0, :4]), x[0, 4])[joined.index] + 0.02
    a, b = 1.0, 1e-4
    model = Coordinates(Direct(MODELS["2CXM"]), priors.positive)
    data = tf.constant(curve[:, None])
    problem = Problem(
        joined, data, tf.ones_like(data), np.zeros(1), np.array([len(times)], float), priors.mean[:, None],
        priors.sd[:, None], a, b,
    )  # fmt: skip
    value = log_posterior(model, problem, [tf.constant(v[:, None]) for v in x.T]).numpy()[:, 0]
    models = two_compartment_exchange(joined.times, joined.input, *np.exp(x[:, :4]).T, x[:, 4])[:, joined.index]
    squares = ((curve - models) ** 2).sum(axis=1)
    expected = -(a + 0.5 * len(times)) * np.log(b + 0.5 * squares) - 0.5 * (((x - priors.mean) / priors.sd) ** 2).sum(1)
    assert np.diff(value) == pytest.approx(np.diff(expected), rel=1e-9)


def test_without_a_signal_the_posterior_is_the_prior(input_function, priors):
    """Noise that drowns the curve leaves the prior: the sampler then has to return a distribution that is known."""
    from qperf_hmc.posterior import PASSES, sample

    times, grid, cp = input_function
    noise = 50.0 * np.random.default_rng(1).standard_normal((4, len(times)))
    found = sample(MODELS["2CXM"], priors, times, noise, grid, cp, seed=2, passes=PASSES[:1])
    x = np.where(priors.positive, np.log(np.where(priors.positive, found.draws, 1.0)), found.draws)
    assert x.mean(axis=(0, 1)) == pytest.approx(priors.mean, abs=0.12 * priors.sd.max())
    assert x.std(axis=(0, 1)) == pytest.approx(priors.sd, rel=0.12)


def test_intervals_hold_the_truth(fitted):
    """True flows lie within 98 % of the posterior; quantiles are in order."""
    curves, maps = fitted
    values = {(m.quantity, m.statistic): m.values for m in maps.maps}
    truth = np.linspace(0.6, 3.0, len(curves.concentration))
    deviation = (values["Fb", "mean"] - truth) / values["Fb", "std"]
    assert (np.abs(deviation) < 3.0).all()
    assert (values["Fb", "q05"] < values["Fb", "mean"]).all() and (values["Fb", "mean"] < values["Fb", "q95"]).all()


def test_derived_quantities_come_from_the_draws(fitted):
    """The mean of Ktrans is not Ktrans of the means, but lies below it (the function is concave)."""
    _, maps = fitted
    values = {m.quantity: m.values for m in maps.maps if m.statistic == "mean"}
    of_means = values["Fp"] * values["PS"] / (values["Fp"] + values["PS"])
    assert (values["Ktrans"] < of_means).all()
    assert values["MBF"] == pytest.approx(values["Fp"] / (1 - 0.42) / 1.05, rel=1e-5)


def test_a_missing_frame_costs_only_that_frame(fitted):
    """The curve with a gap is estimated, and its fitted curve bridges the gap."""
    _, maps = fitted
    assert maps.fitted is not None and np.isfinite(maps.fitted[4]).all()
    assert maps.qc[4] != 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["models"]["2CXM"].pop("vp"), "x.yaml: models.2CXM: vp is missing"),
        (
            lambda c: c["models"]["2CXM"]["Fp"].update(log_sd=-1),
            "models.2CXM.Fp.log_sd is -1; it must be greater than 0",
        ),
        (lambda c: c["models"]["2CXM"]["Fp"].update(distribution="flat"), "distribution is 'flat'"),
        (lambda c: c.pop("noise"), "x.yaml: noise.shape is missing"),
    ],
)
def test_bad_priors_are_refused_by_field(change, message):
    import yaml

    import qperf_hmc

    content = yaml.safe_load((Path(qperf_hmc.__file__).parent / "priors.yaml").read_text("utf-8"))
    change(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(content, "2CXM", NAMES, "x.yaml")
