"""The Boutiques descriptor is what the parser says, and bosh takes it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qperf_app.cli import parser
from qperf_app.cli.boutiques import describe

ROOT = Path(__file__).parents[1]
DESCRIPTOR = ROOT / "boutiques" / "qperf-app.json"


def bosh(*arguments: str) -> str:
    command = [sys.executable, "-c", "import sys; from boutiques.bosh import bosh; print(bosh(sys.argv[1:]))"]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_is_what_the_parser_says() -> None:
    assert json.loads(DESCRIPTOR.read_text(encoding="utf-8")) == describe(), "run `make boutiques`"


def test_it_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = describe()
    monkeypatch.setattr(parser, "allotted_processors", lambda: 77)
    monkeypatch.setattr(parser, "allotted_memory_gb", lambda: 77.7)
    assert describe() == here and "77" not in json.dumps(here)


def test_bosh_takes_it() -> None:
    bosh("validate", str(DESCRIPTOR))


def test_a_command_line_of_bosh_means_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "bids").mkdir()
    (tmp_path / "run.yaml").write_text("")
    asked: dict[str, Any] = {
        "bids_dir": str(tmp_path / "bids"),
        "out_dir": "out",
        "level": "participant",
        "participant_label": ["01", "02"],
        "kinetics": ["nlls", "fermi"],
        "config_file": str(tmp_path / "run.yaml"),
        "nprocs": 3,
        "mem": "4G",
        "random_seed": 0,
        "gpu": True,
        "skip_bids_validation": True,
    }
    (tmp_path / "invocation.json").write_text(json.dumps(asked))
    said = bosh("exec", "simulate", str(DESCRIPTOR), "-i", str(tmp_path / "invocation.json"))
    command = next(line for line in said.splitlines() if line.startswith("qperf-app "))
    args = vars(parser.build_parser().parse_args(shlex.split(command)[1:]))
    assert args.pop("memory_gb") == 4.0
    given = {name: str(args[name]) if isinstance(args[name], Path) else args[name] for name in asked if name != "mem"}
    assert given == {name: value for name, value in asked.items() if name != "mem"}
    assert args["work_dir"] == Path("work") and not args["dry_run"]
