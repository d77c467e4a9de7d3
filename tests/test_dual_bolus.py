"""Dual bolus: the input function of a small dose, scaled by the doses and brought onto the main bolus' clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qperf_app import api
from qperf_app.checks.dual_bolus import dose_findings, dose_ratio, prebolus_findings
from qperf_app.cli.app import main
from qperf_app.methods.dual_bolus import align_boluses, at_main_pace
from qperf_app.physics.constants import native_t1, relaxivity
from qperf_app.physics.input_function import NoBolusError, find_features
from qperf_app.physics.signal import relaxation_rate, saturation_recovery_flash
from qperf_app.testing.examples import METADATA, example_aif, example_concentration, example_masks
from qperf_app.workflow.status import read_status
from tests.datasets import write_image, write_json

#: What the main dose is to the small one, and how much later the main bolus comes on its own series' clock.
RATIO, LATER = 10.0, 2.5
#: The example's curves times this reach 8 mmol/L in blood: the signal saturates.
MAIN = 2.0
DOSE = {"ContrastBolusVolume": 10.0, "ContrastBolusIngredientConcentration": 604.72}
SMALL_DOSE = {**DOSE, "ContrastBolusVolume": 10.0, "ContrastBolusIngredientConcentration": 60.472}


def signal_of(concentration: np.ndarray, t1: np.ndarray | float, delay: float = METADATA["SaturationDelayTime"]):
    rates = relaxation_rate(concentration, t1, relaxivity(1.5))
    pulses = METADATA["RepetitionTimeExcitation"], METADATA["FlipAngle"], METADATA["ExcitationsToKSpaceCenter"]
    return 1000.0 * saturation_recovery_flash(rates, delay, *pulses)


def heart_signal(factor: float, later: float = 0.0, seed: int = 0) -> np.ndarray:
    """Signal of the example heart with ``factor`` times the agent, the bolus ``later`` s later."""
    masks, times = example_masks(), example_aif().times
    native = np.full(masks["lv"].shape, native_t1("myocardium", 1.5))
    native[masks["lv"] | masks["rv"]] = native_t1("blood", 1.5)
    concentration = factor * np.apply_along_axis(
        lambda curve: np.interp(times - later, times, curve), -1, example_concentration()
    )
    signal = signal_of(concentration, native[:, :, None, None])
    signal[~(masks["lv"] | masks["rv"] | masks["myocardium"])] *= 0.3
    return np.abs(signal + np.random.default_rng(seed).normal(0.0, 0.5, signal.shape)).astype(np.float32)


def dual_bolus_dataset(root: Path, main_dose: dict[str, Any] = DOSE, small_dose: dict[str, Any] = SMALL_DOSE) -> Path:
    """One participant's stress scan; its blood reaches 8 mmol/L with the main bolus."""
    write_json(root / "dataset_description.json", {"Name": "dual", "BIDSVersion": "1.10.0", "DatasetType": "raw"})
    (root / "README.md").write_text("A small example heart, scanned with two boluses.\n" * 5)
    times = example_aif().times
    for acq, factor, later, dose in (("", MAIN, LATER, main_dose), ("_acq-prebolus", MAIN / RATIO, 0.0, small_dose)):
        image = root / "sub-01" / "perf" / f"sub-01_task-stress{acq}_dce.nii.gz"
        write_image(image, heart_signal(factor, later, seed=len(acq)))
        fields = {**METADATA, "VolumeTiming": times.tolist(), "TaskName": "stress", **dose}
        write_json(image.with_name(image.name.replace(".nii.gz", ".json")), fields)
    return root


QUICK = ("--motion-correction", "none", "--kinetics", "nlls", "--skip-bids-validation")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("dual")
    raw = dual_bolus_dataset(root / "raw")
    assert main([str(raw), str(root / "out"), "participant", "-w", str(root / "work"), *QUICK]) == 0
    return raw, root / "out"


def sidecar_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "sub-01/perf/sub-01_task-stress_desc-aif_timeseries.json").read_text())


def test_the_input_function_is_the_small_one_times_the_doses_on_the_main_clock(finished: tuple[Path, Path]) -> None:
    fields = sidecar_of(finished[1])
    truth = example_aif()
    features = find_features(truth.times, truth.concentration)
    assert fields["DoseRatio"] == pytest.approx(RATIO)
    assert abs(fields["BolusShift"] - LATER) <= fields["BolusShiftHalfWidth"] < 0.85
    assert fields["peak_value"] == pytest.approx(MAIN * features.peak_value, rel=0.07)
    assert fields["foot"] == pytest.approx(features.foot + LATER, abs=0.5)


def test_one_scan_with_both_series_and_no_word_of_saturation(finished: tuple[Path, Path]) -> None:
    (scan,) = read_status(finished[1], "01").scans
    assert scan.label == "task-stress"
    assert not any("saturate" in warning for warning in scan.warnings)
    assert scan.find("motion-correction", series="aif") is not None
    assert scan.has_flow
    assert not scan.doubtful


def test_flow_is_that_of_the_tissue_whatever_the_dose(finished: tuple[Path, Path]) -> None:
    """The example's plasma flow of 0.8 mL/min/mL at a haematocrit of 0.42 is 1.31 mL/min/g of blood."""
    table = (finished[1] / "sub-01/perf/sub-01_task-stress_seg-AHA17_desc-nlls_segments.tsv").read_text().splitlines()
    at = table[0].split("\t").index("MBF")
    flows = [float(line.split("\t")[at]) for line in table[1:]]
    assert np.median(flows) == pytest.approx(0.8 / 0.58 / 1.05, rel=0.2)


@pytest.mark.parametrize("missing", ["main", "small", "both"])
def test_every_missing_dose_is_named_before_anything_runs(
    tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doses = [{} if missing in (who, "both") else dose for who, dose in (("main", DOSE), ("small", SMALL_DOSE))]
    raw = dual_bolus_dataset(tmp_path / "raw", *doses)
    assert main([str(raw), str(tmp_path / "out"), "participant", *QUICK]) == 16
    told = capsys.readouterr().err
    assert told.count("ContrastBolusVolume is missing") == (2 if missing == "both" else 1)
    assert told.count("ContrastBolusIngredientConcentration is missing") == (2 if missing == "both" else 1)
    assert not (tmp_path / "out" / "sub-01").exists()


def handed_in_aif(root: Path, factor: float = MAIN) -> Path:
    """A derivative dataset with the main bolus' input function on its clock."""
    fields = {"Name": "g", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "hand"}]}
    write_json(root / "dataset_description.json", fields)
    aif = example_aif()
    rows = [f"{t + LATER:.3f}\t{factor * c:.5f}" for t, c in zip(aif.times, aif.concentration, strict=True)]
    table = root / "sub-01/perf/sub-01_task-stress_desc-aif_timeseries.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(["time\tconcentration", *rows]) + "\n")
    return root


def test_no_dose_is_asked_for_an_input_function_that_is_handed_in(tmp_path: Path) -> None:
    raw = dual_bolus_dataset(tmp_path / "raw", {}, {})
    study = api.plan(raw, tmp_path / "out", derivatives={"given": handed_in_aif(tmp_path / "given")})
    study.check()


@pytest.mark.parametrize(("factor", "told"), [(MAIN, False), (MAIN / RATIO, True)])
def test_an_input_function_that_is_handed_in_is_held_against_the_small_dose_times_the_doses(
    tmp_path: Path, factor: float, told: bool
) -> None:
    raw = dual_bolus_dataset(tmp_path / "raw")
    study = api.plan(raw, tmp_path / "out", derivatives={"given": handed_in_aif(tmp_path / "given", factor)})
    ((scan,),) = (plan.scans for plan in study.check().participants)
    assert told == any("the area under column 'concentration'" in warning for warning in scan.warnings)


def test_a_dual_sequence_comes_before_a_prebolus(tmp_path: Path) -> None:
    raw = dual_bolus_dataset(tmp_path / "raw")
    perf = raw / "sub-01" / "perf"
    for ending in ("nii.gz", "json"):
        prebolus = perf / f"sub-01_task-stress_acq-prebolus_dce.{ending}"
        (perf / f"sub-01_task-stress_acq-aif_dce.{ending}").write_bytes(prebolus.read_bytes())
    (plan,) = api.plan(raw, tmp_path / "out").participants
    (scan,) = plan.scans
    assert scan.scan.acquisition == "dual sequence"
    assert any("acq-prebolus_dce.nii.gz is not used" in warning for warning in scan.warnings)


def test_a_prebolus_alone_still_has_its_blood(tmp_path: Path) -> None:
    raw = dual_bolus_dataset(tmp_path / "raw")
    (raw / "sub-01/perf/sub-01_task-stress_dce.nii.gz").unlink()
    (raw / "sub-01/perf/sub-01_task-stress_dce.json").unlink()
    (plan,) = api.plan(raw, tmp_path / "out").participants
    (scan,) = plan.scans
    assert (scan.scan.acquisition, scan.scan.label) == ("input function alone", "task-stress_acq-prebolus")


@pytest.mark.parametrize(
    ("main_dose", "words"),
    [
        ({**DOSE, "ContrastBolusVolume": 1.0}, "the prebolus is the smaller one"),
        ({**DOSE, "ContrastBolusVolume": 50.0}, "50 times as much"),
        ({**DOSE, "ContrastBolusVolume": 10.0}, ""),
    ],
)
def test_impossible_and_unusual_doses(main_dose: dict[str, Any], words: str) -> None:
    found = list(dose_findings(("main.json", "small.json"), main_dose, SMALL_DOSE))
    assert [words in finding.text for finding in found] == ([True] if words else [])


def test_a_dose_that_is_no_number_has_no_ratio() -> None:
    assert np.isnan(dose_ratio({**DOSE, "ContrastBolusVolume": "ten"}, SMALL_DOSE))


def test_another_heart_rate_is_said() -> None:
    times = np.arange(40.0)
    one, other = ({"VolumeTiming": (beat * times).tolist()} for beat in (0.8, 1.0))
    assert ["another heart rate" in f.text for f in prebolus_findings("f", one, other)] == [True]
    assert not list(prebolus_findings("f", one, one))


@pytest.mark.parametrize("delay", [0.02, 0.09, 0.3])
@pytest.mark.parametrize("shift", [-40.0, 0.0, 3.21])
def test_the_shift_is_found_however_the_main_signal_saturates(delay: float, shift: float) -> None:
    aif = example_aif(60)
    small = aif.concentration + np.random.default_rng(1).normal(0.0, 0.1, len(aif.times))
    times = np.arange(60) * 0.8 + shift
    truth = example_aif(400)
    fine = np.interp(times - shift, truth.times, 2.0 * truth.concentration)
    found = align_boluses(aif.times, small, times, signal_of(fine, 1.7, delay))
    assert abs(found.shift - shift) < 0.3
    assert 0.0 < found.half_width < 1.0
    assert found.explained > 0.95
    assert found.stretch == pytest.approx(1.0, abs=0.2)


def test_another_cardiac_output_shows_as_stretch() -> None:
    aif, times = example_aif(60), np.arange(60) * 0.85
    slow = np.interp(10.0 + (times - 10.0) / 1.5, aif.times, aif.concentration)
    found = align_boluses(aif.times, aif.concentration, times, signal_of(slow, 1.7))
    assert found.stretch == pytest.approx(1.5, rel=0.1)


def test_the_small_bolus_is_stretched_to_the_main_heart_rate() -> None:
    aif = example_aif(60)
    times, pace = at_main_pace(aif.times, aif.concentration, np.arange(60) * 1.1 * np.diff(aif.times)[0])
    foot = find_features(aif.times, aif.concentration).foot
    assert pace == pytest.approx(1.1)
    np.testing.assert_allclose(times - foot, 1.1 * (aif.times - foot))
    # An image every second beat says nothing of the heart rate.
    times, pace = at_main_pace(aif.times, aif.concentration, np.arange(30) * 2.0 * np.diff(aif.times)[0])
    assert pace == 1.0
    np.testing.assert_allclose(times, aif.times)


def test_a_main_series_without_bolus_is_refused() -> None:
    aif = example_aif(60)
    with pytest.raises(NoBolusError):
        align_boluses(aif.times, aif.concentration, aif.times, np.ones(60))


def test_a_main_bolus_that_comes_too_late_is_not_found_and_no_failure(tmp_path: Path) -> None:
    raw, out = dual_bolus_dataset(tmp_path / "raw"), tmp_path / "out"
    times = example_aif().times
    image = raw / "sub-01" / "perf" / "sub-01_task-stress_dce.nii.gz"
    write_image(
        image, heart_signal(MAIN, float(times[-1]) - find_features(times, example_aif().concentration).peak - 3.0)
    )
    assert main([str(raw), str(out), "participant", "-w", str(tmp_path / "work"), *QUICK]) == 0
    (scan,) = read_status(out, "01").scans
    outcome = scan.find("input-function").outcome
    assert outcome.state == "not-found" and "the main series ends too soon after its bolus" in outcome.reason
    assert not (out / "logs" / "sub-01").exists()


def test_residual_agent_is_said(finished: tuple[Path, Path]) -> None:
    """The example's blood keeps 0.6 of 4.5 mmol/L: a seventh of a tenth of the main bolus' peak."""
    assert sidecar_of(finished[1])["ResidualAgent"] == pytest.approx(0.013, abs=0.008)


def test_a_wrong_dose_is_seen_in_the_main_blood(tmp_path: Path) -> None:
    """The main bolus' blood away from its peak tells its height: half of what the sidecar's doses say."""
    from qperf_app.plugins import InputFunction
    from qperf_app.workflow.runners.dual_bolus import amplitude_doubt

    aif = example_aif()
    scaled = InputFunction(aif.times, 2.0 * aif.concentration)
    excluded = np.zeros(len(aif.times), bool)
    assert "0.5 times" in amplitude_doubt(scaled, aif.times, aif.concentration, excluded)
    assert amplitude_doubt(scaled, aif.times, 1.9 * aif.concentration, excluded) == ""
