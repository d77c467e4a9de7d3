"""Merge the extension into the official BIDS schema: ``python -m qperf_bids_spec.build [--check]``.

The official schema comes from the installed ``bidsschematools``, which is needed for this command only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import reduce
from importlib import resources
from typing import Any

import yaml
from qperf_bids_spec import EXTENSION, SCHEMA

#: Version of the official schema that the extension was written for.
OFFICIAL_VERSION = "2.0.1"


def resolve(node: Any, root: Mapping[str, Any]) -> Any:
    """Replace every ``$ref`` of the overlay by what it names.

    A mapping's other keys are laid over a mapping that it refers to, and ``$append`` over a list.
    """
    if isinstance(node, list):
        return [resolve(item, root) for item in node]
    if not isinstance(node, Mapping):
        return node
    rest = {key: resolve(value, root) for key, value in node.items() if key != "$ref"}
    if "$ref" not in node:
        return rest
    names = node["$ref"] if isinstance(node["$ref"], list) else [node["$ref"]]
    values = [resolve(reduce(lambda tree, key: tree[key], name.split("."), root), root) for name in names]
    if isinstance(values[0], list):
        return [item for value in values for item in value] + rest.get("$append", [])
    return reduce(lambda merged, value: {**merged, **value}, values, {}) | rest


def merge(base: Any, overlay: Any) -> Any:
    """Lay the overlay over the official schema.

    Raises
    ------
    KeyError
        If ``$append`` or ``$after`` finds no list, or not the item, that it was written for.
    """
    if not isinstance(overlay, Mapping):
        return overlay
    if "$append" in overlay:
        if not isinstance(base, list):
            raise KeyError(f"no list to append {overlay['$append']} to")
        return [*base, *overlay["$append"]]
    if "$after" in overlay:
        if not isinstance(base, list) or not set(overlay["$after"]) <= set(base):
            raise KeyError(f"no list that has {sorted(overlay['$after'])}")
        return [new for item in base for new in (item, *overlay["$after"].get(item, ()))]
    base = base if isinstance(base, Mapping) else {}
    return {**base, **{key: merge(base.get(key), value) for key, value in overlay.items()}}


def build() -> str:
    """Return the text of ``schema.json``."""
    official = json.loads((resources.files("bidsschematools.data") / "schema.json").read_text(encoding="utf-8"))
    if official["schema_version"] != OFFICIAL_VERSION:
        raise SystemExit(f"bidsschematools has BIDS schema {official['schema_version']}, not {OFFICIAL_VERSION}")
    overlay = yaml.safe_load(EXTENSION.read_text(encoding="utf-8"))
    overlay = resolve(overlay, overlay)
    del overlay["common"]
    return json.dumps(merge(official, overlay), indent=0, ensure_ascii=False) + "\n"


def main() -> int:
    """Write ``schema.json``, or say whether it is what would be written."""
    parser = argparse.ArgumentParser(prog="python -m qperf_bids_spec.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if schema.json is out of date")
    options = parser.parse_args()
    text = build()
    if not options.check:
        SCHEMA.write_text(text, encoding="utf-8")
    elif not SCHEMA.is_file() or SCHEMA.read_text(encoding="utf-8") != text:
        print(f"{SCHEMA} is out of date: run python -m qperf_bids_spec.build", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
