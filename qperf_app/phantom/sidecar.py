"""Metadata of a simulated series."""

from __future__ import annotations

from typing import Any

from qperf_app.phantom.acquisition import Grid
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.sequences import Protocol
from qperf_app.phantom.triggering import Clock

#: Who gets the dose, kg, and the agent: gadobutrol of 1 mmol/mL, 604.72 g/mol.
BODY_WEIGHT, AGENT_CONCENTRATION = 75.0, 604.72


def metadata(
    config: PhantomConfig, scanned: Protocol, grid: Grid, haematocrit: float, clock: Clock, name: str, echo: int = 0
) -> dict[str, Any]:
    """Sidecar of an echo of the series ``name``."""
    n, sequence = config.proton_density_frames, scanned.dynamic
    flips: float | list[float] = sequence.flip_angle
    if n:
        flips = [scanned.weighted.flip_angle] * n + [sequence.flip_angle] * (config.frames - n)
    timing = clock.slice_timing
    saturation = {"SaturationDelayTime": sequence.delay, "ExcitationsToKSpaceCenter": sequence.n_excitations}
    return {
        "TaskName": config.task,
        "Modality": "MR",
        "BodyPart": "HEART",
        "MagneticFieldStrength": config.field_strength,
        "MRAcquisitionType": "2D",
        "PulseSequenceType": scanned.name,
        "VolumeTiming": [float(t) for t in clock.onsets],
        **({} if timing is None else {"SliceTiming": timing[: grid.shape[2]]}),
        "RepetitionTimeExcitation": sequence.spacing,
        # An echo that nothing decays until is at time 0, which no scanner has.
        **({"EchoTime": scanned.echo_times[echo]} if config.decays else {}),
        "FlipAngle": flips,
        **(saturation if sequence.delay is not None else {}),
        "ProtonDensityVolumeCount": n,
        "SliceThickness": grid.thickness,
        "ContrastBolusIngredient": "GADOLINIUM",
        **_dose(config, name),
        "Haematocrit": haematocrit,
        "Units": "arbitrary",
    }


def _dose(config: PhantomConfig, name: str) -> dict[str, float]:
    """What was injected for a series of a dual-bolus study: one volume, the first time diluted."""
    if config.acquisition != "dual-bolus":
        return {}
    diluted = config.prebolus_dose if name == "prebolus" else 1.0
    return {
        "ContrastBolusVolume": round(config.dose * BODY_WEIGHT, 2),
        "ContrastBolusIngredientConcentration": round(diluted * AGENT_CONCENTRATION, 2),
    }
