"""The whole app on a small dataset, through the command line."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from qperf_app.bids.tables import read_table
from qperf_app.bids.validate import validate
from qperf_app.cli.app import main
from qperf_app.plugins.results import CURVE_DEFINITION
from tests.datasets import hand_drawn, series_path, small_dataset, step_states, write_image, write_json

PERF = Path("sub-01", "perf")
PREFIX = "sub-01_task-rest"


def run(raw: Path, out: Path, *arguments: str, level: str = "participant") -> int:
    work = out.parent / "work"
    quick = ["-w", str(work), "--nprocs", "1", "--skip-bids-validation", "--motion-correction", "none"]
    return main([str(raw), str(out), level, *quick, *arguments])


def digests(out: Path) -> dict[str, str]:
    """Digest of every image and table, by name."""
    files = (p for p in out.rglob("*") if p.suffix in (".gz", ".tsv"))
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two participants, mask and landmarks of the first handed in, run once for all tests that only look."""
    root = tmp_path_factory.mktemp("app")
    raw = small_dataset(root / "raw", participants=("01", "02"), tasks=("rest", "stress"))
    drawn = hand_drawn(root / "drawn")
    assert run(raw, root / "out", "-d", f"drawn={drawn}") == 0
    return raw, root / "out"


def test_outputs_of_the_contract_are_there(finished: tuple[Path, Path]) -> None:
    _, out = finished
    names = [
        "desc-preproc_dce.nii.gz", "desc-moco_xfm.nii.gz", "label-LV_mask.nii.gz", "label-RV_mask.nii.gz",
        "label-myocardium_mask.nii.gz", "desc-landmarks_points.tsv", "desc-aif_timeseries.tsv", "desc-conc_dce.nii.gz",
        "model-2CXM_param-MBF_desc-nlls_dcemap.nii.gz", "model-2CXM_param-Fp_desc-nlls_dcemap.nii.gz",
        "model-Fermi_param-MBF_desc-fermi_dcemap.nii.gz", "desc-nlls_qc.nii.gz", "seg-AHA17_dseg.nii.gz",
        "seg-AHA17_dseg.tsv", "seg-AHA17_desc-nlls_segments.tsv",
    ]  # fmt: skip
    missing = [name for name in names if not (out / PERF / f"{PREFIX}_{name}").is_file()]
    assert not missing
    for name in ("dataset_description.json", "sub-01.html", "sub-02.html", "logs/CITATION.md"):
        assert (out / name).is_file()


def test_every_sidecar_has_units_and_sources(finished: tuple[Path, Path]) -> None:
    _, out = finished
    sidecars = list(out.rglob("perf/*.json"))
    assert sidecars
    for path in sidecars:
        content = json.loads(path.read_text())
        assert content["Units"] and content["Sources"], path


def test_derivatives_are_valid(finished: tuple[Path, Path]) -> None:
    _, out = finished
    assert [str(issue) for issue in validate(out) if issue.severity == "error"] == []


def test_status_says_what_was_done_and_what_was_handed_in(finished: tuple[Path, Path]) -> None:
    _, out = finished
    status = json.loads((out / "sub-01" / "sub-01_status.json").read_text())
    assert status["state"] == "done" and status["complete"] and not status["steps_failed"]
    rest = next(scan for scan in status["scans"] if scan["label"] == "task-rest")
    assert step_states(rest)["myocardium", ""] == "handed-in"
    assert step_states(rest)["blood-pool", ""] == "handed-in"
    stress = next(scan for scan in status["scans"] if scan["label"] == "task-stress")
    assert step_states(stress)["blood-pool", ""] in ("done", "not-found")


def test_flow_is_that_of_the_example(finished: tuple[Path, Path]) -> None:
    _, out = finished
    rows = read_table(out / PERF / f"{PREFIX}_seg-AHA17_desc-nlls_segments.tsv")
    flow = np.array([float(row["Fp"]) for row in rows if row["Fp"] != "n/a"])
    assert len(rows) == 6
    # The example heart's wall has Fp = 0.8 mL/min/mL throughout; motion is left uncorrected here.
    assert np.median(flow) == pytest.approx(0.8, rel=0.15)


def test_maps_lie_on_the_grid_of_the_series(finished: tuple[Path, Path]) -> None:
    raw, out = finished
    series = nib.load(raw / PERF / f"{PREFIX}_dce.nii.gz")
    maps = nib.load(out / PERF / f"{PREFIX}_model-2CXM_param-MBF_desc-nlls_dcemap.nii.gz")
    assert maps.shape == series.shape[:3]
    np.testing.assert_allclose(maps.affine, series.affine, atol=1e-5)
    mask = nib.load(out / PERF / f"{PREFIX}_label-myocardium_mask.nii.gz").get_fdata() > 0
    assert np.isnan(maps.get_fdata()[~mask]).all()


def test_nothing_identifying_is_written(finished: tuple[Path, Path]) -> None:
    raw, out = finished
    for path in out.rglob("*"):
        if path.suffix in (".json", ".html", ".tsv", ".yaml", ".md"):
            assert str(raw) not in path.read_text(encoding="utf-8"), path


@pytest.fixture(scope="module")
def again(finished: tuple[Path, Path]) -> tuple[Path, str]:
    """The second participant once more, with the resolved configuration, by processes beside each other."""
    raw, out = finished
    root = out.parent / "again"
    command = [sys.executable, "-m", "qperf_app.cli.app", str(raw), str(root / "out"), "participant", "--nprocs", "2"]
    only = ["-w", str(root / "work"), "--participant-label", "02", "--skip-bids-validation"]
    config = ["--config-file", str(out / "sub-02" / "sub-02_config.yaml")]
    done = subprocess.run([*command, *only, *config], capture_output=True, text=True, check=True)
    return root / "out", done.stdout + done.stderr


def test_running_again_with_the_resolved_configuration_gives_the_same(
    finished: tuple[Path, Path], again: tuple[Path, str]
) -> None:
    _, out = finished
    first = {name: digest for name, digest in digests(out).items() if name.startswith("sub-02")}
    assert first and digests(again[0]) == first


def test_users_read_the_apps_own_lines_only(again: tuple[Path, str]) -> None:
    """Libraries speak past ``sys.stderr`` as they are loaded: only another process shows that."""
    own = re.compile(r"\d+ participant|\[\d+/\d+\] |warning: |sub-02: |report: |\d+ of \d+ participants done ")
    assert "kinetics (cnn)" in again[1]
    assert [line for line in again[1].splitlines() if not own.match(line)] == []


def test_a_second_run_does_nothing_anew(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = finished
    before = {p: p.stat().st_mtime_ns for p in (out.parent / "work").rglob("outcome.json")}
    drawn = out.parent / "drawn"
    assert run(raw, out, "-d", f"drawn={drawn}") == 0
    assert {p: p.stat().st_mtime_ns for p in (out.parent / "work").rglob("outcome.json")} == before


@pytest.mark.slow
def test_a_dataset_that_was_moved_is_computed_in_the_same_work_folder(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    raw, out = finished
    moved, copy = tmp_path / "moved", tmp_path / "out"
    shutil.copytree(out.parent / "drawn", moved)
    shutil.copytree(out.parent / "work", tmp_path / "work")
    one = ("--participant-label", "01", "-t", "rest")
    assert run(raw, copy, "-d", f"drawn={moved}", *one) == 0
    name = PERF / f"{PREFIX}_seg-AHA17_desc-nlls_segments.tsv"
    assert (copy / name).read_text() == (out / name).read_text()


def test_methods_speak_of_segments_curves_where_one_was_fitted(finished: tuple[Path, Path], tmp_path: Path) -> None:
    raw, out = finished
    sentence = f"one curve for each segment, {CURVE_DEFINITION}"
    assert sentence in (out / "logs" / "CITATION.md").read_text(encoding="utf-8")
    assert run(raw, tmp_path / "out", "-d", f"earlier={out}", "--boilerplate-only") == 0
    assert sentence not in (tmp_path / "out" / "logs" / "CITATION.md").read_text(encoding="utf-8")


def test_methods_say_what_was_handed_in_and_which_model_was_fitted(finished: tuple[Path, Path], tmp_path: Path) -> None:
    """A paper must not say of drawn contours that a plugin outlined them, nor leave the model open."""
    raw, out = finished
    text = (out / "logs" / "CITATION.md").read_text(encoding="utf-8")
    assert "Handed in, and not computed: blood pool (1 of 4 scans), myocardium (1 of 4 scans)." in text
    assert text.count("Kinetic parameters were estimated by") == 1 and "; model 2CXM), and by 'fermi'" in text
    assert "was outlined by" in text and "Single bolus: the input function comes from the tissue series" in text
    drawn, only = out.parent / "drawn", ("--participant-label", "01", "-t", "rest", "--boilerplate-only")
    assert run(raw, tmp_path / "out", "-d", f"drawn={drawn}", *only) == 0
    text = (tmp_path / "out" / "logs" / "CITATION.md").read_text(encoding="utf-8")
    assert "Handed in, and not computed: blood pool, myocardium." in text and "was outlined by" not in text


def test_reports_only_and_boilerplate_only(finished: tuple[Path, Path], tmp_path: Path) -> None:
    raw, out = finished
    report = out / "sub-01.html"
    report.unlink()
    assert run(raw, out, "--reports-only", "--participant-label", "01") == 0
    assert report.is_file()
    assert run(raw, tmp_path / "text", "--boilerplate-only") == 0
    assert "nlls" in (tmp_path / "text" / "logs" / "CITATION.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ((), {"sub-01.html", "sub-02.html"}),
        (("--participant-label", "sub-02"), {"sub-02.html"}),
        (("-t", "rest"), {"sub-01.html", "sub-02.html"}),
        (("--participant-label", "01", "-t", "stress"), {"sub-01.html"}),
    ],
)
def test_reports_of_the_selected_only(
    finished: tuple[Path, Path], arguments: tuple[str, ...], written: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = finished
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("sub-*.html")}
    assert run(raw, out, "--reports-only", "--dry-run", *arguments) == 0
    said = capsys.readouterr().err
    assert {name for name in before if f"would write: {out / name}" in said} == written
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("sub-*.html")} == before
    assert run(raw, out, "--reports-only", *arguments) == 0
    assert {path.name for path in out.glob("sub-*.html") if path.stat().st_mtime_ns != before[path.name]} == written


@pytest.mark.parametrize("level", ["participant", "group"])
@pytest.mark.parametrize(
    "arguments", [("--participant-label", "03"), ("-t", "walk"), ("--session-label", "A"), ("--bids-filter-file", "")]
)
def test_a_selection_of_results_that_selects_nothing(
    finished: tuple[Path, Path], arguments: tuple[str, str], level: str, tmp_path: Path
) -> None:
    raw, out = finished
    filters = tmp_path / "filters.json"
    filters.write_text('{"dce": {"run": "1"}}')
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    only = ["--reports-only"] if level == "participant" else []
    assert run(raw, out, *only, arguments[0], arguments[1] or str(filters), level=level) == 18
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_group_of_one_task_and_its_dry_run(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = finished
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    for old in copy.glob("group*"):
        old.unlink()
    assert run(raw, copy, "--dry-run", "-t", "rest", level="group") == 0
    assert "would write" in capsys.readouterr().err and not list(copy.glob("group*"))
    assert run(raw, copy, "-t", "rest", level="group") == 0
    assert {row["task"] for row in read_table(copy / "group_segments.tsv")} == {"rest"}
    assert run(raw, copy, "--reports-only", level="group") == 2


def test_boilerplate_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = small_dataset(tmp_path / "raw")
    assert run(raw, tmp_path / "out", "--boilerplate-only", "--dry-run") == 0
    assert "would write" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "work").exists()


def test_what_is_handed_in_is_named_by_its_dataset(finished: tuple[Path, Path]) -> None:
    _, out = finished
    sidecar = json.loads((out / PERF / f"{PREFIX}_label-myocardium_mask.json").read_text())
    assert f"bids:drawn:sub-01/perf/{PREFIX}_label-myocardium_mask.nii.gz" in sidecar["Sources"]
    assert json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]["drawn"] == "../drawn"
    assert "from drawn" in (out / "sub-01.html").read_text()


def methods_in(report: Path) -> set[str]:
    return set(re.findall(r"(?:by|method:) (\w+) \((?:2CXM|Fermi)\)", report.read_text(encoding="utf-8")))


def test_another_plugin_is_added_to_an_earlier_run_of_the_same_input(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    raw, out = finished
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    only = ("--participant-label", "01", "-t", "rest", "-d", f"drawn={out.parent / 'drawn'}")
    command = [str(raw), str(copy), "participant", "--nprocs", "1", "--skip-bids-validation", *only]
    command += ["-w", str(out.parent / "work")]
    fermi = [*command, "--kinetics", "fermi"]
    assert main([*fermi, "--motion-correction", "none"]) == 0
    assert methods_in(copy / "sub-01.html") == {"nlls", "cnn", "fermi"}
    assert "of an earlier run" in (copy / "sub-01.html").read_text()
    # With blood in them the curves are others: what was fitted to the first is no longer shown beside it.
    assert main([*fermi, "--motion-correction", "none", "--spill-over", "none"]) == 0
    status = json.loads((copy / "sub-01" / "sub-01_status.json").read_text())
    plugins = {
        scan["label"]: {s["key"]["plugin"] for s in scan["steps"] if s["key"]["step"] == "kinetics" and s["files"]}
        for scan in status["scans"]
    }
    assert plugins["task-rest"] == {"fermi"}
    assert "nlls" in plugins["task-stress"]


def test_group_level(finished: tuple[Path, Path]) -> None:
    raw, out = finished
    assert run(raw, out, level="group") == 0
    rows = read_table(out / "group_segments.tsv")
    assert {row["participant_id"] for row in rows} >= {"sub-01"}
    comparison = read_table(out / "group_agreement.tsv")
    assert any(row["reference"] == "nlls" and row["other"] == "fermi" for row in comparison)
    assert (out / "group.html").is_file()
    assert [str(issue) for issue in validate(out) if issue.severity == "error"] == []


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = small_dataset(tmp_path / "raw")
    assert run(raw, tmp_path / "out", "--dry-run") == 0
    assert "kinetics (nlls" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "work").exists()


def test_a_segment_with_blood_in_a_third_of_its_voxels_keeps_its_curve() -> None:
    from qperf_app.workflow.segments import segment_curve

    muscle = np.array([0.0, 0.1, 0.4, 0.3])
    curves = np.stack([muscle] * 6 + [10.0 * muscle] * 3)
    curves[0, 1] = np.nan
    np.testing.assert_allclose(segment_curve(curves), muscle)
    assert np.isnan(segment_curve(np.full((2, 3), np.nan))).all()


def test_a_segments_curve_is_a_trimmed_mean() -> None:
    from qperf_app.workflow.segments import segment_curve

    values = np.random.default_rng(0).permutation(np.arange(10.0))[:, None]
    np.testing.assert_allclose(segment_curve(values, (20, 60)), 3.5)
    # The fourth of five samples lies by half between the percentiles.
    np.testing.assert_allclose(segment_curve(np.arange(5.0)[:, None], (20, 70)), (1 + 2 + 0.5 * 3) / 2.5)
    np.testing.assert_allclose(segment_curve(np.array([[3.0]])), 3.0)


def test_an_input_function_that_ends_with_its_peak_is_refused() -> None:
    from qperf_app.plugins import InputFunction
    from qperf_app.workflow.runners.input_function import cut_short

    times = np.arange(0.0, 40.0)
    bolus = np.exp(-0.5 * ((times - 20.0) / 3.0) ** 2)
    assert not cut_short(InputFunction(times, bolus, bolus))
    assert "too late" in cut_short(InputFunction(times[:23], bolus[:23], bolus[:23]))


def test_frames_that_could_not_be_corrected_are_left_out_on_request(tmp_path: Path) -> None:
    raw, moved = small_dataset(tmp_path / "raw"), hand_drawn(tmp_path / "moved")
    image = series_path(raw)
    data, affine = nib.load(image).get_fdata(), nib.load(image).affine
    # The heart has left these frames: what lies in its place is something else.
    lost = [20, 21, 22]
    data[..., lost] = np.roll(data[..., lost], (12, 9), axis=(0, 1))
    write_image(image, data.astype(np.float32), affine)
    field = moved / PERF / f"{PREFIX}_desc-moco_xfm.nii.gz"
    write_image(field, np.zeros((*data.shape, 3), np.float32), affine)
    corrected = np.ones((data.shape[2], data.shape[3]), bool)
    corrected[:, lost] = False
    write_json(field.with_name(f"{PREFIX}_desc-moco_xfm.json"), {"Units": "mm", "CorrectedFrames": corrected.tolist()})

    curves, flow = {}, {}
    for name, flags in (("all", ()), ("some", ("--leave-out-uncorrected",))):
        assert run(raw, tmp_path / name, "-d", f"moved={moved}", "--kinetics", "nlls", *flags) == 0
        perf = tmp_path / name / PERF
        mask = nib.load(perf / f"{PREFIX}_label-myocardium_mask.nii.gz").get_fdata() > 0
        curves[name] = nib.load(perf / f"{PREFIX}_desc-conc_dce.nii.gz").get_fdata()[mask]
        aif = read_table(perf / f"{PREFIX}_desc-aif_timeseries.tsv")
        curves[f"{name} aif"] = np.array([float(row["concentration"].replace("n/a", "nan")) for row in aif])
        values = nib.load(perf / f"{PREFIX}_model-2CXM_param-MBF_desc-nlls_dcemap.nii.gz").get_fdata()[mask]
        flow[name] = values[np.isfinite(values)]
    assert np.isfinite(curves["all"]).all() and np.isfinite(curves["all aif"]).all()
    assert np.flatnonzero(np.isnan(curves["some"]).all(axis=0)).tolist() == lost
    # The input function of a single bolus is estimated from its signal, which bridges what is left out.
    assert np.isfinite(curves["some aif"]).all()
    # 0.8 mL/min/mL of plasma; what the lost frames do to the fit is gone.
    truth = 0.8 / (1 - 0.42) / 1.05
    error = {name: np.median(np.abs(values / truth - 1)) for name, values in flow.items()}
    assert error["some"] < 0.1 and error["some"] < error["all"]
    status = json.loads((tmp_path / "some" / "sub-01" / "sub-01_status.json").read_text())
    warnings = [w for step in status["scans"][0]["steps"] for w in step["outcome"]["warnings"]]
    assert sum("left out" in w for w in warnings) == 1
