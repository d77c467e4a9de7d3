"""Built-in kinetics plugins: ``nlls`` (2CXM) and ``fermi``."""

from qperf_app.plugins import hookimpl
from qperf_kinetics.fermi import FermiDeconvolution
from qperf_kinetics.nlls import ExchangeLeastSquares

__all__ = ["ExchangeLeastSquares", "FermiDeconvolution", "qperf_kinetics"]


@hookimpl
def qperf_kinetics() -> tuple[type, ...]:
    """Give the host the two classes."""
    return ExchangeLeastSquares, FermiDeconvolution
