"""What a step leaves behind: its files, and how it ended, as plain JSON beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from qperf_app.bids.images import read_json, sidecar_path, write_json
from qperf_app.plugins import StepOutcome
from qperf_app.plugins.keys import Role

OUTCOME_FILE = "outcome.json"
FAILURE_FILE = "failure.json"

#: States after which the files of a step are there for the next one.
USABLE = ("done", "handed-in")


@dataclass(frozen=True)
class StepResult:
    """What a runner returns.

    ``warnings`` are sentences for the reader of the report, ``summary`` a phrase for the table of steps, ``reason``
    says why nothing was found.
    """

    state: Literal["done", "handed-in", "not-found"]
    files: Mapping[Role, Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    summary: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a node ended and the files it wrote, by role."""

    step: StepOutcome
    files: Mapping[Role, Path] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the next step may read the files."""
        return self.step.state in USABLE


@dataclass(frozen=True)
class FileRecord:
    """A file of a step: its role, and its name or its path below a dataset."""

    role: Role
    path: str


@dataclass(frozen=True)
class _StoredFile:
    """A file in the folder of its outcome, with digests of it and of its sidecar."""

    role: Role
    name: str
    sha256: str
    sidecar: str


@dataclass(frozen=True)
class _Stored:
    step: StepOutcome
    files: tuple[_StoredFile, ...]


def to_json(record: Any) -> dict[str, Any]:
    """A record of this package as plain values."""
    content: dict[str, Any] = TypeAdapter(type(record)).dump_python(record, mode="json")
    return content


def save_outcome(outcome: Outcome, directory: Path) -> Path:
    """Write ``outcome.json``. It holds digests of the files, so that whoever hashes it hashes them."""
    files = tuple(
        _StoredFile(role, path.name, _digest(path), _digest(sidecar_path(path))) for role, path in outcome.files.items()
    )
    path = directory / OUTCOME_FILE
    write_json(path, to_json(_Stored(outcome.step, files)))
    return path


def load_outcome(path: Path) -> Outcome:
    """Read an outcome; its files lie beside it."""
    stored = TypeAdapter(_Stored).validate_python(read_json(path))
    return Outcome(stored.step, {entry.role: path.parent / entry.name for entry in stored.files})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
