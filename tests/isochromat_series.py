"""Series of one voxel whose signal is that of single spins, for every read-out, tissue and field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics import constants
from qperf_app.plugins import RunContext, Series
from qperf_concentration import SaturationRecoveryBssfp, SaturationRecoveryEpi, SaturationRecoveryFlash
from tests.isochromats import Protocol, Tissue, voxel_signal

Name = Literal["blood", "myocardium"]

PLUGINS = {"FLASH": SaturationRecoveryFlash, "bSSFP": SaturationRecoveryBssfp, "EPI": SaturationRecoveryEpi}
#: For the tissue, and for an input function of the same read-out.
PROTOCOLS = {
    ("FLASH", "myocardium"): Protocol(False, 12.0, 0.0022, 24, 0.05, 0.0011),
    ("FLASH", "blood"): Protocol(False, 5.0, 0.0014, 12, 0.01, 0.0007),
    ("bSSFP", "myocardium"): Protocol(True, 50.0, 0.0028, 24, 0.1, 0.0014),
    ("bSSFP", "blood"): Protocol(True, 20.0, 0.0024, 10, 0.01, 0.0012),
    ("EPI", "myocardium"): Protocol(False, 25.0, 0.0068, 12, 0.08, 0.0015),
    ("EPI", "blood"): Protocol(False, 10.0, 0.0050, 3, 0.01, 0.0012),
}
#: Shares of the highest concentration: 10 mmol/L in blood, 3 in tissue.
LEVELS = (0.0, 0.15, 0.5, 1.0)
HIGHEST = {"blood": 10.0, "myocardium": 3.0}
BASELINE = 6


@dataclass(frozen=True)
class Scanner:
    """What the scanner does beside what the metadata say."""

    b1: float = 1.0
    residual: float = 0.0
    off_resonance: float = 0.0


@cache
def voxel(tissue: Tissue, protocol: Protocol, scanner: Scanner) -> float:
    """Signal; spins are spread over frequencies where something dephases them that an echo does not call back."""
    spread = tissue.r2star - tissue.r2
    offsets = 1 if protocol.balanced else 4000 if spread > 50.0 else 1000
    if protocol.delay is not None:
        protocol = replace(protocol, residual=scanner.residual)
    return voxel_signal(tissue, protocol, scanner.b1, offsets, scanner.off_resonance)


def series(
    readout: str, name: Name, field: float, weighted: bool, t1_ratio: float = 1.0, scanner: Scanner = Scanner()
) -> Series:
    """A baseline, then a volume at each level; with two proton-density volumes before where ``weighted``.

    ``t1_ratio`` is the native T1 over the one that the plugins know.
    """
    protocol, t1 = PROTOCOLS[readout, name], t1_ratio * constants.native_t1(name, field)
    tissues = [
        Tissue(
            1.0 / t1 + constants.relaxivity(field) * c,
            1.0 / constants.native_t2(name, field) + constants.transverse_relaxivity(field) * c,
            1.0 / constants.native_t2star(name, field) + constants.t2star_relaxivity(name, field) * c,
        )
        for c in (HIGHEST[name] * level for level in LEVELS)
    ]
    values = [voxel(tissue, protocol, scanner) for tissue in tissues]
    values, flips = [values[0]] * (BASELINE - 1) + values, [protocol.flip] * (BASELINE - 1 + len(LEVELS))
    if weighted:
        reference = Protocol(False, 5.0, protocol.spacing, protocol.count, None, protocol.echo)
        values, flips = [voxel(tissues[0], reference, scanner)] * 2 + values, [5.0, 5.0] + flips
    metadata = {
        "PulseSequenceType": f"Saturation-recovery {readout}",
        "RepetitionTimeExcitation": protocol.spacing,
        "EchoTime": protocol.echo,
        "FlipAngle": flips,
        "SaturationDelayTime": protocol.delay,
        "ExcitationsToKSpaceCenter": protocol.count,
        "MagneticFieldStrength": field,
        "ProtonDensityVolumeCount": 2 * weighted,
        "SpoilingRFPhaseIncrement": protocol.increment,
    }
    times = 0.8 * np.arange(len(values), dtype=np.float64)
    return Series(700.0 * np.array(values)[None, None, None], times, np.eye(4), metadata)


def relative_errors(readout: str, name: Name, found: Series, **options: Any) -> NDArray[np.float64]:
    """Of the concentration at each level above 0, converted as the read-out's plugin does with T2* corrected."""
    plugin, levels = PLUGINS[readout], HIGHEST[name] * np.array(LEVELS[1:])
    chosen = plugin.Options(**{"t2star_correction": "auto", "baseline_frames": BASELINE, "scale_window": 1, **options})
    converted = plugin(chosen).convert(found, name, RunContext()).data[0, 0, 0]
    return np.asarray(converted[-len(levels) :] / levels - 1.0)
