"""Processes that steps run in: they end with the app, and one that is killed takes no other's step with it."""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, Protocol

from qperf_app.workflow.linear_algebra import one_thread
from qperf_app.workflow.memory import give_back_memory, keep_freed_memory

#: ``prctl`` option of Linux: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


class Workers(Protocol):
    """Where nodes run; a node's future raises what the node raised."""

    def submit(self, node: Any, kind: str) -> Future[None]:
        """Run a node. ``kind`` says what it has in common with others: libraries that it needs."""

    def close(self) -> None:
        """Let the processes end."""


def process_context(method: str | None = None) -> multiprocessing.context.BaseContext:
    """How processes start: by the method named, else as the platform has it.

    Where TensorFlow is loaded already, as by a program that calls the app, they start as fresh interpreters: a fork has
    the locks of its threads without the threads, and waits for ever.
    """
    return multiprocessing.get_context(method or ("spawn" if "tensorflow" in sys.modules else None))


#: What most steps import. A process that is forked after that has it, and shares its memory.
_LIBRARIES = (
    "qperf_app.workflow.graph",
    "qperf_app.workflow.publish",
    *(f"scipy.{name}" for name in ("fft", "interpolate", "ndimage", "optimize", "sparse", "special")),
    "scipy.cluster.vq",
    "skimage.measure",
    "skimage.morphology",
    "qperf_app.report.page",
    # Pillow looks for who can write a format among seventy, unless he is there.
    *(f"PIL.{name}" for name in ("ImageDraw", "ImageFont", "ImageOps", "PngImagePlugin", "WebPImagePlugin")),
)


def load_libraries() -> None:
    """Import what most steps need, once and not in each process; never what starts threads of its own."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    from qperf_app.report.page import page_template

    page_template()


def start_worker(folder: str) -> None:
    """Prepare a worker: the app tells it when to stop, by whatever signal the app itself is stopped."""
    os.chdir(folder)
    keep_freed_memory()
    signal.set_wakeup_fd(-1)
    # Ctrl-C goes to all processes of a terminal; the app ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _run(node: Any) -> None:
    try:
        with one_thread():
            node.run()
    finally:
        give_back_memory()


class ThisProcess:
    """Runs nodes at once, in the app itself."""

    def submit(self, node: Any, kind: str) -> Future[None]:
        """Run a node to its end."""
        future: Future[None] = Future()
        try:
            _run(node)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        return future

    def close(self) -> None:
        """There is nothing to end."""


@dataclass
class _Worker:
    """One process, its latest node, and the kinds of node that it has run: their libraries are loaded."""

    executor: ProcessPoolExecutor
    kinds: set[str] = field(default_factory=set)
    latest: Future[None] | None = None

    @property
    def is_free(self) -> bool:
        return self.latest is None or self.latest.done()

    @property
    def was_killed(self) -> bool:
        return self.latest is not None and self.is_free and isinstance(self.latest.exception(), BrokenProcessPool)


class OwnProcesses:
    """Processes of the app's own, each with one node at a time.

    A node goes to a process that has run its kind before, if one is free: a library that takes seconds to load, such as
    TensorFlow, is then loaded in as few processes as there are nodes at a time that need it.

    Parameters
    ----------
    count : int
        Most processes at a time. Each starts when it is first needed.
    context : str, optional
        How processes start, as :mod:`multiprocessing` names it (:func:`process_context`).
    """

    def __init__(self, count: int, context: str | None = None) -> None:
        self._context = process_context(context)
        self._workers = [_Worker(self._new()) for _ in range(count)]

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, start_worker, (os.getcwd(),))

    def submit(self, node: Any, kind: str) -> Future[None]:
        """Run a node in a free process; the future raises BrokenProcessPool where that is killed.

        Called from the main thread only: a process ends with the thread that has started it.
        """
        # Those that have run nothing yet come last: a process less to start.
        free = [worker for worker in self._workers if worker.is_free]
        worker = max(free, key=lambda worker: (kind in worker.kinds, bool(worker.kinds)))
        if worker.was_killed:
            worker.executor, worker.kinds = self._new(), set()
        worker.kinds.add(kind)
        worker.latest = worker.executor.submit(_run, node)
        return worker.latest

    def close(self) -> None:
        """Wait for the processes to end."""
        for worker in self._workers:
            worker.executor.shutdown()


class StayingProcesses(OwnProcesses):
    """Processes that one run after another uses: what they have loaded stays loaded."""

    def close(self) -> None:
        """They stay at the end of a run; :meth:`end` ends them."""

    def prepare(self, node: Any) -> None:
        """Run something, with a method ``run``, in each of them before any node; nobody waits for it."""
        for worker in self._workers:
            worker.executor.submit(_run, node)

    def end(self) -> None:
        """Wait for the processes to end."""
        super().close()
