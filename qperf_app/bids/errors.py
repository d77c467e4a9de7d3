"""What can be wrong with a dataset or with a choice from it, with the exit code that each has."""

from __future__ import annotations

from typing import ClassVar


class DatasetError(Exception):
    """The dataset can't be used. The message is one line that names the file and, where there is one, the field."""

    exit_code: ClassVar[int] = 16


class SelectionError(Exception):
    """The filters select nothing, or name what isn't there. The message is one line."""

    exit_code: ClassVar[int] = 18
