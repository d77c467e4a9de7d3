"""Who looked at a scan, when, and what was decided: a table for each scan, a row for each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from qperf_app.bids.dataset import replace_files
from qperf_app.bids.names import folder_of
from qperf_app.bids.sidecars import describe
from qperf_app.bids.tables import read_table, write_table

Decision = Literal["accepted", "corrected", "not usable"]

_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "time": {"Description": "When, ISO 8601 with the offset from UTC"},
    "reader": {"Description": "Who looked, as given with --reader; n/a where nobody was named"},
    "decision": {
        "Description": "What was decided; the last row counts",
        "Levels": {
            "accepted": "The results are right as they are",
            "corrected": "Something was drawn anew; the files of this dataset stand in for it",
            "not usable": "The scan gives no flow that can be trusted",
        },
    },
    "changed": {"Description": "What was drawn or chosen by the reader, separated by commas"},
    "comment": {"Description": "What the reader says of it"},
}


@dataclass(frozen=True)
class Review:
    """One row of the table."""

    time: str
    reader: str
    decision: Decision
    changed: str = ""
    comment: str = ""


def review_name(key: str) -> str:
    """Path of a scan's table below the dataset."""
    name = f"{key}_desc-review_log.tsv"
    return f"{folder_of(name)}/{name}"


def read_reviews(corrections: Path, key: str) -> list[Review]:
    """All rows of a scan's table, none where there is no table."""
    path = corrections / review_name(key)
    if not path.is_file():
        return []
    names = [field.name for field in fields(Review)]
    rows = ({name: "" if row.get(name, "n/a") == "n/a" else row[name] for name in names} for row in read_table(path))
    return [Review(**row) for row in rows if row["decision"] in get_args(Decision)]  # type: ignore[arg-type]


def add_review(corrections: Path, key: str, review: Review, sources: Sequence[str]) -> None:
    """Add a row; the table is there whole or not at all. Hold the scan's draft meanwhile."""
    rows = [*read_reviews(corrections, key), review]
    with replace_files(corrections, f"review-{key}") as staging:
        path = staging / review_name(key)
        path.parent.mkdir(parents=True)
        sidecar = {**describe("Review of the scan", "n/a", sources), **_COLUMNS}
        write_table(path, tuple(_COLUMNS), ([_cell(v) for v in astuple(row)] for row in rows), sidecar)


def _cell(value: str) -> str | None:
    """One line without tabs; None where there is nothing."""
    return " ".join(value.split()) or None
