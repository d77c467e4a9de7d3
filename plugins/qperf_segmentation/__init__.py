"""Blood pools and myocardium, by classical image analysis and by networks."""

from __future__ import annotations

from qperf_app.plugins import hookimpl
from qperf_segmentation.blood_pool import KMeansBloodPool, KMeansOptions
from qperf_segmentation.ensemble import EnsembleBloodPool, EnsembleMyocardium
from qperf_segmentation.myocardium import ClassicalMyocardium, ClassicalOptions
from qperf_segmentation.resunet_blood_pool import ResUNetBloodPool
from qperf_segmentation.resunet_myocardium import ResUNetMyocardium
from qperf_segmentation.saliency import SaliencySection

__all__ = [
    "ClassicalMyocardium",
    "ClassicalOptions",
    "EnsembleBloodPool",
    "EnsembleMyocardium",
    "KMeansBloodPool",
    "KMeansOptions",
]


@hookimpl
def qperf_blood_pool() -> tuple[type, ...]:
    """Blood pools by clustering, by a network, and by the more trusted of them."""
    return KMeansBloodPool, ResUNetBloodPool, EnsembleBloodPool


@hookimpl
def qperf_myocardium() -> tuple[type, ...]:
    """Myocardium by unmixing and dynamic programming, by a network, and by the more trusted of them."""
    return ClassicalMyocardium, ResUNetMyocardium, EnsembleMyocardium


@hookimpl
def qperf_report_section() -> tuple[type, ...]:
    """What the blood-pool network looked at."""
    return (SaliencySection,)
