"""Plugins that answer nonsense in the right shape fail the suite, each in the checks that name what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pytest

from qperf_app.plugins import InputFunction, MotionCorrectionPlugin, Plugin, RunContext, Series, TissueConstants
from qperf_app.plugins.manager import InstalledPlugin
from qperf_app.plugins.steps import STEPS
from qperf_app.plugins.steps.spec import Slot, StepSpec
from qperf_app.testing import KineticsConformance, PluginConformance, uninstalled
from qperf_app.testing.conformance import Runs
from tests.guide import write_examples

#: By class: a check that must fail, and what its message says.
FAILURES = [
    ("WrongSign", "undoes_a_shift_of_whole_voxels", r"moved by -1\.0\d times the true shift"),
    ("WrongSign", "undoes_a_shift_of_parts_of_a_voxel", r"moved by -(0\.9|1\.0)\d times the true shift"),
    ("WrongSign", "frames_reported_as_corrected_are", r"marked as corrected and lies 1\d\.\d mm off"),
    ("Doubled", "undoes_a_shift_of_whole_voxels", r"moved by 2\.0\d times the true shift"),
    ("Doubled", "undoes_a_shift_of_parts_of_a_voxel", r"moved by (1\.9|2\.0)\d times the true shift"),
    ("AMetreAway", "stays_within_the_field_of_view", r"99\d mm in volume 0: outside of the field of view, 108 mm"),
    (
        "NeverFound",
        "finds_a_heart_that_is_plainly_there",
        r"not found \('never'\), where bolus and both",
    ),
    ("Furlongs", "units_are_known", r"units are 'furlongs', not 'mmol/L' or '1'"),
    ("Zeros", "myocardium_follows_the_truth", r"its peak is 0\.00, in truth 0\.39 mmol/L"),
    ("Zeros", "blood_follows_the_truth", r"its peak is 0\.00, in truth 4\.21 mmol/L"),
    ("EverythingIsMuscle", "overlaps_the_truth", r"Dice of 0\.19"),
    ("EverythingIsMuscle", "is_not_the_whole_image", r"1152 of 1152 voxels are myocardium; in truth 124 are"),
    ("EverythingIsMuscle", "leaves_the_cavity_out", r"100% of the cavity counts as myocardium"),
    ("EverythingIsMuscle", "is_empty_with_a_warning_where_there_is_nothing", r"1152 voxels of myocardium in a series"),
    ("SameFlow", "order_of_flow_is_true", r"rank correlation of 0\.00: 1\.00 for 0\.57, 1\.00 for 0\.78"),
    ("SameFlow", "size_of_flow_is_true", r"of 2\.86 at worst"),
    ("SameFlow", "a_dead_curve_has_no_flow_and_a_code", r"zero throughout gets a flow of 1\.00"),
    (
        "SameFlow",
        "quality_codes_mean_what_they_mean_everywhere",
        r"128 to 254: \[.2 \('the curve does not rise'\): not identifiable: vp., .30 \('mine'\): kept for codes",
    ),
    ("NextInLine", "order_of_voxels_does_not_matter", r"with the voxels of an image in reverse order"),
    ("TooModest", "overlaps_the_truth", r"XPASS\(strict\)\] a collar can't be a heart"),
]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """Message of every check that failed, of those chosen by name, by class and check."""
    folder = tmp_path_factory.mktemp("nonsense")
    write_examples(folder)
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    nonsense = Path(__file__).with_name("nonsense_plugins.py")
    chosen = ["-k", " or ".join({check for _, check, _ in FAILURES} | {"finds_nothing", "still_series"})]
    ended = subprocess.run(
        [*command, *chosen, "--junitxml", str(folder / "report.xml"), str(nonsense)],
        capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout
    cases = ElementTree.parse(folder / "report.xml").iter("testcase")
    return {
        (case.get("classname", "").rpartition(".Test")[2], case.get("name", "").removeprefix("test_")): str(
            found.get("message")
        )
        for case in cases
        if (found := case.find("failure")) is not None
    }


@pytest.mark.parametrize(("plugin", "check", "message"), FAILURES)
def test_nonsense_fails_where_it_is_wrong(
    failures: dict[tuple[str, str], str], plugin: str, check: str, message: str
) -> None:
    assert (plugin, check) in failures, sorted(failures)
    assert re.search(message, failures[plugin, check]), failures[plugin, check]


def test_what_is_right_about_nonsense_passes(failures: dict[tuple[str, str], str]) -> None:
    failed = {plugin: {check for p, check in failures if p == plugin} for plugin, _ in failures}
    assert "finds_nothing_where_there_is_no_bolus" not in failed["NeverFound"]
    assert "order_of_flow_is_true" not in failed["NextInLine"]
    assert failed["TooModest"] == {"overlaps_the_truth"}
    assert failed["WrongSign"].isdisjoint({"a_still_series_stays_still", "stays_within_the_field_of_view"})


def test_an_expected_failure_of_no_check_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected_failures: there is no check test_colour"):
        type("Wrong", (KineticsConformance,), {"expected_failures": {"test_colour": "it is grey"}})


def test_what_would_be_refused_when_installed_is_refused_uninstalled() -> None:
    class Nameless(MotionCorrectionPlugin):
        def correct(self, series, context):  # type: ignore[no-untyped-def]
            raise AssertionError("never called here")

    with pytest.raises(ValueError, match="lacks the text attribute 'name'"):
        uninstalled(Nameless)
    with pytest.raises(LookupError, match="derives from the interface of no step"):
        uninstalled(dict)


class SharpnessPlugin(Plugin):
    """Interface of a step that there is none of, on records that there are."""

    def measure(
        self,
        series: Series,
        aif: InputFunction | None,
        tissue: Literal["blood", "myocardium"],
        constants: TissueConstants,
        context: RunContext,
    ) -> Sharpness:
        raise NotImplementedError


@dataclass(frozen=True)
class Sharpness:
    values: np.ndarray


class Noisy(SharpnessPlugin):
    name, version, summary = "noisy", "1", "differs from run to run"

    def measure(self, series, aif, tissue, constants, context):  # type: ignore[no-untyped-def]
        assert tissue == "myocardium" and (aif is None or len(aif.times) == 40)
        return Sharpness(series.data.std(axis=(0, 1)) + np.random.default_rng().normal())


def test_a_new_step_on_known_records_gets_the_general_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments of its method are told from their types; nothing is to be added to the suite."""
    slot = Slot("qperf_sharpness", SharpnessPlugin, "measure", check=lambda result, series: result)
    monkeypatch.setitem(STEPS, "sharpness", StepSpec("sharpness", "sharpness", slot=slot))

    class Suite(PluginConformance):
        step = "sharpness"

    runs = Runs(InstalledPlugin("sharpness", "noisy", Noisy, "here", "here"), Suite)
    suite = Suite()
    suite.test_result_fits_the_interface(runs)
    suite.test_survives_input_without_a_bolus(runs)
    suite.test_memory_grows_with_the_series(Noisy())
    with pytest.raises(AssertionError, match="differs with the same seed"):
        suite.test_same_seed_same_result(runs)
