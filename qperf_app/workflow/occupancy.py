"""Who works on which participant in a work directory: two runs never meet there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

_LOCKS = "occupied"
#: Seconds between two tries, and between two lines to the user.
_TRY_SECONDS, _SAY_SECONDS = 0.5, 60.0


@contextmanager
def occupy(
    work_dir: Path, participants: Sequence[str], holder: dict[str, Any], say: Callable[[str], None]
) -> Iterator[None]:
    """Wait until nobody else works on these participants in this directory, then keep others out of them.

    The locks are the kernel's, so that a process that is killed gives them back. Where the file system has none there
    are none. One file serves all participants, each a byte of it: a run of thousands opens no thousands of files.

    Parameters
    ----------
    work_dir : Path
    participants : sequence of str
    holder : dict
        What others are told of this run while they wait: plain values.
    say : function
        Told whom this run waits for.
    """
    folder = work_dir / _LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "locks", "ab") as locks:
        for participant in sorted(participants):
            _wait(locks.fileno(), folder, participant, say)
            _note(folder, participant).write_text(json.dumps(holder), encoding="utf-8")
        try:
            yield
        finally:
            for participant in participants:
                _note(folder, participant).unlink(missing_ok=True)


def _wait(locks: int, folder: Path, participant: str, say: Callable[[str], None]) -> None:
    offset = int.from_bytes(sha256(participant.encode()).digest()[:6], "big")
    told = -_SAY_SECONDS
    while True:
        try:
            fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return
        if time.monotonic() - told >= _SAY_SECONDS:
            told = time.monotonic()
            say(f"sub-{participant}: waiting for {_holder(folder, participant)} in {folder.parent}")
        time.sleep(_TRY_SECONDS)


def _holder(folder: Path, participant: str) -> str:
    try:
        note = json.loads(_note(folder, participant).read_text(encoding="utf-8"))
        return f"a run of {note['dataset']} to {note['results']} (process {note['process']} on {note['host']}), at work"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run, at work"


def _note(folder: Path, participant: str) -> Path:
    return folder / f"sub-{participant}.json"


def describe_run(bids_dir: Path, out_dir: Path) -> dict[str, Any]:
    """What others are told of this run."""
    return {"dataset": str(bids_dir), "results": str(out_dir), "process": os.getpid(), "host": os.uname().nodename}
