"""What is reviewed: results, the raw dataset they come from, the dataset of corrections, and an index of the scans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qperf_app.bids.dataset import CORRECTIONS, corrections_beside
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.bids.names import parse_entities, prefix
from qperf_app.bids.sidecars import RAW
from qperf_app.workflow.status import ScanRecord, participants_with_status, read_status, status_path

_URI = re.compile(r"bids:([^:/]+):")


@dataclass(frozen=True)
class ReviewScan:
    """A published scan. ``key`` is the prefix of its files' names; clients know scans by it and by nothing else."""

    key: str
    participant: str
    record: ScanRecord


@dataclass(frozen=True)
class Study:
    """The datasets of a review: results, raw dataset (read only), corrections; and the work folder of the runs."""

    out_dir: Path
    bids_dir: Path
    corrections: Path
    work_dir: Path

    def statuses(self) -> Iterator[tuple[str, float]]:
        """Participants that have a status, and when each was last written."""
        for label in participants_with_status(self.out_dir):
            yield label, status_path(self.out_dir, label).stat().st_mtime

    def written(self, participant: str) -> int:
        """When a participant's results were written, ns."""
        return status_path(self.out_dir, participant).stat().st_mtime_ns

    def is_after(self, participant: str, time: int) -> bool:
        """Whether a participant's results are others than those of a time, ns, and of a run that came to its end."""
        return self.written(participant) != time and read_status(self.out_dir, participant).state in ("done", "failed")

    def scans_of(self, participant: str) -> list[ReviewScan]:
        """Published scans of a participant.

        Raises
        ------
        DatasetError
            Where the status can't be read.
        """
        return [ReviewScan(scan_key(scan), participant, scan) for scan in read_status(self.out_dir, participant).scans]

    def handed_in(self, participant: str) -> dict[str, Path]:
        """Derivative datasets, by name, that files of the participant's last run were made from; no corrections."""
        links = read_json(self.out_dir / "dataset_description.json").get("DatasetLinks", {})
        scans = read_status(self.out_dir, participant).scans
        used = dict.fromkeys(name for scan in scans for name in self.datasets_of(scan))
        others = [name for name in used if name not in (RAW, CORRECTIONS) and name in links]
        found = {name: (self.out_dir / links[name]).resolve() for name in others}
        for name, path in found.items():
            if not path.is_dir():
                raise DatasetError(f"{path}: the dataset {name!r} that sub-{participant} was run with is not there")
        return found

    def datasets_of(self, scan: ScanRecord) -> dict[str, None]:
        """Names of the datasets that files of a scan were made from."""
        sidecars = (sidecar_path(self.out_dir / name) for step in scan.steps for name in step.paths.values())
        return dict.fromkeys(name for sidecar in sidecars for name in _sources(sidecar))


def scan_key(scan: ScanRecord) -> str:
    """Prefix of the files' names of a scan, ``sub-01_task-rest``."""
    return prefix(parse_entities(Path(scan.series).name))


def _sources(sidecar: Path) -> list[str]:
    content: dict[str, Any] = read_json(sidecar) if sidecar.is_file() else {}
    listed = content.get("Sources", [])
    return [match[1] for uri in listed if (match := _URI.match(str(uri)))]


def open_study(out_dir: Path, bids_dir: Path | None, corrections: Path | None, work_dir: Path) -> Study:
    """Find the datasets that belong to OUT_DIR.

    Parameters
    ----------
    out_dir : Path
    bids_dir : Path or None
        The raw dataset; where it isn't given, the one that OUT_DIR names.
    corrections : Path or None
        Where it isn't given, a folder beside OUT_DIR, named after it: ``out-corrections``.
    work_dir : Path

    Raises
    ------
    DatasetError
        Where OUT_DIR holds no results, or its raw dataset is not there.
    """
    out_dir = out_dir.resolve()
    if not participants_with_status(out_dir):
        raise DatasetError(f"{out_dir}: no participant's results; run the participant level first")
    description = out_dir / "dataset_description.json"
    if bids_dir is None:
        link = read_json(description).get("DatasetLinks", {}).get(RAW)
        if not isinstance(link, str):
            raise DatasetError(f"{description}: DatasetLinks names no raw dataset; give it with --bids-dir")
        bids_dir = out_dir / link
    if not bids_dir.is_dir():
        raise DatasetError(f"{bids_dir.resolve()}: the raw dataset is not there; give it with --bids-dir")
    beside = corrections or corrections_beside(out_dir)
    return Study(out_dir, bids_dir.resolve(), beside.resolve(), work_dir.resolve())
