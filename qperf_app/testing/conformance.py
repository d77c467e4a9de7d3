"""Conformance suite of the plugin interface.

A plugin author derives one class for each plugin and has its tests run by pytest::

    class TestMine(PluginConformance):
        step, name = "kinetics", "mine"

The plugin is found as the app finds it: installed, through its entry point.
"""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
import pytest

from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    Resources,
    RunContext,
    Series,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.manager import InstalledPlugin, load_plugins, make, resolve_options
from qperf_app.plugins.steps import STEPS
from qperf_app.plugins.steps.kinetics import check_maps
from qperf_app.plugins.steps.report_section import check_elements
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.testing.examples import (
    example_aif,
    example_curves,
    example_participant,
    example_pools,
    example_series,
)

#: Packages that listing plugins must not import.
HEAVY = ("tensorflow", "SimpleITK", "skimage", "matplotlib", "scipy.optimize", "torch", "keras")


class PluginConformance:
    """Tests that every plugin of ``step`` named ``name`` must pass.

    ``options`` are given to the plugin; ``concentration_input`` hands the concentration step a series that is
    concentration already. A test that a plugin can't pass is declared by its author with ``pytest.mark.xfail``.
    """

    step: ClassVar[str]
    name: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    concentration_input: ClassVar[bool] = False

    @pytest.fixture()
    def installed(self) -> InstalledPlugin:
        """The plugin as the app finds it."""
        return load_plugins().get(self.step, self.name)

    @pytest.fixture()
    def plugin(self, installed: InstalledPlugin) -> Any:
        """The plugin made with its options."""
        return make(installed, self.options)

    def test_says_what_it_is(self, installed: InstalledPlugin) -> None:
        """Summary, version, citations, requirements and options are described."""
        cls: Any = installed.cls
        assert cls.summary.strip() and cls.version.strip()
        assert all(isinstance(c, str) and c for c in (*cls.citations, *cls.requires))
        assert cls.Options.__dataclass_params__.frozen, "Options must be a frozen dataclass"
        for field in dataclasses.fields(cls.Options):
            assert field.metadata.get("help"), f"option {field.name!r} has no help"

    def test_default_options_are_valid(self, installed: InstalledPlugin) -> None:
        """The defaults pass the type check that a user's values pass."""
        defaults = dataclasses.asdict(resolve_options(installed, {}))
        assert dataclasses.asdict(resolve_options(installed, defaults)) == defaults

    def test_module_is_light(self, installed: InstalledPlugin) -> None:
        """Importing the plugin's module imports nothing heavy: ``--help`` and ``qperf plugins`` stay quick."""
        code = f"import sys, {installed.cls.__module__}; print(','.join(m for m in {HEAVY!r} if m in sys.modules))"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert output.strip() == "", f"importing the plugin imports {output.strip()}"

    def test_declares_resources(self, plugin: Any) -> None:
        """Memory and threads are positive and memory does not fall with size."""
        small, large = plugin.resources((32, 32, 1, 20)), plugin.resources((256, 256, 3, 100))
        for resources in (small, large):
            assert isinstance(resources, Resources)
            assert resources.memory_gb > 0 and math.isfinite(resources.memory_gb) and resources.threads >= 1
        assert large.memory_gb >= small.memory_gb

    def test_finds_no_problem_with_a_good_series(self, plugin: Any) -> None:
        """``problems`` accepts a series that has everything."""
        series = self._series()
        assert list(plugin.problems(series.metadata, series.data.shape)) == []

    def test_result_fits_the_interface(self, plugin: Any) -> None:
        """Shapes, types and NaN rules of the step hold."""
        self._run(plugin, seed=1)

    def test_same_seed_same_result(self, installed: InstalledPlugin) -> None:
        """Two instances give the same bits for the same input and seed."""
        first = _arrays(self._run(make(installed, self.options), seed=7))
        second = _arrays(self._run(make(installed, self.options), seed=7))
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_leaves_its_input_alone(self, plugin: Any) -> None:
        """No input array is written to: the arrays are handed over read-only."""
        self._run(plugin, seed=1, frozen=True)

    def test_survives_dead_input(self, plugin: Any) -> None:
        """A series without any bolus gives a valid result (not found, empty or NaN), not an exception."""
        if self.step == "report-section":
            pytest.skip("a report section takes no series")
        self._run(plugin, seed=1, dead=True)

    def _series(self, dead: bool = False) -> Series:
        series = example_series(concentration=self.step == "concentration" and self.concentration_input)
        if dead:
            still = np.broadcast_to(series.data[..., :1], series.data.shape).copy()
            series = series.with_data(still)
        return series

    def _run(self, plugin: Any, seed: int, frozen: bool = False, dead: bool = False) -> Any:
        """Call the plugin's method on example input and check what it returns."""
        context = RunContext(seed=seed, threads=1)
        if self.step == "report-section":
            participant = example_participant()
            return check_elements(plugin.render(participant), participant)
        if self.step == "kinetics":
            return self._fit(plugin, context, frozen, dead)
        series = self._series(dead)
        if frozen:
            _freeze(series)
        slot = slot_of(STEPS[self.step])
        pools, aif = (None, None) if dead else (example_pools(), example_aif())
        arguments: dict[str, tuple[Any, ...]] = {"convert": ("myocardium",), "segment": (pools, aif)}
        method = getattr(plugin, slot.method)
        return slot.check(method(series, *arguments.get(slot.method, ()), context), series)

    @staticmethod
    def _fit(plugin: Any, context: RunContext, frozen: bool, dead: bool) -> Any:
        curves, aif = example_curves(), example_aif()
        assert curves.units == aif.units == CONCENTRATION_UNITS
        if dead:
            curves = dataclasses.replace(curves, concentration=np.zeros_like(curves.concentration))
        if frozen:
            _freeze(curves)
            _freeze(aif)
        return check_maps(plugin.fit(curves, aif, TissueConstants(), context), curves)


class KineticsConformance(PluginConformance):
    """What a kinetics plugin must pass besides."""

    step: ClassVar[str] = "kinetics"

    def test_order_of_voxels_does_not_matter(self, plugin: Any) -> None:
        """Each voxel's estimate is its own: the reverse order gives the reverse result."""
        curves, aif = example_curves(), example_aif()
        turned = TissueCurves(curves.concentration[::-1], curves.times, curves.voxels[::-1], curves.affine)
        context = RunContext(seed=3)
        straight = plugin.fit(curves, aif, TissueConstants(), context)
        reverse = plugin.fit(turned, aif, TissueConstants(), context)
        for a, b in zip(straight.maps, reverse.maps, strict=True):
            np.testing.assert_allclose(a.values, b.values[::-1], rtol=1e-6, atol=1e-9)

    def test_flow_follows_the_truth(self, plugin: Any) -> None:
        """MBF is there, and orders curves of low and of high flow rightly."""
        result = plugin.fit(example_curves(noise=0.002), example_aif(), TissueConstants(), RunContext())
        assert {m.units for m in result.maps if m.quantity == "MBF"} == {"mL/min/g"}
        flow = result.values["MBF"]
        assert np.nanmean(flow[-3:]) > 1.5 * np.nanmean(flow[:3])


def _freeze(record: Any) -> None:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False


def _arrays(record: Any) -> list[np.ndarray]:
    """All arrays of a record, in order."""
    if isinstance(record, np.ndarray):
        return [record]
    if isinstance(record, tuple | list):
        return [a for item in record for a in _arrays(item)]
    if dataclasses.is_dataclass(record):
        return [a for f in dataclasses.fields(record) for a in _arrays(getattr(record, f.name))]
    return []
