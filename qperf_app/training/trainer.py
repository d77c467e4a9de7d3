"""What a plugin offers that can be trained, and what the host hands it: ``qperf train STEP`` brings both together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from qperf_app.plugins import KineticsPlugin, NoOptions
from qperf_app.training.cases import CaseKind, KineticScan, TrainingCase

#: Makes the simulated case of a number: the same number, the same case.
CaseMaker = Callable[[int], TrainingCase]


@dataclass(frozen=True)
class TrainingJob:
    """What the host gives a trainer.

    Parameters
    ----------
    out : Path
        Folder for weights, model card, curves and checkpoints; it exists.
    seed : int
        Root of every random draw.
    threads : int
        That the trainer may use; results don't depend on it.
    resume : bool
        Go on from the checkpoint in ``out``.
    start_from : Path or None
        Weights to start from instead of random ones.
    command : str
        For the model card.
    simulated : function or None
        Simulated case of a number, for a trainer with ``cases``. Different numbers are independent of each other.
    anatomy : str
        What the simulated cases' hearts are: "phantom", or "phantom and cine images".
    drawn : sequence of functions
        Each reads one case with masks that people drew; all of them are to be trained on.
    say : function
        Tells the waiting user something.
    labeller : function or None
        Makes an installed kinetics plugin from its name and options, for a trainer that learns from another plugin.
    scans : sequence of functions
        Each reads the curves of one scan of a finished run, for a trainer with ``from_runs``.
    """

    out: Path
    seed: int
    threads: int = 1
    resume: bool = False
    start_from: Path | None = None
    command: str = ""
    simulated: CaseMaker | None = None
    anatomy: str = "phantom"
    drawn: Sequence[Callable[[], TrainingCase]] = ()
    say: Callable[[str], None] = print
    labeller: Callable[[str, Mapping[str, Any]], KineticsPlugin] | None = None
    scans: Sequence[Callable[[], KineticScan]] = ()


@dataclass(frozen=True)
class TrainingReport:
    """What came out: the files written, and figures on held-out cases by name."""

    files: tuple[Path, ...]
    figures: dict[str, float] = field(default_factory=dict)


class Trainer(ABC):
    """Trains one plugin's network. ``Options`` is a frozen dataclass as a plugin's is; its fields become flags.

    A field with ``"path": True`` in its metadata is left out of the command that a model card quotes.

    ``cases`` says what kind of simulated scans the host is to make; None for a trainer that makes its own data.
    ``from_runs`` says that it learns from participants' own curves, which the host reads from finished runs.
    A plugin names its trainer in the class attribute ``trainer``, as ``module:class``; importing it must be
    as light as importing the plugin, for ``qperf train --help`` lists the options of all.
    """

    Options: ClassVar[type] = NoOptions
    cases: ClassVar[CaseKind | None] = None
    from_runs: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    @abstractmethod
    def train(self, job: TrainingJob) -> TrainingReport:
        """Train and write weights, model card and validation curve into ``job.out``."""
