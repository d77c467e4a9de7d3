"""What the options of every least-squares fit have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from qperf_app.methods.neighbours import NeighbourOptions


@dataclass(frozen=True)
class FitOptions(NeighbourOptions):
    """Options of ``nlls``, and of ``fermi`` with those that it adds."""

    regularisation: Literal["physiological", "none"] = field(
        default="physiological",
        metadata={
            "help": "physiological: weak priors on flow, delay and the other parameters, which settle what noise "
            "leaves open (docs/models.md); none: least squares only"
        },
    )
    min_delay: float = field(
        default=-1.0,
        metadata={
            "help": "smallest bolus delay Ta, s; negative where the input series is read out later",
            "range": (-60.0, 60.0),
        },
    )
    max_delay: float = field(
        default=6.0,
        metadata={"help": "largest bolus delay, s; the delay is fixed where both are the same", "range": (-60.0, 60.0)},
    )
    max_log_sd: float = field(
        default=0.7,
        metadata={
            "help": "a value is NaN where its standard error on a log scale exceeds this (0.7: factor 2 either way)",
            "range": (0.0, math.inf),
        },
    )
    max_delay_sd: float = field(
        default=1.5, metadata={"help": "Ta is NaN where its standard error exceeds this, s", "range": (0.0, math.inf)}
    )
    max_iterations: int = field(
        default=60, metadata={"help": "iterations of the last fit of each curve", "range": (1, 100_000)}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_delay > self.max_delay:
            raise ValueError(
                f"option 'min_delay' is {self.min_delay}; it must not be above max_delay, {self.max_delay}"
            )

    @property
    def spatial(self) -> bool:
        """Whether neighbours have a say: they are a prior, and with no regularisation there is none."""
        return self.prior == "spatial" and self.regularisation == "physiological"

    @property
    def delays(self) -> tuple[float, float]:
        """Smallest and largest bolus delay, s."""
        return self.min_delay, self.max_delay
