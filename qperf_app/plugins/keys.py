"""How steps, and the files that they leave, are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, order=True)
class StepKey:
    """One step of a scan.

    Parameters
    ----------
    step : str
        Name of the step.
    plugin : str
        Of a step that several plugins run beside each other, which one; empty for all others.
    series : {"", "aif"}
        ``aif`` where a step that runs on both series of a scan runs on the one that the input function is measured in.
    """

    step: str
    plugin: str = ""
    series: Literal["", "aif"] = ""

    def __str__(self) -> str:
        return f"{self.series}-{self.step}" if self.series else self.step


#: How the input function of a scan was acquired: in a low-resolution series of the same bolus, in the series of a small
#: dose before it, in the tissue series itself, or without any tissue series.
Acquisition = Literal["dual sequence", "dual bolus", "single bolus", "input function alone"]


@dataclass(frozen=True, order=True)
class MapKey:
    """A parameter map of a kinetics plugin; ``statistic`` is empty for a point estimate."""

    model: str
    quantity: str
    statistic: str = ""


#: What a file is to its step: the name of a role that the step declares, or which parameter map it is.
Role = str | MapKey
