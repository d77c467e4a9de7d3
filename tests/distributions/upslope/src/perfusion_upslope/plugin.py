"""A complete third-party distribution: a kinetics plugin, a report section, and a motion correction that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qperf_app.plugins import (
    Element,
    InputFunction,
    KineticMaps,
    KineticsPlugin,
    Motion,
    MotionCorrectionPlugin,
    Paragraph,
    ParameterMap,
    ParticipantResult,
    ReportSectionPlugin,
    Resources,
    RunContext,
    Series,
    TissueConstants,
    TissueCurves,
    hookimpl,
)


@dataclass(frozen=True)
class UpslopeOptions:
    """Options of the plugin."""

    window: int = field(default=3, metadata={"help": "frames that a slope is fitted over"})


class Upslope(KineticsPlugin):
    """Blood flow as the steepest rise of the tissue over the peak of the input function.

    Written when the interface had its first version.
    """

    api_version = 1
    name = "upslope"
    version = "2.1.0"
    model = "MaxSlope"
    summary = "Steepest rise of the tissue curve over the peak of the input function"
    citations = ("Miles KA. Measurement of tissue perfusion by dynamic computed tomography. Br J Radiol 1991;64:409.",)
    Options = UpslopeOptions

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Fb = max dC/dt / max Cb, per minute."""
        width = self.options.window
        slopes = [
            np.polyfit(curves.times[i : i + width], curves.concentration[:, i : i + width].T, 1)[0]
            for i in range(len(curves.times) - width + 1)
        ]
        flow = 60.0 * np.max(slopes, axis=0) / aif.in_blood(constants.haematocrit).max()
        dead = ~np.isfinite(flow) | (flow <= 0)
        flow = np.where(dead, np.nan, flow)
        maps = (
            ParameterMap("Fb", "mL/min/mL", flow),
            ParameterMap("MBF", "mL/min/g", flow / constants.density),
        )
        codes = np.where(dead, 128, 0).astype(np.uint8)
        return KineticMaps(self.model, maps, codes, {128: "the curve does not rise"})


class Note(ReportSectionPlugin):
    """Says which method was used."""

    name = "upslope-note"
    version = "2.1.0"
    title = "About the upslope estimate"
    summary = "A note on the bias of the maximum-slope method"

    def render(self, participant: ParticipantResult) -> Sequence[Element]:
        """Return the note where the plugin ran."""
        used = any(table.plugin == Upslope.name for scan in participant.scans for table in scan.segments)
        text = "The maximum-slope method underestimates flow once contrast leaves the tissue."
        return [Paragraph(text)] if used else []


class Shaken(MotionCorrectionPlugin):
    """Moves every frame at random, and calls all of them corrected."""

    name = "shaken"
    version = "2.1.0"
    summary = "Shifts at random"

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Return shifts of some mm."""
        field = np.zeros((*series.data.shape, 3), np.float32)
        field[..., :2] = np.random.default_rng(context.seed).normal(0, 6, (*series.data.shape[2:], 2))
        return Motion(field, np.ones(series.data.shape[2:], bool))

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Little."""
        return Resources(memory_gb=0.3)


class Scribbler(Shaken):
    """Normalises the series that it is lent, in place."""

    name = "scribbler"
    summary = "Writes into its input"

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Nothing moves, but the series is another."""
        series.metadata["Haematocrit"] = 0.1  # type: ignore[index]
        series.data[:] /= series.data.max()
        return Motion(np.zeros((*series.data.shape, 3), np.float32), np.ones(series.data.shape[2:], bool))


@hookimpl
def qperf_motion_correction() -> tuple[type, ...]:
    """Return the motion corrections."""
    return Shaken, Scribbler


@hookimpl
def qperf_kinetics() -> type:
    """Return the kinetics plugin."""
    return Upslope


@hookimpl
def qperf_report_section() -> type:
    """Return the report section."""
    return Note
