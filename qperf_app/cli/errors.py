"""What the command line refuses, and the exit codes of the contract."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping

DONE, PARTICIPANT_FAILED, USAGE, UNUSABLE_DATASET, NOTHING_SELECTED, INTERNAL = 0, 1, 2, 16, 18, 70
#: As shells give it of a program that Ctrl-C ended.
STOPPED = 130
#: What each exit code says.
EXIT_CODES: Mapping[int, str] = {
    DONE: "done",
    PARTICIPANT_FAILED: "a participant failed",
    USAGE: "usage",
    UNUSABLE_DATASET: "not a usable dataset",
    NOTHING_SELECTED: "nothing selected",
    INTERNAL: "internal error",
}


class UsageError(Exception):
    """The command line can't be followed; the message is one line."""


def failed(program: str, error: Exception) -> int:
    """Say what the machine lacks in a line, such as room on a disk, and where a fault of the app's own lies.

    Returns
    -------
    int
        The exit code.
    """
    from qperf_app.workflow.outcomes import one_line

    if isinstance(error, OSError | MemoryError):
        print(f"{program}: {one_line(error)}", file=sys.stderr)
    else:
        traceback.print_exception(error)
        print(f"{program}: internal error: {one_line(error)}", file=sys.stderr)
    return INTERNAL
