"""The list of scans: doubtful ones first, each with why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.reviews import Decision, read_reviews
from qperf_app.review.drafts import read_draft
from qperf_app.review.study import ReviewScan, Study
from qperf_app.workflow.status import ScanRecord

Severity = Literal["no result", "doubtful", "warnings", "none"]
_ORDER: tuple[Severity, ...] = ("no result", "doubtful", "warnings", "none")


@dataclass(frozen=True)
class Row:
    """A scan in the list. ``pending``: there are edits that the results were not computed with; ``corrected``: results
    of the app were corrected, whatever was decided since.

    ``key`` is empty for a participant whose status can't be read.
    """

    key: str
    participant: str
    label: str
    severity: Severity
    reasons: tuple[str, ...]
    pending: bool = False
    corrected: bool = False
    decision: Decision | Literal[""] = ""
    reader: str = ""
    time: str = ""
    comment: str = ""


def reasons_of(scan: ScanRecord) -> tuple[Severity, tuple[str, ...]]:
    """How much there is to doubt about a scan, and why: what is missing, what can't be right, what was warned of.

    The warnings are those of the report; a status without them tells of the scan's and its steps'.
    """
    missing = [
        f"{record.key}: {record.outcome.reason or record.outcome.state}"
        for record in scan.steps
        if record.outcome.state in ("failed", "not-found")
    ]
    doubts = [*scan.doubtful, *(doubt for record in scan.steps for doubt in record.outcome.doubts)]
    warnings = scan.remarks or [*scan.warnings, *(text for record in scan.steps for text in record.outcome.warnings)]
    severity: Severity = "no result" if missing or not scan.has_flow else "doubtful" if doubts else "none"
    if severity == "none" and warnings:
        severity = "warnings"
    return severity, tuple(dict.fromkeys([*missing, *doubts, *warnings]))


def listed(study: Study, scans: Iterable[ReviewScan], unreadable: Mapping[str, str]) -> list[Row]:
    """Rows of the list: what nobody has looked at before what somebody has, and within both by severity.

    ``unreadable`` says of participants why their status can't be read.
    """
    rows = [_row(study, scan) for scan in scans]
    rows += [Row("", participant, "", "no result", (reason,)) for participant, reason in unreadable.items()]
    return sorted(rows, key=lambda r: (bool(r.decision), _ORDER.index(r.severity), r.participant, r.label))


def _row(study: Study, scan: ReviewScan) -> Row:
    severity, reasons = reasons_of(scan.record)
    try:
        reviews = read_reviews(study.corrections, scan.key)
        draft = read_draft(study.corrections, scan.key)
    except DatasetError as error:
        return Row(scan.key, scan.participant, scan.record.label, "no result", (str(error), *reasons))
    pending = draft is not None and (
        bool(draft.corrected) and not study.is_after(scan.participant, draft.corrected)
        if draft.saved
        else bool(draft.edits.touched)
    )
    row = Row(scan.key, scan.participant, scan.record.label, severity, reasons, pending)
    if not reviews:
        return row
    last = reviews[-1]
    # What was taken back and computed again was written down as a correction that changes nothing.
    changed = [review.changed for review in reviews if review.decision == "corrected"]
    return replace(
        row,
        corrected=bool(changed and changed[-1]),
        decision=last.decision,
        reader=last.reader,
        time=last.time,
        comment=last.comment,
    )
