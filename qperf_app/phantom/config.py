"""What may be chosen of a simulated scan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qperf_app.physics.constants import nominal_field

Task = Literal["rest", "stress"]

TASKS: tuple[Task, ...] = ("rest", "stress")
ACQUISITIONS = ("dual", "single")
BREATHING = ("none", "mild", "free", "extreme")
DEFECTS = ("none", "ischaemia", "infarct", "mixed")
MODELS = ("2CXM", "ATH", "mixed")
INPUTS = ("individual", "population")
#: What an option of :class:`PhantomConfig` that isn't free may be.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "task": TASKS,
    "acquisition": ACQUISITIONS,
    "breathing": BREATHING,
    "defects": DEFECTS,
    "model": MODELS,
    "input_function": INPUTS,
}


@dataclass(frozen=True)
class PhantomConfig:
    """Options of one scan; what isn't fixed here is drawn at random from published ranges.

    Parameters
    ----------
    task : {"rest", "stress"}
        Flow, heart rate and bolus follow from it.
    acquisition : {"dual", "single"}
        Dual sequence: three tissue slices and a low-resolution input-function series. Single bolus: the tissue series
        alone, in which the blood saturates.
    field_strength : float
        T; 1.5 or 3.
    cnr : float
        Peak enhancement of the myocardium in the mean over its mask, divided by the standard deviation of the noise
        before the magnitude is taken. ``inf`` leaves the noise out.
    aif_cnr : float
        The same of the left ventricle's blood in the input-function series.
    breathing : {"none", "mild", "free", "extreme"}
        ``none`` switches the motion of every beat off as well: nothing moves.
    through_plane : float
        How much of the heart's shift through the slices is kept, 1 for all; with 0 it stays within them.
    defects : {"none", "ischaemia", "infarct", "mixed"}
        ``mixed`` draws one of the others for each participant.
    model : {"2CXM", "ATH", "mixed"}
        Tissue model: two-compartment exchange, or the distributed adiabatic tissue homogeneity model over parallel
        capillaries of different flow; ``mixed`` draws one of them for each scan, the distributed one for a quarter.
    input_function : {"individual", "population"}
        Whether every scan has an AIF of its own.
    matrix : int
        Voxels along each edge of a tissue slice; the field of view stays the same.
    frames : int
        Volumes, proton-density volumes included.
    proton_density_frames : int
        Leading volumes without saturation.
    phase_resolution : float
        Acquired part of k-space along the phase direction; below 1 the edges ring, which is one source of the dark
        rims at the blood's border.
    abnormal_bolus : float
        Probability of a very late or an incomplete (low-dose) bolus.
    missed_beats : float
        Probability, for each beat, that its trigger is missed.

    Raises
    ------
    ValueError
        Naming the option that is out of range.
    """

    task: Task = "rest"
    acquisition: str = "dual"
    field_strength: float = 1.5
    cnr: float = 12.0
    aif_cnr: float = 40.0
    breathing: str = "free"
    through_plane: float = 1.0
    defects: str = "mixed"
    model: str = "mixed"
    input_function: str = "individual"
    matrix: int = 128
    frames: int = 60
    proton_density_frames: int = 3
    phase_resolution: float = 0.85
    abnormal_bolus: float = 0.03
    missed_beats: float = 0.02

    def __post_init__(self) -> None:
        for option, allowed in CHOICES.items():
            if getattr(self, option) not in allowed:
                raise ValueError(f"{option} is {getattr(self, option)!r}; it must be one of {', '.join(allowed)}")
        nominal_field(self.field_strength)
        ranges: dict[str, tuple[float, float]] = {
            "matrix": (32, 512),
            "frames": (10, 1000),
            "proton_density_frames": (0, self.frames - 5),
            "phase_resolution": (0.5, 1.0),
            "through_plane": (0.0, 1.0),
            "abnormal_bolus": (0.0, 1.0),
            "missed_beats": (0.0, 0.5),
        }
        for option, (low, high) in ranges.items():
            if not low <= getattr(self, option) <= high:
                raise ValueError(f"{option} is {getattr(self, option)}; it must lie between {low:g} and {high:g}")
        for option in ("cnr", "aif_cnr"):
            if math.isnan(getattr(self, option)) or getattr(self, option) <= 0:
                raise ValueError(f"{option} is {getattr(self, option)}; it must be greater than 0")
