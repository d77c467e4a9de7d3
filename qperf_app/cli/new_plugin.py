"""``qperf plugins new``: a distribution with one plugin that works as written, to start from."""

from __future__ import annotations

import argparse
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from qperf_app.cli.errors import DONE, USAGE
from qperf_app.plugins.api_versions import API_VERSION
from qperf_app.plugins.manager import load_plugins
from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import slot_of

#: The folder may stand behind the step.
INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``new``."""
    parser.add_argument("name", metavar="NAME", help="the word that users will choose the plugin by")
    steps = plugin_steps()
    parser.add_argument("--step", required=True, choices=steps, metavar="STEP", help=f"one of {', '.join(steps)}")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help="where to (default: qperf-NAME)")


def run(args: argparse.Namespace) -> int:
    """Write the distribution, or say in one line why not."""
    folder: Path = args.folder or Path(f"qperf-{args.name}")
    problem = _problem(args.name, args.step, folder)
    if problem:
        print(f"qperf plugins new: {problem}", file=sys.stderr)
        return USAGE
    for path, text in distribution_of(args.name, args.step).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    print(
        f"{folder}: plugin {args.name!r} for {args.step}; in it, pytest tests and pip install --editable . installs it"
    )
    return DONE


def distribution_of(name: str, step: str) -> dict[str, str]:
    """Files of the distribution, relative path to text."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    templates = files("qperf_app.cli").joinpath("templates")
    environment = Environment(
        loader=FunctionLoader(lambda file: templates.joinpath(f"{file}.jinja").read_text("utf-8")),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    slot, module = slot_of(plugin_steps()[step]), f"qperf_{name.replace('-', '_')}"
    camel = "".join(word[:1].upper() + word[1:] for word in name.split("-"))
    values: dict[str, Any] = {
        "name": name,
        "step": step,
        "module": module,
        "distribution": f"qperf-{name}",
        "class_name": camel if camel.isidentifier() else f"Plugin{camel}",
        "hook": slot.hook,
        "method": slot.method,
        "conformance": slot.interface.__name__.removesuffix("Plugin") + "Conformance",
        "api_version": API_VERSION,
    }
    # A step's template says which checks its method can't pass.
    plugin: Any = environment.get_template(f"{step}.py").make_module(values)
    values["failures"] = plugin.failures
    return {
        "pyproject.toml": environment.get_template("pyproject.toml").render(values),
        "README.md": environment.get_template("README.md").render(values),
        f"{module}.py": str(plugin),
        f"tests/test_{module}.py": environment.get_template("test_plugin.py").render(values),
    }


def _problem(name: str, step: str, folder: Path) -> str:
    pattern = slot_of(plugin_steps()[step]).pattern
    if not re.fullmatch(pattern, name):
        return f"NAME {name!r} does not match {pattern}"
    registry = load_plugins()
    if name in registry.names(step):
        return f"{step} has a plugin {name!r} already, from distribution {registry.get(step, name).distribution!r}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return f"{folder} is there already and not an empty folder"
    return ""
