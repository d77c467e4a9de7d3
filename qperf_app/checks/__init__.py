"""Checks of raw series, of the series of a scan together, and of what is handed in.

Pure functions from metadata, shapes and values to findings. The app runs them whatever door the data come in by: from
the command line with or without the BIDS validator, and from Python. ``ranges.py`` holds the ranges as a table.
"""

from qperf_app.checks.findings import Finding, doubt, lowered, refusal

__all__ = ["Finding", "doubt", "lowered", "refusal"]
