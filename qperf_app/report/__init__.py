"""The report: one self-contained HTML page for each participant."""

from qperf_app.report.page import render_report

__all__ = ["render_report"]
