"""Built-in concentration plugins: ``sr-flash``, ``sr-bssfp``, ``sr-epi``, ``linear`` and ``identity``."""

from qperf_app.plugins import hookimpl
from qperf_concentration.identity import Identity
from qperf_concentration.linear import RelativeEnhancement
from qperf_concentration.read_outs import SaturationRecoveryBssfp, SaturationRecoveryEpi, SaturationRecoveryFlash

__all__ = [
    "Identity",
    "RelativeEnhancement",
    "SaturationRecoveryBssfp",
    "SaturationRecoveryEpi",
    "SaturationRecoveryFlash",
    "qperf_concentration",
]


@hookimpl
def qperf_concentration() -> tuple[type, ...]:
    """Give the host the classes."""
    return SaturationRecoveryFlash, SaturationRecoveryBssfp, SaturationRecoveryEpi, RelativeEnhancement, Identity
