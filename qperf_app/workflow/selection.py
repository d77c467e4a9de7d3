"""Which published scans a command's selection names."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qperf_app.bids.errors import DatasetError, SelectionError, refuse_unknown
from qperf_app.bids.index import SeriesFile, list_participants, list_series, select_series
from qperf_app.bids.names import as_acquired, parse_entities
from qperf_app.workflow.status import ParticipantStatus, ScanRecord, participants_with_status, read_status, status_path


@dataclass(frozen=True)
class Selection:
    """What ``--participant-label``, ``--session-label``, ``--task-id`` and ``--bids-filter-file`` name; None: all."""

    participants: tuple[str, ...] | None = None
    sessions: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def no_longer_there(bids_dir: Path, scans: Mapping[str, Iterable[ScanRecord]]) -> list[str]:
    """Participants with results whose folders the dataset has not, where it has any of the others', and single scans.

    Who withdrew, and a series that was a wrong one, may have been taken out of the dataset and forgotten among the
    results.
    """
    missing: list[str] = []
    for label, of_one in scans.items():
        if (bids_dir / f"sub-{label}").is_dir():
            missing += [f"sub-{label} {scan.label}" for scan in of_one if scan.is_gone(bids_dir)]
        else:
            missing.append(f"sub-{label}")
    return missing if any(bids_dir.glob("sub-*")) else []


def unreadable(out_dir: Path, selection: Selection) -> dict[str, str]:
    """Participants of OUT_DIR whose status can't be read, and why; nobody whom the selection names, who is refused."""
    if selection.participants is not None:
        return {}
    found: dict[str, str] = {}
    for label in participants_with_status(out_dir):
        try:
            read_status(out_dir, label)
        except DatasetError as error:
            found[label] = str(error).removeprefix(f"{status_path(out_dir, label)}: ")
    return found


def not_computed(bids_dir: Path, out_dir: Path, selection: Selection) -> list[str]:
    """Participants with selected series of whom nothing is in OUT_DIR: a job that never ran leaves no trace.

    Results may have been brought to where the dataset is not.
    """
    if not bids_dir.is_dir():
        return []
    wanted = _without_prefix(selection.participants)
    there = {path.name.removeprefix("sub-") for path in out_dir.glob("sub-*") if path.is_dir()}
    missing = (label for label in list_participants(bids_dir) if label not in there)
    series = list_series(bids_dir, (label for label in missing if wanted is None or label in wanted))
    try:
        selected = select_series(bids_dir, series, selection.sessions, selection.tasks, selection.filters)
    except SelectionError:
        return []
    return sorted({f"sub-{each.entities['sub']}" for each in selected})


def counted_twice(scans: Mapping[str, Iterable[ScanRecord]]) -> list[str]:
    """Scans of participants that are reconstructions (``rec``) of an acquisition of which there is another."""
    found = []
    for label, of_one in scans.items():
        seen: set[frozenset[tuple[str, str]]] = set()
        for scan in of_one:
            acquired = frozenset(as_acquired(scan.entities).items())
            found += [f"sub-{label} {scan.label}"] if acquired in seen else []
            seen.add(acquired)
    return found


def published_scans(out_dir: Path, selection: Selection, without: Container[str] = ()) -> dict[str, list[ScanRecord]]:
    """Selected scans of OUT_DIR as the status files tell of them, by participant; but for participants ``without``.

    A scan is selected as its tissue series is, or its input-function series where it has no other. Participants
    without a selected scan are left out.

    Raises
    ------
    SelectionError
        If a label names what isn't there, or nothing is left.
    DatasetError
        If OUT_DIR holds no results, or a status file of one selected can't be read.
    """
    labels = [label for label in participants_with_status(out_dir) if label not in without]
    wanted = _without_prefix(selection.participants)
    if labels:
        refuse_unknown("sub", wanted, labels)
    scans = {label: read_status(out_dir, label).scans for label in labels if wanted is None or label in wanted}
    if not any(scans.values()):
        raise DatasetError(f"{out_dir}: no participant's results; run the participant level first")
    series = {
        (label, scan.label): SeriesFile(Path(scan.series), parse_entities(Path(scan.series).name))
        for label, of_participant in scans.items()
        for scan in of_participant
    }
    selected = set(
        select_series(out_dir, tuple(series.values()), selection.sessions, selection.tasks, selection.filters)
    )
    chosen: dict[str, list[ScanRecord]] = {}
    for label, of_participant in scans.items():
        for scan in of_participant:
            if series.get((label, scan.label)) in selected:
                chosen.setdefault(label, []).append(scan)
    return chosen


def selected_statuses(
    out_dir: Path, selection: Selection, without: Container[str] = ()
) -> dict[str, ParticipantStatus]:
    """Status of every selected participant of OUT_DIR, those without a scan among them; but for some ``without``."""
    wanted = _without_prefix(selection.participants)
    labels = (label for label in participants_with_status(out_dir) if wanted is None or label in wanted)
    return {label: read_status(out_dir, label) for label in labels if label not in without}


def folders_without_status(out_dir: Path, selection: Selection) -> list[str]:
    """Participants' folders in OUT_DIR of which no status file tells what is in them."""
    wanted, known = _without_prefix(selection.participants), participants_with_status(out_dir)
    folders = (path.name for path in sorted(out_dir.glob("sub-*")) if path.is_dir())
    labels = (name.removeprefix("sub-") for name in folders)
    return [f"sub-{label}" for label in labels if label not in known and (wanted is None or label in wanted)]


def _without_prefix(labels: Iterable[str] | None) -> frozenset[str] | None:
    return None if labels is None else frozenset(label.removeprefix("sub-") for label in labels)
