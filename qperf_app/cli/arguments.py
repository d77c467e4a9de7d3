"""How every command of the app parses its line: options in full, and one line where something is wrong."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

_MISSING = "the following arguments are required"


class Parser(argparse.ArgumentParser):
    """Argument parser that takes no abbreviations and refuses in one line.

    An abbreviation would change its meaning, or stop working, with the next option that begins alike.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "allow_abbrev": False})
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class; remembers the words for what :meth:`error` says of them."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read on; exit with 2."""
        hint = self._swallowed() if message.startswith(_MISSING) else ""
        self.exit(2, f"{self.prog}: {message}{hint} ({self.prog} --help explains the arguments)\n")

    def _swallowed(self) -> str:
        """Name the options whose list of values may hold the words that are missing."""
        lists = {name for action in self._actions if action.nargs in ("+", "*") for name in action.option_strings}
        given = [word for word in dict.fromkeys(self._words) if word in lists]
        if not given:
            return ""
        verb = "takes" if len(given) == 1 else "take"
        return f": {', '.join(given)} {verb} every word up to the next option, so give what is required first"


def positive(text: str) -> int:
    """A whole number from 1, such as one of processes."""
    return _whole_number(text, 1)


def count(text: str) -> int:
    """A whole number from 0."""
    return _whole_number(text, 0)


def _whole_number(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is not at least {least}")
    return value
