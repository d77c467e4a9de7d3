"""``qperf plugins new``: what it writes works as written, passes its checks and the linter."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qperf_app.cli.tools import main
from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import slot_of


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, env={**os.environ}
    )


@pytest.mark.parametrize("step", plugin_steps())
def test_a_new_distribution_passes_its_checks_uninstalled(step: str, tmp_path: Path) -> None:
    folder, name = tmp_path / "mine", "mymethod2"
    assert main(["plugins", "new", name, "--step", step, str(folder)]) == 0
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["qperf_app"] == {"qperf_mymethod2": "qperf_mymethod2"}
    assert slot_of(plugin_steps()[step]).hook in (folder / "qperf_mymethod2.py").read_text()
    tested = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert tested.returncode == 0 and " passed" in tested.stdout, tested.stdout
    for arguments in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        linted = python(folder, "-m", "ruff", *arguments, ".")
        assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_folder_is_named_after_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "edge-shift", "--step", "motion-correction"]) == 0
    assert (tmp_path / "qperf-edge-shift" / "qperf_edge_shift.py").is_file()
    assert "class EdgeShift(MotionCorrectionPlugin)" in (tmp_path / "qperf-edge-shift/qperf_edge_shift.py").read_text()


@pytest.mark.parametrize(
    ("name", "step", "message"),
    [
        ("nlls", "kinetics", "kinetics has a plugin 'nlls' already, from distribution 'qperf-app'"),
        ("two-words", "kinetics", "NAME 'two-words' does not match"),
        ("../up", "blood-pool", "NAME '../up' does not match"),
    ],
)
def test_what_can_not_be_a_plugin_is_refused(
    name: str, step: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", name, "--step", step, str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["plugins", "new", "mine", "--step", "kinetics", str(tmp_path)]) == 2
    assert "is there already and not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
