"""What the command line refuses, and the exit codes of the contract."""

from __future__ import annotations

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
