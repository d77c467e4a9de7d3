"""Signal of single spins, converted by the plugins: an independent simulation against the sequence engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qperf_app.plugins import RunContext
from qperf_concentration import SaturationRecoveryFlash
from tests.isochromat_series import PLUGINS, Name, relative_errors, series


@pytest.mark.slow
@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("name", ["blood", "myocardium"])
@pytest.mark.parametrize("readout", list(PLUGINS))
def test_concentration_from_spins_is_right_within_three_percent(readout: str, name: Name, field: float) -> None:
    """Blood to 10 mmol/L, tissue to 3; with proton density the native T1 is 6 % off the one of the tables."""
    assert np.abs(relative_errors(readout, name, series(readout, name, field, False))).max() < 0.03
    assert np.abs(relative_errors(readout, name, series(readout, name, field, True, 1.06))).max() < 0.03


def test_a_balanced_series_converted_as_flash_would_be_wrong() -> None:
    """What the refusal is for."""
    found = series("bSSFP", "myocardium", 1.5, False)
    with pytest.raises(ValueError, match="sr-flash converts FLASH only"):
        SaturationRecoveryFlash().convert(found, "myocardium", RunContext())
    disguised = replace(found, metadata={**found.metadata, "PulseSequenceType": "FLASH"})
    assert np.abs(relative_errors("bSSFP", "myocardium", found)).max() < 0.03
    assert np.abs(relative_errors("FLASH", "myocardium", disguised)).max() > 0.1
