"""The one place where the export reads ``OUT_DIR``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from qperf_app.api import load
from qperf_app.bids.errors import DatasetError
from qperf_app.plugins import ParticipantResult, ScanResult
from qperf_app.report.studies import Study, studies_of
from qperf_app.workflow.status import participants_with_status


@dataclass(frozen=True)
class Results:
    """What is exported of one participant's session.

    Parameters
    ----------
    participant : str
        Label.
    session : str
        Label; empty where the dataset has no sessions.
    scans : tuple of ScanResult
    page : Path or None
        The report.
    """

    participant: str
    session: str
    scans: tuple[ScanResult, ...]
    page: Path | None

    @property
    def name(self) -> str:
        """Such as ``sub-01_ses-A``."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def studies(self) -> tuple[Study, ...]:
        """Rest and stress scans that belong together."""
        return studies_of(self.scans)


def words_of(scan: ScanResult) -> str:
    """Of a scan what tells its objects from those of another one, ``rest rec moco run 1``."""
    rest = {key: label for key, label in scan.entities.items() if key not in ("sub", "ses", "task")}
    return " ".join([scan.entities.get("task", "scan"), *(f"{key} {label}" for key, label in rest.items())])


def list_results(out_dir: Path) -> list[str]:
    """Labels of the participants that have results.

    Raises
    ------
    DatasetError
        Where the folder holds none.
    """
    labels = participants_with_status(out_dir)
    if not labels:
        raise DatasetError(f"{out_dir}: no results of qperf-app (sub-X/sub-X_status.json)")
    return labels


def read_results(out_dir: Path, participant: str, sessions: Collection[str] = ()) -> list[Results]:
    """Read what is published of a participant, a record for each session; only some of them where named.

    Raises
    ------
    DatasetError
        Naming a file that can't be read.
    """
    result = load(out_dir, participants=[participant])[participant]
    page = out_dir / f"sub-{participant}.html"
    return [
        Results(participant, session, scans, page if page.is_file() else None)
        for session, scans in sorted(_by_session(result).items())
        if not sessions or session in sessions
    ]


def _by_session(result: ParticipantResult) -> dict[str, tuple[ScanResult, ...]]:
    found: dict[str, tuple[ScanResult, ...]] = {}
    for scan in result.scans:
        session = scan.entities.get("ses", "")
        found[session] = (*found.get(session, ()), scan)
    return found


def doubts(scan: ScanResult) -> tuple[str, ...]:
    """Why results of a scan's steps can't be right, each said once; those of flow by one method are a part of them
    (:func:`qperf_app.report.studies.doubts_of`)."""
    return tuple(dict.fromkeys(text for step in scan.steps for text in step.doubts))
