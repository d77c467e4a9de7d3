"""The plugin guide: its examples pass the conformance suite, its tables are those of the code, its debugging works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import slot_of
from tests.datasets import small_dataset
from tests.guide import GUIDE, python_blocks, table_of_changes, table_of_steps, write_examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the guide's examples as modules and as tests."""
    root = tmp_path_factory.mktemp("guide")
    write_examples(root)
    return root


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def test_every_step_has_a_worked_example_that_passes_its_checks(folder: Path) -> None:
    tests = write_examples(folder)
    examples = [block for block in python_blocks() if "@hookimpl" in block]
    for step in plugin_steps().values():
        assert any(f"def {slot_of(step).hook}():" in block for block in examples), f"no example of {step.name}"
    quick = [str(test) for test in tests if "source = " in test.read_text()]
    assert len(quick) == len(examples)
    ended = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", *quick)
    assert ended.returncode == 0 and "xfailed" not in ended.stdout, ended.stdout


def test_what_the_guide_says_of_installed_plugins_is_so(folder: Path) -> None:
    """The tests of `fermi` and `none`, with declared failures, of which some checks are chosen by name."""
    tests = [str(test) for test in write_examples(folder) if 'name = "' in test.read_text()]
    chosen = ["-k", "undoes or frames_reported or gives_flow or still", *tests]
    ended = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", *chosen)
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout and "3 xfailed" in ended.stdout, ended.stdout


def test_examples_are_formatted_as_the_rest(folder: Path) -> None:
    for arguments in (("check",), ("format", "--check")):
        rules = ["--config", str(GUIDE.parents[1] / "pyproject.toml")]
        ours = ["--config", "lint.isort.known-first-party=['qperf_app']"]
        ruff = ["-m", "ruff", *arguments, *rules, *ours]
        ended = python(folder, *ruff, *(str(path) for path in folder.glob("qperf_*.py")))
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("table", [table_of_steps, table_of_changes])
def test_tables_are_those_of_the_declarations(table: object) -> None:
    expected = table()  # type: ignore[operator]
    assert expected in GUIDE.read_text(), f"{GUIDE.name} must have this table:\n{expected}"


def test_one_step_runs_on_one_series_in_a_notebook(folder: Path) -> None:
    small_dataset(folder / "bids")
    blocks = [block for block in python_blocks() if "load_plugins()" in block or "nib.load(" in block]
    assert len(blocks) == 2
    ended = python(folder, "-c", "\n".join(blocks) + "\nprint(series.data.shape, len(series.times), series.units)")
    assert ended.returncode == 0, ended.stderr
    overlap, theirs, mine, *series = ended.stdout.split()
    assert int(overlap) > 0.8 * max(int(theirs), int(mine))
    assert " ".join(series) == "(36, 32, 1, 40) 40 arbitrary"


def test_the_breakpoint_of_the_guide_is_in_the_method(folder: Path) -> None:
    (found,) = re.findall(r'"break (qperf_\w+\.py):(\d+)"', GUIDE.read_text())
    line = (folder / found[0]).read_text().splitlines()[int(found[1]) - 1]
    assert line.strip() == "slope = steepest_slope(curves.times, curves.concentration, self.options.frames)"
