"""What a workflow node is told (:class:`Task`) and what it leaves behind (:class:`Outcome`), as plain JSON files.

Nodes exchange derivative files, not objects: each writes the files of the contract into its own folder with an
``outcome.json`` beside them, and the next node reads them as it would read a file that was handed in.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qperf_app.bids.images import read_json, sidecar_path, write_json
from qperf_app.plugins import StepOutcome

OUTCOME_FILE = "outcome.json"
FAILURE_FILE = "failure.json"

# The host's own steps, beside those of the plugins.
INPUT_FUNCTION = "input-function"
SEGMENTS = "segments"
SEGMENT_VALUES = "segment-values"

#: States after which the files of a step are there for the next one.
USABLE = ("done", "handed-in")


@dataclasses.dataclass(frozen=True)
class Task:
    """One step of one series.

    ``prefix`` starts the names of all it writes; ``series`` is the raw image (empty where the step reads none);
    ``handed_in`` maps roles to files of derivative datasets; ``upstream`` maps what the step reads to the node that
    makes it. ``threads`` and ``memory_gb`` are for the scheduler and never change the result.
    """

    node: str
    step: str
    prefix: str
    plugin: str = ""
    version: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    disable: tuple[str, ...] = ()
    seed: int = 0
    series: str = ""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sources: tuple[str, ...] = ()
    handed_in: Mapping[str, str] = dataclasses.field(default_factory=dict)
    upstream: Mapping[str, str] = dataclasses.field(default_factory=dict)
    haematocrit: float = 0.42
    tissue_density: float = 1.05
    leave_out_uncorrected: bool = False
    threads: int = 1
    memory_gb: float = 1.0

    def identity(self) -> dict[str, Any]:
        """What decides the result: the content that re-use of the work folder hangs on."""
        content = dataclasses.asdict(self)
        for key in ("threads", "memory_gb"):
            del content[key]
        return content

    @classmethod
    def from_identity(cls, content: Mapping[str, Any], threads: int = 1) -> Task:
        """Make a task again from :meth:`identity`."""
        plain = {**content, "disable": tuple(content["disable"]), "sources": tuple(content["sources"])}
        return cls(**plain, threads=threads)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a node ended and the files it wrote, by role."""

    step: StepOutcome
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the next step may read the files."""
        return self.step.state in USABLE


def derive_seed(random_seed: int, *identity: str) -> int:
    """Seed of one node: depends on the run's seed and the node's identity, on nothing else."""
    digest = hashlib.sha256("|".join([str(random_seed), *identity]).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def save_outcome(outcome: Outcome, directory: Path) -> Path:
    """Write ``outcome.json``. It holds digests of the files, so that whoever hashes it hashes them."""
    files = {
        role: {"name": path.name, "sha256": _digest(path), "sidecar": _digest(sidecar_path(path))}
        for role, path in outcome.files.items()
    }
    path = directory / OUTCOME_FILE
    write_json(path, {"step": dataclasses.asdict(outcome.step), "files": files})
    return path


def load_outcome(path: Path) -> Outcome:
    """Read an outcome; its files lie beside it."""
    content = read_json(path)
    return Outcome(
        step=load_step(content["step"]),
        files={role: path.parent / entry["name"] for role, entry in content["files"].items()},
    )


def load_step(content: Mapping[str, Any]) -> StepOutcome:
    """Make a :class:`StepOutcome` from its JSON."""
    return StepOutcome(**{**content, "warnings": tuple(content.get("warnings", ()))})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
