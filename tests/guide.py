"""The plugin guide, ``docs/plugins.md``, as code: its examples as modules and tests, and what is generated in it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from qperf_app.plugins.api_versions import CHANGES
from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import slot_of

GUIDE = Path(__file__).parents[1] / "docs" / "plugins.md"


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL)


def write_examples(folder: Path) -> list[Path]:
    """Write every worked example as the module that its test imports, and every test; return the tests."""
    source, tests = "", []
    for number, block in enumerate(python_blocks()):
        if "@hookimpl" in block:
            source = block
        elif "Conformance" in block:
            imported = re.search(r"^import (qperf_\w+)$", block, flags=re.MULTILINE)
            if imported:
                (folder / f"{imported[1]}.py").write_text(source)
            tests.append(folder / f"test_example_{number}.py")
            tests[-1].write_text(block)
    return tests


def table_of_steps() -> str:
    """The table of the steps that plugins fill, from their declarations."""
    lines = ["| step | hook | class to derive from | method | since |", "| --- | --- | --- | --- | --- |"]
    for step in plugin_steps().values():
        slot = slot_of(step)
        signature = inspect.signature(getattr(slot.interface, slot.method))
        arguments = ", ".join(list(signature.parameters)[1:])
        returned = str(signature.return_annotation)
        lines.append(
            f"| `{step.name}` | `{slot.hook}` | `{slot.interface.__name__}` | "
            f"`{slot.method}({arguments}) -> {returned}` | {slot.since} |"
        )
    return "\n".join(lines) + "\n"


def table_of_changes() -> str:
    """What changed in each version of the interface."""
    lines = ["| version | what changed |", "| --- | --- |"]
    return "\n".join(lines + [f"| {version} | {text} |" for version, text in CHANGES.items()]) + "\n"
