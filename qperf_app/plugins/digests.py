"""What a data file is, whatever it is called: its SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_digests(*paths: Path) -> dict[str, str]:
    """SHA-256 of files by their names, for :meth:`qperf_app.plugins.Plugin.loaded_files`.

    Raises
    ------
    ValueError
        Where a file can't be read; the message names it.
    """
    digests: dict[str, str] = {}
    for path in paths:
        try:
            digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
    return digests
