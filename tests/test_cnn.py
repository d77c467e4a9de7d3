"""The network plugin: features free of the scan, answers in order, labels kept, training that can be repeated."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qperf_app.methods.exchange_models import EXCHANGE_MODELS
from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.plugins import STATISTICS, InputFunction, RunContext, TissueConstants, TissueCurves
from qperf_app.testing.examples import example_aif, example_curves
from qperf_app.training import WeightsError, read_card
from qperf_cnn import ConvolutionalKinetics
from qperf_cnn.features import LAGS, build_filters, extract
from qperf_cnn.labels import QUANTITIES, LabelStore, fit
from qperf_cnn.network import OUTPUTS, Architecture, build, from_coordinates, load, read_answer, to_coordinates
from qperf_cnn.plugin import SHIPPED, NetworkOptions
from qperf_cnn.responses import CurveMaker, tent_averages, tent_convolutions
from qperf_cnn.simulation import NAMES, RANGES, concentration, simulate
from qperf_cnn.targets import read_kind, true_values, value_of
from qperf_cnn.trainer import collect
from qperf_kinetics import ExchangeLeastSquares

parameters = st.tuples(*(st.floats(*limits) for limits in RANGES.values())).map(np.array)


@settings(max_examples=40, deadline=None)
@given(parameters, st.sampled_from(EXCHANGE_MODELS))
def test_curves_from_tents_are_the_models(x, model):
    """To 1 % of the peak at any parameters, PS and rates at their ends included."""
    study = simulate(3, 0, 2)
    grid, cp = even_input(study.times, study.plasma, study.times[-1] + 5.0)
    joined = np.union1d(grid, study.times)
    exact = concentration(model, joined, np.interp(joined, grid, cp), dict(zip(NAMES, x, strict=True)))
    exact = exact[np.searchsorted(joined, study.times)]
    found = CurveMaker.of(study.times, study.times, study.plasma, model)(x[None])[0]
    assert np.abs(found - exact).max() < 0.01 * exact.max() + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 20.0), st.floats(0.5, 3.0))
def test_tents_convolve_exactly(start, width):
    """A ramp convolved with tents that add up to 1 is its running integral, once all of it has passed."""
    lags = np.arange(0.0, 60.0, width)
    knots = np.array([0.0, start + 1.0, start + 1.5, 200.0])
    values = np.array([0.0, 0.0, 2.0, 2.0])
    at = np.array([start + 1.0 + lags[-1] * 0.5])
    # Tents at lags >= 0 add up to 1 from the first lag on, and to half of the cell before it.
    found = tent_convolutions(knots, values, at, lags).sum()
    integral = 0.5 * 2.0 * 0.5 + 2.0 * (at[0] - start - 1.5) + 0.5 * width * 2.0
    assert found == pytest.approx(integral, rel=1e-9)


@pytest.mark.parametrize("model", EXCHANGE_MODELS)
def test_averages_keep_the_area(model):
    """Averages times the tents' areas add up to the response's integral, vp + ve, where the lags reach its end."""
    x = np.array([[1.0, 0.8, 0.06, 0.2, 0.7], [3.0, 2.0, 0.1, 0.15, -0.4]])
    lags = np.arange(-3.0, 400.0, 0.5)
    assert (tent_averages(x, lags, model) * 0.5).sum(axis=1) == pytest.approx(x[:, 2] + x[:, 3], rel=1e-6)


def test_features_do_not_depend_on_the_scan():
    """The same tissue under two boluses and frame rates gives responses that are alike; under none they differ."""
    x = np.array([[1.0, 0.8, 0.06, 0.2, 1.0], [3.0, 1.5, 0.1, 0.15, 1.0]])
    seen = []
    for number in (4, 9):
        study = simulate(11, number, 2)
        clean = CurveMaker.of(study.times, study.times, study.plasma)(x)
        seen.append(extract(build_filters(study.times, study.times, study.plasma), clean).responses[..., 1])
    between_scans = np.abs(seen[0] - seen[1]).mean()
    between_tissues = np.abs(seen[0][0] - seen[0][1]).mean()
    assert between_scans < 0.4 * between_tissues


def test_features_scale_with_the_input():
    """Twice the concentration everywhere is the same tissue."""
    study = simulate(5, 1, 8)
    one = extract(build_filters(study.times, study.times, study.plasma), study.tissue)
    two = extract(build_filters(study.times, study.times, 2.0 * study.plasma), 2.0 * study.tissue)
    np.testing.assert_allclose(one.responses, two.responses, atol=1e-4)
    np.testing.assert_allclose(one.scalars, two.scalars, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-4.0, 4.0), min_size=OUTPUTS, max_size=OUTPUTS))
def test_answers_are_in_order(raw):
    """Whatever the network says: quantiles in order, standard deviations above 0, all finite."""
    values = read_answer(np.array([raw]))[0]
    assert np.isfinite(values).all() and (values[:, STATISTICS.index("std")] > 0).all()
    quantiles = values[:, [STATISTICS.index(s) for s in ("q05", "q50", "q95")]]
    assert (np.diff(quantiles, axis=1) >= 0).all()
    medians = quantiles[:, 1]
    np.testing.assert_allclose(to_coordinates(from_coordinates(to_coordinates(medians))), to_coordinates(medians))


def test_the_answer_without_keras_is_that_of_keras(tf):
    """To single precision: the layers are written down twice, for training and for use."""
    trained, random = load(SHIPPED["2CXM"]), np.random.default_rng(0)
    architecture = read_card(SHIPPED["2CXM"])["architecture"]
    model = build(Architecture(tuple(architecture["filters"]), architecture["width"]))
    model.set_weights(trained.weights)
    seen = [random.normal(size=(16, *each.shape[1:])).astype(np.float32) for each in model.inputs]
    for theirs, ours in zip(model(seen), trained(*seen), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_kinds_of_label():
    """Mixes are weighted; what isn't a kind is refused in one line."""
    study = simulate(2, 0, 6)
    found = {"mle": fit(ExchangeLeastSquares(), study)}
    truth, mle, mixed = (value_of(read_kind(k), study, found) for k in ("truth", "mle", "hybrid:0.25"))
    np.testing.assert_allclose(truth, to_coordinates(true_values(study.truth)))
    np.testing.assert_allclose(mixed, 0.25 * truth + 0.75 * mle, equal_nan=True)
    for wrong in ("guess", "hybrid", "hybrid:2", "hybrid:x", "hybrid:0.5:truth", "hybrid:0.5:truth:self", "truth:1"):
        with pytest.raises(ValueError, match="labels is"):
            read_kind(wrong)


def test_labels_are_made_once(tmp_path, monkeypatch):
    """Labels are kept by content: another curve or another option is another file."""
    study, store = simulate(2, 1, 4), LabelStore(tmp_path, ExchangeLeastSquares())
    first = store.label(study)
    monkeypatch.setattr(ExchangeLeastSquares, "fit", None)
    np.testing.assert_allclose(store.label(study).values, first.values, rtol=1e-6, equal_nan=True)
    from qperf_kinetics.nlls import ExchangeOptions

    other = LabelStore(tmp_path, ExchangeLeastSquares(ExchangeOptions(max_delay=4.0)))
    assert other.digest(study) != store.digest(study) != store.digest(simulate(2, 2, 4))


def test_labels_do_not_hang_on_threads(tmp_path):
    """However many studies are labelled beside each other, examples and digest are the same, and in one order."""
    makers = [partial(simulate, 5, number, 6) for number in range(4)]

    def collected(threads):
        store = LabelStore(tmp_path / str(threads), ExchangeLeastSquares())
        return collect(read_kind("mle"), {"mle": store}, makers, lambda _: None, "train", threads)

    one, three = collected(1), collected(3)
    assert one.digests == three.digests
    np.testing.assert_array_equal(one.examples.responses, three.examples.responses)
    np.testing.assert_array_equal(one.examples.value, three.examples.value)


def test_an_error_ends_labelling(tmp_path):
    """Studies that have not begun when one fails are not labelled any more."""

    def fails():
        raise ValueError("no such scan")

    makers = [fails, *(partial(simulate, 5, number, 6) for number in range(40))]
    store = LabelStore(tmp_path, ExchangeLeastSquares())
    with pytest.raises(ValueError, match="no such scan"):
        collect(read_kind("mle"), {"mle": store}, makers, lambda _: None, "train", 2)
    assert len(list(tmp_path.glob("*.npz"))) < 40


@pytest.fixture(scope="module")
def maps():
    curves = example_curves(noise=0.02)
    concentration = curves.concentration.copy()
    concentration[4, 7] = np.nan
    whole = TissueCurves(concentration, curves.times, curves.voxels, curves.affine)
    return curves, ConvolutionalKinetics().fit(whole, example_aif(), TissueConstants(), RunContext())


def test_flow_is_near_the_fit(maps):
    """Flow agrees with least squares on clean curves; quantiles are in order; a gap hardly changes a thing."""
    curves, found = maps
    values = {(m.quantity, m.statistic): m.values for m in found.maps}
    fitted = ExchangeLeastSquares().fit(curves, example_aif(), TissueConstants(), RunContext())
    theirs = next(m.values for m in fitted.maps if m.quantity == "MBF")
    known = np.isfinite(theirs)
    low, flow, high, mean = (values["MBF", s] for s in ("q05", "q50", "q95", "mean"))
    assert np.median(np.abs(flow[known] / theirs[known] - 1.0)) < 0.2
    assert (low < flow).all() and (flow < high).all() and (low < mean).all() and (mean < high).all()
    whole = ConvolutionalKinetics().fit(curves, example_aif(), TissueConstants(), RunContext())
    again = whole.values["MBF"]
    assert flow[4] == pytest.approx(again[4], rel=0.2)
    others = np.arange(len(again)) != 4
    np.testing.assert_allclose(flow[others], again[others], rtol=1e-4)


def test_what_it_was_not_trained_for_is_flagged():
    """Another scan's input function, no bolus in the tissue, ten times the noise of any training curve: no value."""
    rng = np.random.default_rng(0)
    study, other = simulate(21, 3, 64), simulate(21, 4, 64)
    n, t = study.tissue.shape
    voxels = np.zeros((n, 3), dtype=np.intp)

    def flagged(tissue, plasma):
        curves = TissueCurves(tissue, study.times, voxels, np.eye(4))
        aif = InputFunction(study.times, plasma, plasma=True)
        found = ConvolutionalKinetics().fit(curves, aif, TissueConstants(), RunContext())
        assert all((np.isnan(m.values) == (found.qc == 21)).all() for m in found.maps)
        return np.mean(found.qc == 21)

    plasma = np.interp(study.times, other.times, other.plasma)
    assert flagged(study.tissue, study.plasma) < 0.2
    assert flagged(study.tissue, plasma) > 0.5
    assert flagged(study.tissue + 0.2 * study.plasma.max() * rng.standard_normal((n, t)), study.plasma) > 0.9


@pytest.mark.parametrize("model", EXCHANGE_MODELS)
def test_each_model_has_a_network_of_its_own(model):
    """Intervals hold the truth of curves of the model as often as they say; weights of another model are refused."""
    study = simulate(77, 2_000_000, 512, model)
    curves = TissueCurves(study.tissue, study.times, np.zeros((len(study.tissue), 3), dtype=np.intp), np.eye(4))
    aif = InputFunction(study.times, study.plasma, plasma=True)
    found = ConvolutionalKinetics(NetworkOptions(model=model)).fit(curves, aif, TissueConstants(), RunContext())
    assert found.model == model
    of = {(m.quantity, m.statistic): m.values for m in found.maps}
    given = np.isfinite(of["Fp", "q50"])
    assert given.mean() > 0.8
    truth = true_values(study.truth, model)
    for k, name in enumerate(QUANTITIES):
        inside = (of[name, "q05"] <= truth[:, k]) & (truth[:, k] <= of[name, "q95"])
        assert 0.7 < inside[given].mean() < 1.0, name
    other = next(each for each in EXCHANGE_MODELS if each != model)
    plugin = ConvolutionalKinetics(NetworkOptions(model=model, weights=str(SHIPPED[other])))
    with pytest.raises(WeightsError, match=f"taught {other}; option model is {model}"):
        plugin.fit(curves, aif, TissueConstants(), RunContext())


def test_weights_that_are_none_are_refused(tmp_path):
    """A missing file is named."""
    plugin = ConvolutionalKinetics(NetworkOptions(weights=str(tmp_path / "none.npz")))
    with pytest.raises(WeightsError, match=r"none\.json"):
        plugin.fit(example_curves(), example_aif(), TissueConstants(), RunContext())


def test_training_from_the_command_line(tmp_path, capsys):
    """A resumed training ends where an unbroken one does; its weights make maps; the card tells what they are."""
    from qperf_app.cli.tools import main

    common = ["--labels", "truth", "--studies", "4", "--held-out", "2", "--width", "16", "--batch", "64", "--seed", "3"]
    assert main(["train", "kinetics", str(tmp_path / "a"), *common, "--epochs", "2"]) == 0
    assert main(["train", "kinetics", str(tmp_path / "b"), *common, "--epochs", "2"]) == 0
    first, second = ((tmp_path / name / "kinetics.npz").read_bytes() for name in "ab")
    assert first == second
    card = json.loads((tmp_path / "a" / "kinetics.json").read_text())
    assert card["labels"] == "truth" and card["data"]["curves"] == 512 and str(tmp_path) not in json.dumps(card)
    assert main(["train", "kinetics", str(tmp_path / "a"), *common, "--epochs", "3"]) == 2
    assert "resume it" in capsys.readouterr().err
    assert main(["train", "kinetics", str(tmp_path / "a"), *common, "--epochs", "3", "--resume"]) == 0
    plugin = ConvolutionalKinetics(NetworkOptions(weights=str(tmp_path / "a" / "kinetics.npz")))
    found = plugin.fit(example_curves(), example_aif(), TissueConstants(), RunContext())
    assert all((np.isfinite(m.values) == (found.qc != 21)).all() for m in found.maps)


@pytest.mark.parametrize("labels", ["self", "hybrid:0.5", "mle"])
def test_every_kind_of_label_trains(tmp_path, labels):
    """Without labels the network learns through the model, and then gives no intervals."""
    from qperf_app.cli.tools import main

    options = [
        "--labels",
        labels,
        "--studies",
        "2",
        "--held-out",
        "1",
        "--width",
        "16",
        "--epochs",
        "2",
        "--batch",
        "64",
    ]
    assert main(["train", "kinetics", str(tmp_path), *options]) == 0
    plugin = ConvolutionalKinetics(NetworkOptions(weights=str(tmp_path / "kinetics.npz")))
    found = plugin.fit(example_curves(), example_aif(), TissueConstants(), RunContext())
    assert {m.statistic for m in found.maps} == ({None} if labels == "self" else {None, "std", "q05", "q95"})


def test_participants_own_curves_are_learnt_with_the_simulated_ones(tmp_path, capsys):
    """They are labelled as the others are, and counted; nothing in the card tells whose they are."""
    from benchmarks.kinetics_accuracy import simulate as simulate_curves
    from qperf_app.cli.tools import main
    from tests.test_pinn import finished_run

    run = finished_run(tmp_path / "out", simulate_curves(400, 7, 0.002, of="input"))
    size = ["--studies", "2", "--held-out", "1", "--width", "16", "--epochs", "1", "--batch", "64"]
    train = ["train", "kinetics", str(tmp_path / "net"), *size, "--from-run", str(run)]
    assert main([*train, "--labels", "truth"]) == 2
    assert "nobody knows the truth" in capsys.readouterr().err
    assert main([*train, "--labels", "mle"]) == 0
    card = json.loads((tmp_path / "net" / "kinetics.json").read_text())
    # 400 curves are four studies of at most 128; many fits without priors end on a bound.
    assert card["data"]["own_scans"] == 1 and card["data"]["own_studies"] == 4
    assert 2 * 128 < card["data"]["curves"] <= 2 * 128 + 400
    assert "sub-01" not in json.dumps(card) and str(tmp_path) not in json.dumps(card)
    assert len(list((tmp_path / "net" / "labels").glob("*.npz"))) == 2 + 1 + 4


def test_lags_reach_past_the_first_pass():
    """Lags rise, start before the earliest delay and reach a minute."""
    assert (np.diff(LAGS) > 0).all() and LAGS[0] < RANGES["Ta"][0] and LAGS[-1] > 45.0
