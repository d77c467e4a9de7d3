"""Signal of single spins, converted by the plugins: an independent simulation against the sequence engine."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import pytest
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
BASELINE = 6


@cache
def voxel(tissue: Tissue, protocol: Protocol, b1: float) -> float:
    """Spins are spread over frequencies where something dephases them that an echo does not call back."""
    spread = tissue.r2star - tissue.r2
    return voxel_signal(tissue, protocol, b1, 1 if protocol.balanced else 4000 if spread > 50.0 else 200)


def series(
    readout: str, name: Name, field: float, weighted: bool, t1: float, b1: float = 1.0
) -> tuple[Series, NDArray[np.float64]]:
    """A baseline, then a volume at each level; with two proton-density volumes before where ``weighted``."""
    protocol = PROTOCOLS[readout, name]
    levels = np.array(LEVELS) * (10.0 if name == "blood" else 3.0)
    tissues = [
        Tissue(
            1.0 / t1 + constants.relaxivity(field) * c,
            1.0 / constants.native_t2(name, field) + constants.transverse_relaxivity(field) * c,
            1.0 / constants.native_t2star(name, field) + constants.t2star_relaxivity(name, field) * c,
        )
        for c in levels
    ]
    values = [voxel(tissue, protocol, b1) for tissue in tissues]
    values, flips = [values[0]] * (BASELINE - 1) + values, [protocol.flip] * (BASELINE - 1 + len(levels))
    if weighted:
        reference = Protocol(False, 5.0, protocol.spacing, protocol.count, None, protocol.echo)
        values, flips = [voxel(tissues[0], reference, b1)] * 2 + values, [5.0, 5.0] + flips
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
    data = 700.0 * np.array(values)[None, None, None]
    return Series(data, 0.8 * np.arange(len(values), dtype=np.float64), np.eye(4), metadata), levels


def relative_errors(readout: str, name: Name, found: Series, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    plugin = PLUGINS[readout]
    options = plugin.Options(t2star_correction="auto", baseline_frames=BASELINE, scale_window=1)
    converted = plugin(options).convert(found, name, RunContext()).data[0, 0, 0]
    return np.asarray(converted[-len(levels) + 1 :] / levels[1:] - 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("name", ["blood", "myocardium"])
@pytest.mark.parametrize("readout", list(PLUGINS))
def test_concentration_from_spins_is_right_within_three_percent(readout: str, name: Name, field: float) -> None:
    """Blood to 10 mmol/L, tissue to 3; with proton density the native T1 is 6 % off the one of the tables."""
    t1 = constants.native_t1(name, field)
    assert np.abs(relative_errors(readout, name, *series(readout, name, field, False, t1))).max() < 0.03
    assert np.abs(relative_errors(readout, name, *series(readout, name, field, True, 1.06 * t1))).max() < 0.03


def test_a_balanced_series_converted_as_flash_would_be_wrong() -> None:
    """What the refusal is for."""
    found, levels = series("bSSFP", "myocardium", 1.5, False, constants.native_t1("myocardium", 1.5))
    with pytest.raises(ValueError, match="sr-flash converts FLASH only"):
        SaturationRecoveryFlash().convert(found, "myocardium", RunContext())
    disguised = Series(found.data, found.times, found.affine, {**found.metadata, "PulseSequenceType": "FLASH"})
    assert np.abs(relative_errors("bSSFP", "myocardium", found, levels)).max() < 0.03
    assert np.abs(relative_errors("FLASH", "myocardium", disguised, levels)).max() > 0.1
