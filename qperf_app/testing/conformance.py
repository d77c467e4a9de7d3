"""What every plugin must pass, whatever its step.

A plugin's author derives one class for each plugin, from that of its step, and lets pytest run it::

    class TestMine(KineticsConformance):
        name = "mine"

Each check is a test of its own, chosen by name (``pytest -k same_seed``).
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
import pytest

from qperf_app.plugins import Resources, RunContext
from qperf_app.plugins.manager import InstalledPlugin, load_plugins, make, resolve_options
from qperf_app.plugins.steps import STEPS
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.testing.examples import example_series
from qperf_app.testing.inputs import arrays_of, example_inputs, freeze
from qperf_app.testing.uninstalled import uninstalled

#: Packages that listing plugins must not import.
HEAVY = ("tensorflow", "SimpleITK", "skimage", "matplotlib", "scipy.optimize", "torch", "keras")


class Runs:
    """A plugin run on example input, in a new instance each time; what several checks look at is run once."""

    def __init__(self, installed: InstalledPlugin, suite: type[PluginConformance]) -> None:
        self.installed, self.suite = installed, suite

    def __call__(
        self, nothing: bool = False, read_only: bool = False, threads: int = 1, seed: int = 7, **given: Any
    ) -> Any:
        """Result on the example with other arguments by name, checked as the host checks it."""
        step = STEPS[self.installed.step]
        given = {**self.suite.given(nothing), **given}
        inputs = example_inputs(step, RunContext(seed, threads), given, nothing)
        if read_only:
            freeze(inputs)
        plugin, slot = make(self.installed, self.suite.options), slot_of(step)
        return slot.check(getattr(plugin, slot.method)(*inputs), inputs[0])

    @cached_property
    def plain(self) -> Any:
        """Result on the example."""
        return self()

    @cached_property
    def again(self) -> Any:
        """The same once more, on input that is read-only and with two threads."""
        return self(read_only=True, threads=2)

    @cached_property
    def nothing(self) -> Any:
        """Result where there is nothing to find."""
        return self(nothing=True)


class PluginConformance:
    """Checks of a plugin of ``step`` named ``name``, run with ``options``.

    The plugin is found as the app finds it, installed, or is the one of ``source``: a module with hooks, or a class,
    that need not be installed. ``expected_failures`` maps the name of a check that the plugin can't pass to the reason
    why; such a check must then fail, and is reported as an expected failure.
    """

    step: ClassVar[str]
    name: ClassVar[str] = ""
    source: ClassVar[Any] = None
    options: ClassVar[Mapping[str, Any]] = {}
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        unknown = [check for check in cls.expected_failures if not callable(getattr(cls, check, None))]
        if unknown:
            raise TypeError(f"{cls.__name__}.expected_failures: there is no check {', '.join(unknown)}")

    @classmethod
    def given(cls, nothing: bool = False) -> Mapping[str, Any]:
        """Arguments of the step's method, by name, that are not the example of their type (with nothing to find)."""
        return {}

    @pytest.fixture(autouse=True)
    def _expected_failure(self, request: pytest.FixtureRequest) -> None:
        reason = self.expected_failures.get(request.function.__name__)
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture()
    def runs(self) -> Runs:
        """The plugin run on example input."""
        suite: Any = type(self)
        return _runs_of(suite)

    @pytest.fixture()
    def installed(self, runs: Runs) -> InstalledPlugin:
        """The plugin as the app finds it, or would find it."""
        return runs.installed

    @pytest.fixture()
    def plugin(self, installed: InstalledPlugin) -> Any:
        """The plugin made with its options."""
        return make(installed, self.options)

    def test_says_what_it_is(self, installed: InstalledPlugin) -> None:
        """Summary, version, citations, requirements and options stand in reports: each is described."""
        cls: Any = installed.cls
        assert cls.summary.strip(), "summary is empty"
        assert cls.version.strip(), "version is empty"
        assert all(isinstance(c, str) and c for c in cls.citations), f"citations {cls.citations!r} are not all texts"
        assert all(isinstance(c, str) and c for c in cls.requires), f"requires {cls.requires!r} is not all texts"
        assert cls.Options.__dataclass_params__.frozen, "Options must be a frozen dataclass"
        for field in dataclasses.fields(cls.Options):
            assert field.metadata.get("help"), f"option {field.name!r} has no help"

    def test_default_options_are_valid(self, installed: InstalledPlugin) -> None:
        """The defaults pass the type check that a user's values pass: a recorded configuration can be run again."""
        defaults = dataclasses.asdict(resolve_options(installed, {}))
        again = dataclasses.asdict(resolve_options(installed, defaults))
        assert again == defaults, f"default options {defaults} become {again} when they are read back"

    def test_module_is_light(self, installed: InstalledPlugin) -> None:
        """Importing the plugin's module imports nothing heavy: ``--help`` and ``qperf plugins`` stay quick."""
        module = installed.cls.__module__
        code = f"import sys, {module}; print(','.join(m for m in {HEAVY!r} if m in sys.modules))"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
        )
        assert ended.returncode == 0, f"module {module} can't be imported by itself: {ended.stderr[-400:]}"
        assert ended.stdout.strip() == "", f"importing {module} imports {ended.stdout.strip()}: import it in the method"

    def test_memory_grows_with_the_series(self, plugin: Any) -> None:
        """The scheduler relies on memory and threads: positive, and no less for a larger series."""
        small, large = plugin.resources((32, 32, 1, 20)), plugin.resources((256, 256, 3, 100))
        for needed in (small, large):
            assert isinstance(needed, Resources), f"resources() gave a {type(needed).__name__}, not Resources"
            assert 0 < needed.memory_gb < math.inf, f"memory of {needed.memory_gb} GiB"
            assert needed.threads >= 1, f"{needed.threads} threads"
        assert large.memory_gb > small.memory_gb, (
            f"{large.memory_gb:.2f} GiB for a series of 256 x 256 x 3 x 100, "
            f"{small.memory_gb:.2f} GiB for one of 32 x 32 x 1 x 20"
        )

    def test_finds_no_problem_with_a_good_series(self, plugin: Any) -> None:
        """``problems`` accepts a series that has everything: otherwise no user could ever run it."""
        series = self.given().get("series", example_series())
        problems = list(plugin.problems(series.metadata, series.data.shape))
        assert problems == [], f"it finds problems with the example: {problems}"

    def test_result_fits_the_interface(self, runs: Runs) -> None:
        """Shapes, types, units and NaN rules of the step hold: the host refuses anything else."""
        assert runs.plain is not None

    def test_same_seed_same_result(self, runs: Runs) -> None:
        """Two instances give the same bits for the same input and seed, whatever the number of threads."""
        first, second = arrays_of(runs.plain), arrays_of(runs.again)
        assert len(first) == len(second), f"{len(first)} arrays at first, {len(second)} when run again"
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            np.testing.assert_array_equal(a, b, err_msg=f"array {number} of the result differs with the same seed")

    def test_leaves_its_input_alone(self, runs: Runs) -> None:
        """The records are shared with other steps: nothing is written to the arrays, which are read-only here."""
        try:
            assert runs.again is not None
        except ValueError as error:
            if "read-only" in str(error):
                pytest.fail(f"it writes to an array of its input: {error}")
            raise

    def test_survives_input_without_a_bolus(self, runs: Runs) -> None:
        """Where there is nothing to find the result is valid (not found, empty or NaN), not an exception."""
        assert runs.nothing is not None

    def test_names_the_files_it_read(self, plugin: Any) -> None:
        """``loaded_files`` gives the SHA-256 of each file by its name: provenance says which weights were used."""
        files = plugin.loaded_files() if hasattr(plugin, "loaded_files") else {}
        for name, digest in files.items():
            assert isinstance(name, str) and name and "/" not in name and "\\" not in name, f"{name!r} is no file name"
            assert re.fullmatch("[0-9a-f]{64}", str(digest)), (
                f"{name}: {digest!r} is no SHA-256 (64 hexadecimal digits)"
            )


@lru_cache(maxsize=1)
def _runs_of(suite: Any) -> Runs:
    """Runs of the plugin of one class of checks, shared by all of them."""
    if suite.source is None:
        return Runs(load_plugins().get(suite.step, suite.name), suite)
    registry = uninstalled(suite.source)
    names = [suite.name] if suite.name else registry.names(suite.step)
    if len(names) != 1:
        raise LookupError(f"source has {len(names)} plugins for {suite.step}: set name to one of {names}")
    return Runs(registry.get(suite.step, names[0]), suite)
