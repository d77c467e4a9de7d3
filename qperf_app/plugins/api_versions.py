"""Versions of the plugin interface: what changed in each, and which of them a step still understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What changed in each version, in words for the author of a plugin that was written for an older one.
CHANGES: Mapping[int, str] = {
    1: "the first interface",
    2: "loaded_files() says which data files a plugin read; one without the method is taken to have read none",
}
#: Version of the interface of today.
API_VERSION = max(CHANGES)


def version_fault(written_for: Any, since: int) -> str | None:
    """Say why a step whose interface last broke in version ``since`` can't take a plugin; None where it can."""
    if not isinstance(written_for, int) or isinstance(written_for, bool):
        return f"api_version is {written_for!r}; it must be a whole number, {since} to {API_VERSION}"
    if since <= written_for <= API_VERSION:
        return None
    here = f"was written for plugin API version {written_for}"
    if written_for > API_VERSION:
        return f"{here}, this qperf-app has version {API_VERSION}: it needs a newer one"
    changes = "; ".join(f"version {v}: {text}" for v, text in CHANGES.items() if written_for < v)
    return f"{here}, this step takes {since} to {API_VERSION}. Adapt it, then raise its api_version. Changes: {changes}"
