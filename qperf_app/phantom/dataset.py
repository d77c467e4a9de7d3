"""A dataset of simulated participants: raw series, and a derivative dataset with the truth."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, fields, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from qperf_app import __version__
from qperf_app.bids.dataset import BIDS_VERSION
from qperf_app.bids.images import write_json
from qperf_app.bids.tables import write_table
from qperf_app.phantom.config import TASKS, PhantomConfig, Task
from qperf_app.phantom.participant import Participant, sample_participant
from qperf_app.phantom.scan import simulate_scan
from qperf_app.phantom.truth_files import write_scan

#: Where the truth lies within the dataset.
TRUTH_FOLDER = Path("derivatives") / "truth"


class OutputError(Exception):
    """The dataset can't be written there; the message is one line."""


@dataclass(frozen=True)
class DatasetPlan:
    """What a dataset holds.

    Parameters
    ----------
    participants : int
        Each one's draws depend on the seed and on the participant's number only: more participants leave the first
        ones as they are.
    seed : int
    tasks : tuple of {"rest", "stress"}
    config : PhantomConfig
        Options of every scan; its ``task`` doesn't matter.
    rescan : bool
        Whether every scan is made twice (``run-1``, ``run-2``): the same heart, tissue and slices, other beats,
        breathing, bolus and noise.

    Raises
    ------
    ValueError
        Naming the option that is out of range.
    """

    participants: int = 2
    seed: int = 0
    tasks: tuple[Task, ...] = TASKS
    config: PhantomConfig = field(default_factory=PhantomConfig)
    rescan: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.participants <= 100_000:
            raise ValueError(f"participants is {self.participants}; it must lie between 1 and 100000")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must not be negative")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks) or not set(self.tasks) <= set(TASKS):
            raise ValueError(f"tasks are {', '.join(self.tasks) or 'none'}; choose from {', '.join(TASKS)}, each once")

    def label(self, index: int) -> str:
        """Label of participant ``index`` (from 0)."""
        return str(index + 1).zfill(max(2, len(str(self.participants))))

    def generator(self, index: int, draw: int) -> np.random.Generator:
        """Source of the draws of a participant: 0 of the person, 1 and 2 of rest and stress, 3 and 4 of rescans."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index, draw)))

    def person(self, index: int) -> Participant:
        """Participant ``index``."""
        return sample_participant(self.config, self.generator(index, 0))


def write_dataset(
    out: Path,
    plan: DatasetPlan,
    nprocs: int = 1,
    done: Callable[[str], None] | None = None,
    also: Callable[[Path], None] | None = None,
) -> None:
    """Write the dataset whole or not at all.

    It is built beside ``out`` and renamed at the end. The same plan gives the same bytes, whatever ``nprocs``.

    Parameters
    ----------
    out : Path
        Must not exist yet, or be an empty folder.
    plan : DatasetPlan
    nprocs : int
        Processes that simulate at the same time.
    done : callable, optional
        Called with the label of every participant that is ready.
    also : callable, optional
        Called with the folder of the dataset when all else is there, to put more into it.

    Raises
    ------
    OutputError
        Where ``out`` is not empty or can't be written.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} exists and is not an empty folder; the phantom overwrites nothing")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
    except OSError as error:
        raise OutputError(f"{out} can't be written: {error.strerror or error}") from None
    try:
        _write_roots(partial, plan)
        for label in _write_participants(partial, plan, nprocs):
            if done is not None:
                done(label)
        if also is not None:
            also(partial)
        partial.replace(out)
    except OSError as error:
        raise OutputError(f"{out} can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_participants(root: Path, plan: DatasetPlan, nprocs: int) -> Iterator[str]:
    if nprocs == 1 or plan.participants == 1:
        yield from (_write_participant(root, plan, index) for index in range(plan.participants))
        return
    # A fresh interpreter for each worker: a forked one would inherit the threads of whatever is loaded here.
    workers = min(nprocs, plan.participants)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_write_participant, root, plan, index) for index in range(plan.participants)]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_participant(root: Path, plan: DatasetPlan, index: int) -> str:
    label, person = plan.label(index), plan.person(index)
    for task in plan.tasks:
        config, first = replace(plan.config, task=task), 1 + TASKS.index(task)
        scan = simulate_scan(config, plan.generator(index, first), person)
        write_scan(root, root / TRUTH_FOLDER, label, scan, "1" if plan.rescan else "")
        if plan.rescan:
            again = plan.generator(index, first + len(TASKS))
            scan = simulate_scan(config, plan.generator(index, first), person, again)
            write_scan(root, root / TRUTH_FOLDER, label, scan, "2")
    return label


def _write_roots(root: Path, plan: DatasetPlan) -> None:
    """What stands at the top of both datasets."""
    truth = root / TRUTH_FOLDER
    truth.mkdir(parents=True)
    generated = [{"Name": "qperf-app", "Version": __version__, "Description": _command(plan)}]
    common = {"BIDSVersion": BIDS_VERSION, "License": "CC0"}
    write_json(
        root / "dataset_description.json",
        {"Name": "Digital perfusion phantom", **common, "DatasetType": "raw", "GeneratedBy": generated},
    )
    write_json(
        truth / "dataset_description.json",
        {
            "Name": "Digital perfusion phantom: the truth",
            **common,
            "DatasetType": "derivative",
            "GeneratedBy": generated,
            "SourceDatasets": [{"URL": "../.."}],
            "DatasetLinks": {"raw": "../.."},
        },
    )
    (root / "README.md").write_text(_README.format(command=_command(plan)), encoding="utf-8")
    (truth / "README.md").write_text(_TRUTH_README, encoding="utf-8")
    labels = [f"sub-{plan.label(index)}" for index in range(plan.participants)]
    write_table(root / "participants.tsv", ["participant_id"], ([label] for label in labels), {})
    people = (_person_row(label, plan.person(index)) for index, label in enumerate(labels))
    write_table(truth / "participants.tsv", ["participant_id", *_COLUMNS], people, _COLUMNS)


def _person_row(label: str, person: Participant) -> list[str | float]:
    heart = person.heart
    territories = ",".join(defect.territory for defect in person.defects) or "n/a"
    return [label, person.pathology, territories, heart.cavity_volume, heart.wall, person.haematocrit]


def _command(plan: DatasetPlan) -> str:
    """The command that makes the dataset again."""
    words = [f"--participants {plan.participants}", f"--seed {plan.seed}", f"--tasks {' '.join(plan.tasks)}"]
    names = {"field_strength": "field"}
    for option in fields(PhantomConfig):
        value = getattr(plan.config, option.name)
        if option.name != "task" and value != option.default:
            flag = f"--{names.get(option.name, option.name).replace('_', '-')}"
            words.append(flag if value is True else f"{flag} {value}")
    if plan.rescan:
        words.append("--rescan")
    return f"qperf phantom OUT {' '.join(words)}"


_COLUMNS = {
    "pathology": {"Description": "none, ischaemia (flow reduced under stress) or infarct (reduced at rest too)"},
    "territories": {"Description": "Coronary territories with a defect"},
    "lv_volume": {"Description": "Volume of the left ventricle's cavity at end diastole", "Units": "mL"},
    "wall_thickness": {"Description": "Thickness of the wall at the ventricle's widest level", "Units": "mm"},
    "haematocrit": {"Description": "Volume fraction of red cells", "Units": "1"},
}

_README = """# Digital perfusion phantom

Simulated first-pass perfusion series; nobody was scanned. Made by

    {command}

The truth (masks, displacement, landmarks, input function, concentration, parameter maps) is the derivative dataset in
`derivatives/truth`; any of it can be handed to the app, `-d truth=derivatives/truth`.
"""

_TRUTH_README = """# Truth of the digital perfusion phantom

Names are those that qperf-app gives its own derivatives. Masks, landmarks, concentration and maps lie in the reference
frame, the median of the breathing; `desc-moco_xfm` leads from it to every volume of the raw series, and
`desc-frames_mask` shows where the structures lie there.
"""
