"""Kinetic parameters by a network that was trained on posteriors (plugin ``cnn``)."""

from qperf_app.plugins import hookimpl
from qperf_cnn.plugin import ConvolutionalKinetics

__all__ = ["ConvolutionalKinetics", "qperf_kinetics"]


@hookimpl
def qperf_kinetics() -> tuple[type, ...]:
    """Give the host the class."""
    return (ConvolutionalKinetics,)
