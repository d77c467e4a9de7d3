"""What a concentration method must pass besides: the example heart's known concentration comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from qperf_app.physics.sequences import ReadOut
from qperf_app.plugins import CONCENTRATION_UNITS, ConcentrationPlugin, ConcentrationSeries, Series
from qperf_app.plugins.manager import make
from qperf_app.testing.conformance import PluginConformance, Runs
from qperf_app.testing.examples import example_concentration, example_masks, example_series, series_without_bolus
from qperf_app.testing.inputs import step_of

Array = NDArray[np.float64]


class ConcentrationConformance(PluginConformance):
    """Checks of a concentration method, in blood and in myocardium.

    ``concentration_input`` gives it a series that is concentration already, ``readout`` one of another read-out after
    saturation than FLASH (bSSFP, EPI). ``tolerance`` is how far, as root mean
    square over its peak, a mean curve in mmol/L may lie from the true one; one in ``1`` must be proportional to it:
    correlate by at least ``correlation``, and have blood and myocardium in one factor.
    """

    step: ClassVar[str] = step_of(ConcentrationPlugin).name
    concentration_input: ClassVar[bool] = False
    readout: ClassVar[ReadOut] = "FLASH"
    tolerance: ClassVar[float] = 0.1
    correlation: ClassVar[float] = 0.9

    @classmethod
    def given(cls, nothing: bool = False) -> Mapping[str, Any]:
        """Signal, or concentration."""
        make = series_without_bolus if nothing else example_series
        return {"series": make(cls.concentration_input, readout=cls.readout)}

    def test_units_are_known(self, runs: Runs) -> None:
        """``mmol/L``, or ``1`` for what is only proportional to it; and the same for blood and myocardium."""
        tissue, blood = runs.plain.units, self._blood(runs).units
        assert tissue == blood, f"myocardium in {tissue!r}, blood in {blood!r}: flow needs both in one unit"

    def test_myocardium_follows_the_truth(self, runs: Runs) -> None:
        """The mean curve of the myocardium."""
        self._check_curve("myocardium", _mean(runs.plain, _wall()), _true(_wall()), runs.plain.units)

    def test_blood_follows_the_truth(self, runs: Runs) -> None:
        """The input function, of the mean signal of the left pool as the host hands it in."""
        blood = self._blood(runs)
        self._check_curve("blood", blood.data[0, 0, 0], _true(_pool()), blood.units)

    def test_blood_and_myocardium_share_a_factor(self, runs: Runs) -> None:
        """Flow is a ratio of the two: a factor that differs between them is a factor in every flow."""
        tissue = _factor(_mean(runs.plain, _wall()), _true(_wall()))
        blood = _factor(self._blood(runs).data[0, 0, 0], _true(_pool()))
        assert blood > 0, f"blood comes out {blood:.2f} times the true concentration"
        assert 1 / 1.25 <= tissue / blood <= 1.25, (
            f"myocardium comes out {tissue:.2f} times the true concentration, blood {blood:.2f} times: flow would be "
            f"{tissue / blood:.2f} times the true one"
        )

    def test_starts_at_zero(self, runs: Runs) -> None:
        """Before the contrast agent arrives there is none."""
        for what, curve, true in (
            ("myocardium", _mean(runs.plain, _wall()), _true(_wall())),
            ("blood", self._blood(runs).data[0, 0, 0], _true(_pool())),
        ):
            start, peak = float(np.nanmean(curve[true < 1e-3 * true.max()])), float(np.nanmax(np.abs(curve)))
            assert abs(start) <= 0.05 * peak, (
                f"{what} starts at {start:.3f}, its peak is {peak:.3f}: the mean before contrast must be 0"
            )

    def test_marks_only_what_has_no_answer(self, runs: Runs) -> None:
        """``invalid`` is for signal outside of the equation; in the example heart there is none."""
        tissue, blood = runs.plain.invalid[_wall()], self._blood(runs).invalid
        for what, invalid in (("myocardium", tissue), ("blood", blood)):
            assert not invalid.any(), f"{invalid.mean():.0%} of the {what} is invalid, where all signal is in range"

    def test_marks_a_signal_that_cannot_be(self, runs: Runs) -> None:
        """A signal a hundred times the brightest lies above what any concentration gives: no number in mmol/L."""
        if self.concentration_input or runs.plain.units != CONCENTRATION_UNITS:
            pytest.skip("only of what turns signal into mmol/L")
        series: Series = self.given()["series"]
        data, where = series.data.copy(), (*np.argwhere(_wall()[:, :, 0])[0], 0, series.data.shape[3] // 2)
        data[where] = 100 * data.max()
        result = runs(series=series.with_data(data))
        assert result.invalid[where], f"a signal of 100 times the brightest becomes {result.data[where]:.1f} mmol/L"

    def test_finds_no_contrast_where_there_is_none(self, runs: Runs) -> None:
        """A series without a bolus has a concentration of zero, or none that is valid."""
        found, peak = _mean(runs.nothing, _wall()), float(np.nanmax(np.abs(_mean(runs.plain, _wall()))))
        largest = float(np.nanmax(np.abs(found), initial=0.0))
        assert largest <= 0.1 * peak, f"{largest:.3f} in a series without a bolus; with one the peak is {peak:.3f}"

    def test_its_equation_gives_the_signal(self, runs: Runs) -> None:
        """The true concentration by ``signal_equation``, where there is one, gives the pool's signal up to a factor."""
        plugin, series = make(runs.installed, self.options), self.given()["series"]
        if not hasattr(plugin, "signal_equation"):
            pytest.skip("only of what knows its equation")
        mean = series.with_data(series.data[_pool()].mean(axis=0, dtype=np.float64)[None, None, None])
        equation, measured = plugin.signal_equation(mean), mean.dynamic().data[0, 0, 0]
        assert (np.diff(equation.r1) > 0).all() and (np.diff(equation.prepared) > 0).all(), "r1 and prepared must rise"
        r1 = equation.native_r1 + equation.relaxivity * _true(_pool())
        expected = np.interp(r1, equation.r1, equation.prepared)
        expected *= (expected * measured).sum() / (expected * expected).sum()
        rms = float(np.sqrt(((expected - measured) ** 2).mean()) / measured.max())
        assert rms <= self.tolerance, f"the equation's signal lies {rms:.0%} off (root mean square over the largest)"

    def _blood(self, runs: Runs) -> ConcentrationSeries:
        series: Series = self.given()["series"]
        mean = series.data[_pool()].mean(axis=0, dtype=np.float64)[None, None, None]
        result: ConcentrationSeries = runs(series=series.with_data(mean), tissue="blood")
        return result

    def _check_curve(self, what: str, found: Array, true: Array, units: str) -> None:
        found = np.nan_to_num(found, nan=0.0)
        if units == CONCENTRATION_UNITS:
            rms = float(np.sqrt(((found - true) ** 2).mean()) / true.max())
            assert rms <= self.tolerance, (
                f"{what} lies {rms:.0%} of its peak off the truth (root mean square; at most {self.tolerance:.0%}): "
                f"its peak is {found.max():.2f}, in truth {true.max():.2f} mmol/L"
            )
            return
        alike = float(np.corrcoef(found, true)[0, 1]) if np.ptp(found) else 0.0
        assert alike >= self.correlation, f"{what} and truth correlate by {alike:.2f} (at least {self.correlation})"


def _wall() -> NDArray[np.bool_]:
    return example_masks()["myocardium"][:, :, None]


def _pool() -> NDArray[np.bool_]:
    return example_masks()["lv"][:, :, None]


def _true(mask: NDArray[np.bool_]) -> Array:
    return np.asarray(example_concentration()[mask].mean(axis=0))


def _mean(result: ConcentrationSeries, mask: NDArray[np.bool_]) -> Array:
    """Mean curve (t,) of a mask over what is valid; NaN where nothing is."""
    values, valid = result.data[mask], ~result.invalid[mask]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(valid, values, 0.0).sum(axis=0, dtype=np.float64) / valid.sum(axis=0))


def _factor(found: Array, true: Array) -> float:
    """Least-squares factor between two curves."""
    return float(np.nansum(found * true) / (true**2).sum())
