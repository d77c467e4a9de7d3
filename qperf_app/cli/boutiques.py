"""The command line of ``qperf-app`` as a Boutiques descriptor (schema 0.5), made from its parser.

``python -m qperf_app.cli.boutiques`` writes it to standard output; ``make boutiques`` into the repository, where a test
sees to it that it is what the parser says.

Source: Glatard et al., Boutiques: a flexible framework to integrate command-line applications in computing platforms,
GigaScience 2018, doi:10.1093/gigascience/giy016.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from qperf_app import __version__
from qperf_app.cli import parser as command_line
from qperf_app.cli.arguments import count, positive
from qperf_app.cli.errors import DONE, EXIT_CODES

#: Arguments whose default depends on the machine that asks.
_BY_MACHINE = ("nprocs", "memory_gb")
#: Folders that need not be there yet; every other path is read.
_WRITTEN = ("out_dir", "work_dir")
#: Least value that a type of the parser takes.
_LEAST = {positive: 1, count: 0}


def describe() -> dict[str, Any]:
    """Return the descriptor of ``qperf-app``.

    Returns
    -------
    dict
        The same on every machine: a default that depends on it is left to the app.
    """
    parser = command_line.build_parser()
    groups = [
        (group.title or "", [a for a in group._group_actions if a.dest not in ("help", "version")])
        for group in parser._action_groups
    ]
    actions = [action for _, members in groups for action in members]
    return {
        "schema-version": "0.5",
        "name": "qperf-app",
        "tool-version": __version__,
        "description": parser.description,
        "command-line": " ".join(["qperf-app", *map(_key, actions)]),
        "inputs": [_input(action) for action in actions],
        "groups": [
            {"id": f"group_{number}", "name": title, "members": [_identifier(a) for a in members]}
            for number, (title, members) in enumerate(groups)
            if members
        ],
        "output-files": [
            {
                "id": "results",
                "name": "results",
                "description": "derivative dataset; sub-<label>/sub-<label>_status.json says how a participant ended",
                "path-template": "[OUT_DIR]",
                "optional": False,
            }
        ],
        "error-codes": [{"code": code, "description": text} for code, text in EXIT_CODES.items() if code != DONE],
        "tags": {"domain": ["mri", "heart"]},
    }


def _input(action: argparse.Action) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": _identifier(action),
        "name": _identifier(action).replace("_", " "),
        "description": _help(action),
        "value-key": _key(action),
        "optional": bool(action.option_strings),
        **_type(action),
    }
    if action.option_strings:
        entry["command-line-flag"] = _flag(action)
    if action.nargs == "+":
        entry |= {"list": True, "min-list-entries": 1}
    if action.choices:
        entry["value-choices"] = list(action.choices)
    if action.default and action.dest not in _BY_MACHINE and entry["type"] != "Flag":
        number = entry["type"] == "Number"
        entry["default-value"] = action.default if number else str(action.default)
    return entry


def _type(action: argparse.Action) -> dict[str, Any]:
    if action.nargs == 0:
        return {"type": "Flag"}
    if action.type is Path and action.dest not in _WRITTEN:
        return {"type": "File"}
    if action.type in _LEAST:
        return {"type": "Number", "integer": True, "minimum": _LEAST[action.type]}
    return {"type": "String"}


def _flag(action: argparse.Action) -> str:
    """The first long name."""
    return next(option for option in action.option_strings if option.startswith("--"))


def _identifier(action: argparse.Action) -> str:
    return (_flag(action) if action.option_strings else action.dest).lstrip("-").replace("-", "_")


def _key(action: argparse.Action) -> str:
    return f"[{_identifier(action).upper()}]"


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    if action.dest in _BY_MACHINE:
        return text.replace("%(default)s, ", "")
    return text % {"default": action.default}


def main() -> None:
    """Write the descriptor to standard output."""
    json.dump(describe(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
