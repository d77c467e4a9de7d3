"""Blood pools and myocardium by classical image analysis."""

from __future__ import annotations

from qperf_app.plugins import hookimpl
from qperf_segmentation.blood_pool import KMeansBloodPool, KMeansOptions
from qperf_segmentation.myocardium import ClassicalMyocardium, ClassicalOptions

__all__ = ["ClassicalMyocardium", "ClassicalOptions", "KMeansBloodPool", "KMeansOptions"]


@hookimpl
def qperf_blood_pool() -> type[KMeansBloodPool]:
    """Blood pools by clustering."""
    return KMeansBloodPool


@hookimpl
def qperf_myocardium() -> type[ClassicalMyocardium]:
    """Myocardium by unmixing and dynamic programming."""
    return ClassicalMyocardium
