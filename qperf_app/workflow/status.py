"""The status of a participant, ``sub-X_status.json``: one type, one reader, one writer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json
from qperf_app.bids.whole import replace_text
from qperf_app.plugins import StepKey, StepOutcome
from qperf_app.plugins.keys import Acquisition, Role
from qperf_app.plugins.results import Haematocrit
from qperf_app.workflow.outcomes import USABLE, FileRecord, adapter, to_json

#: What comes before a participant's steps and can keep them from running: its images, the run that ended earlier.
BEFORE_STEPS = IMAGES, RUN = ("images", "run")


@dataclass(frozen=True)
class StepRecord:
    """How one step of a scan ended, and its files, by their path below OUT_DIR."""

    key: StepKey
    outcome: StepOutcome
    files: tuple[FileRecord, ...] = ()

    @property
    def paths(self) -> dict[Role, str]:
        """Files by role."""
        return {entry.role: entry.path for entry in self.files}


@dataclass(frozen=True)
class ScanRecord:
    """What is published of a scan.

    Parameters
    ----------
    label : str
        Entities without the participant.
    entities : mapping
    tissue, aif : str or None
        Paths of its series below BIDS_DIR.
    acquisition : str
        How its input function was acquired; empty in a status of an earlier version.
    warnings : tuple of str
    steps : tuple of StepRecord
        In the order in which they ran, but of several methods the one that leads first.
    basis : str
        Digest of all that its flow rests on; empty where nothing could be fitted.
    has_flow : bool
        Whether a method gave flow in at least half of the segments in view.
    doubtful : tuple of str
        Why flow of a method can't be right, with the method's name; empty where it may be.
    haematocrit : Haematocrit or None
        The one that was computed with; None in a status of an earlier version.
    remarks : tuple of str
        All that the report warns of in this scan beyond failed steps and doubts; empty where there is no report.
    """

    label: str
    entities: Mapping[str, str]
    tissue: str | None
    aif: str | None
    warnings: tuple[str, ...]
    steps: tuple[StepRecord, ...]
    basis: str = ""
    has_flow: bool = False
    doubtful: tuple[str, ...] = ()
    acquisition: Acquisition | Literal[""] = ""
    haematocrit: Haematocrit | None = None
    remarks: tuple[str, ...] = ()

    def find(self, step: str, plugin: str = "", series: Literal["", "aif"] = "") -> StepRecord | None:
        """The record of a step, or None where there is none."""
        key = StepKey(step, plugin, series)
        return next((record for record in self.steps if record.key == key), None)

    def of_step(self, step: str) -> tuple[StepRecord, ...]:
        """Records of a step, one for each plugin."""
        return tuple(record for record in self.steps if record.key.step == step)

    @property
    def series(self) -> str:
        """Path of the series whose name the results carry."""
        series = self.tissue or self.aif
        assert series is not None
        return series

    def is_gone(self, bids_dir: Path) -> bool:
        """Whether the dataset has the participant and no longer the series, not even as a link to one."""
        path = bids_dir / self.series
        return (bids_dir / Path(self.series).parts[0]).is_dir() and not os.path.lexists(path)


@dataclass(frozen=True)
class StepProblem:
    """A step that failed or gave nothing, as the user reads it, and why."""

    step: str
    reason: str


@dataclass(frozen=True)
class ParticipantStatus:
    """How a participant's run ended. The lists of steps tell of all scans, for who reads no further.

    ``complete``: nothing failed, nothing was not found, and every scan has flow, by the method that leads, in at
    least half of the segments in view. ``steps_doubtful``: steps that ended well with a result that can't be right.
    ``computed``: end of the run whose results these are (UTC, ISO 8601); empty in a status of an earlier version.
    """

    participant: str
    state: Literal["running", "interrupted", "done", "failed"]
    complete: bool = False
    steps_done: tuple[str, ...] = ()
    steps_failed: tuple[StepProblem, ...] = ()
    steps_without_result: tuple[StepProblem, ...] = ()
    steps_doubtful: tuple[StepProblem, ...] = ()
    seed: int = 0
    scans: tuple[ScanRecord, ...] = ()
    computed: str = ""

    def with_remarks(self, remarks: Mapping[str, tuple[str, ...]]) -> ParticipantStatus:
        """The same with what the report warns of each scan, by label."""
        scans = tuple(replace(scan, remarks=remarks.get(scan.label, ())) for scan in self.scans)
        return replace(self, scans=scans)

    @property
    def was_begun(self) -> bool:
        """Whether any step could run; else scans, files and report are an earlier run's."""
        return not any(problem.step in BEFORE_STEPS for problem in self.steps_failed)

    def failed_in(self, step: str, reason: str) -> ParticipantStatus:
        """The same with one more failure."""
        failed = (*self.steps_failed, StepProblem(step, reason))
        return replace(self, state="failed", complete=False, steps_failed=failed)


def summarise(participant: str, seed: int, scans: tuple[ScanRecord, ...]) -> ParticipantStatus:
    """Status of a participant from that of its scans."""
    steps = [(scan, record) for scan in scans for record in scan.steps]
    failed = [step for step in steps if step[1].outcome.state == "failed"]
    absent = [step for step in steps if step[1].outcome.state in ("not-found", "skipped")]
    without_result = [StepProblem(_name(*step), step[1].outcome.reason) for step in absent]
    doubtful = [step for step in steps if step[1].outcome.doubts]
    for scan in scans:
        if not scan.has_flow and not any(step[0] is scan for step in (*failed, *absent)):
            without_result.append(StepProblem(f"{scan.label}: flow", _no_flow(scan)))
    return ParticipantStatus(
        participant=participant,
        state="failed" if failed else "done",
        complete=not failed and not without_result,
        steps_done=tuple(_name(*step) for step in steps if step[1].outcome.state in USABLE),
        steps_failed=tuple(StepProblem(_name(*step), step[1].outcome.reason) for step in failed),
        steps_without_result=tuple(without_result),
        steps_doubtful=tuple(StepProblem(_name(*step), "; ".join(step[1].outcome.doubts)) for step in doubtful),
        seed=seed,
        scans=scans,
    )


def _no_flow(scan: ScanRecord) -> str:
    if scan.tissue is None:
        return "there is no tissue series"
    return "fewer than half of the segments in view have flow"


def _name(scan: ScanRecord, record: StepRecord) -> str:
    plugin = f" ({record.outcome.plugin})" if record.outcome.plugin else ""
    return f"{scan.label}: {record.key}{plugin}"


def status_path(out_dir: Path, participant: str) -> Path:
    """Path of a participant's status file."""
    return out_dir / f"sub-{participant}" / f"sub-{participant}_status.json"


def participants_with_status(out_dir: Path) -> list[str]:
    """Labels of the participants that OUT_DIR has a status of, in order."""
    return [path.parent.name.removeprefix("sub-") for path in sorted(out_dir.glob("sub-*/sub-*_status.json"))]


def write_status(out_dir: Path, status: ParticipantStatus) -> None:
    """Write a participant's status file, whole or not at all."""
    path = status_path(out_dir, status.participant)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(to_json(status), indent=2, ensure_ascii=False) + "\n")


def read_status(out_dir: Path, participant: str) -> ParticipantStatus:
    """Read a participant's status file.

    Raises
    ------
    DatasetError
        Where it can't be read, or was written by another version of the app.
    """
    path = status_path(out_dir, participant)
    try:
        read: ParticipantStatus = adapter(ParticipantStatus).validate_python(read_json(path))
        return read
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DatasetError(
            f"{path}: field {field!r}: {first['msg']}; a status of another version: run the participant again"
        ) from None


def earlier_status(out_dir: Path, participant: str) -> ParticipantStatus | None:
    """The status that an earlier run left; None where there is none that this version understands."""
    try:
        return read_status(out_dir, participant) if status_path(out_dir, participant).is_file() else None
    except DatasetError:
        return None


def running_status(out_dir: Path, participant: str) -> ParticipantStatus:
    """Status of a participant whose run begins: what an earlier one left stays until there is something new."""
    before = earlier_status(out_dir, participant)
    running = ParticipantStatus(participant, "running")
    return replace(running, scans=before.scans, computed=before.computed) if before else running


def refuse(out_dir: Path, participant: str, before: str, problems: Iterable[str]) -> ParticipantStatus:
    """Say of a participant that nothing of it was run, and why; returns its status.

    ``before`` is what comes before its steps and kept them from running: one of ``BEFORE_STEPS``.
    """
    status = running_status(out_dir, participant)
    for problem in problems:
        status = status.failed_in(before, problem)
    write_status(out_dir, status)
    return status


def not_begun(cause: str) -> str:
    """Why something was not begun; ``cause`` is what ended the run before its end, where that is known."""
    return f"not begun: {cause or 'the run ended before it, after another step failed'}"


def unfinished(out_dir: Path, participants: Iterable[str]) -> list[str]:
    """Say of each participant whose last run has not come to its end that its results may be an earlier run's."""
    states = {participant: read_status(out_dir, participant).state for participant in participants}
    return [
        f"sub-{participant}: its last run is {state}: what is there may be an earlier run's"
        for participant, state in states.items()
        if state != "done"
    ]


def gone_files(out_dir: Path, participant: str) -> list[str]:
    """Published files, below OUT_DIR, that the status names and that are no longer there."""
    scans = read_status(out_dir, participant).scans
    named = (path for scan in scans for record in scan.steps for path in record.paths.values())
    return [path for path in dict.fromkeys(named) if not (out_dir / path).is_file()]


def mark_interrupted(out_dir: Path, participants: Iterable[str]) -> None:
    """Say of participants whose run is not at its end, or was not begun, that it was interrupted."""
    if not out_dir.is_dir():
        return
    for participant in participants:
        status = earlier_status(out_dir, participant) or ParticipantStatus(participant, "running")
        if status.state == "running":
            write_status(out_dir, replace(status, state="interrupted"))


def status_schema() -> dict[str, Any]:
    """JSON schema of the status file."""
    return adapter(ParticipantStatus).json_schema()
