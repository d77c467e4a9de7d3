"""Drafts: what a reader has drawn so far, kept as it is drawn. Saving over a version that isn't the last is refused.

A draft is a file of its own for each scan, ``.drafts/KEY.json`` in the dataset of corrections, so that several readers
and several servers may work on one study. Its version counts up with every change; it is read and written under a lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from qperf_app.bids.dataset import exclusive
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json
from qperf_app.bids.whole import replace_text
from qperf_app.review.edits import Edits
from qperf_app.workflow.outcomes import to_json

_FOLDER = ".drafts"


@dataclass(frozen=True)
class Draft:
    """What was drawn on a scan: version, who changed it last and when, and whether the corrections hold it already.

    ``corrected`` is of which time, ns, the participant's results were when the corrections were written last; 0 where
    they never were. Results of that time don't have them.
    """

    version: int = 0
    reader: str = ""
    time: str = ""
    saved: bool = False
    corrected: int = 0
    edits: Edits = field(default_factory=Edits)


class ChangedMeanwhile(Exception):
    """Somebody else has changed the scan since it was loaded; the message says who and when."""


def now() -> str:
    """The time as the review's files have it, ISO 8601 with its offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def read_draft(corrections: Path, key: str) -> Draft | None:
    """The draft of a scan; None where there is none.

    Raises
    ------
    DatasetError
        Where it can't be read.
    """
    path = _path(corrections, key)
    if not path.is_file():
        return None
    try:
        return TypeAdapter(Draft).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{path}: {where}: {first['msg']}; remove the file to begin anew") from None


@contextmanager
def newest(corrections: Path, key: str, version: int) -> Iterator[Draft]:
    """Hold the draft of a scan that was loaded in this version: nobody changes it meanwhile.

    Raises
    ------
    ChangedMeanwhile
        Where it is another version now.
    """
    corrections.mkdir(parents=True, exist_ok=True)
    with exclusive(corrections, f"review-{key}"):
        draft = read_draft(corrections, key) or Draft()
        if draft.version != version:
            who = draft.reader or "another session"
            raise ChangedMeanwhile(f"Changed meanwhile by {who} at {draft.time}: load the scan again.")
        yield draft


def store(
    corrections: Path, key: str, before: Draft, edits: Edits, reader: str, saved: bool, corrected: int | None = None
) -> Draft:
    """Write the next version; call it inside :func:`newest`. ``corrected`` stays as it is where it isn't given."""
    draft = replace(before, version=before.version + 1, reader=reader, time=now(), saved=saved, edits=edits)
    draft = draft if corrected is None else replace(draft, corrected=corrected)
    path = _path(corrections, key)
    path.parent.mkdir(exist_ok=True)
    replace_text(path, json.dumps(to_json(draft), ensure_ascii=False, separators=(",", ":")) + "\n")
    return draft


def _path(corrections: Path, key: str) -> Path:
    return corrections / _FOLDER / f"{key}.json"
