"""Jobs that Nipype's ``SLURM`` and ``SLURMGraph`` plugins submit: what each asks for, waiting for them, cancelling.

Each job carries a comment that names the work directory and the participant, by which jobs are found again: by the run
that waits for them, and by a later one whose forerunner was killed and left jobs that write into the same folders.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

#: Seconds between two looks at the queue.
POLL_SECONDS = 3.0
#: Seconds that a command of Slurm has to answer: a busy controller takes some ten.
ANSWER_SECONDS = 60.0


class QueueError(OSError):
    """The queue doesn't answer; the message is one line."""


def mark(work_dir: Path, participant: str) -> str:
    """Comment that a participant's jobs carry."""
    digest = hashlib.sha256(str(work_dir).encode()).hexdigest()[:16]
    return f"qperf-{digest}-{participant}"


def job_arguments(given: str, comment: str, threads: int, memory_gb: float) -> str:
    """Arguments of ``sbatch`` for one step, added to those of the plugin file, which win.

    Memory is asked for in MiB, a fifth above the declaration, since some systems kill a job on its first byte too many.
    """
    wanted = {"--comment": f"--comment={comment}", "--kill-on-invalid-dep": "--kill-on-invalid-dep=yes"}
    if not any(option in given for option in ("--mem", "--exclusive")):
        wanted["--mem"] = f"--mem={math.ceil(1.2 * memory_gb * 1024)}M"
    if not any(word.startswith(("-c", "--cpus-per-task")) for word in given.split()):
        wanted["--cpus-per-task"] = f"--cpus-per-task={threads}"
    return " ".join(wanted.values())


def jobs(comments: Collection[str]) -> list[str]:
    """Numbers of the user's jobs that are waiting or running and carry one of the comments.

    Raises
    ------
    QueueError
        When ``squeue`` doesn't answer.
    """
    answer = _ask("squeue", "--noheader", "--me", "--format=%A|%k")
    if answer.returncode:
        said = " ".join(answer.stderr.split())
        raise QueueError(f"Slurm doesn't answer: squeue ended with {answer.returncode}{': ' * bool(said)}{said}")
    listed = (line.strip().partition("|") for line in answer.stdout.splitlines())
    return [number for number, _, comment in listed if comment in comments]


def wait(comments: Collection[str], say: Callable[[str], None], patience: int = 100) -> None:
    """Return when none of the jobs is left; a queue that doesn't answer is asked again, ``patience`` times in a row."""
    told, silent = -1, 0
    while True:
        try:
            left, silent = len(jobs(comments)), 0
        except QueueError:
            silent += 1
            if silent > patience:
                raise
            left = told
        if left == 0:
            return
        if left != told:
            say(f"Slurm: {left} jobs left")
            told = left
        time.sleep(POLL_SECONDS)


def cancel(comments: Collection[str], say: Callable[[str], None]) -> None:
    """Cancel the jobs and wait until they are gone."""
    numbers = send_cancel(comments)
    if numbers:
        say(f"Slurm: cancelling {len(numbers)} jobs of a run before this one")
        wait(comments, lambda text: None)


def send_cancel(comments: Collection[str]) -> list[str]:
    """Have the jobs cancelled without waiting for it; returns their numbers."""
    numbers = jobs(comments)
    if numbers:
        _ask("scancel", *numbers)
    return numbers


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise QueueError(f"Slurm doesn't answer: {command[0]} says nothing for {ANSWER_SECONDS:g} s") from None


def is_slurm(plugin: str | None) -> bool:
    """Whether an execution plugin submits to Slurm."""
    return bool(plugin and plugin.startswith("SLURM") and shutil.which("sbatch"))


def node_arguments(plugin_args: Mapping[str, Any], comment: str, threads: int, memory_gb: float) -> dict[str, str]:
    """``plugin_args`` of a Nipype node; Nipype appends them to those of the plugin."""
    return {"sbatch_args": " " + job_arguments(str(plugin_args.get("sbatch_args", "")), comment, threads, memory_gb)}
