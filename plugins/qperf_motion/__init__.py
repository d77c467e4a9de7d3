"""Built-in motion correction: ``chained`` and ``none``."""

from qperf_app.plugins import hookimpl
from qperf_motion.chained import ChainedMutualInformation
from qperf_motion.none import NoMotionCorrection

__all__ = ["ChainedMutualInformation", "NoMotionCorrection", "qperf_motion_correction"]


@hookimpl
def qperf_motion_correction() -> tuple[type, ...]:
    """Give the host the two classes."""
    return NoMotionCorrection, ChainedMutualInformation
