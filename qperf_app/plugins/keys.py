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
        ``aif`` where a step that runs on both series of a scan runs on that of the input function.
    """

    step: str
    plugin: str = ""
    series: Literal["", "aif"] = ""

    def __str__(self) -> str:
        return f"{self.series}-{self.step}" if self.series else self.step


@dataclass(frozen=True, order=True)
class MapKey:
    """A parameter map of a kinetics plugin; ``statistic`` is empty for a point estimate."""

    model: str
    quantity: str
    statistic: str = ""


#: What a file is to its step: the name of a role that the step declares, or which parameter map it is.
Role = str | MapKey
