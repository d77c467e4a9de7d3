"""Motion correction: ``progressive``, ``chained`` mutual information in the heart region, ``elastix``, and ``none``."""

from __future__ import annotations

from qperf_app.plugins import hookimpl
from qperf_motion.chained import ChainedMotionCorrection
from qperf_motion.elastix import ElastixMotionCorrection
from qperf_motion.none import NoMotionCorrection
from qperf_motion.progressive import ProgressiveMotionCorrection


@hookimpl
def qperf_motion_correction() -> tuple[type, ...]:
    """All plugins of the family."""
    return ProgressiveMotionCorrection, ChainedMotionCorrection, ElastixMotionCorrection, NoMotionCorrection
