"""The same heart scanned twice, and what the group level says of repetitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qperf_app.bids.images import read_image
from qperf_app.cli.tools import main
from qperf_app.plugins import SegmentRow
from qperf_app.report.agreement import agreement
from qperf_app.workflow.group import GroupRow, compare


def rows(run: str, factor: float, layer: str = "transmural") -> list[GroupRow]:
    """Segments 1 to 16 of two participants; flow is the segment's number times a factor."""
    return [
        GroupRow(who, {"task": "rest", "run": run}, f"task-rest_run-{run}", "nlls", row, {"MBF": "mL/min/g"})
        for who in ("01", "02")
        for k in range(1, 17)
        for row in [SegmentRow(k, f"segment {k}", layer, 20, 20, {"MBF": factor * k})]
    ]


def test_a_rescan_is_the_same_heart_seen_again(tmp_path: Path) -> None:
    options = [
        "--participants",
        "1",
        "--seed",
        "3",
        "--tasks",
        "rest",
        "--matrix",
        "48",
        "--frames",
        "20",
        "--acquisition",
        "single",
    ]
    assert main(["phantom", str(tmp_path / "twice"), *options, "--rescan"]) == 0
    assert main(["phantom", str(tmp_path / "once"), *options]) == 0
    truth, perf = (
        tmp_path / "twice" / "derivatives" / "truth" / "sub-01" / "perf",
        tmp_path / "twice" / "sub-01" / "perf",
    )
    first, second = (read_image(perf / f"sub-01_task-rest_run-{run}_dce.nii.gz")[0] for run in "12")
    (once,) = (tmp_path / "once" / "sub-01" / "perf").glob("*_dce.nii.gz")
    np.testing.assert_array_equal(first, read_image(once)[0])
    assert np.abs(first - second).mean() > 0
    for name in ("label-myocardium_mask", "model-*_param-MBF_desc-truth_dcemap"):
        one, two = (read_image(next(truth.glob(f"sub-01_task-rest_run-{run}_{name}.nii.gz")))[0] for run in "12")
        np.testing.assert_array_equal(one, two)


def test_cv_within_subjects_is_that_of_the_differences() -> None:
    """Of pairs with independent errors of 8 % each it is 8 %."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0.5, 3.0, 4000)
    pairs = [true * np.exp(0.08 * rng.standard_normal(4000)) for _ in range(2)]
    assert agreement(*pairs).cv == pytest.approx(0.08, rel=0.05)


def test_repetitions_are_compared_in_segments_layers_territories_and_hearts() -> None:
    found = {
        c.part: c for c in compare([*rows("1", 1.0), *rows("2", 1.1), *rows("1", 2.0, "endo"), *rows("2", 2.0, "endo")])
    }
    assert {part: c.result.n for part, c in found.items() if c.result.n} == {
        "segments": 32,
        "segments, endo": 32,
        "territories": 6,
        "heart": 2,
    }
    assert found["segments"].result.cv == pytest.approx(0.1 / 1.05 / np.sqrt(2.0))
    assert found["segments, endo"].result.cv == 0.0
    assert found["heart"].pairs == ([8.5, 8.5], pytest.approx([9.35, 9.35]))
