"""YAML of users: data alone, and no key twice."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Refuses a mapping in which a key is there twice: YAML forbids it, and the last one would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is there twice", key_node.start_mark)
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


# A number to YAML 1.2 and JSON; PyYAML asks for a point and a sign in it.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_yaml(text: str) -> Any:
    """Content of a YAML text.

    Raises
    ------
    yaml.YAMLError
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - its base is the safe one
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
