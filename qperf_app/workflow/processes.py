"""Processes that this one has started, and those that they have started."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from pathlib import Path


def kill_descendants() -> None:
    """Kill every process that this one, or one of its own, has started. Linux; elsewhere only its own workers."""
    if not Path("/proc/self/stat").is_file():
        for worker in multiprocessing.active_children():
            worker.kill()
        return
    for process in _descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def _descendants(root: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may itself hold brackets and spaces.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]
