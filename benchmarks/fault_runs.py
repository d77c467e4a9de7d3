"""Runs that are disturbed from outside: killed at random moments, several at once on one output, on full disks.

Each compares what is published in the end with an undisturbed run's, by :mod:`benchmarks.compare_outputs`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.compare_outputs import differences
from benchmarks.records import Column, Row, Table

#: Most kills of one run, before it is let run to its end.
KILLS_OF_A_RUN = 5
#: Whom a signal is sent to, and which.
KINDS = (
    ("app", signal.SIGKILL), ("worker", signal.SIGKILL), ("app", signal.SIGTERM), ("app", signal.SIGINT),
)  # fmt: skip
#: Words by which a run tells that a disk is full.
FULL = ("No space left on device", "the disk of the work directory is full")
#: Seconds within which the processes of a killed run must be gone; generous, since other work may be going on.
_PATIENCE = 20.0


def start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """The app as the head of a session of its own, with all that it says in a file."""
    with log.open("ab") as file:
        command = [sys.executable, "-m", "qperf_app.cli.app", *words]
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def undisturbed(words: Sequence[str], log: Path) -> float:
    """Run to the end; returns the seconds.

    Raises
    ------
    RuntimeError
        Where it fails: there is nothing to compare with.
    """
    began = time.monotonic()
    if start(words, log).wait():
        raise RuntimeError(f"the undisturbed run failed: {log.read_text()[-2000:]}")
    return time.monotonic() - began


def processes_left(session: int) -> int:
    """Processes of a session that live on after :data:`_PATIENCE`."""
    until = time.monotonic() + _PATIENCE
    while True:
        command = ["ps", "-s", str(session), "-o", "stat="]
        states = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        alive = sum(not state.startswith("Z") for state in states)
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(0.2)


def kills_table(count: int, seed: int, seconds: float, reference: Path, work: Path, words: Sequence[str]) -> Table:
    """Kill runs at random moments, and start them again, until all have come to their end.

    Parameters
    ----------
    count : int
        Kills of a run that was still going on.
    seconds : float
        What an undisturbed run takes: moments are drawn from this time.
    reference : Path
        The undisturbed run's OUT_DIR.
    words : sequence of str
        Arguments of the app, with ``OUT`` and ``WORK`` for the two folders.
    """
    generator = np.random.default_rng(seed)
    hits, left, tracebacks = Counter[str](), Counter[str](), Counter[str]()
    runs, equal, number = 0, 0, 0
    while sum(hits.values()) < count:
        folder = work / f"run-{number}"
        folder.mkdir(parents=True)
        number += 1
        of_run = 0
        while True:
            log = folder / f"{of_run}.log"
            process = start(_placed(words, folder), log)
            if of_run == KILLS_OF_A_RUN or sum(hits.values()) >= count:
                process.wait()
                break
            target, which = KINDS[int(generator.integers(len(KINDS)))]
            try:
                process.wait(float(generator.uniform(0, seconds)))
                break
            except subprocess.TimeoutExpired:
                hit = _send(process, target, which)
            process.wait()
            of_run += 1
            hits[hit] += 1
            left[hit] += processes_left(process.pid)
            tracebacks[hit] += "Traceback" in log.read_text()
        runs += 1
        found = differences(reference, folder / "out")
        equal += process.returncode == 0 and not found
        print("\n".join(found) or f"kills: {sum(hits.values())} of {count}, results equal", flush=True)
    rows: list[Row] = [(kind, hits[kind], left[kind], tracebacks[kind]) for kind in sorted(hits)]
    note = f"{runs} runs, each started again after every kill; results of {equal} equal those of an undisturbed run."
    columns = (
        Column("signal"), Column("kills", format="d"), Column("processes left", format="d"),
        Column("tracebacks", format="d"),
    )  # fmt: skip
    return Table("faults-kills", "Runs killed at random moments", columns, tuple(rows), note)


def _send(process: subprocess.Popen[bytes], target: str, which: signal.Signals) -> str:
    """Send a signal; to the app itself where it has no worker at that moment. Returns what was done."""
    listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    workers = listed.stdout.split()
    if target == "worker" and workers:
        os.kill(int(workers[0]), which)
        return f"{which.name} of a worker"
    if which == signal.SIGINT:
        # Ctrl-C reaches every process of a terminal.
        os.killpg(process.pid, which)
    else:
        process.send_signal(which)
    return f"{which.name} of the app"


def _placed(words: Sequence[str], folder: Path, work: str = "work") -> list[str]:
    places = {"OUT": str(folder / "out"), "WORK": str(folder / work)}
    return [places.get(word, word) for word in words]


def jobs_table(jobs: int, reference: Path, work: Path, words: Sequence[str], participants: Sequence[str]) -> Table:
    """Several jobs at once on one OUT_DIR."""
    rows: list[Row] = []
    for what, labels, own_work in (
        ("all participants by turns, one work directory", participants, False),
        ("all participants by turns, a work directory each", participants, True),
    ):
        folder = work / ("own" if own_work else "one")
        folder.mkdir(parents=True)
        started = [
            start(
                [
                    *_placed(words, folder, f"work-{n}" if own_work else "work"),
                    "--participant-label", labels[n % len(labels)],
                ],
                folder / f"{n}.log",
            )
            for n in range(jobs)
        ]  # fmt: skip
        codes = [process.wait() for process in started]
        found = differences(reference, folder / "out")
        print("\n".join(found), flush=True)
        tracebacks = sum("Traceback" in log.read_text() for log in folder.glob("*.log"))
        rows.append((what, jobs, sum(code == 0 for code in codes), tracebacks, "no" if found else "yes"))
    columns = (
        Column("jobs share"), Column("jobs", format="d"), Column("ended with 0", format="d"),
        Column("tracebacks", format="d"), Column("results equal those of an undisturbed run"),
    )  # fmt: skip
    return Table("faults-jobs", "Jobs at once on one output", columns, tuple(rows))


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[str]:
    """A file system in memory at a folder; yields why there is none, or ""."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        yield str(error)
        return
    if made.returncode:
        yield made.stderr.strip().splitlines()[-1] if made.stderr.strip() else "mount failed"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", str(place)], check=False)


def disks_table(reference: Path, work: Path, words: Sequence[str]) -> Table:
    """Fill the disk of OUT_DIR or of the work directory, then make it larger and run again."""
    rows: list[Row] = []
    for which in ("out", "work"):
        for size in ("64k", "1m"):
            folder = work / f"{which}-{size}"
            with small_disk(folder / which, size) as refused:
                if refused:
                    rows.append((which, size, f"left out: {' '.join(refused.split()[1:])}", "", ""))
                    continue
                log = folder / "full.log"
                code = start(_placed(words, folder), log).wait()
                said = log.read_text()
                cause = any(words in said for words in FULL) and "Traceback" not in said
                grow = ["mount", "-o", "remount,size=200m", str(folder / which)]
                subprocess.run(grow, check=True)
                again = start(_placed(words, folder), folder / "again.log").wait()
                found = differences(reference, folder / "out")
                print("\n".join(found), flush=True)
                cause_told = "yes" if cause else "enough room" if code == 0 else "no"
                rows.append((which, size, f"exit code {code}", cause_told, "yes" if not again and not found else "no"))
    columns = tuple(map(Column, ("full disk of", "size", "run", "cause in one line", "equal after more room")))
    return Table("faults-disks", "Full disks", columns, tuple(rows))
