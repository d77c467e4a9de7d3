"""One thread for linear algebra while a step runs.

Blocks of voxels, slices and studies are computed beside each other, with products of small matrices: threads within
these wait for one another, and take several times the processor time of the product.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

#: Variables that tell a library, as it is loaded, how many threads to use.
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold linear algebra to one thread, that which is loaded already and that which will be; then as before.

    A program that calls the app has mostly loaded NumPy before, with a thread for each processor.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    loaded = [(change, count) for change, count in _loaded() if count != 1]
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    for change, _ in loaded:
        change(1)
    try:
        yield
    finally:
        for change, count in loaded:
            change(count)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _loaded() -> Iterator[tuple[Callable[[int], object], int]]:
    """Of every OpenBLAS in this process, such as NumPy's and SciPy's: what sets its threads, and how many there are."""
    if sys.platform != "linux":
        return
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    for path in sorted({line.split(maxsplit=5)[-1] for line in lines if "openblas" in line}):
        library = ctypes.CDLL(path)
        for prefix, suffix in product(("scipy_", ""), ("64_", "")):
            change, count = (f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("set", "get"))
            if hasattr(library, change) and hasattr(library, count):
                yield library[change], int(library[count]())
                break
