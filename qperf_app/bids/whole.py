"""A file is there whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, also where the disk is full or the process ends.

    A process number would not do for the temporary name: jobs in containers on several machines share theirs.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
