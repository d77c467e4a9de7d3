"""What the command line refuses, and the exit codes of the contract."""

from __future__ import annotations

DONE, PARTICIPANT_FAILED, USAGE, UNUSABLE_DATASET, NOTHING_SELECTED, INTERNAL = 0, 1, 2, 16, 18, 70


class UsageError(Exception):
    """The command line can't be followed; the message is one line."""
