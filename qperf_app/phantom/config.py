"""What may be chosen of a simulated scan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from qperf_app.physics.constants import nominal_field

Task = Literal["rest", "stress"]

TASKS: tuple[Task, ...] = ("rest", "stress")
ACQUISITIONS = ("dual", "single", "dual-bolus")
READ_OUTS = ("FLASH", "bSSFP", "EPI", "steady-state")
SLICE_ORDERS = ("together", "within-beat", "over-beats")
BREATHING = ("none", "mild", "free", "extreme", "held")
DEFECTS = ("none", "ischaemia", "infarct", "mixed")
MODELS = ("2CXM", "ATH", "mixed")
INPUTS = ("individual", "population")
#: Dose, mmol/kg, of the input functions in the literature that the bolus is drawn about (Kellman et al., J Cardiovasc
#: Magn Reson 2017;19:43).
USUAL_DOSE = 0.05
#: What an option of :class:`PhantomConfig` that isn't free may be.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "task": TASKS,
    "acquisition": ACQUISITIONS,
    "readout": READ_OUTS,
    "aif_readout": READ_OUTS[:3],
    "slice_order": SLICE_ORDERS,
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
    acquisition : {"dual", "single", "dual-bolus"}
        Dual sequence: three tissue slices and a low-resolution input-function series. Single bolus: the tissue series
        alone, in which the blood saturates. Dual bolus: before it the same series of a small bolus, whose rest is in
        blood and tissue when the tissue series begins.
    readout, aif_readout : {"FLASH", "bSSFP", "EPI", "steady-state"}
        Of the tissue series (and the prebolus series), and of the input-function series. ``steady-state``, of a single
        bolus only, is a spoiled gradient echo that goes on without saturation.
    aif_echoes : int
        Echoes of the input-function series (FLASH), 1 or 2: each a series of its own.
    dose : float
        mmol/kg; the blood's concentration goes with it.
    prebolus_dose : float
        Of a dual bolus' first injection, over the second one's.
    beats_per_image : int
        Heart beats from volume to volume.
    slice_order : {"together", "within-beat", "over-beats"}
        Whether all slices of a volume are read at one time, one after another within one beat, or spread over the
        beats of an image, those that share one again one after another.
    interval : float
        s between the volumes of an ungated series, which sees the heart in all phases of its beat; 0: each volume
        follows a trigger.
    saturation_efficiency : float
        1 - Mz/M0 right after the saturation pulse.
    b1_variation : float
        Standard deviation of the excitations' flip angle over the chest, relative.
    t2star : bool
        Whether the signal of FLASH with one echo decays by T2* as well; any other read-out's always does.
    noise_amplification : float
        Largest g-factor of parallel imaging; ``cnr`` is that where it is 1.
    fat_brightness : float
        Factor of the signal of fat.
    wall_motion : float
        How far the front of the chest wall, with its fat, comes forward for each mm of the diaphragm.
    field_strength : float
        T; 1.5 or 3.
    cnr : float
        Peak enhancement of the myocardium in the mean over its mask, divided by the standard deviation of the noise
        before the magnitude is taken. ``inf`` leaves the noise out.
    aif_cnr : float
        The same of the left ventricle's blood in the input-function series.
    breathing : {"none", "mild", "free", "extreme", "held"}
        ``none`` switches the motion of every beat off as well: nothing moves. ``held``: a breath is held for a part of
        the scan, with free breaths around.
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
    readout: str = "FLASH"
    aif_readout: str = "FLASH"
    aif_echoes: int = 1
    dose: float = USUAL_DOSE
    prebolus_dose: float = 0.1
    beats_per_image: int = 1
    slice_order: str = "together"
    interval: float = 0.0
    saturation_efficiency: float = 1.0
    b1_variation: float = 0.0
    t2star: bool = False
    noise_amplification: float = 1.0
    fat_brightness: float = 1.0
    wall_motion: float = 0.0
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
            "aif_echoes": (1, 2),
            "dose": (0.01, 0.2),
            "prebolus_dose": (0.02, 0.5),
            "beats_per_image": (1, 3),
            "interval": (0.0, 5.0),
            "saturation_efficiency": (0.5, 1.2),
            "b1_variation": (0.0, 0.3),
            "noise_amplification": (1.0, 10.0),
            "fat_brightness": (0.1, 20.0),
            "wall_motion": (0.0, 1.0),
        }
        for option, (low, high) in ranges.items():
            if not low <= getattr(self, option) <= high:
                raise ValueError(f"{option} is {getattr(self, option)}; it must lie between {low:g} and {high:g}")
        for problem in self._contradictions():
            raise ValueError(problem)
        for option in ("cnr", "aif_cnr"):
            if math.isnan(getattr(self, option)) or getattr(self, option) <= 0:
                raise ValueError(f"{option} is {getattr(self, option)}; it must be greater than 0")

    @property
    def decays(self) -> bool:
        """Whether signals decay until their echo."""
        several = self.aif_echoes == 2 or not {self.readout, self.aif_readout}.isdisjoint({"bSSFP", "EPI"})
        return self.t2star or several

    def _contradictions(self) -> Iterator[str]:
        """Say which options don't go together."""
        if self.readout == "steady-state" and self.acquisition != "single":
            yield f"readout is steady-state; acquisition must be single then, not {self.acquisition}"
        if self.aif_echoes == 2 and (self.acquisition != "dual" or self.aif_readout != "FLASH"):
            yield "aif_echoes is 2; acquisition must be dual and aif_readout FLASH then"
        if self.slice_order == "over-beats" and (self.beats_per_image == 1 or self.interval):
            yield "slice_order is over-beats; beats_per_image must be 2 or more and interval 0 then"
        if self.interval and (self.beats_per_image > 1 or self.interval < 0.2):
            yield "interval is the time between ungated volumes; it must be 0.2 s or more, and beats_per_image 1 then"
