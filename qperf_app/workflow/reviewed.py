"""What readers made of the scans of OUT_DIR: how many they looked at and corrected, and what that changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qperf_app.bids.dataset import is_review
from qperf_app.bids.images import read_json
from qperf_app.bids.names import parse_entities, prefix
from qperf_app.bids.reviews import Decision, read_reviews
from qperf_app.bids.segment_tables import read_segments
from qperf_app.checks.wording import counted
from qperf_app.plugins.steps import SEGMENT_VALUES
from qperf_app.workflow.status import ScanRecord


@dataclass(frozen=True)
class ReviewedScan:
    """A scan that somebody looked at, the last decision, and MBF of its segments before and after a correction."""

    participant: str
    scan: str
    decision: Decision
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()


def corrections_of(out_dir: Path) -> Path | None:
    """The dataset of corrections of OUT_DIR: that of its last run, or one beside it; None where there is none."""
    description = out_dir / "dataset_description.json"
    links = read_json(description).get("DatasetLinks", {}) if description.is_file() else {}
    linked = (out_dir / str(path) for path in links.values())
    beside = out_dir.with_name(f"{out_dir.name}-corrections")
    return next((path.resolve() for path in (*linked, beside) if is_review(path)), None)


def reviewed_scans(out_dir: Path, scans: Mapping[str, Iterable[ScanRecord]]) -> list[ReviewedScan]:
    """Scans, by participant, that have a decision."""
    corrections = corrections_of(out_dir)
    if corrections is None:
        return []
    found = []
    for participant, records in scans.items():
        for scan in records:
            reviews = read_reviews(corrections, prefix(parse_entities(Path(scan.series).name)))
            if reviews:
                flows = _flows(scan, out_dir, corrections)
                found.append(ReviewedScan(participant, scan.label, reviews[-1].decision, *flows))
    return found


def _flows(scan: ScanRecord, out_dir: Path, corrections: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """MBF of the segments that have some before and after, by the method that leads; empty without a correction."""
    for record in scan.of_step(SEGMENT_VALUES.name)[:1]:
        path = record.paths.get("transmural")
        if path is None or not (corrections / path).is_file() or not (out_dir / path).is_file():
            continue
        tables = (read_segments(record.key.plugin, "", {"transmural": root / path}) for root in (corrections, out_dir))
        before, after = ({row.segment: row.values.get("MBF", np.nan) for row in table.rows} for table in tables)
        shared = [k for k in before if k in after and np.isfinite([before[k], after[k]]).all()]
        return tuple(float(before[k]) for k in shared), tuple(float(after[k]) for k in shared)
    return (), ()


def in_words(reviewed: Iterable[ReviewedScan], n_scans: int) -> list[str]:
    """How many scans were looked at and corrected, and by how much flow of their segments changed; a sentence each."""
    reviewed = list(reviewed)
    if not reviewed:
        return []
    counts = Counter(scan.decision for scan in reviewed)
    words = ", ".join(f"{counts[d]} {d}" for d in ("accepted", "corrected", "not usable") if counts[d])
    told = [f"Readers looked at {len(reviewed)} of {n_scans} scans: {words}."]
    pairs = np.array([pair for scan in reviewed for pair in zip(scan.before, scan.after, strict=True)]).reshape(-1, 2)
    if len(pairs):
        change = 100 * (pairs[:, 1] / pairs[:, 0] - 1)
        low, middle, high = np.percentile(change, (5, 50, 95))
        n = sum(bool(scan.before) for scan in reviewed)
        told.append(
            f"Corrections of {counted(n, 'scan')} changed MBF of a segment by {middle:+.0f} % in the median, "
            f"by {low:+.0f} to {high:+.0f} % in nine of ten ({len(pairs)} segments)."
        )
    return told
