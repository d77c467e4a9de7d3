"""Ctrl-C and the signals by which batch systems and shells end a program: stop at once, leave nothing behind.

A step may compute for a long time where Python looks at no signal, so that a thread of its own ends the program.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qperf_app.workflow.processes import kill_descendants

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Exit code of a program that a signal ended, as shells give it, less the signal's number.
_BY_SIGNAL = 128
#: Seconds that what the program was at waits for its end. Not for ever: it may hold what the end waits for.
_WAIT_FOR_END = 10.0


@contextmanager
def stopping_at_once(program: str) -> Iterator[list[Callable[[], None]]]:
    """Within the block a signal ends the program and all processes that it has started.

    Parameters
    ----------
    program : str
        Name that the last line begins with.

    Yields
    ------
    list of functions
        Called before the program ends; what one raises keeps none of the others from being called.
    """
    at_stop: list[Callable[[], None]] = []
    ours = [s for s in _SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread() or not ours:
        yield at_stop
        return
    told, tell = socket.socketpair()
    tell.setblocking(False)
    before = {number: signal.signal(number, _wait_for_the_end) for number in ours}
    wakeup = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told, ours, program, at_stop), daemon=True).start()
    try:
        yield at_stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        tell.close()


def _wait_for_the_end(*_: object) -> None:
    """Let the main thread begin nothing more: no step again whose process was killed, no participant, no file."""
    time.sleep(_WAIT_FOR_END)


def _watch(told: socket.socket, ours: list[signal.Signals], program: str, at_stop: list[Callable[[], None]]) -> None:
    with told:
        while number := told.recv(1):
            if number[0] in ours:
                _stop(number[0], program, at_stop)


def _stop(number: int, program: str, at_stop: list[Callable[[], None]]) -> None:
    kill_descendants()
    for function in at_stop:
        with contextlib.suppress(Exception):
            function()
    # Past whatever a progress bar or a library has left of the line.
    with contextlib.suppress(OSError):
        os.write(2, f"\n{program}: stopped; run the same command again to go on from here\n".encode())
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(_BY_SIGNAL + number)
