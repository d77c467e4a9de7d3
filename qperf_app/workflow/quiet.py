"""Keep what libraries say to their developers out of what users read."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_FATAL_ONLY = "3"
#: What abseil's log writes before it is set up: its own warning, and messages below fatal (``I0000 00:00:…``).
_STARTUP_LINE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} \d\d:\d\d:")


def quiet_libraries() -> None:
    """Only TensorFlow's fatal messages; to be called before it is imported, in every process that may.

    It otherwise tells on every start what it was compiled for, that there is no GPU, and that TFP discards an imaginary
    part that is zero. Who wants to see that sets ``TF_CPP_MIN_LOG_LEVEL``.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _FATAL_ONLY) != _FATAL_ONLY:
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if not any(isinstance(finder, _QuietImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _QuietImport())


class _QuietImport(MetaPathFinder):
    """Let TensorFlow be imported without its start-up lines."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == "tensorflow" else None
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = _QuietLoader(spec.loader.name, spec.loader.path)
        return spec


class _QuietLoader(SourceFileLoader):
    """Run a module while what its shared libraries write as they are loaded is held back.

    TensorFlow's write before ``TF_CPP_MIN_LOG_LEVEL`` is looked at, and past ``sys.stderr``.
    """

    def exec_module(self, module: ModuleType) -> None:
        with _without_startup_lines():
            super().exec_module(module)


@contextmanager
def _without_startup_lines() -> Iterator[None]:
    """Hold back what is written to the file descriptor of standard error; what is no start-up line follows."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not _STARTUP_LINE.match(line):
                    os.write(2, line)
