"""A name that is taken, a wrong signature, a wrong API version, no class at all."""

from __future__ import annotations

from qperf_app.plugins import KineticsPlugin, MotionCorrectionPlugin, hookimpl


class Taken(KineticsPlugin):
    """Takes the name of a built-in plugin."""

    name, version, model, summary = "nlls", "0", "Mine", "takes a name"

    def fit(self, curves, aif, constants, context):
        return None


class Signature(KineticsPlugin):
    """Has a method that can't be called."""

    name, version, model, summary = "signature", "0", "Mine", "wrong signature"

    def fit(self, curves):
        return None


class OldInterface(MotionCorrectionPlugin):
    """Was written for another version of the interface."""

    name, version, summary, api_version = "old", "0", "wrong version", 0

    def correct(self, series, context):
        return None


@hookimpl
def qperf_kinetics():
    """Return two broken classes."""
    return (Taken, Signature)


@hookimpl
def qperf_motion_correction():
    """Return an old class and something that is none."""
    return (OldInterface, "not a class")
