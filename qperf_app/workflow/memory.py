"""Memory that a step frees: kept for its next array, and given back to the machine when the step ends.

By default the GNU C library gives each large array back at once and takes fresh pages for the next one, which are
cleared and out of the cache: in long formulas on arrays of some hundred kilobytes that is half of the time.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

#: Options of ``mallopt`` (3), and what they are set to, bytes: the largest block that is kept, which can't be more, and
#: how much is kept of what is free.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK, _MOST_KEPT = 32 << 20, 1 << 30


def keep_freed_memory() -> None:
    """Keep what is freed from now on, in this process; nothing where the C library is another."""
    library = _gnu_library()
    if library is not None:
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        library.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)


def give_back_memory() -> None:
    """Give back to the machine what is free."""
    library = _gnu_library()
    if library is not None:
        library.malloc_trim(0)


def _gnu_library() -> Any:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
