"""What a plugin answers about itself: asked in one place, and checked, since a third party wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qperf_app.plugins.options import PluginFaultError
from qperf_app.plugins.records import Resources


def problems_of(where: str, plugin: Any, metadata: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[str, ...]:
    """What a plugin says keeps it from running on a series; ``where`` names the plugin.

    Raises
    ------
    PluginFaultError
    """
    try:
        problems = plugin.problems(metadata, shape)
        if isinstance(problems, str) or not all(isinstance(problem, str) for problem in problems):
            raise TypeError(f"expected texts, got {problems!r:.60}")
        return tuple(problems)
    except Exception as error:
        raise PluginFaultError(f"{where}: problems() failed: {one_line(error)}") from error


def resources_of(where: str, plugin: Any, shape: tuple[int, ...]) -> Resources:
    """Memory and threads that a plugin declares; ``where`` names the plugin.

    Raises
    ------
    PluginFaultError
    """
    try:
        found = plugin.resources(shape)
        resources = Resources(float(found.memory_gb), int(found.threads))
        if not 0.0 <= resources.memory_gb < math.inf:
            raise ValueError(f"memory_gb is {found.memory_gb}")
        return resources
    except Exception as error:
        raise PluginFaultError(f"{where}: resources() failed: {one_line(error)}") from error


def loaded_files_of(where: str, plugin: Any) -> dict[str, str]:
    """SHA-256 of the files that a plugin's instance reads, by name; empty for one that can't say.

    A file that is missing or damaged is the plugin's to refuse, in ``problems``.

    Raises
    ------
    PluginFaultError
    """
    try:
        files = dict(plugin.loaded_files()) if hasattr(plugin, "loaded_files") else {}
    except (OSError, ValueError):
        return {}
    except Exception as error:
        raise PluginFaultError(f"{where}: loaded_files() failed: {one_line(error)}") from error
    if not all(isinstance(text, str) for item in files.items() for text in item):
        raise PluginFaultError(f"{where}: loaded_files() must give texts by name, it gives {files!r:.60}")
    return files


def one_line(error: BaseException) -> str:
    """An error's kind and words, however many lines they have."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
