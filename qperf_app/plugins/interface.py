"""The interface of each step. A plugin is a class with these attributes and the one method of its step.

A class may derive from the step's base class here or merely look like it. It is made with its options,
``cls(options)``, and keeps no other state. Heavy imports belong inside the method, so that listing plugins stays
quick.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from qperf_app.plugins.records import (
    BloodPools,
    ConcentrationSeries,
    InputFunction,
    KineticMaps,
    Motion,
    Myocardium,
    Resources,
    RunContext,
    Series,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.results import Element, ParticipantResult

#: Version of this interface. A plugin written for another one is refused with a message.
API_VERSION = 1


@dataclass(frozen=True)
class NoOptions:
    """For a plugin that has no options."""


class Plugin(ABC):
    """What every plugin says of itself.

    ``Options`` is a frozen dataclass; each field has a type, a default and ``metadata={"help": ...}``.
    ``requires`` names the BIDS metadata fields without which the plugin can't run on a series. ``trainer`` names the
    :class:`~qperf_app.plugins.training.Trainer` of a plugin that ``qperf train`` can train, as ``module:class``.
    """

    api_version: ClassVar[int] = API_VERSION
    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    citations: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    trainer: ClassVar[str] = ""
    Options: ClassVar[type] = NoOptions

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    def problems(self, metadata: Mapping[str, Any], shape: tuple[int, int, int, int]) -> Sequence[str]:
        """Say what, beyond a missing required field, keeps the plugin from running on such a series.

        Each problem is a phrase that names the field, such as ``"FlipAngle is 0"``. Called before anything runs.
        """
        return ()

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Memory and threads for a series of this (x, y, z, t) shape."""
        return Resources(memory_gb=0.5 + 6 * 8 * float(shape[0] * shape[1] * shape[2] * shape[3]) / 2**30)


class MotionCorrectionPlugin(Plugin):
    """Step ``motion-correction``."""

    @abstractmethod
    def correct(self, series: Series, context: RunContext) -> Motion:
        """Find the displacement of every volume, proton-density volumes included. The host applies it."""


class BloodPoolPlugin(Plugin):
    """Step ``blood-pool``."""

    @abstractmethod
    def find(self, series: Series, context: RunContext) -> BloodPools:
        """Find the ventricles' blood in a motion-corrected series, or say that the left one is not there."""


class ConcentrationPlugin(Plugin):
    """Step ``concentration``."""

    @abstractmethod
    def convert(
        self, series: Series, tissue: Literal["blood", "myocardium"], context: RunContext
    ) -> ConcentrationSeries:
        """Turn signal into concentration, for an input function (shape (1, 1, 1, t), blood) and for the tissue."""


class MyocardiumPlugin(Plugin):
    """Step ``myocardium``."""

    @abstractmethod
    def segment(
        self, series: Series, pools: BloodPools | None, aif: InputFunction | None, context: RunContext
    ) -> Myocardium:
        """Outline the myocardium on the motion-corrected tissue series.

        ``pools`` may lie on another grid (that of the input-function series); their affine says where. Either may be
        None where it was not found or not made.
        """


class KineticsPlugin(Plugin):
    """Step ``kinetics``. ``model`` is the label that stands in the file names, letters and digits only."""

    model: ClassVar[str]

    @abstractmethod
    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate the kinetic parameters of every curve."""


class ReportSectionPlugin(Plugin):
    """A section of the report. ``title`` heads it; sections of plugins follow the host's own, in order of name."""

    title: ClassVar[str]

    @abstractmethod
    def render(self, participant: ParticipantResult) -> Sequence[Element]:
        """Return the section's elements; none leaves the section out."""
