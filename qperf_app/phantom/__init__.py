"""The digital perfusion phantom: first-pass series of a parametric heart whose truth is known.

:func:`simulate_scan` makes one scan in memory, :func:`write_dataset` a BIDS-style dataset with its truth. Tissue curves
come from :mod:`qperf_app.physics.models`, signals from :mod:`qperf_app.physics.signal`: the phantom has no equation of
its own for either.
"""

from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.dataset import DatasetPlan, write_dataset
from qperf_app.phantom.participant import Participant, sample_participant
from qperf_app.phantom.scan import Scan, simulate_scan
from qperf_app.phantom.series import SeriesTruth

__all__ = [
    "DatasetPlan",
    "Participant",
    "PhantomConfig",
    "Scan",
    "SeriesTruth",
    "sample_participant",
    "simulate_scan",
    "write_dataset",
]
