"""Compartment models as matrices agree with their closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from qperf_app.physics import models
from qperf_app.physics.compartments import SYSTEMS
from qperf_app.physics.linear_response import solve

EVEN = np.arange(0.0, 60.0, 1.0)
IRREGULAR = np.cumsum(np.random.default_rng(0).uniform(0.4, 1.6, 60))
VALUES = {
    "Fp": [0.3, 1.0, 3.5],
    "PS": [0.0, 0.9, 2.0],
    "vp": [0.03, 0.06, 0.12],
    "ve": [0.1, 0.2, 0.4],
    "Ktrans": [0.2, 0.5, 1.0],
}


@pytest.mark.parametrize("times", [EVEN, IRREGULAR], ids=["even", "irregular"])
@pytest.mark.parametrize("name", ["2CXM", "2CUM", "ETM", "Tofts", "1CM"])
def test_matrices_give_the_closed_form(name, times):
    """To 1e-8 of the curve's peak, with delays, PS of 0 and irregular times."""
    cp = 5.0 * ((times - times[0]) / 6.0) ** 2 * np.exp(-(times - times[0]) / 3.0) + 0.5 * (times > 10.0)
    delay = np.array([0.0, 0.7, 2.3])
    chosen = SYSTEMS[name]
    arrays = {p: np.array(VALUES[p]) for p in chosen.parameters}
    found = solve(chosen.system(*arrays.values()), times, cp, delay)
    exact = models.MODELS[name](times, cp, *({**arrays, "Ta": delay}[p.name] for p in models.MODELS[name].parameters))
    assert np.abs(found - exact).max() < 1e-8 * np.abs(exact).max()


def test_a_row_of_segments_conserves_tracer():
    """All that flows in during a short input is there until the first transit ends; later the rest washes out."""
    times = np.arange(0.0, 400.0, 0.25)
    cp = np.where((times > 0.2) & (times < 1.1), 1.0, 0.0)
    curve = solve(SYSTEMS["BTEX"].system(np.array(1.0), np.array(0.8), np.array(0.06), np.array(0.2)), times, cp)
    given = np.trapezoid(cp, times) / 60.0
    assert curve[8] == pytest.approx(given, rel=1e-3)
    assert curve[-1] < 1e-3 * given and (np.diff(curve[10:]) < 1e-12).all()
