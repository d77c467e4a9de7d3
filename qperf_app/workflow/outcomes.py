"""What a step leaves behind: its files, and how it ended, as plain JSON beside them."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json, sidecar_path, write_json
from qperf_app.plugins import StepOutcome
from qperf_app.plugins.keys import Role

OUTCOME_FILE = "outcome.json"
FAILURE_FILE = "failure.json"
#: Written when a step begins: what is without it has not been tried.
STARTED_FILE = "started.json"

#: States after which the files of a step are there for the next one.
USABLE = ("done", "handed-in")


@dataclass(frozen=True)
class StepResult:
    """What a runner returns.

    ``warnings`` are sentences for the reader of the report, ``summary`` a phrase for the table of steps, ``reason``
    says why nothing was found, ``doubts`` why what was found can't be right.
    """

    state: Literal["done", "handed-in", "not-found"]
    files: Mapping[Role, Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    summary: str = ""
    reason: str = ""
    doubts: tuple[str, ...] = ()


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
    made_from: str


#: Making one takes a thousand times as long as using it.
_adapter = cache(TypeAdapter)


def adapter(kind: Any) -> TypeAdapter[Any]:
    """What reads and writes a kind of record."""
    return _adapter(kind)


def to_json(record: Any) -> dict[str, Any]:
    """A record of this package as plain values."""
    content: dict[str, Any] = adapter(type(record)).dump_python(record, mode="json")
    return content


def basis(task: str, files: Iterable[str], upstream: Mapping[str, Path]) -> str:
    """Digest of what an outcome is made from: the task's digest, files, and the outcomes of others that it reads."""
    read = {name: _digest(path) for name, path in ({path: Path(path) for path in files} | dict(upstream)).items()}
    return hashlib.sha256(json.dumps([task, read], sort_keys=True).encode()).hexdigest()


def save_outcome(outcome: Outcome, directory: Path, made_from: str) -> Path:
    """Write ``outcome.json``. It holds digests of the files, so that whoever hashes it hashes them."""
    files = tuple(
        _StoredFile(role, path.name, _digest(path), _digest(sidecar_path(path))) for role, path in outcome.files.items()
    )
    path = directory / OUTCOME_FILE
    write_json(path, to_json(_Stored(outcome.step, files, made_from)))
    return path


def load_outcome(path: Path) -> Outcome:
    """Read an outcome; its files lie beside it."""
    stored = adapter(_Stored).validate_python(read_json(path))
    return Outcome(stored.step, {entry.role: path.parent / entry.name for entry in stored.files})


def is_made_from(directory: Path, made_from: str) -> bool:
    """Whether the outcome in a folder is that of this task and this input, and not of an earlier run."""
    path = directory / OUTCOME_FILE
    return path.is_file() and adapter(_Stored).validate_python(read_json(path)).made_from == made_from


def is_damaged(directory: Path) -> bool:
    """Whether the outcome in a folder can't be read, or a file of it is not the one that was written."""
    path = directory / OUTCOME_FILE
    if not path.is_file():
        return False
    try:
        stored = adapter(_Stored).validate_python(read_json(path))
    except (DatasetError, ValidationError):
        return True
    files = ((directory / entry.name, entry) for entry in stored.files)
    return any(_digest(f) != e.sha256 or _digest(sidecar_path(f)) != e.sidecar for f, e in files)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def one_line(error: BaseException) -> str:
    """Kind and text of an error in one line; that a disk is full, in words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename2 or error.filename
        return "no space left on the disk" + (f": {where} can't be written" if where else "")
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
