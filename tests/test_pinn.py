"""The physics-informed fit: learns a scan's curves through the equations, keeps for others, says what it can't do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kinetics_accuracy import simulate
from qperf_app.bids import records
from qperf_app.cli.tools import main as qperf
from qperf_app.methods.priors import read
from qperf_app.physics.backend import NumpyOps
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    ConcentrationSeries,
    InputFunction,
    Myocardium,
    QualityCode,
    RunContext,
    Series,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.manager import PluginOptionError, load_plugins, make
from qperf_app.training import WeightsError
from qperf_pinn import PhysicsInformedFit
from qperf_pinn.plugin import PhysicsInformedOptions
from qperf_pinn.setting import LOWER, NAMES, UPPER, Setting


def scan_of(curves):
    voxels = np.stack([np.arange(len(curves.tissue)), np.zeros(len(curves.tissue)), np.zeros(len(curves.tissue))], 1)
    return TissueCurves(curves.tissue, curves.times, voxels.astype(int), np.eye(4)), InputFunction(
        curves.times, curves.blood
    )


def flow(result):
    return next(m.values for m in result.maps if m.quantity == "Fb")


@pytest.fixture(scope="module")
def known():
    return simulate(400, 3, 0.002, of="input")


@pytest.fixture(scope="module")
def fitted(known):
    return PhysicsInformedFit(PhysicsInformedOptions(steps=500)).fit(
        *scan_of(known), TissueConstants(0.42), RunContext()
    )


def test_learns_the_curves_without_labels(known, fitted):
    assert fitted.model == "2CXM" and (fitted.qc == QualityCode.FULL).mean() > 0.98
    error = flow(fitted) / known.true_flow - 1.0
    assert np.nanmedian(np.abs(error)) < 0.3 and abs(np.nanmedian(error)) < 0.15
    residual = np.sqrt(np.nanmean((fitted.fitted - known.tissue) ** 2))
    assert residual < 1.6 * 0.002 * known.blood.max()
    assert {m.quantity for m in fitted.maps} == {"MBF", "Fb", "Fp", "PS", "Ktrans", "vp", "vb", "ve", "Ta"}


def test_model_curves_are_the_closed_forms(known):
    curves, aif = scan_of(known)
    setting = Setting.of(curves, aif, 0.42, "2CXM")
    x = np.random.default_rng(0).uniform(LOWER, UPPER, (200, 5))
    joined = np.union1d(setting.grid, setting.times)
    exact = two_compartment_exchange(
        joined, np.interp(joined, setting.grid, setting.plasma), *np.exp(x[:, :4]).T, x[:, 4]
    )
    exact = exact[:, np.searchsorted(joined, setting.times)]
    np.testing.assert_allclose(setting.curves(NumpyOps, x), exact, atol=5e-4)


def test_what_the_network_sees_does_not_depend_on_the_input():
    """The same tissue under another bolus looks the same."""
    truth = [np.array([0.6, 1.2, 2.5]), *(np.full(3, v) for v in (0.8, 0.06, 0.2, 1.0))]
    seen = []
    for width, start in ((2.5, 12.0), (4.0, 16.0)):
        times = np.arange(0.0, 60.0, 0.8)
        blood = 5.0 * np.exp(-0.5 * ((times - start) / width) ** 2) + 0.6 / (1.0 + np.exp(start - times))
        tissue = two_compartment_exchange(times, blood / 0.58, *truth)
        curves = TissueCurves(tissue, times, np.zeros((3, 3), int), np.eye(4))
        setting = Setting.of(curves, InputFunction(times, blood), 0.42, "2CXM")
        seen.append(setting.features(tissue / setting.peak))
    assert np.abs(seen[0] - seen[1]).max() < 0.25 * np.abs(seen[0]).max()
    assert np.abs(seen[0][0] - seen[0][2]).max() > 0.5 * np.abs(seen[0]).max()


def test_the_objective_is_each_voxels_own():
    from qperf_pinn.learning import Objective

    rng, priors = np.random.default_rng(0), read("", "2CXM", NAMES)
    x, fitted, data = rng.normal(size=(6, 5)), rng.normal(size=(6, 20)), rng.normal(size=(6, 20))
    present = (rng.random((6, 20)) < 0.8).astype(float)
    found = Objective(priors)(x, fitted, data, present, 0.5)
    for k in range(6):
        there = present[k] > 0
        squares = ((fitted - data)[k, there] ** 2).sum()
        scale = priors.noise_scale**2
        expected = (priors.noise_shape + there.sum() / 2) * np.log((scale + squares / 2) / scale)
        expected += 0.25 * (((x[k] - priors.mean) / priors.sd) ** 2).sum()
        assert found[k] == pytest.approx(expected, rel=1e-9)


def test_priors_are_an_option(known):
    curves, aif = scan_of(known)
    few = dataclasses.replace(curves, concentration=curves.concentration[:40], voxels=curves.voxels[:40])
    spreads = []
    for weight in (0.0, 1e5):
        plugin = PhysicsInformedFit(PhysicsInformedOptions(steps=150, prior_weight=weight))
        Fb = flow(plugin.fit(few, aif, TissueConstants(0.42), RunContext()))
        spreads.append(np.nanstd(np.log(Fb)))
    assert spreads[1] < 0.5 * spreads[0]
    assert read("", "2CXM", NAMES).mean[0] == pytest.approx(np.log(0.8))


def test_says_what_it_can_not_do(known):
    curves, aif = scan_of(known)
    data = curves.concentration[:4].copy()
    data[0, 3:40] = np.nan
    data[1] = 0.0
    data[2] = np.random.default_rng(0).normal(0.0, 0.01, data.shape[1])
    data[3, [5, 30]] = np.nan
    some = dataclasses.replace(curves, concentration=data, voxels=curves.voxels[:4])
    result = PhysicsInformedFit(PhysicsInformedOptions(steps=60)).fit(some, aif, TissueConstants(), RunContext())
    assert result.qc[:3].tolist() == [QualityCode.NOT_FINITE, QualityCode.NO_ENHANCEMENT, QualityCode.NO_ENHANCEMENT]
    assert result.qc[3] in (QualityCode.FULL, QualityCode.AT_BOUND) and set(result.qc.tolist()) <= set(result.qc_legend)
    assert np.isnan(flow(result)[:3]).all() and np.isfinite(flow(result)[3])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": -1}, "steps"), ({"model": "ATH"}, "got 'ATH'"), ({"prior_weight": -1.0}, "prior_weight")],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(PluginOptionError, match=message):
        make(load_plugins().get("kinetics", "pinn"), options)


def finished_run(out: Path, known) -> Path:
    """An output folder with the curves of one participant."""
    folder = out / "sub-01" / "perf"
    folder.mkdir(parents=True)
    data = np.zeros((20, 20, 1, len(known.times)), np.float32)
    data.reshape(400, -1)[:] = known.tissue
    series = Series(data, known.times, np.eye(4), {"Units": CONCENTRATION_UNITS, "VolumeTiming": known.times.tolist()})
    prefix = "sub-01_task-rest"
    found = ConcentrationSeries(data, CONCENTRATION_UNITS, np.zeros(data.shape, bool))
    records.write_concentration(folder, prefix, series, found, [])
    records.write_myocardium(folder, prefix, Myocardium(np.ones(data.shape[:3], bool)), np.eye(4), [])
    records.write_aif(folder, prefix, InputFunction(known.times, known.blood), 0.42, [])
    return out


def test_trained_on_a_run_it_serves_another_participant(tmp_path, capsys, known):
    run = finished_run(tmp_path / "out", known)
    train = ["train", "kinetics", str(tmp_path / "net"), "--plugin", "pinn", "--steps", "250"]
    assert qperf([*train, "--from-run", str(run)]) == 0
    weights = tmp_path / "net" / "pinn.npz"
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["model"] == "2CXM" and card["data"] == {"scans": 1, "curves": 400} and str(tmp_path) not in str(card)

    other = simulate(100, 8, 0.002, of="input")
    Plugin, Options = PhysicsInformedFit, PhysicsInformedOptions
    result = Plugin(Options(weights=str(weights))).fit(*scan_of(other), TissueConstants(0.42), RunContext())
    assert np.nanmedian(np.abs(flow(result) / other.true_flow - 1.0)) < 0.35
    rest = [
        Plugin(Options(weights=str(weights), refine=steps)).fit(*scan_of(known), TissueConstants(0.42), RunContext())
        for steps in (0, 80)
    ]
    misfit = [np.nansum((maps.fitted - known.tissue) ** 2) for maps in rest]
    assert misfit[1] < misfit[0]

    with pytest.raises(WeightsError, match="weights for the model 2CXM, not BTEX"):
        Plugin(Options(weights=str(weights), model="BTEX")).fit(*scan_of(other), TissueConstants(), RunContext())
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        Plugin(Options(weights=str(weights))).fit(*scan_of(other), TissueConstants(), RunContext())

    capsys.readouterr()
    for arguments, code, message in (
        ([], 2, "nothing to learn from"),
        (["--from-run", str(tmp_path / "net")], 16, "no finished run"),
        (["--from-run", str(run), "--participant-label", "07"], 18, "participant 07"),
    ):
        assert qperf([*train, *arguments]) == code
        assert message in capsys.readouterr().err
    assert qperf(["train", "blood-pool", str(tmp_path / "no"), "--from-run", str(run)]) == 2
    assert "--from-run has no use" in capsys.readouterr().err
    assert qperf([*train, "--labels", "truth"]) == 2
    assert "--labels is no option of plugin pinn" in capsys.readouterr().err


def test_a_capillary_in_segments_is_fitted_too(known):
    curves, aif = scan_of(known)
    few = dataclasses.replace(curves, concentration=curves.concentration[:3], voxels=curves.voxels[:3])
    result = PhysicsInformedFit(PhysicsInformedOptions(steps=0, model="BTEX")).fit(
        few, aif, TissueConstants(), RunContext()
    )
    assert result.model == "BTEX" and result.fitted is not None and np.isfinite(result.fitted).all()
