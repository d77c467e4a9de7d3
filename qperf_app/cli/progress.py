"""Tell a waiting user what is going on: a bar on a terminal, plain lines elsewhere. Everything goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qperf_app.workflow.plan import ParticipantPlan
from qperf_app.workflow.tasks import Task


def named(names: Sequence[str], most: int) -> str:
    """Names in a row, and how many more there are beyond the first ``most``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def say(text: str) -> None:
    """Print a line for the user."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class StepProgress:
    """Follows the nodes of a graph; give :meth:`notify` to the execution plugin."""

    def __init__(self, plans: Sequence[ParticipantPlan], verbose: int) -> None:
        from tqdm import tqdm

        self._names: Mapping[str, str] = {
            f"sub_{plan.participant}.{task.node}": _describe(plan.participant, task)
            for plan in plans
            for task in plan.tasks.values()
        } | {f"sub_{plan.participant}.publish": f"sub-{plan.participant} outputs and report" for plan in plans}
        self._started: dict[str, float] = {}
        self._done = 0
        self._verbose = verbose
        self._bar = tqdm(total=len(self._names), unit="step", file=sys.stderr, disable=not sys.stderr.isatty())

    def notify(self, node: Any, status: str) -> None:
        """Take note that a node has started (``start``), ended (``end``) or failed (``exception``)."""
        key = ".".join(str(node.fullname).split(".")[-2:])
        name = self._names.get(key)
        if name is None:
            return
        if status == "start":
            self._started[key] = time.monotonic()
            self._bar.set_postfix_str(name, refresh=True)
            return
        if key not in self._started:
            # Nipype also reports the end of a node that it left out, since one before it failed.
            return
        self._done += 1
        self._bar.update(1)
        seconds = time.monotonic() - self._started[key]
        if status == "exception":
            say(f"[{self._done}/{len(self._names)}] {name}: FAILED after {seconds:.1f} s")
        elif self._verbose or self._bar.disable:
            say(f"[{self._done}/{len(self._names)}] {name}: {seconds:.1f} s")

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def counter(label: str) -> Callable[[int, int], None]:
    """Progress of a loop of known length, for :meth:`~qperf_app.api.StudyPlan.check`."""
    started = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 2 or (done == total and now - started > 2):
            last = now
            say(f"{label}: {done} of {total}")

    return report


def _describe(participant: str, task: Task) -> str:
    scan = task.prefix.split("_", 1)[1] if "_" in task.prefix else ""
    by = "handed in" if task.handed_in else task.plugin
    return " ".join(part for part in (f"sub-{participant}", scan, task.step, f"({by})" if by else "") if part)
