"""Motion correction: ``chained`` mutual information in the heart region, and ``none``."""

from __future__ import annotations

from qperf_app.plugins import hookimpl
from qperf_motion.chained import ChainedMotionCorrection
from qperf_motion.none import NoMotionCorrection


@hookimpl
def qperf_motion_correction() -> tuple[type, ...]:
    """Both plugins of the family."""
    return ChainedMotionCorrection, NoMotionCorrection
