"""The posterior plugin: its density is the model's, its draws are the posterior's, its verdicts are right."""

from __future__ import annotations

import dataclasses
import re
from importlib.resources import files

import numpy as np
import pytest

from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.methods.priors import parse, read
from qperf_app.physics.models import MODELS, two_compartment_exchange
from qperf_app.plugins import RunContext, TissueConstants
from qperf_app.testing.examples import example_aif, example_curves
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import ExchangeOptions

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
    plugin = ExchangePosterior(ExchangeOptions(passes=2))
    return curves, plugin.fit(curves, example_aif(), TissueConstants(), RunContext(seed=5, threads=2))


def test_missing_samples_count_nothing(input_function, priors):
    """The density that trajectories follow is that of the samples which a curve has."""
    tf = pytest.importorskip("tensorflow")
    from qperf_hmc.posterior import Sampling
    from qperf_hmc.setting import choose
    from qperf_hmc.target import log_posterior

    times, points, cp = input_function
    curves = 0.05 * cp.max() * (0.3 + np.random.default_rng(1).standard_normal((3, len(times))))
    curves[1, [3, 10, 11, 12]] = np.nan
    setting = choose(MODELS["2CXM"], priors, times, curves, points, cp)
    scale = priors.noise_scale * cp.max()
    problem = Sampling(setting, priors, scale, curves, 100, RunContext()).problem(np.arange(3))
    x = setting.dictionary[:, :200]
    models = setting.curves(setting.model.features(setting.tables, [tf.constant(v) for v in x]).numpy().T)
    squares, count = np.nansum((curves - models[:, None]) ** 2, axis=2), np.isfinite(curves).sum(axis=1)
    level = -(priors.noise_shape + 0.5 * count) * np.log(scale**2 + 0.5 * squares)
    expected = level - 0.5 * (((x.T - priors.mean) / priors.sd) ** 2).sum(axis=1)[:, None]
    points_of_all = [tf.constant(np.repeat(v[:, None], 3, axis=1).astype(np.float32)) for v in x]
    found = log_posterior(setting.model, problem, points_of_all).numpy()
    assert found - found[0] == pytest.approx(expected - expected[0], abs=0.05)


def test_the_curves_beside_a_curve_change_nothing(input_function, priors):
    """Alone, among others in another order, beside curves with gaps: the same draws."""
    pytest.importorskip("tensorflow")
    from qperf_hmc.posterior import Sampling
    from qperf_hmc.setting import choose

    times, points, cp = input_function
    curves = example_curves(noise=0.02).concentration.copy()
    curves[4, 7] = np.nan
    setting = choose(MODELS["2CXM"], priors, times, curves, points, cp)
    scale = priors.noise_scale * cp.max()

    def flow(rows):
        return Sampling(setting, priors, scale, curves[rows], 100, RunContext(seed=3)).run(1).draws[..., 0]

    every = flow(np.arange(6))
    for rows in ([5, 4], [0]):
        assert np.isclose(flow(np.array(rows)), every[rows], rtol=1e-3).mean() > 0.95


def test_what_is_compiled_for_one_scan_serves_the_next(input_function, priors):
    """A scan of another length, another input function, curves with gaps: nothing is traced again."""
    pytest.importorskip("tensorflow")
    from qperf_hmc import importance, octree, posterior

    compiled = [octree._start, octree._marginal, importance._place, importance._log_weights, posterior._fit]
    times, points, cp = input_function
    curves = example_curves(noise=0.02).concentration[:5].copy()
    curves[1, 7] = np.nan
    traced = []
    for frames, factor in ((len(times), 1.0), (len(times) - 4, 1.1)):
        posterior.sample(MODELS["2CXM"], priors, times[:frames], curves[:, :frames], points, factor * cp, 0, passes=1)
        traced.append([f.experimental_get_tracing_count() for f in compiled])
    assert traced[1] == traced[0]


@pytest.mark.parametrize(
    ("rates", "amplitudes", "noise", "count"),
    [
        ((0.0, np.log(0.005)), (0.0, 0.01), 5e-3, 2),
        ((1.7, -4.5), (0.04, 0.0035), 1e-2, 2),
        ((0.45, -5.8), (0.012, 0.003), 2e-3, 3),
    ],
)
def test_all_modes_of_the_amplitudes_are_found(priors, rates, amplitudes, noise, count):
    """Priors may pull the amplitudes to other places than the curve does: a grid shows every maximum."""
    tf = pytest.importorskip("tensorflow")
    from qperf_hmc.amplitudes import Evidence, prior_per_second
    from qperf_hmc.exchange import EXCHANGE

    u, v = (tf.constant([rate], tf.float64) for rate in rates)
    h1, h2 = (np.exp(-np.exp(rate) * np.arange(40.0)) for rate in rates)
    y = amplitudes[0] * h1 + amplitudes[1] * h2 + noise * np.random.default_rng(0).standard_normal(40)
    exponent, scale = 30.0, (noise / 5.0) ** 2
    evidence = Evidence(*(tf.constant([a]) for a in (y @ h1, y @ h2, h1 @ h1, h1 @ h2, h2 @ h2, y @ y)))
    prior = prior_per_second(list(priors.mean[:4]), list(priors.sd[:4]), exponent, scale)
    first, second = np.meshgrid(np.arange(-18.0, 0.0, 0.05), np.arange(-8.0, -2.0, 0.025), indexing="ij")
    parameters = EXCHANGE.parameters(u, v, tf.constant(first), tf.constant(second))
    off = sum(((a.numpy() - m) / s) ** 2 for a, m, s in zip(parameters, prior.mean, prior.sd, strict=True))
    models = np.exp(first)[..., None] * h1 + np.exp(second)[..., None] * h2
    density = -exponent * np.log(scale + 0.5 * ((y - models) ** 2).sum(axis=-1)) - 0.5 * off
    profile = density.max(axis=1)
    places = 1 + np.flatnonzero((profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:]))
    assert len(places) == count

    start = tf.split(EXCHANGE.start(evidence, prior), 2)
    for _ in range(2):
        peaks = EXCHANGE.modes(evidence, prior, u, v, start)
        start = [peaks.first, peaks.second]
    nearest = np.abs(peaks.first.numpy() - first[places, 0]).min(axis=0)
    assert nearest == pytest.approx(0.0, abs=0.15)


def test_weights_say_what_draws_are_worth():
    """Even weights are worth every draw; the tail's shape is that of the Pareto distribution that they come from."""
    from qperf_hmc.weights import judge, largest_shape, resample

    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, 20000)).astype(np.float32)
    log_weight = np.zeros((3, 20000), np.float32)
    log_weight[1], log_weight[2] = rng.exponential(0.3, 20000), rng.exponential(0.9, 20000)
    worth = judge(x, log_weight)
    assert worth.ess[0] == pytest.approx(20000, rel=1e-5)
    # Of Pareto weights with a second moment, E[w]^2 / E[w^2] of the draws: (1 - 2 k) / (1 - k)^2.
    assert worth.ess[1, 0] / 20000 == pytest.approx(0.4 / 0.49, rel=0.1)
    assert worth.shape[1:] == pytest.approx([0.3, 0.9], abs=0.12)
    assert worth.shape[2] > largest_shape(20000) > worth.shape[1]
    picked = resample(np.array([[0.1, 0.0, 0.6, 0.3]]), 100, 0.5)
    assert (np.bincount(picked[0], minlength=4) == [10, 0, 60, 30]).all()


@pytest.fixture(scope="module")
def normal():
    """Log density and gradient of a normal one in two coordinates, for three densities of other widths."""
    tf = pytest.importorskip("tensorflow")
    sd = tf.constant([0.5, 1.0, 2.0])

    def log_density(position):
        return sum(-0.5 * (z / sd) ** 2 for z in position), [-z / sd**2 for z in position]

    return sd, log_density


def test_leapfrog_steps_are_reversible_and_keep_the_energy(normal):
    import tensorflow as tf

    from qperf_hmc.sampler import hamiltonian, leapfrog

    sd, log_density = normal
    start = hamiltonian(log_density, 0.1 * sd, 5).init([tf.ones([4, 3]), -0.5 * tf.ones([4, 3])])
    momentum = [tf.random.stateless_normal([4, 3], [0, k]) / sd for k in range(2)]
    there, end = leapfrog(log_density, 0.1 * sd, 5, start, momentum)
    back, _ = leapfrog(log_density, 0.1 * sd, 5, there, [-m for m in end])
    assert np.stack(back.position) == pytest.approx(np.stack(start.position), abs=1e-5)
    # By hand, one step of the half kick, drift, half kick.
    one, after = leapfrog(log_density, 0.1 * sd, 1, start, momentum)
    half = [m - 0.05 * z / sd for m, z in zip(momentum, start.position, strict=True)]
    drifted = [z + 0.1 * sd * m for z, m in zip(start.position, half, strict=True)]
    assert np.stack(one.position) == pytest.approx(np.stack(drifted), abs=1e-6)
    kicked = [m - 0.05 * z / sd for m, z in zip(half, drifted, strict=True)]
    assert np.stack(after) == pytest.approx(np.stack(kicked), abs=1e-5)


def test_both_samplers_leave_their_density_invariant(normal):
    """Chains that start at draws of the density, and take steps of either sampler or both, are draws of it still."""
    import tensorflow as tf

    from qperf_hmc.sampler import Proposal, hamiltonian, iterated_resampling

    sd, log_density = normal
    wide = 1.5 * sd

    def draw(key, count):
        position = [wide * tf.random.stateless_normal([count, 3], key + [k, 0]) for k in range(2)]
        return position, log_density(position)[0] - proposal.log_density(position)

    proposal = Proposal(draw, lambda position: sum(-0.5 * (z / wide) ** 2 for z in position))
    trajectories = hamiltonian(log_density, 0.8 * sd, 3)
    jumps = iterated_resampling(log_density, proposal, 4)
    for samplers in ((trajectories,), (jumps,), (trajectories, jumps)):

        @tf.function
        def step(k, state, samplers=samplers):
            for j, one in enumerate(samplers):
                state, told = one.step(tf.stack([k, j]), state)
            return state, told

        state = samplers[0].init([sd * tf.random.stateless_normal([4000, 3], [7, k]) for k in range(2)])
        first = np.stack(state.position)
        for k in range(20):
            state, _ = step(tf.constant(k), state)
        found = np.stack(state.position)
        assert found.std(axis=1) == pytest.approx(np.stack([sd, sd]), rel=0.06)
        assert np.abs(found.mean(axis=1) / sd.numpy()).max() < 0.08
        assert np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(first[..., 1], found[..., 1], strict=True)]).max() < 0.1


def test_spatial_prior_is_that_of_the_methods_kit():
    """Draws of normal posteriors, coupled, have the mean and spread of the kit's joint posterior, in any order."""
    from qperf_app.methods.neighbours import share_flow
    from qperf_hmc.spatial import couple

    rng, between = np.random.default_rng(0), 0.3
    means, sd = np.array([0.0, 0.3, 0.1, 3.0]), np.array([0.2, 0.1, 0.2, 0.1])
    x = means[:, None] + sd[:, None] * rng.standard_normal((4, 4000))
    voxels = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0], [5, 5, 0]])
    chosen = couple(x, voxels, between, 4000, seed=1)
    drawn = np.take_along_axis(x, chosen, axis=1)
    expected = share_flow(means, sd, voxels, between)
    assert drawn.mean(axis=1) == pytest.approx(expected[0], abs=0.02)
    assert drawn.std(axis=1) == pytest.approx(expected[1], rel=0.12)
    backwards = couple(x[::-1], voxels[::-1], between, 4000, seed=1)
    assert (backwards[::-1] == chosen).all()


def test_a_voxel_that_says_nothing_follows_its_neighbour():
    """Beside one whose flow is known its draws have the prior's Student-t distribution, far from it as well."""
    from scipy.stats import t as student

    from qperf_hmc.spatial import couple

    between, k = 0.3, 4000
    x = np.stack([np.linspace(-6.0, 6.0, k), np.zeros(k)])
    chosen = couple(x, np.array([[0, 0, 0], [1, 0, 0]]), between, 4000, seed=2)
    found = np.quantile(x[0, chosen[0]], [0.05, 0.25, 0.5, 0.75, 0.95])
    ends = student.cdf([-6.0 / between, 6.0 / between], 2)
    expected = between * student.ppf(ends[0] + np.diff(ends)[0] * np.array([0.05, 0.25, 0.5, 0.75, 0.95]), 2)
    assert found == pytest.approx(expected, abs=0.1)


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
    from qperf_hmc.posterior import sample

    times, grid, cp = input_function
    noise = 50.0 * np.random.default_rng(1).standard_normal((4, len(times)))
    found = sample(MODELS["2CXM"], priors, times, noise, grid, cp, seed=2, passes=1)
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
    assert (values["Fb", "q05"] < values["Fb", "q50"]).all() and (values["Fb", "q50"] < values["Fb", "q95"]).all()
    assert (maps.values["Fb"] == values["Fb", "q50"]).all()


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

    content = yaml.safe_load(files("qperf_app.methods").joinpath("kinetic_priors.yaml").read_text("utf-8"))
    change(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(content, "2CXM", NAMES, "x.yaml")
