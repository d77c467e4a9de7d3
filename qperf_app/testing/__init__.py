"""The conformance suite that a plugin author runs: see :mod:`qperf_app.testing.conformance`."""

from qperf_app.testing.conformance import KineticsConformance, PluginConformance
from qperf_app.testing.examples import example_aif, example_curves, example_series

__all__ = ["KineticsConformance", "PluginConformance", "example_aif", "example_curves", "example_series"]
