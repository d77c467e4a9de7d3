"""What every command settles before a library that would look at it is imported."""

from __future__ import annotations

import os

from qperf_app.workflow.linear_algebra import VARIABLES
from qperf_app.workflow.quiet import quiet_libraries


def settle_libraries() -> None:
    """One thread for linear algebra from the start, and no word to the user but of the app's own."""
    for name in VARIABLES:
        os.environ[name] = "1"
    quiet_libraries()
