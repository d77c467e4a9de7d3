"""Hook specifications: one for each step. A hook returns a plugin class, or a tuple of them.

A third party's distribution declares one entry point in the group ``qperf_app`` that names a module with functions
marked :data:`hookimpl`.
"""

from __future__ import annotations

from typing import TypeVar

import pluggy

#: Name of the pluggy project and of the entry-point group.
PROJECT = "qperf_app"

hookspec = pluggy.HookspecMarker(PROJECT)
#: Marks a function of a plugin module as a hook implementation.
hookimpl = pluggy.HookimplMarker(PROJECT)

T = TypeVar("T")
Classes = type | tuple[type, ...]


@hookspec
def qperf_motion_correction() -> Classes:
    """Return the :class:`~qperf_app.plugins.MotionCorrectionPlugin` class or classes. Since API 1."""
    raise AssertionError("a specification is never called")


@hookspec
def qperf_blood_pool() -> Classes:
    """Return the :class:`~qperf_app.plugins.BloodPoolPlugin` class or classes. Since API 1."""
    raise AssertionError("a specification is never called")


@hookspec
def qperf_concentration() -> Classes:
    """Return the :class:`~qperf_app.plugins.ConcentrationPlugin` class or classes. Since API 1."""
    raise AssertionError("a specification is never called")


@hookspec
def qperf_myocardium() -> Classes:
    """Return the :class:`~qperf_app.plugins.MyocardiumPlugin` class or classes. Since API 1."""
    raise AssertionError("a specification is never called")


@hookspec
def qperf_kinetics() -> Classes:
    """Return the :class:`~qperf_app.plugins.KineticsPlugin` class or classes. Since API 1."""
    raise AssertionError("a specification is never called")


@hookspec
def qperf_report_section() -> Classes:
    """Return the :class:`~qperf_app.plugins.ReportSectionPlugin` class or classes. Since API 1."""
    raise AssertionError("a specification is never called")
