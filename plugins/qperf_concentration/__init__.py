"""Built-in concentration plugins: ``sr-flash``, ``linear`` and ``identity``."""

from qperf_app.plugins import hookimpl
from qperf_concentration.identity import Identity
from qperf_concentration.linear import RelativeEnhancement
from qperf_concentration.sr_flash import SaturationRecoveryFlash

__all__ = ["Identity", "RelativeEnhancement", "SaturationRecoveryFlash", "qperf_concentration"]


@hookimpl
def qperf_concentration() -> tuple[type, ...]:
    """Give the host the three classes."""
    return SaturationRecoveryFlash, RelativeEnhancement, Identity
