"""qperf-app: quantitative first-pass myocardial perfusion MRI as a BIDS App."""

from qperf_app._version import __version__

__all__ = ["__version__"]
