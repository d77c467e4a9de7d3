"""Built-in kinetics plugin ``hmc``: posteriors of the two-compartment exchange model, or of plug flow."""

from qperf_app.plugins import hookimpl
from qperf_hmc.plugin import ExchangePosterior, PosteriorKinetics

__all__ = ["ExchangePosterior", "PosteriorKinetics", "qperf_kinetics"]


@hookimpl
def qperf_kinetics() -> tuple[type, ...]:
    """Give the host the class."""
    return (ExchangePosterior,)
