"""What every command settles before a library that would look at it is imported."""

from __future__ import annotations

import os

from qperf_app.workflow.quiet import quiet_libraries

#: Variables that tell a library of linear algebra how many threads to use.
_LINEAR_ALGEBRA = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def settle_libraries() -> None:
    """One thread for linear algebra, and no word to the user but of the app's own.

    Blocks of voxels and studies are computed beside each other: threads within would get in their way.
    """
    for name in _LINEAR_ALGEBRA:
        os.environ[name] = "1"
    quiet_libraries()
