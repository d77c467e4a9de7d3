"""What neighbouring voxels tell of a voxel's flow, and what a segment's voxels tell of its."""

from __future__ import annotations

import numpy as np
import pytest

from qperf_app.methods.neighbours import DEGREES_OF_FREEDOM, share_flow
from qperf_app.methods.wider_intervals import centred
from qperf_app.plugins import (
    InputFunction,
    KineticMaps,
    KineticsPlugin,
    ParameterMap,
    RunContext,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.manager import load_plugins
from qperf_app.testing.examples import example_aif, example_curves

BETWEEN = 0.3


def test_two_neighbours_have_the_posterior_of_a_t_density():
    """Against the integral of the density over a grid; a voxel far away and one of another slice keep their own."""
    means, sd = np.array([0.0, 0.4, 1.0, 2.0]), np.array([0.2, 0.1, 0.3, 0.4])
    found = share_flow(means, sd, np.array([[0, 0, 0], [0, 1, 0], [0, 5, 0], [0, 0, 1]]), BETWEEN)
    a, b = (np.linspace(m - 6 * s, m + 6 * s, 601) for m, s in zip(means[:2], sd[:2], strict=True))
    apart = (a[:, None] - b) / BETWEEN
    density = np.exp(-0.5 * (((a - means[0]) / sd[0]) ** 2)[:, None] - 0.5 * ((b - means[1]) / sd[1]) ** 2)
    density *= (1.0 + apart**2 / DEGREES_OF_FREEDOM) ** (-0.5 * (DEGREES_OF_FREEDOM + 1.0))
    density /= density.sum()
    for k, (grid, share) in enumerate(((a, density.sum(axis=1)), (b, density.sum(axis=0)))):
        mean = (grid * share).sum()
        assert found[0][k] == pytest.approx(mean, abs=0.02)
        assert found[1][k] == pytest.approx(np.sqrt(((grid - mean) ** 2 * share).sum()), rel=0.1)
    assert found[0][2:] == pytest.approx([1.0, 2.0]) and found[1][2:] == pytest.approx([0.3, 0.4])


def test_order_of_the_voxels_changes_nothing_and_gaps_say_nothing():
    """To the bit; a voxel without a flow is as good as one that is not there."""
    rng = np.random.default_rng(3)
    voxels = np.argwhere(rng.random((9, 8, 2)) < 0.7)
    flow, sd = rng.normal(0.0, 0.4, len(voxels)), rng.uniform(0.05, 0.5, len(voxels))
    gone = rng.random(len(voxels)) < 0.2
    flow[gone] = np.nan
    found = share_flow(flow, sd, voxels, BETWEEN)
    order = rng.permutation(len(voxels))
    again = share_flow(flow[order], sd[order], voxels[order], BETWEEN)
    without = share_flow(flow[~gone], sd[~gone], voxels[~gone], BETWEEN)
    for k in range(2):
        np.testing.assert_array_equal(again[k], found[k][order])
        np.testing.assert_array_equal(without[k], found[k][~gone])
        assert np.isnan(found[k][gone]).all()
    assert (found[1][~gone] <= sd[~gone]).all()


def test_a_slice_is_solved_as_with_whole_matrices():
    """Against expectation maximisation with inverses of whole matrices, on voxels with holes and a row of one."""
    rng = np.random.default_rng(4)
    voxels = np.pad(np.argwhere(rng.random((11, 9)) < 0.6), ((0, 0), (0, 1)))
    n = len(voxels)
    flow, sd = rng.normal(0.0, 0.5, n), rng.uniform(0.05, 0.5, n)
    near = np.abs(voxels[:, None] - voxels).sum(axis=2) == 1
    square = (flow[:, None] - flow) ** 2
    for _ in range(200):
        weight = near * (DEGREES_OF_FREEDOM + 1.0) / (DEGREES_OF_FREEDOM + square / BETWEEN**2) / BETWEEN**2
        covariance = np.linalg.inv(np.diag(1.0 / sd**2 + weight.sum(axis=1)) - weight)
        mean, variance = covariance @ (flow / sd**2), np.diag(covariance)
        square = (mean[:, None] - mean) ** 2 + variance[:, None] + variance - 2.0 * covariance
    found = share_flow(flow, sd, voxels, BETWEEN)
    assert found[0] == pytest.approx(mean, abs=0.01)
    assert found[1] == pytest.approx(np.sqrt(variance), rel=0.01)


def test_noise_shrinks_and_the_border_of_a_defect_stays():
    """A ring of flow 1.4 with a defect of 0.3: errors shrink by nearly a half, and those at its border hardly move."""
    i, j = np.indices((32, 32)) - 15.5
    radius, angle = np.hypot(i, j), np.arctan2(i, j)
    ring = (radius > 8) & (radius < 12)
    voxels, defect = np.pad(np.argwhere(ring), ((0, 0), (0, 1))), np.abs(angle[ring]) < 0.5
    truth = np.log(np.where(defect, 0.3, 1.4))
    sd = np.full(len(truth), 0.2)
    errors = []
    for seed in range(20):
        noisy = truth + sd * np.random.default_rng(seed).standard_normal(len(truth))
        errors.append(share_flow(noisy, sd, voxels, BETWEEN)[0] - truth)
    error = np.array(errors)
    assert np.sqrt((error**2).mean()) < 0.6 * 0.2
    beside = np.abs(np.abs(angle[ring]) - 0.5) < 0.1
    assert np.abs(error[:, beside & defect].mean()) < 0.1 and np.abs(error[:, beside & ~defect].mean()) < 0.15


@pytest.mark.parametrize("name", ["nlls", "fermi", "cnn"])
def test_neighbours_have_a_say_where_the_curves_are_of_an_image(name):
    """One heart's voxels with much noise: nearer to the truth, as narrow as they are; only flow moves."""
    plugin = load_plugins().get("kinetics", name).cls
    curves, aif = _wall()
    of_image = TissueCurves(curves.concentration, curves.times, curves.voxels, curves.affine, of_image=True)
    alone, together, off = (
        plugin(options).fit(given, aif, TissueConstants(), RunContext())
        for given, options in (
            (curves, plugin.Options()),
            (of_image, plugin.Options()),
            (of_image, plugin.Options(prior="voxel")),
        )
    )
    for one, other in zip(alone.maps, off.maps, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    spread = [np.nanstd(np.log(found.values["MBF"])) for found in (alone, together)]
    assert spread[1] < 0.7 * spread[0]
    np.testing.assert_allclose(together.values["Ta"], alone.values["Ta"])
    by_key = {(m.quantity, m.statistic): m.values for m in together.maps}
    if ("MBF", "q05") in by_key:
        before = {(m.quantity, m.statistic): m.values for m in alone.maps}
        width = [np.log(maps["MBF", "q95"] / maps["MBF", "q05"]) for maps in (before, by_key)]
        known = np.isfinite(width[0])
        assert (width[1][known] < width[0][known]).all()
        assert (by_key["MBF", "q05"][known] < together.values["MBF"][known]).all()
    if ("MBF", "mean") in by_key:
        assert np.nanmax(np.abs(by_key["Fb", "std"] / by_key["MBF", "std"] / 1.05 - 1.0)) < 1e-9


def _wall() -> tuple[TissueCurves, InputFunction]:
    """A plate of voxels with one flow and noise."""
    curves, aif = example_curves(1, noise=0.0), example_aif()
    clean = np.repeat(curves.concentration, 64, axis=0)
    noise = 0.2 * clean.max() * np.random.default_rng(5).standard_normal(clean.shape)
    voxels = np.pad(np.argwhere(np.ones((8, 8), bool)), ((0, 0), (0, 1)))
    return TissueCurves(clean + noise, curves.times, voxels, np.eye(4)), aif


def test_wrong_prior_is_refused():
    """By name."""
    for name in ("nlls", "fermi", "cnn", "hmc"):
        cls: type[KineticsPlugin] = load_plugins().get("kinetics", name).cls
        with pytest.raises(ValueError, match="prior is 'none'"):
            cls.Options(prior="none")


def test_flow_of_a_segment_is_that_of_its_voxels():
    """With the width of the curve's interval; where the curve gives none, with that of the voxels."""
    maps = tuple(
        ParameterMap("MBF", "mL/min/g", np.array(values), statistic)
        for statistic, values in ((None, [2.0, np.nan]), ("q05", [1.6, np.nan]), ("q95", [2.5, np.nan]))
    ) + (ParameterMap("Ta", "s", np.array([1.0, 2.0])),)
    result = KineticMaps("2CXM", maps, np.zeros(2, np.uint8), {}, flow_draws=np.full((2, 3), 2.0, np.float32))
    of_voxels = {
        ("MBF", None): np.array([1.0, 3.0]),
        ("MBF", "q05"): np.array([0.1, 2.0]),
        ("MBF", "q95"): np.array([9.0, 4.0]),
    }
    found = {(m.quantity, m.statistic): m.values.tolist() for m in centred(result, of_voxels).maps}
    assert found["MBF", None] == [1.0, 3.0]
    assert found["MBF", "q05"] == [0.8, 2.0] and found["MBF", "q95"] == [1.25, 4.0]
    assert found["Ta", None] == [1.0, 2.0]
    draws = centred(result, of_voxels).flow_draws
    assert draws is not None and draws[0].tolist() == [1.0, 1.0, 1.0]
    assert centred(result, {}).maps == result.maps


def test_flow_that_has_no_width_is_that_of_the_voxels():
    """A curve's flow of 0 or below, as a linear fit may give, can't be scaled; each quantity goes by its own map."""
    maps = tuple(
        ParameterMap(name, "", np.array(values), statistic)
        for name, statistic, values in (
            ("MBF", None, [0.0, -0.5]),
            ("MBF", "q05", [-1.0, -0.7]),
            ("MBF", "q95", [1.0, 0.2]),
            ("Fb", None, [1.0, 2.0]),
        )
    )
    result = KineticMaps("linear", maps, np.zeros(2, np.uint8), {})
    of_voxels: dict[tuple[str, str | None], np.ndarray] = {("MBF", None): np.array([2.0, 3.0])}
    found = {(m.quantity, m.statistic): m.values for m in centred(result, of_voxels).maps}
    assert found["MBF", None].tolist() == [2.0, 3.0] and np.isnan(found["MBF", "q05"]).all()
    assert found["Fb", None].tolist() == [1.0, 2.0]
