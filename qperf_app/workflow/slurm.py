"""Jobs that Nipype's ``SLURM`` and ``SLURMGraph`` plugins submit: what each asks for, waiting for them, cancelling.

Each job carries a comment that names the work directory and the participant, by which jobs are found again: by the run
that waits for them, and by a later one whose forerunner was killed and left jobs that write into the same folders.
"""

from __future__ import annotations

import hashlib
import math
import shlex
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


def job_arguments(given: str, comment: str, threads: int, memory_gb: float, log: str) -> str:
    """Arguments of ``sbatch`` for one step, added to those of the plugin file, which win.

    Memory is asked for in MiB, a fifth above the declaration, since some systems kill a job on its first byte too many.
    ``log`` takes what a job says: Nipype looks for ``-o`` anywhere in the arguments, takes ``--kill-on-…`` for one, and
    leaves the log to the folder that the app was started in.
    """
    wanted = [f"--comment={comment}", "--kill-on-invalid-dep=yes"]
    if not _gives(given, "--mem", "--mem-per-cpu", "--mem-per-gpu", "--exclusive"):
        wanted.append(f"--mem={math.ceil(1.2 * memory_gb * 1024)}M")
    if not _gives(given, "-c", "--cpus-per-task"):
        wanted.append(f"--cpus-per-task={threads}")
    if not _gives(given, "-o", "--output"):
        wanted.append(f"--output={shlex.quote(log)}")
    return " ".join(wanted)


def _gives(arguments: str, *options: str) -> bool:
    """Whether the arguments hold one of the options; the value of a short one may follow without a space."""
    words = shlex.split(arguments)
    short = tuple(option for option in options if not option.startswith("--"))
    return any(word.partition("=")[0] in options or (short and word.startswith(short)) for word in words)


def refusal(arguments: str) -> str:
    """Why ``sbatch`` takes no job with these arguments; empty where it takes one.

    Raises
    ------
    QueueError
        When ``sbatch`` doesn't answer.
    """
    job = (*shlex.split(arguments), "--output=/dev/null", "--wrap=true")
    if not _ask("sbatch", "--test-only", *job).returncode:
        return ""
    # The test fails too where all nodes are down for now, but a job may wait for them: only submitting one tells.
    answer = _ask("sbatch", "--parsable", "--hold", *job)
    if answer.returncode:
        return "; ".join(line.removeprefix("sbatch: ").removeprefix("error: ") for line in answer.stderr.splitlines())
    _ask("scancel", answer.stdout.strip().partition(";")[0])
    return ""


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


def node_arguments(
    plugin_args: Mapping[str, Any], comment: str, threads: int, memory_gb: float, batch_dir: Path
) -> dict[str, str]:
    """``plugin_args`` of a Nipype node; Nipype appends them to those of the plugin, and makes ``batch_dir``."""
    given = str(plugin_args.get("sbatch_args", ""))
    log = f"{batch_dir}/".replace("%", "%%") + "slurm-%j.out"
    return {"sbatch_args": " " + job_arguments(given, comment, threads, memory_gb, log)}
