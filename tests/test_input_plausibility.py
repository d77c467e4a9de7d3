"""An input function that can't be right makes its scan doubtful: height for the dose, T1 of the blood, saturation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from qperf_app.checks.input_function import baseline_words, peak_doubt, rician_factor, saturation_doubt
from qperf_app.checks.native_t1 import native_t1_words
from qperf_app.cli.app import main
from qperf_app.cli.tools import main as qperf
from qperf_app.phantom import PhantomConfig, simulate_scan
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.workflow.status import read_status
from tests.test_dual_bolus import DOSE, dual_bolus_dataset

QUICK = ("--motion-correction", "none", "--kinetics", "fermi", "--skip-bids-validation")
GADOBUTROL = {"ContrastBolusIngredientConcentration": 604.72}


@pytest.mark.parametrize("peak", [2.0, 4.5, 12.0])
def test_usual_peaks_are_believed(peak: float) -> None:
    assert peak_doubt(peak, {}) == ""


@pytest.mark.parametrize(
    ("peak", "weight", "right"),
    [(1.1, 75.0, True), (4.5, 75.0, False), (1.1, None, False), (4.5, 75e3, True), (4.5, 0.0, True)],
)
def test_a_known_dose_decides(peak: float, weight: float | None, right: bool) -> None:
    """1.5 mL of 1 mmol/mL into 75 kg are 0.02 mmol/kg; a weight that is none tells no dose."""
    fields = {**GADOBUTROL, "ContrastBolusVolume": 1.5, "PatientWeight": weight}
    assert (peak_doubt(peak, fields) == "") is right


def test_a_peak_outside_says_on_which_side_and_which_fields_tell_another_dose() -> None:
    told = peak_doubt(1.996, {})
    assert "is 2 mmol/L, below the 2 to 12 of 0.05 to 0.1 mmol/kg" in told and "PatientWeight in the sidecar" in told
    assert "above the" in peak_doubt(20.0, {})
    assert "PatientWeight" not in peak_doubt(20.0, {**GADOBUTROL, "ContrastBolusVolume": 7.5, "PatientWeight": 75.0})


def test_a_prebolus_is_judged_as_the_main_bolus() -> None:
    fields = {**GADOBUTROL, "ContrastBolusVolume": 0.75, "PatientWeight": 75.0}
    assert peak_doubt(7.0, fields, ratio=10.0) == ""
    assert "of 0.01 mmol/kg" in peak_doubt(7.0, fields)


@pytest.mark.parametrize(
    ("t1", "field", "said", "wrong"),
    [(1.7, 1.5, False, False), (2.0, 3.0, False, False), (1.0, 1.5, True, False), (0.45, 1.5, True, False),
     (0.18, 1.5, True, True), (3.4, 1.5, True, True), (9.0, 7.0, False, False), (float("nan"), 1.5, False, False)],
)  # fmt: skip
def test_t1_of_the_blood(t1: float, field: float, said: bool, wrong: bool) -> None:
    words, found = native_t1_words(t1, field)
    assert (bool(words), found) == (said, wrong)


@pytest.mark.parametrize(
    ("t1", "field", "said", "wrong"),
    [(1.1, 1.5, False, False), (1.5, 3.0, False, False), (1.5, 1.5, True, False), (0.75, 1.5, False, False),
     (0.7, 1.5, True, False), (0.45, 1.5, True, False), (0.3, 1.5, True, True), (2.1, 1.5, True, True)],
)  # fmt: skip
def test_t1_of_the_muscle(t1: float, field: float, said: bool, wrong: bool) -> None:
    words, found = native_t1_words(t1, field, "myocardium")
    assert (bool(words), found) == (said, wrong)


@pytest.fixture(scope="module")
def still_heart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("still") / "raw"
    still = ("--breathing", "none", "--abnormal-bolus", "0", "--defects", "none", "--proton-density-frames", "2")
    small = ("--participants", "1", "--tasks", "rest", "--seed", "1", "--matrix", "64", "--frames", "36")
    assert qperf(["phantom", str(raw), *small, *still]) == 0
    return raw


@pytest.mark.parametrize(
    ("change", "factor", "doubtful"),
    [({}, 1.0, False), ({"SaturationDelayTime": 0.105}, 1.0, False), ({"RepetitionTimeExcitation": 0.006}, 1.0, True),
     ({}, 0.55, False)],
)  # fmt: skip
def test_the_muscle_tells_of_a_read_out_that_is_described_wrongly(
    still_heart: Path, tmp_path: Path, change: dict[str, float], factor: float, doubtful: bool
) -> None:
    """The time up to the centre of k-space for the delay, another's repetition time, a scaling that was lost."""
    raw = tmp_path / "raw"
    shutil.copytree(still_heart, raw)
    sidecar = raw / "sub-01/perf/sub-01_task-rest_dce.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **change}))
    image = nib.load(sidecar.with_name("sub-01_task-rest_dce.nii.gz"))
    data = image.get_fdata(dtype=np.float32)
    data[..., :2] *= factor
    nib.save(nib.Nifti1Image(data, image.affine), image.get_filename())
    assert main([str(raw), str(tmp_path / "out"), "participant", *QUICK, "-w", str(tmp_path / "w")]) == 0
    status = read_status(tmp_path / "out", "01")
    told = [text for scan in status.scans for text in scan.remarks if "muscle's T1" in text]
    doubts = [problem.step for problem in status.steps_doubtful if "muscle's T1" in problem.reason]
    if doubtful:
        assert doubts and "spill-over" in doubts[0]
    else:
        assert bool(told) is bool(change or factor != 1.0)


@pytest.mark.parametrize(("series", "factor"), [("_acq-aif", 1.8), ("", 0.55), ("", 1.0)])
def test_the_blood_of_both_series_has_one_concentration(
    still_heart: Path, tmp_path: Path, series: str, factor: float
) -> None:
    """The scale of the proton-density volumes of one of the two series was lost: flow is wrong by as much."""
    raw = tmp_path / "raw"
    shutil.copytree(still_heart, raw)
    image = nib.load(raw / f"sub-01/perf/sub-01_task-rest{series}_dce.nii.gz")
    data = image.get_fdata(dtype=np.float32)
    data[..., :2] *= factor
    nib.save(nib.Nifti1Image(data, image.affine), image.get_filename())
    assert main([str(raw), str(tmp_path / "out"), "participant", *QUICK, "-w", str(tmp_path / "w")]) == 0
    (scan,) = read_status(tmp_path / "out", "01").scans
    told = [reason for reason in scan.doubtful if "blood within the wall has" in reason]
    # It is flow that is doubtful, and not the step alone that saw it.
    assert (len(told) == 1 and "flow too high" in told[0]) if factor != 1.0 else not told


def test_a_signal_that_is_noise_is_no_scale() -> None:
    draw = np.random.default_rng(0)
    for mean, said, doubted in (
        (6.0, "", False),
        (2.6, "is enlarged by noise by at least 7%", False),
        (1.44, "is enlarged by noise by at least 2", True),
        (0.0, "is ", True),
    ):
        before = np.abs(mean + draw.normal(size=(300, 8)) + 1j * draw.normal(size=(300, 8)))
        words, wrong = baseline_words(before)
        assert (bool(words), wrong) == (bool(said), doubted) and said in words, (mean, words)
    assert not baseline_words(np.ones((3, 8)))[0] and not baseline_words(np.ones((0, 8)))[0]
    # The mean of magnitudes as drawn, against the signal in them.
    for signal in (1.0, 1.44, 2.0, 3.0):
        magnitude = np.abs(signal + draw.normal(size=200_000) + 1j * draw.normal(size=200_000))
        found = rician_factor(float(magnitude.mean() / magnitude.std()))
        assert found == pytest.approx(magnitude.mean() / signal, rel=0.02), signal


def test_an_input_function_scaled_by_noise_is_doubtful(still_heart: Path, tmp_path: Path) -> None:
    """The input-function series without its proton-density volumes: flow was 1.8 times as high without a word."""
    raw = tmp_path / "raw"
    shutil.copytree(still_heart, raw)
    sidecar = raw / "sub-01/perf/sub-01_task-rest_acq-aif_dce.json"
    fields = json.loads(sidecar.read_text())
    del fields["ProtonDensityVolumeCount"]
    listed = {name: fields[name][2:] for name in ("VolumeTiming", "FlipAngle")}
    sidecar.write_text(json.dumps({**fields, **listed}))
    image = nib.load(sidecar.with_name("sub-01_task-rest_acq-aif_dce.nii.gz"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., 2:], image.affine), image.get_filename())
    assert main([str(raw), str(tmp_path / "out"), "participant", *QUICK, "-w", str(tmp_path / "w")]) == 0
    doubts = [problem.reason for problem in read_status(tmp_path / "out", "01").steps_doubtful]
    assert any("times its own scatter, is " in reason for reason in doubts), doubts


def test_saturation_about_the_peak_only() -> None:
    curve = np.array([0.0, 0.1, 2.0, 5.0, 6.0, 5.0, 3.5, 2.0, 1.0, 0.5])
    at = np.arange(10)
    for lost, doubted in (([4], False), ([3, 4], True), ([0, 1, 8, 9], False), ([3, 4, 5], True)):
        saturated = np.isin(at, lost)
        assert bool(saturation_doubt(np.where(saturated, np.nan, curve), saturated)) is doubted, lost


def test_the_plugin_measures_t1_where_there_is_proton_density() -> None:
    plain = PhantomConfig(matrix=32, frames=24, breathing="none", aif_cnr=np.inf, abnormal_bolus=0.0)
    scan = simulate_scan(plain, np.random.default_rng(3))
    series, blood = scan.series["aif"], scan.truth["aif"].parts["LV"] > 0.9999
    curve = series.data[blood].mean(axis=0, dtype=np.float64)[None, None, None]
    plugin = make(load_plugins().get("concentration", "sr-flash"), {})
    found = plugin.convert(Series(curve, series.times, series.affine, series.metadata), "blood", RunContext())
    assert found.native_t1 is not None
    assert found.native_t1.item() == pytest.approx(1.7, rel=0.03)
    dynamic = Series(curve, series.times, series.affine, series.metadata).dynamic()
    assert plugin.convert(dynamic, "blood", RunContext()).native_t1 is None


def test_a_peak_that_no_dose_gives_makes_the_scan_doubtful(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dose four times as high in the sidecar makes the input function four times as high. It is told once."""
    raw = dual_bolus_dataset(tmp_path / "raw", {**DOSE, "ContrastBolusVolume": 40.0})
    out = tmp_path / "out"
    assert main([str(raw), str(out), "participant", *QUICK, "-w", str(tmp_path / "w")]) == 0
    status = read_status(out, "01")
    (scan,) = status.scans
    assert any("the input function's peak" in text for text in scan.doubtful)
    assert any("is a dose wrong?" in text for text in scan.doubtful)
    assert len([problem for problem in status.steps_doubtful if "is a dose wrong?" in problem.reason]) > 1
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "is a dose wrong?" in line]
    assert told.startswith("sub-01: doubtful: task-stress: input-function")
    (table,) = out.rglob("*seg-AHA17_desc-fermi_segments.json")
    assert any("the input function's peak" in text for text in json.loads(table.read_text())["Doubtful"])
