"""Curves of the segments with their fit, draws of their flow: tables, report, reserve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qperf_app.bids.segment_curves import read_segment_curves, write_segment_curves
from qperf_app.plugins import ScanResult, SegmentCurves
from qperf_app.report.fits import curves_picture, drawn_reserves, draws_picture

RNG = np.random.default_rng(0)


def curves(flow: float = 1.0, posterior: bool = True) -> SegmentCurves:
    times = 0.8 * np.arange(40.0)
    measured = np.outer([1.0, 0.5], np.exp(-((times - 12.0) ** 2) / 40.0))
    draws = flow * np.exp(0.2 * RNG.standard_normal((2, 400))) if posterior else None
    spread = np.full(measured.shape, 0.05) if posterior else None
    return SegmentCurves("hmc", "2CXM", "mmol/L", (1, 7), times, measured, 0.98 * measured, spread, draws)


@pytest.mark.parametrize("posterior", [True, False])
def test_what_is_written_is_read(tmp_path: Path, posterior: bool) -> None:
    given = curves(posterior=posterior)
    files = write_segment_curves(tmp_path, "sub-01_task-rest", given, ["bids::x"])
    assert set(files) == ({"curves", "draws"} if posterior else {"curves"})
    found = read_segment_curves("hmc", "2CXM", files)
    assert found.segments == given.segments and found.units == "mmol/L"
    for name in ("times", "measured", "fitted", "predicted_sd", "flow_draws"):
        if getattr(given, name) is None:
            assert getattr(found, name) is None
        else:
            assert getattr(found, name) == pytest.approx(getattr(given, name), rel=1e-6)


def test_pictures_say_what_they_show() -> None:
    assert "2 segments" in curves_picture(curves(), "Rest").alt
    drawn = draws_picture(curves(), "Rest", "mL/min/g")
    assert drawn is not None and "hmc" in drawn.alt
    assert draws_picture(curves(posterior=False), "Rest", "mL/min/g") is None


def test_reserve_is_the_quotient_of_draws() -> None:
    """Of lognormal flows the quotient is lognormal, with squares of the spreads added."""
    rest, stress = (
        ScanResult(label, {"task": label}, segment_curves=(curves(flow),))
        for label, flow in (("rest", 0.8), ("stress", 2.4))
    )
    found = drawn_reserves(rest, stress, ("hmc", "2CXM"))
    half = 1.645 * 0.2 * np.sqrt(2.0)
    for low, high in found.values():
        assert low == pytest.approx(3.0 * np.exp(-half), rel=0.12)
        assert high == pytest.approx(3.0 * np.exp(half), rel=0.12)
    assert set(found) == {1, 7}
    assert drawn_reserves(rest, stress, ("nlls", "2CXM")) == {}
