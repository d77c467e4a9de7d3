"""What a plugin that is at work says of itself, passed on to the user now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from qperf_app.plugins import RunContext
from qperf_app.workflow.tasks import Task

#: Seconds between two lines of one step, and before the first.
_PATIENCE = 3.0


def context_of(task: Task, seed: int) -> RunContext:
    """Seed, threads and voice of a call."""
    return RunContext(seed, task.threads, _now_and_then(f"{task.prefix} {task.step} ({task.plugin})"))


def _now_and_then(name: str) -> Callable[[str], None]:
    last = time.monotonic()

    def say(text: str) -> None:
        nonlocal last
        if time.monotonic() - last > _PATIENCE:
            last = time.monotonic()
            print(f"{name}: {text}", file=sys.stderr, flush=True)

    return say
