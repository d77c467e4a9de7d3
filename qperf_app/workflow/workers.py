"""Processes that steps run in: they end with the app, and one that is killed takes no other's step with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from socket import gethostname
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

#: ``prctl`` option of Linux: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


def start_worker(folder: str) -> None:
    """Prepare a worker: the app tells it when to stop, by whatever signal the app itself is stopped."""
    process_initializer(folder)
    signal.set_wakeup_fd(-1)
    # Ctrl-C goes to all processes of a terminal; the app ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class WorkerPoolPlugin(MultiProcPlugin):
    """Nipype's ``MultiProc`` on workers of :func:`start_worker`.

    Where a worker is killed, the pool breaks and with it all steps at work. They are tried once more in a new pool;
    ``MultiProc`` itself would wait for them for ever.
    """

    def __init__(self, plugin_args: Any = None) -> None:
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown(wait=False)
        self._jobs: dict[int, tuple[Any, bool]] = {}
        self._tried_again: set[int] = set()
        self.pool: ProcessPoolExecutor = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context(self.plugin_args.get("mp_context"))
        return ProcessPoolExecutor(self.processors, context, start_worker, (self._cwd,))

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        self._jobs[self._taskid] = (node, updatehash)
        self._task_obj[self._taskid] = self._start(self._taskid)
        return int(self._taskid)

    def _start(self, number: int) -> Future[Any]:
        node, updatehash = self._jobs[number]
        try:
            return self.pool.submit(run_node, node, updatehash, number)
        except BrokenProcessPool:
            self.pool = self._new_pool()
            return self.pool.submit(run_node, node, updatehash, number)

    def _get_result(self, taskid: int) -> Any:
        future: Future[Any] = self._task_obj[taskid]
        if not future.done():
            return None
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, BrokenProcessPool) and taskid not in self._tried_again:
            self._tried_again.add(taskid)
            self._task_obj[taskid] = self._start(taskid)
            return None
        trace = [f"{type(error).__name__}: {error}"]
        return {"taskid": taskid, "result": None, "traceback": trace, "hostname": gethostname()}
