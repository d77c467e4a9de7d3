"""Built-in spill-over plugins: ``two-pool`` and ``none``."""

from qperf_app.plugins import hookimpl
from qperf_spill_over.none import NoSpillOver
from qperf_spill_over.two_pool import TwoPool

__all__ = ["NoSpillOver", "TwoPool", "qperf_spill_over"]


@hookimpl
def qperf_spill_over() -> tuple[type, ...]:
    """Give the host the two classes."""
    return TwoPool, NoSpillOver
