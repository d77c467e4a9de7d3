"""Segments of a posterior plugin carry the bounds of their 90 % intervals, and the reserve has one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.segment_tables import read_segments, write_segments
from qperf_app.methods.wider_intervals import FLOWS, widened, widened_by
from qperf_app.plugins import KineticMaps, ParameterMap, SegmentRow, SegmentTable
from qperf_app.report.tables import other_quantities_table, reserve_interval, segment_table
from qperf_app.workflow.segments import mean_log_sd


def table(median: float, low: float, high: float) -> SegmentTable:
    values = {"MBF": median, "vp": 0.06, "MBF_q05": low, "MBF_q95": high, "vp_q05": 0.04, "vp_q95": 0.09}
    units = {q: "mL/min/g" if q.startswith("MBF") else "mL/mL" for q in values}
    return SegmentTable("hmc", "2CXM", (SegmentRow(1, "basal anterior", "transmural", 20, 20, values),), units)


def posterior(flow: np.ndarray, delay: np.ndarray) -> KineticMaps:
    """Maps of flow, 10 % wide, and of delay, 0.2 s wide, with draws of flow."""
    maps = []
    for name, value, units in (("MBF", flow, "mL/min/g"), ("Ta", delay, "s")):
        for statistic, sign in (("q05", -1), ("q50", 0), ("q95", 1)):
            bound = value * np.exp(0.1645 * sign) if name == "MBF" else value + 0.329 * sign
            maps.append(ParameterMap(name, units, bound, statistic))
    draws = flow[:, None] * np.exp(0.1 * np.random.default_rng(0).standard_normal((len(flow), 4000)))
    return KineticMaps(
        "2CXM", tuple(maps), np.zeros(len(flow), np.uint8), {0: "estimated"}, flow_draws=draws.astype(np.float32)
    )


def test_what_a_curve_depends_on_widens_the_intervals_of_each_quantity() -> None:
    flow, delay = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 1.5])
    other = posterior(flow * np.exp([0.0, 0.24, -0.24]), delay + [0.0, 0.1, 0.15])
    found = widened_by(posterior(flow, delay), other, np.random.default_rng(1))
    values = {(m.quantity, m.statistic): m.values for m in found.maps}
    np.testing.assert_allclose(values["MBF", "q50"], flow)
    for bound, sign in (("q05", -1), ("q95", 1)):
        np.testing.assert_allclose(
            np.log(values["MBF", bound] / flow), sign * 1.645 * np.array([0.1, 0.26, 0.26]), 2e-3
        )
        expected = delay + sign * 1.645 * np.hypot(0.2, [0.0, 0.1, 0.15])
        np.testing.assert_allclose(values["Ta", bound], expected, 2e-3)
    assert found.flow_draws is not None
    np.testing.assert_allclose(np.log(found.flow_draws).std(axis=1), [0.1, 0.26, 0.26], rtol=0.05)


def test_where_the_other_fit_gives_nothing_intervals_stay() -> None:
    flow, delay = np.array([1.0, 2.0]), np.array([0.5, np.nan])
    found = widened_by(posterior(flow, delay), posterior(np.array([np.nan, 2.0]), delay), np.random.default_rng(1))
    before = posterior(flow, delay)
    for one, was in zip(found.maps, before.maps, strict=True):
        np.testing.assert_allclose(one.values, was.values)


def test_reserve_interval_is_that_of_the_draws() -> None:
    """For lopsided posteriors of both scans the interval is that of the quotients of draws, to a few percent."""
    rng = np.random.default_rng(0)
    rest = 0.9 * np.exp(0.15 * rng.standard_normal(100_000))
    stress = 2.5 * np.exp(0.25 * rng.standard_normal(100_000))
    rows = [table(np.median(x), *np.quantile(x, (0.05, 0.95))).rows[0] for x in (rest, stress)]
    expected = np.quantile(stress / rest, (0.05, 0.95))
    assert reserve_interval(rows[0], rows[1], "MBF") == pytest.approx(expected, rel=0.02)


def test_without_bounds_there_is_no_interval() -> None:
    row = SegmentRow(1, "basal anterior", "transmural", 20, 20, {"MBF": 1.0})
    assert np.isnan(reserve_interval(row, table(2.0, 1.5, 2.5).rows[0], "MBF")).all()


def test_tables_show_intervals_beside_their_quantity() -> None:
    shown = segment_table(table(1.25, 1.01, 1.52), "MBF", "mL/min/g")
    assert shown.rows[0][1] == "1.25 (1.01\u00a0to\u00a01.52)"
    others = other_quantities_table(table(1.25, 1.01, 1.52), "MBF")
    assert others is not None and not any("q05" in heading for heading in others.columns)


def test_bounds_are_written_described_and_read(tmp_path: Path) -> None:
    written = table(1.25, 1.01, 1.52)
    files = write_segments(tmp_path, "sub-01_task-rest", written, [], "curve")
    sidecar = json.loads(files["transmural"].with_suffix(".json").read_text("utf-8"))
    assert sidecar["MBF_q05"]["Description"].startswith("Lower bound of the 90 % interval of MBF")
    assert sidecar["MBF_q95"]["Units"] == "mL/min/g"
    assert read_segments("hmc", "2CXM", files) == written


def ring(size: int = 40) -> np.ndarray:
    """Labels (x, y, 1) of six sectors of a ring."""
    x, y = np.meshgrid(*2 * [np.arange(size) - (size - 1) / 2], indexing="ij")
    radius = np.hypot(x, y)
    sector = 1 + np.floor((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 6).astype(int).clip(0, 5)
    return np.where((radius > 9) & (radius < 16), sector, 0)[..., None]


def test_standard_error_of_a_mean_is_that_of_its_draws() -> None:
    """Of voxels that err independently, and of voxels that err like their neighbours."""
    labels = ring()
    regions = [labels == k for k in range(1, 7)]
    for blur in (0.0, 1.0):
        errors, told = [], []
        for seed in range(40):
            noise = np.random.default_rng(seed).standard_normal((*labels.shape[:2], 1))
            noise = ndimage.gaussian_filter(noise, (blur, blur, 0))
            noise *= 0.2 / noise.std()
            errors.append([noise[region].mean() for region in regions])
            told.append(mean_log_sd(np.where(labels > 0, 1.2 * np.exp(noise), np.nan), labels, regions))
        assert np.median(told) == pytest.approx(np.std(errors), rel=0.2)


def test_where_voxels_agree_or_are_missing_nothing_is_added() -> None:
    labels = ring()
    regions = [labels == 1, labels == 2]
    flow = np.where(labels == 1, 1.0, np.nan)
    assert mean_log_sd(flow, labels, regions).tolist() == [0.0, 0.0]


def test_each_curve_may_have_an_error_of_its_own() -> None:
    maps = tuple(ParameterMap("MBF", "1", np.full(2, v), s) for s, v in (("q05", 1.0), ("q50", 2.0), ("q95", 4.0)))
    result = KineticMaps("2CXM", maps, np.zeros(2, np.uint8), {}, flow_draws=np.full((2, 4000), 2.0))
    found = widened(result, np.array([0.0, 0.3]), np.random.default_rng(0), FLOWS)
    assert found.maps[0].values == pytest.approx([1.0, 2.0 / np.exp(np.hypot(np.log(2.0), 1.6449 * 0.3))])
    assert found.flow_draws is not None
    assert np.log(found.flow_draws).std(axis=1) == pytest.approx([0.0, 0.3], abs=0.02)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda lines: lines[:2], "segments 2 are missing; the table of another layer has them"),
        (lambda lines: [*lines, lines[1]], "has a segment twice"),
        (lambda lines: [line.rpartition("\t")[0] for line in lines], "is missing"),
        (lambda lines: [*lines[:2], lines[2].rpartition("\t")[0] + "\tinf"], "has an infinite value"),
        (lambda lines: [lines[0], "1.5" + lines[1][1:], lines[2]], "column 'index' must hold whole numbers"),
        (lambda lines: [lines[0], "18" + lines[1][1:], lines[2]], "not from 1 to 17"),
    ],
)
def test_a_table_that_lost_something_is_refused(
    tmp_path: Path, spoil: Callable[[list[str]], list[str]], reason: str
) -> None:
    rows = [
        SegmentRow(k, f"segment {k}", layer, 10, 9, {"Fb": 1.0, "MBF": 1.1})
        for layer in ("transmural", "endo")
        for k in (1, 2)
    ]
    written = SegmentTable("hmc", "2CXM", tuple(rows), {"Fb": "mL/min/mL", "MBF": "mL/min/g"})
    files = write_segments(tmp_path, "sub-01_task-rest", written, ())
    assert read_segments("hmc", "2CXM", files) == written
    path = files["transmural"]
    path.write_text("\n".join(spoil(path.read_text().splitlines())) + "\n")
    with pytest.raises(DatasetError, match=re.escape(reason)) as error:
        read_segments("hmc", "2CXM", files)
    assert str(error.value).startswith(f"{path}: ")
