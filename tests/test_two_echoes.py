"""An input-function series of two echoes: one series, its blood's signal taken back to echo time 0."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qperf_app import api
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.tables import read_input_function
from qperf_app.checks.echoes import echo_findings
from qperf_app.cli.app import main
from qperf_app.cli.tools import main as tools
from qperf_app.phantom import PhantomConfig, simulate_scan
from qperf_app.physics.constants import native_t2star, t2star_relaxivity
from qperf_app.plugins import Series
from qperf_app.workflow.runners.two_echoes import at_echo_time_zero
from qperf_app.workflow.status import read_status

AIF = "sub-01/perf/sub-01_task-rest_acq-aif"
OPTIONS = (
    "--aif-echoes",
    "2",
    "--t2star",
    "--matrix",
    "64",
    "--frames",
    "40",
    "--breathing",
    "none",
    "--aif-cnr",
    "400",
)
QUICK = ("--motion-correction", "none", "--kinetics", "fermi", "--skip-bids-validation")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("echoes") / "raw"
    assert tools(["phantom", str(root), "--participants", "1", "--tasks", "rest", "--seed", "4", *OPTIONS]) == 0
    return root


@pytest.fixture(scope="module")
def out(raw: Path) -> Path:
    out = raw.parent / "out"
    for tissue in (raw / "sub-01" / "perf").glob("sub-01_task-rest_dce.*"):
        tissue.unlink()
    # There is no tissue to measure flow in.
    assert main([str(raw), str(out), "participant", "-w", str(raw.parent / "work"), *QUICK]) == 0
    return out


def test_two_echoes_are_one_series(raw: Path, out: Path) -> None:
    (plan,) = api.plan(raw, out).participants
    (scan,) = plan.scans
    assert scan.scan.blood.second_echo is not None
    assert scan.scan.blood.entities["echo"] == "1"
    made = {path.name for path in (out / "sub-01/perf").iterdir()}
    assert any(name.startswith("sub-01_task-rest_acq-aif_desc-preproc") for name in made)
    assert not any("echo" in name for name in made)


def test_the_peak_is_that_of_the_blood(raw: Path, out: Path) -> None:
    truth = read_input_function(next((raw / "derivatives/truth").rglob("*desc-aif_timeseries.tsv")))
    found = read_input_function(out / f"{AIF}_desc-aif_timeseries.tsv")
    size = json.loads((out / f"{AIF}_desc-aif_timeseries.json").read_text())["EchoCorrection"]
    ratio = np.nanmax(found.concentration) / truth.concentration.max()
    assert 0.03 < size < 0.15
    assert ratio == pytest.approx(1.0, abs=0.06)


def test_echoes_whose_images_were_exchanged_make_the_scan_doubtful(raw: Path, out: Path, tmp_path: Path) -> None:
    """Their sidecars are right: only the signal tells, flow was 1.3 times as high without a word."""
    assert not read_status(out, "01").steps_doubtful
    shutil.copytree(raw, tmp_path / "raw")
    first, second = (tmp_path / "raw" / f"{AIF}_echo-{number}_dce.nii.gz" for number in (1, 2))
    first.rename(tmp_path / "first"), second.rename(first), (tmp_path / "first").rename(second)
    words = [str(tmp_path / "raw"), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "work"), *QUICK]
    assert main(words) == 0
    (doubt,) = read_status(tmp_path / "out", "01").steps_doubtful
    assert "as bright as the first about the bolus' peak" in doubt.reason and "exchanged" in doubt.reason


def test_the_extrapolated_signal_is_the_one_that_never_decayed() -> None:
    plain = PhantomConfig(
        matrix=32, frames=24, breathing="none", cnr=np.inf, aif_cnr=np.inf, defects="none", abnormal_bolus=0.0
    )
    decayed = simulate_scan(replace(plain, t2star=True, aif_echoes=2), np.random.default_rng(3))
    blood = decayed.truth["aif"].parts["LV"] > 0.9999
    assert decayed.second_echo is not None and blood.any()

    def mean(series: Series) -> np.ndarray:
        return series.data[blood].mean(axis=0, dtype=np.float64)

    first, second = decayed.series["aif"], decayed.second_echo
    curve = Series(mean(first)[None, None, None], first.times, first.affine, first.metadata)
    found = at_echo_time_zero(curve, mean(second), second.metadata["EchoTime"])
    assert "EchoTime" not in found.metadata
    rate = 1.0 / native_t2star("blood", 1.5) + t2star_relaxivity("blood", 1.5) * decayed.aif.concentration
    lost = np.exp(-first.metadata["EchoTime"] * rate)
    assert lost.min() < 0.96
    np.testing.assert_allclose(found.dynamic().data[0, 0, 0] * lost, curve.dynamic().data[0, 0, 0], rtol=0.01)


def test_both_echoes_are_sources(out: Path) -> None:
    sources = json.loads((out / f"{AIF}_desc-aif_timeseries.json").read_text())["Sources"]
    assert f"bids:raw:{AIF}_echo-2_dce.nii.gz" in sources


def test_one_echo_alone_is_no_series(raw: Path, tmp_path: Path) -> None:
    for path in raw.rglob("*"):
        if path.is_file() and "derivatives" not in path.parts and "echo-1" not in path.name:
            copy = tmp_path / "raw" / path.relative_to(raw)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    with pytest.raises(DatasetError, match="echo-1 and echo-2"):
        api.plan(tmp_path / "raw", tmp_path / "out")


@pytest.mark.parametrize(
    ("field", "value"), [("EchoTime", None), ("EchoTime", 0.0005), ("VolumeTiming", [0.0, 2.0]), ("FlipAngle", 5.0)]
)
def test_echoes_that_contradict_each_other_are_refused(field: str, value: Any) -> None:
    first = {"EchoTime": 0.0007, "VolumeTiming": [0.0, 1.0], "FlipAngle": 10.0}
    second = {**first, "EchoTime": 0.0017}
    assert not list(echo_findings("f", first, second))
    (finding,) = echo_findings("f", first, {**second, field: value})
    assert finding.refused and finding.field == field
