"""What a workflow node is told, as plain values.

Nodes exchange derivative files, not objects: each writes the files of the contract into its own folder with an
``outcome.json`` beside them, and the next node reads them as it would read a file that was handed in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app import __version__
from qperf_app.geometry import Grid, Level
from qperf_app.plugins.keys import Role
from qperf_app.plugins.steps import STEPS, StepSpec
from qperf_app.workflow.outcomes import FileRecord, adapter, to_json


@dataclasses.dataclass(frozen=True)
class SecondEcho:
    """The second echo of a raw series: its image, its echo time, s, and its BIDS URI."""

    path: str
    echo_time: float
    source: str


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Volumes of a series, proton-density volumes counted, that a reader left out; the BIDS URI of the table."""

    frames: tuple[int, ...]
    source: str


@dataclasses.dataclass(frozen=True)
class Task:
    """One step of one series.

    Parameters
    ----------
    node, step : str
    prefix : str
        Starts the names of all it writes.
    plugin, version, options, loaded_files
        Which plugin, as the instance says of itself; ``loaded_files`` are SHA-256 by name.
    disable : tuple of str
        Plugins to leave out.
    seed : int
        Of the run, the step and the plugin; a call adds what it is given (:func:`fingerprint`).
    series : str
        The raw image, empty where the step reads none.
    metadata, subject
        Metadata of the series that the plugin works on, and that series' prefix.
    sources : tuple of str
        BIDS URIs of what was handed in and of the raw series.
    handed_in : tuple of FileRecord
        Files of derivative datasets.
    upstream : mapping
        Node of each result that the step reads, by the name of the :class:`~qperf_app.plugins.steps.spec.Read`.
    haematocrit, tissue_density, leave_out_uncorrected
        As in the configuration.
    grid : Grid or None
        Of the series, onto which images that were handed in are brought; None where there are none.
    levels : tuple
        Level of each slice where another scan of the study decides it; empty where the stack itself does.
    second_echo : SecondEcho or None
        Of the series that the input function is measured in.
    left_out : LeftOut or None
        Of the series that the step works on; None where nobody left out anything.
    threads, memory_gb
        For the scheduler; they never change the result.
    """

    node: str
    step: str
    prefix: str
    plugin: str = ""
    version: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loaded_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    disable: tuple[str, ...] = ()
    seed: int = 0
    series: str = ""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    subject: str = ""
    sources: tuple[str, ...] = ()
    handed_in: tuple[FileRecord, ...] = ()
    upstream: Mapping[str, str] = dataclasses.field(default_factory=dict)
    haematocrit: float = 0.42
    tissue_density: float = 1.05
    leave_out_uncorrected: bool = False
    grid: Grid | None = None
    levels: tuple[Level | None, ...] = ()
    second_echo: SecondEcho | None = None
    left_out: LeftOut | None = None
    threads: int = 1
    memory_gb: float = 1.0

    @property
    def spec(self) -> StepSpec:
        """Declaration of the step."""
        return STEPS[self.step]

    @property
    def given(self) -> dict[Role, Path]:
        """Files handed in, by role."""
        return {entry.role: Path(entry.path) for entry in self.handed_in}

    @property
    def files(self) -> tuple[str, ...]:
        """Images and tables that the step reads beside results of others: of the raw dataset, and handed in."""
        raw = (self.series, self.second_echo.path if self.second_echo else "")
        return tuple(dict.fromkeys(path for path in (*raw, *(entry.path for entry in self.handed_in)) if path))

    def identity(self) -> dict[str, Any]:
        """What decides the result, as plain values: the content that re-use of the work folder hangs on."""
        content = to_json(self)
        for key in ("threads", "memory_gb"):
            del content[key]
        if self.left_out is None:
            del content["left_out"]
        return content

    @property
    def digest(self) -> str:
        """SHA-256 of :meth:`identity` and of the app's version, whose own part of each step changes with it."""
        return hashlib.sha256(json.dumps([__version__, self.identity()], sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_identity(cls, content: Mapping[str, Any], threads: int = 1) -> Task:
        """Make a task again from :meth:`identity`."""
        read: Task = adapter(cls).validate_python({**content, "threads": threads})
        return read


def derive_seed(random_seed: int, *identity: str) -> int:
    """Seed that depends on the run's seed and on what it is for, on nothing else."""
    digest = hashlib.sha256("|".join([str(random_seed), *identity]).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def fingerprint(curves: NDArray[np.floating]) -> str:
    """Digest of curves (..., t) that hangs neither on the order in which they are stored nor on whose they are."""
    flat = np.ascontiguousarray(np.nan_to_num(curves).reshape(-1, curves.shape[-1]), dtype=np.float64)
    return hashlib.sha256(np.sort(flat.sum(axis=1)).tobytes()).hexdigest()
