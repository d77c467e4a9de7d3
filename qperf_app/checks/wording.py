"""Numbers of things in messages."""

from __future__ import annotations


def plural(n: int, noun: str) -> str:
    """The noun for ``n`` of them."""
    return noun if n == 1 else f"{noun}s"


def counted(n: int, noun: str) -> str:
    """``n`` of them in words, such as ``1 file`` or ``2 files``."""
    return f"{n} {plural(n, noun)}"
