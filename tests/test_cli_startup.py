"""What must answer at once imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets import small_dataset

HEAVY = ("tensorflow", "keras", "SimpleITK", "skimage", "matplotlib", "nipype", "jinja2")


def modules_after(code: str) -> set[str]:
    """Names of the heavy packages that are loaded after some code has run."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint()\nprint('loaded', *sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = output.splitlines()[-1].split()
    assert loaded[0] == "loaded"
    return set(loaded) & set(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
@pytest.mark.parametrize("door", ["app", "tools"])
def test_help_and_version_import_nothing_heavy(door: str, arguments: list[str]) -> None:
    assert modules_after(f"from qperf_app.cli.{door} import main; main({arguments!r})") == set()


@pytest.mark.parametrize("door", ["app", "tools"])
def test_threads_of_linear_algebra_are_settled_before_it_is_loaded(door: str) -> None:
    """NumPy's library looks at the variable once, as it is loaded."""
    code = f"""
import os, sys
import qperf_app.cli.{door} as door
assert "numpy" not in sys.modules
settle = door.settle_libraries
def settled():
    settle()
    print("numpy" in sys.modules, os.environ["OPENBLAS_NUM_THREADS"])
door.settle_libraries = settled
door.main(["plugins"] if "{door}" == "tools" else ["--version"])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[0] == "False 1"


def test_listing_plugins_imports_nothing_heavy() -> None:
    assert modules_after("from qperf_app.cli.tools import main; main(['plugins', '--json'])") == set()


def test_dry_run_imports_neither_networks_nor_registration(tmp_path: Path) -> None:
    raw = small_dataset(tmp_path / "raw")
    arguments = [str(raw), str(tmp_path / "out"), "participant", "--dry-run", "--skip-bids-validation"]
    loaded = modules_after(f"from qperf_app.cli.app import main; main({arguments!r})")
    assert loaded == set()


def test_both_commands_say_their_version() -> None:
    from qperf_app import __version__

    for door in ("app", "tools"):
        output = subprocess.run(
            [sys.executable, "-m", f"qperf_app.cli.{door}", "--version"], capture_output=True, text=True, check=True
        ).stdout
        assert __version__ in output
