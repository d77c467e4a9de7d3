"""What a kinetics plugin must pass besides: flow follows the truth, and nothing that it must not depend on."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import KineticMaps, KineticsPlugin, TissueConstants, TissueCurves
from qperf_app.plugins.quality import FIRST_OWN_CODE, contradicts, meaning
from qperf_app.testing.conformance import PluginConformance, Runs
from qperf_app.testing.examples import example_aif, example_curves, example_flow
from qperf_app.testing.inputs import step_of

Array = NDArray[np.float64]


class KineticsConformance(PluginConformance):
    """Checks of a kinetics plugin, on twelve curves of the exchange model with MBF from 0.57 to 2.86 mL/min/g.

    ``factor`` is by how much flow may typically (geometric mean) be too high or too low, ``worst_factor`` the same of
    one curve. A method that supposes less than the model of the curves is biased, by a factor that it should know.
    """

    step: ClassVar[str] = step_of(KineticsPlugin).name
    factor: ClassVar[float] = 1.7
    worst_factor: ClassVar[float] = 2.5

    def test_gives_flow_per_mass(self, runs: Runs) -> None:
        """MBF in mL/min/g is what is compared between methods: there, and ``Fb`` over the density of the tissue."""
        units = {m.quantity: m.units for m in runs.plain.maps}
        assert units.get("MBF") == "mL/min/g", f"MBF in mL/min/g is asked for, there are {units}"
        if "Fb" in units:
            values = runs.plain.values
            ratio = values["Fb"] / values["MBF"]
            density = TissueConstants().density
            off = float(np.nanmax(np.abs(ratio / density - 1.0), initial=0.0))
            assert off <= 0.02, f"Fb / MBF differs by up to {off:.0%} from the density of {density} g/mL"

    def test_order_of_flow_is_true(self, runs: Runs) -> None:
        """Where more blood flows, more is found (Spearman's rank correlation of at least 0.9)."""
        flow, true = _flow(runs.plain), example_flow()
        there = np.isfinite(flow)
        assert there.mean() >= 0.75, f"{(~there).sum()} of {len(flow)} good curves get no flow"
        ranks = flow[there].argsort().argsort(), true[there].argsort().argsort()
        alike = float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if np.ptp(flow[there]) else 0.0
        assert alike >= 0.9, f"flow and true flow have a rank correlation of {alike:.2f}: {_side_by_side(flow, true)}"

    def test_size_of_flow_is_true(self, runs: Runs) -> None:
        """The order alone would let any number pass: flow is the true one within the factors of this class.

        As curves of no image and as voxels of one (``of_image``), in which neighbours may have a say.
        """
        for result, where in ((runs.plain, ""), (_in_image(runs), "in an image ")):
            flow, true = _flow(result), example_flow()
            with np.errstate(divide="ignore"):
                logs = np.log(flow / true)[np.isfinite(flow)]
            typical, worst = float(np.exp(np.abs(logs.mean()))), float(np.exp(np.abs(logs).max()))
            assert typical <= self.factor and worst <= self.worst_factor, (
                f"{where}flow is off by a factor of {typical:.2f} typically (at most {self.factor}) and of {worst:.2f} "
                f"at worst (at most {self.worst_factor}): {_side_by_side(flow, true)}"
            )

    def test_order_of_voxels_does_not_matter(self, runs: Runs) -> None:
        """Where a voxel of an image lies may count, its place in the list not: reversed, the result is reversed."""
        turned = runs(curves=_some(_image(), np.s_[::-1]))
        _same(_in_image(runs), turned, np.s_[::-1], "with the voxels of an image in reverse order")

    def test_chunks_of_voxels_do_not_matter(self, runs: Runs) -> None:
        """The host hands over as many voxels at a time as fit: half of them alone get the same values."""
        half = runs(curves=_some(example_curves(), np.s_[:6]))
        _same(half, runs.plain, np.s_[:6], "with the first half of the voxels alone")

    def test_scale_of_concentration_cancels(self, runs: Runs) -> None:
        """Flow is in blood per tissue: doubled concentration in both leaves it, so that relative units may do."""
        curves, aif = example_curves(), example_aif()
        scaled = runs(
            curves=replace(curves, concentration=2.0 * curves.concentration),
            aif=replace(aif, concentration=2.0 * aif.concentration),
        )
        off = float(np.nanmax(np.abs(_flow(scaled) / _flow(runs.plain) - 1.0), initial=0.0))
        assert off <= 0.05, f"flow changes by up to {off:.0%} where input function and tissue are both doubled"

    def test_a_dead_curve_has_no_flow_and_a_code(self, runs: Runs) -> None:
        """What can't be estimated is NaN with a code that says why, not a number, beside curves that are good."""
        curves = _some(_image(), np.s_[:4])
        dead = curves.concentration.copy()
        dead[2], dead[3] = 0.0, np.nan
        result: KineticMaps = runs(curves=replace(curves, concentration=dead))
        flow = _flow(result)
        for voxel, what in ((2, "zero throughout"), (3, "NaN throughout")):
            assert np.isnan(flow[voxel]), f"a curve that is {what} gets a flow of {flow[voxel]:.2f} mL/min/g"
            assert result.qc[voxel] != 0, f"a curve that is {what} has no flow, and qc 0 calls it a full estimate"
        assert np.isfinite(flow[:2]).any(), "good curves get no flow where they stand beside dead ones"

    def test_quality_codes_mean_what_they_mean_everywhere(self, runs: Runs) -> None:
        """One colour, one meaning: the legend leaves the host's codes theirs. A plugin's own are 128 to 254.

        Those from 25 to 127 are kept for codes to come. What 0, a full estimate, is called is the plugin's affair.
        """
        dead = replace(example_curves(), concentration=np.zeros_like(example_curves().concentration))
        said = {**runs.plain.qc_legend, **runs(curves=dead).qc_legend}
        wrong = [
            f"{code} ({words!r}): {meaning(code) or 'kept for codes to come'}"
            for code, words in sorted(said.items())
            if contradicts(code, words) or (meaning(code) is None and code < FIRST_OWN_CODE)
        ]
        assert not wrong, f"qc_legend gives codes of the host's another meaning; its own are 128 to 254: {wrong}"

    def test_intervals_are_ordered_and_hold_the_value(self, runs: Runs) -> None:
        """q05, q50 and q95 are quantiles of one posterior; its mean lies between the outer two."""
        maps = {(m.quantity, m.statistic): m.values for m in runs.plain.maps}
        for quantity in {q for q, statistic in maps if statistic is not None}:
            low, high = (maps.get((quantity, s)) for s in ("q05", "q95"))
            if low is None or high is None:
                continue
            for statistic in ("q50", "mean"):
                value = maps.get((quantity, statistic), low)
                wrong = np.isfinite(low + high + value) & ((value < low) | (value > high))
                assert not wrong.any(), f"{statistic} of {quantity} is outside of q05 to q95 in {wrong.sum()} voxels"

    def test_intervals_hold_the_truth(self, runs: Runs) -> None:
        """Of 90 % intervals of flow at least half hold the true flow: one that never does says nothing."""
        maps = {m.statistic: m.values for m in runs.plain.maps if m.quantity == "MBF"}
        if "q05" in maps and "q95" in maps:
            held = (maps["q05"] <= example_flow()) & (example_flow() <= maps["q95"])
            there = np.isfinite(maps["q05"])
            assert held.sum() >= 0.5 * there.sum(), f"{held.sum()} of {there.sum()} intervals hold the true flow"


def _image() -> TissueCurves:
    return replace(example_curves(), of_image=True)


@lru_cache(maxsize=1)
def _in_image(runs: Runs) -> KineticMaps:
    """Result on the example as an image, shared by the checks of one class."""
    result: KineticMaps = runs(curves=_image())
    return result


def _flow(result: KineticMaps) -> Array:
    assert "MBF" in result.values, f"there is no map of MBF; there are {sorted(result.values)}"
    return result.values["MBF"]


def _some(curves: TissueCurves, which: slice) -> TissueCurves:
    return replace(curves, concentration=curves.concentration[which], voxels=curves.voxels[which])


def _same(expected: KineticMaps, found: KineticMaps, which: slice, when: str) -> None:
    for a, b in zip(expected.maps, found.maps, strict=True):
        np.testing.assert_allclose(
            b.values[which], a.values, rtol=1e-6, atol=1e-9, err_msg=f"{a.quantity} of a voxel differs {when}"
        )


def _side_by_side(flow: Array, true: Array) -> str:
    return ", ".join(f"{f:.2f} for {t:.2f}" for f, t in zip(flow, true, strict=True)) + " mL/min/g"
