"""Blood pools and myocardium by classical image analysis."""

from __future__ import annotations

from qperf_app.plugins import hookimpl
from qperf_segmentation.blood_pool import KMeansBloodPool, KMeansOptions

__all__ = ["KMeansBloodPool", "KMeansOptions"]


@hookimpl
def qperf_blood_pool() -> type[KMeansBloodPool]:
    """Blood pools by clustering."""
    return KMeansBloodPool
