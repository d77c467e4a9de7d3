"""Motion correction ``elastix``: refused in one line where it is not installed; else it finds a known motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qperf_app.cli.app import main
from qperf_app.plugins import RunContext
from qperf_app.plugins.manager import load_plugins
from qperf_motion.chained import ChainedMotionCorrection
from qperf_motion.elastix import ElastixMotionCorrection, available
from tests.datasets import small_dataset
from tests.test_motion import breathing, chest, series_of
from tests.test_progressive import heart_error

installed = pytest.mark.skipif(not available(), reason="elastix is not installed (pip install 'qperf-app[elastix]')")


@pytest.mark.skipif(available(), reason="elastix is installed")
def test_without_elastix_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = small_dataset(tmp_path / "raw"), tmp_path / "out"
    arguments = [
        "participant",
        "-w",
        str(tmp_path / "work"),
        "--skip-bids-validation",
        "--motion-correction",
        "elastix",
    ]
    assert main([str(raw), str(out), *arguments]) == 16
    said = capsys.readouterr().err
    assert "pip install 'qperf-app[elastix]'" in said and "sub-01_task-rest_dce" in said
    assert not out.exists()


def test_it_is_listed_and_declares_more_than_chained() -> None:
    assert "elastix" in load_plugins().names("motion-correction")
    shape = (128, 128, 3, 60)
    assert ElastixMotionCorrection().resources(shape).memory_gb > ChainedMotionCorrection().resources(shape).memory_gb


@installed
def test_a_known_motion_is_found_again_and_anew() -> None:
    truth = breathing(24, seed=3)
    series = series_of([chest(truth, noise=4.0, seed=1)])
    plugin = ElastixMotionCorrection()
    motion, again = (plugin.correct(series, RunContext(seed=7, threads=n)) for n in (1, 2))
    np.testing.assert_array_equal(motion.displacement, again.displacement)
    assert np.median(heart_error(motion, series, truth)) < 0.5
