"""One gate for the data, whatever door they come in by; what is handed in lies in the world; nothing falls out."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from qperf_app import api
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import bring_onto, read_header, read_image
from qperf_app.bids.index import find_series
from qperf_app.bids.segment_tables import write_segments
from qperf_app.bids.tables import read_table, write_left_out
from qperf_app.checks import Finding
from qperf_app.checks.images import ImageHeader
from qperf_app.checks.ranges import markdown
from qperf_app.cli.app import main
from qperf_app.cli.tools import main as tools
from qperf_app.geometry import Grid, grid_difference, reorientation
from qperf_app.geometry.levels import levels_from, slice_places
from qperf_app.plugins import SegmentRow, SegmentTable, StepKey, StepOutcome
from qperf_app.report import render_report
from qperf_app.report.group import render_group
from qperf_app.report.perfusion import segment_pictures
from qperf_app.report.studies import reserve_of, reserve_tables, segments_apart, studies_of
from qperf_app.report.summary import headline_elements
from qperf_app.report.warnings import warnings_of
from qperf_app.testing.examples import AFFINE, example_masks, example_series
from qperf_app.workflow.flow import judged, led, with_reserve
from qperf_app.workflow.group import GroupRow, compare, flows_by_method, segment_cells
from qperf_app.workflow.levels import shared_levels
from qperf_app.workflow.outcomes import FileRecord
from qperf_app.workflow.scans import Scan, SeriesInput, pair_series
from qperf_app.workflow.settings import settings_apart
from qperf_app.workflow.status import ScanRecord, StepRecord, read_status, summarise
from tests.datasets import beats, edit_sidecar, hand_drawn, series_path, small_dataset, write_image, write_json
from tests.report_examples import participant, scan, segments

ROOT = Path(__file__).parents[1]


@pytest.fixture()
def dataset(tmp_path: Path) -> Path:
    return small_dataset(tmp_path / "raw")


def findings(dataset: Path, **derivatives: Path) -> list[Finding]:
    study = api.plan(dataset, dataset.parent / "out", derivatives=derivatives)
    return [f for _, f in study.findings()]


def texts(found: list[Finding], severity: str) -> str:
    return "\n".join(str(f) for f in found if f.severity == severity)


def run(dataset: Path, *arguments: str) -> int:
    out, work = dataset.parent / "out", dataset.parent / "work"
    fast = ("--motion-correction", "none", "--kinetics", "fermi", "--skip-bids-validation", "--nprocs", "1")
    return main([str(dataset), str(out), "participant", "-w", str(work), *fast, *arguments])


#: Steps that convert signal.
CONVERTING = ("concentration", "input-function")

# --- the gate


def test_the_same_verdict_through_every_door(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_sidecar(dataset, SaturationDelayTime=90)
    words = "SaturationDelayTime is 90 s, possible are 0 to 1: is it in ms? Then write 0.09"
    assert run(dataset) == 16
    assert words in capsys.readouterr().err
    study = api.plan(dataset, dataset.parent / "out")
    assert any(words in problem for problem in study.problems())
    with pytest.raises(DatasetError, match="is it in ms"):
        api.run(study, api.Execution(dataset.parent / "work"))
    assert not (dataset.parent / "out").exists() and not (dataset.parent / "work").exists()


def test_fields_of_the_signal_equation_decide_only_where_it_is_used(dataset: Path) -> None:
    edit_sidecar(dataset, SaturationDelayTime=90)
    study = api.plan(dataset, dataset.parent / "out", configuration={"concentration": "linear"})
    assert study.problems() == []
    warned = study.check().participants[0].scans[0].warnings
    assert any("SaturationDelayTime is 90 s" in warning for warning in warned)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Haematocrit": "a"}, "not a number"),
        ({"Haematocrit": None, "FlipAngle": None}, "FlipAngle is missing"),
        ({"VolumeTiming": [850 * k for k in range(40)]}, "in ms"),
        ({"ProtonDensityVolumeCount": 38}, "2 dynamic volumes"),
    ],
)
def test_damaged_fields_are_problems_and_no_tracebacks(dataset: Path, fields: dict[str, Any], words: str) -> None:
    edit_sidecar(dataset, **fields)
    assert words in texts(findings(dataset), "refused")


#: Codes as the two headers of ``shared/data/dicom_headers`` have them, and what their read-outs need besides.
TRUFI = {"PulseSequenceType": None, "ScanningSequence": "SE", "SequenceVariant": "MP", "SequenceName": "*tfiperf2d1"}
RESEARCH_MODE = {"PulseSequenceType": None, "ScanningSequence": "RM", "SequenceVariant": "NONE"}


def test_a_balanced_series_is_never_converted_as_flash(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_sidecar(dataset, **TRUFI, FlipAngle=50.0)
    study = api.plan(dataset, dataset.parent / "out")
    plugins = {task.plugin for task in study.participants[0].tasks.values() if task.step in CONVERTING}
    assert study.problems() == [] and plugins == {"sr-bssfp"}
    assert run(dataset, "--dry-run", "--concentration", "sr-flash") == 16
    assert "SequenceName: the read-out is bSSFP, sr-flash converts FLASH only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (RESEARCH_MODE, "No field names the read-out (PulseSequenceType)"),
        ({"SequenceName": "*tfi2d1_60"}, "Fields contradict each other about the read-out"),
    ],
)
def test_a_series_of_unknown_kind_is_relative(dataset: Path, fields: dict[str, Any], words: str) -> None:
    edit_sidecar(dataset, **fields)
    study = api.plan(dataset, dataset.parent / "out")
    assert study.problems() == []
    scan = study.check().participants[0].scans[0]
    plugins = {task.plugin for task in study.participants[0].tasks.values() if task.step in CONVERTING}
    assert plugins == {"linear"}
    assert any(words in warning and "flow is not absolute" in warning for warning in scan.warnings)
    # What saturation does to absolute flow is no matter here.
    assert not any("saturate" in warning for warning in scan.warnings)


@pytest.mark.parametrize(("units", "words"), [("mmol/L", "taken as it is"), ("arbitrary", "blood signal may saturate")])
def test_what_the_tissue_series_alone_means_for_the_input_function(dataset: Path, units: str, words: str) -> None:
    edit_sidecar(dataset, Units=units)
    (scan,) = api.plan(dataset, dataset.parent / "out").participants[0].scans
    (told,) = (text for text in scan.warnings if "No input-function series" in text)
    assert words in told


def test_relative_flow_has_no_unit_of_its_own_anywhere(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Maps, tables, pages: nothing of a scan whose input function is relative says mL/min/g, or is compared."""
    edit_sidecar(dataset, **RESEARCH_MODE)
    drawn = hand_drawn(dataset.parent / "drawn")
    assert run(dataset, "-d", f"drawn={drawn}", "--kinetics", "nlls", "fermi") == 0
    out = dataset.parent / "out"
    sidecars = {path.name: json.loads(path.read_text()) for path in (out / "sub-01" / "perf").glob("*.json")}
    maps = {name: of["Units"] for name, of in sidecars.items() if "_dcemap" in name and "spillover" not in name}
    assert len(maps) > 10 and {units for name, units in maps.items() if "_param-Ta" not in name} == {"1"}
    assert {units for name, units in maps.items() if "_param-Ta" in name} == {"s"}
    table = sidecars["sub-01_task-rest_seg-AHA17_desc-nlls_segments.json"]
    assert {table[column]["Units"] for column in ("MBF", "MBF_q05", "PS", "ve")} == {"1"}
    assert "comparable within this scan alone" in table["MBF"]["Description"]
    page = (out / "sub-01.html").read_text(encoding="utf-8")
    assert "Methods compared" in page and "MBF (relative units). Voxels that both" in page and "mL/min/" not in page
    assert tools(["validate", str(out)]) == 0
    assert main([str(dataset), str(out), "group"]) == 0
    assert "1 of 1 scan has flow in relative units" in capsys.readouterr().err
    rows = read_table(out / "group_segments.tsv")
    assert {row["relative"] for row in rows} == {"yes"}
    assert json.loads((out / "group_segments.json").read_text())["MBF"]["Units"] == "1"
    assert read_table(out / "group_agreement.tsv") == []
    assert "No scan has flow to be put together." in (out / "group.html").read_text(encoding="utf-8")


def test_who_asks_for_an_equation_names_the_read_out(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"concentration": "sr-flash"}
    edit_sidecar(dataset, **RESEARCH_MODE)
    study = api.plan(dataset, dataset.parent / "out", configuration=asked)
    assert study.problems() == []
    assert any("no field names the read-out" in w.lower() for w in study.check().participants[0].scans[0].warnings)
    edit_sidecar(dataset, PulseSequenceType="FLASH", SequenceVariant="SS")
    assert run(dataset, "--dry-run", "--concentration", "sr-flash") == 16
    assert "contradict each other about the read-out" in capsys.readouterr().err


def test_a_sequence_of_ones_own_is_recorded_with_its_file(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_sidecar(dataset, SaturationDelayTime=None)
    own = dataset.parent / "own.yaml"
    own.write_text("SaturationDelayTime: 0.09\nSaturationEfficiency: 0.98\n")
    chosen = {"concentration": {"plugin": "sr-flash", "options": {"sequence": str(own)}}}
    study = api.plan(dataset, dataset.parent / "out", configuration=chosen)
    assert study.problems() == []
    (files,) = {tuple(t.loaded_files) for t in study.participants[0].tasks.values() if t.step in CONVERTING}
    assert files == ("own.yaml",)
    own.write_text("SaturationDelayTime: ninety\n")
    (problem,) = api.plan(dataset, dataset.parent / "out", configuration=chosen).problems()
    assert "own.yaml: SaturationDelayTime" in problem and "'ninety'" in problem


def test_frame_times_start_is_a_clock(dataset: Path) -> None:
    times = json.loads(series_path(dataset).with_name("sub-01_task-rest_dce.json").read_text())["VolumeTiming"]
    edit_sidecar(dataset, VolumeTiming=None, FrameTimesStart=times)
    assert findings(dataset) == []


@pytest.mark.parametrize(("factor", "jitter", "told"), [(0.5, 0.02, True), (1.0, 0.02, False), (0.5, 0.001, False)])
def test_a_heart_that_races_at_rest_is_told(dataset: Path, factor: float, jitter: float, told: bool) -> None:
    # Beats differ by some per cent; images of a scanner's own clock may follow each other as fast as they like.
    rng, count = np.random.default_rng(1), len(example_series().times)
    times = np.cumsum(0.85 * factor * (1 + jitter * rng.standard_normal(count)))
    edit_sidecar(dataset, VolumeTiming=[round(float(t - times[0]), 4) for t in times])
    said = [f.text for f in findings(dataset) if "beats a minute at rest" in f.text]
    assert len(said) == told and all("a heart of 14" in text for text in said)


def test_an_ungated_series_that_leaves_out_a_volume_is_no_racing_heart(dataset: Path) -> None:
    # As fast as it likes, with the clock's own grain of 2.5 ms and one volume that is missing.
    count = len(example_series().times)
    intervals = [0.45 + 0.0025 * (k % 3 == 0) + 0.45 * (k == count // 2) for k in range(count)]
    edit_sidecar(dataset, VolumeTiming=[round(sum(intervals[:k]), 4) for k in range(count)])
    assert not [f.text for f in findings(dataset) if "beats a minute" in f.text]


def test_times_that_are_more_even_than_a_heart_are_told_once(dataset: Path) -> None:
    for unsteady, told in ((0.0, 1), (0.001, 1), (0.004, 0)):
        edit_sidecar(dataset, VolumeTiming=[round(0.85 * k + unsteady * (k % 2), 3) for k in range(40)])
        said = [f.text for f in findings(dataset) if "more evenly than a heart beats" in f.text]
        assert len(said) == told and all("every volume 0.85" in text for text in said), unsteady
    # Under stress too, and not as a copy of the times at rest.
    both = small_dataset(dataset.parent / "both", tasks=("rest", "stress"))
    for image in both.rglob("*_dce.nii.gz"):
        fields = json.loads(json_of(image).read_text())
        write_json(json_of(image), {**fields, "VolumeTiming": [round(0.85 * k, 3) for k in range(40)]})
    assert ["more evenly" in f.text for f in findings(both)] == [True, True]


def test_doubts_stand_in_terminal_status_and_report(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_sidecar(dataset, ImageType=["ORIGINAL", "PRIMARY", "P"])
    drawn = hand_drawn(dataset.parent / "drawn")
    empty = dataset.parent / "empty"
    write_json(empty / "dataset_description.json", {"Name": "e", "BIDSVersion": "1.10.0"})
    assert run(dataset, "-d", f"drawn={drawn}", "-d", f"mine={empty}") == 0
    said = capsys.readouterr().err
    status = json.loads((dataset.parent / "out" / "sub-01" / "sub-01_status.json").read_text())
    page = (dataset.parent / "out" / "sub-01.html").read_text(encoding="utf-8")
    for place in (said, " ".join(status["scans"][0]["warnings"]), page):
        assert "a magnitude series is needed" in place and "-d mine: no file of it stands in for a step" in place
    assert status["complete"] is True and status["scans"][0]["has_flow"] is True


def test_the_documentation_has_the_ranges() -> None:
    page = (ROOT / "docs" / "data-format.md").read_text(encoding="utf-8")
    assert markdown() in page, "put qperf_app.checks.ranges.markdown() into docs/data-format.md"


# --- images


@pytest.mark.parametrize("kind", ["RGB", "complex64"])
def test_colours_and_complex_numbers(dataset: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = example_series().data
    if kind == "RGB":
        colours = np.zeros(data.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    else:
        colours = data.astype(np.complex64)
    nib.save(nib.Nifti1Image(colours, AFFINE), series_path(dataset))
    assert run(dataset, "--dry-run") == 16
    said = capsys.readouterr().err
    assert f"the data type is {kind}" in said and "Traceback" not in said


def test_what_worked_is_not_refused_now(dataset: Path) -> None:
    """Types, byte orders, sizes and lengths that scanners and converters make."""
    data, path = example_series().data, series_path(dataset)
    scaled = nib.Nifti1Image(np.rint((data - 10) / 0.5).astype(np.int16), AFFINE)
    scaled.header.set_slope_inter(0.5, 10)
    times = [round(0.8 * k + 0.01 * (k % 3), 3) for k in range(220)]
    oblong, fine = np.diag([-1.2, -2.4, 8.0, 1.0]), np.diag([-0.9, -0.9, 8.0, 1.0])
    images: dict[str, tuple[Any, list[float] | None]] = {
        "NIfTI-2": (nib.Nifti2Image(data.astype(np.float32), AFFINE), None),
        "big-endian": (nib.Nifti1Image(np.rint(data).astype(">i2"), AFFINE, nib.Nifti1Header(endianness=">")), None),
        "scaled integers": (scaled, None),
        "doubles": (nib.Nifti1Image(data.astype(np.float64), AFFINE), None),
        "220 volumes": (nib.Nifti1Image(np.concatenate([data] * 6, axis=-1)[..., :220], AFFINE), times),
        "anisotropic": (nib.Nifti1Image(data.astype(np.float32), oblong), None),
        "large": (nib.Nifti1Image(np.kron(data, np.ones((11, 12, 1, 1), np.float32)), fine), None),
    }  # fmt: skip
    for name, (image, clock) in images.items():
        nib.save(image, path)
        if clock:
            edit_sidecar(dataset, VolumeTiming=clock)
        found = [f for f in findings(dataset) if "repeat" not in f.text]
        assert found == [], (name, found)
        if clock:
            edit_sidecar(dataset, VolumeTiming=beats(example_series().metadata["VolumeTiming"]))


def test_qform_against_sform(dataset: Path) -> None:
    image = nib.load(series_path(dataset))
    image = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
    moved = image.affine.copy()
    moved[:3, 3] += 50
    image.set_qform(moved, 1)
    image.set_sform(image.affine, 2)
    nib.save(image, series_path(dataset))
    assert "qform and sform of the header differ by up to 87 mm" in texts(findings(dataset), "doubt")


def test_the_time_between_volumes_of_the_header(dataset: Path) -> None:
    image = nib.load(series_path(dataset))
    for unit, step, told in (("sec", 1.7, True), ("msec", 1700, True), ("sec", 0.85, False), ("sec", 0, False),
                             ("sec", 1, False), ("unknown", 1.7, False)):  # fmt: skip
        image.header.set_xyzt_units("mm", unit)
        image.header["pixdim"][4] = step
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), series_path(dataset))
        found = texts(findings(dataset), "doubt")
        assert ("the header of the image (pixdim[4]) 1.7 s" in found) == told, (unit, step, found)


def test_one_series_under_two_names_and_rest_against_stress(tmp_path: Path) -> None:
    root = small_dataset(tmp_path / "raw", ("01", "02"), ("rest", "stress"))
    assert {f.text.split(";")[0] for f in findings(root)} == {
        "VolumeTiming has the very intervals of the series at rest, 0.854 s"
    }
    for image in root.rglob("*_task-stress_dce.nii.gz"):
        fields = json.loads(json_of(image).read_text())
        write_json(json_of(image), {**fields, "VolumeTiming": [0.8 * t for t in fields["VolumeTiming"]]})
    assert findings(root) == []
    shutil.copyfile(series_path(root), series_path(root, task="stress"))
    shutil.copyfile(series_path(root), series_path(root, "02"))
    edit_sidecar(root, SaturationDelayTime=0.05)
    found = findings(root)
    copies = [f for f in found if "the very values" in f.text]
    assert len(copies) == 3 and "task-stress_dce.nii.gz, sub-02_task-rest_dce.nii.gz" in copies[0].text
    told = [f for f in found if f not in copies]
    assert len(told) == 1 and "SaturationDelayTime is 0.09 under stress and 0.05 at rest" in told[0].text
    assert "sub-01_task-stress" in told[0].file and not told[0].refused
    edit_sidecar(root, Haematocrit=0.3)
    assert "Haematocrit is 0.42 under stress and 0.3 at rest" in texts(findings(root), "refused")


# --- what is handed in


def every_storage(grid: Grid) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def stored(data: np.ndarray, affine: np.ndarray, axes: tuple[int, ...], signs: tuple[int, ...]) -> Any:
    """The same image in the world, with other axes."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, old in enumerate(axes):
        turn[old, new] = signs[new]
        turn[old, 3] = data.shape[old] - 1 if signs[new] < 0 else turn[old, 3]
    moved = np.transpose(data, (*axes, *range(3, data.ndim)))
    moved = moved[tuple(slice(None, None, sign) for sign in signs)]
    return nib.Nifti1Image(np.ascontiguousarray(moved), affine @ turn)


def test_every_way_of_storage_is_brought_onto_the_grid(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    affine = np.array([[1.8, 0.3, -2, 11], [-0.4, 2.1, 1, -30], [0.5, 0.2, 7.5, 8], [0, 0, 0, 1]])
    mask, field = rng.random((5, 6, 3)), rng.random((5, 6, 3, 4, 3)).astype(np.float32)
    grid = Grid.of(mask.shape, affine)
    for axes, signs in every_storage(grid):
        for data, name in ((mask, "mask"), (field, "xfm")):
            path = tmp_path / f"{name}.nii"
            nib.save(stored(data.astype(np.float32), affine, axes, signs), path)
            found, where = read_image(path, onto=grid)
            # Vectors of a displacement are mm in the world: they stay as they are.
            assert np.array_equal(found, data.astype(np.float32))
            assert np.array_equal(where, affine)
    assert bring_onto(path, read_header(path).grid, tmp_path / "none") == path


def test_other_grids_are_told_in_words() -> None:
    grid = Grid.of((36, 32, 3), AFFINE)

    def at(change: np.ndarray, shape: tuple[int, ...] = (36, 32, 3)) -> str:
        other = Grid.of(shape, change @ AFFINE)
        assert reorientation(other, grid) is None
        return grid_difference(other, grid)

    shift = np.eye(4)
    shift[2, 3] = 40
    assert at(shift) == "shifted by 40.0 mm (0.0, 0.0, 40.0 to the right, front and head)"
    assert "voxels of 6 × 6 × 16 mm, the series has 3 × 3 × 8 mm" in at(np.diag([2, 2, 2, 1.0]))
    assert "shape (36, 32, 4), the series has (36, 32, 3)" in at(np.eye(4), (36, 32, 4))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    assert "turned by 17 degrees" in at(turn)
    assert "without its position" in grid_difference(Grid.of((36, 32, 3), np.eye(4)), grid)
    # What programs round away is the same grid.
    assert reorientation(Grid.of((36, 32, 3), np.round(AFFINE + 2e-4, 3)), grid) is not None


def mask_of(drawn: Path, role: str = "label-myocardium_mask.nii.gz") -> Path:
    return drawn / "sub-01" / "perf" / f"sub-01_task-rest_{role}"


def test_a_mask_with_other_axes_gives_the_same_flow(dataset: Path) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    flows = []
    for k in range(2):
        if k:
            for role in ("label-myocardium_mask.nii.gz", "label-LV_mask.nii.gz", "label-RV_mask.nii.gz"):
                path = mask_of(drawn, role)
                image = nib.load(path)
                nib.save(stored(np.asanyarray(image.dataobj), image.affine, (1, 0, 2), (-1, 1, -1)), path)
        shutil.rmtree(dataset.parent / "out", ignore_errors=True)
        assert run(dataset, "-d", f"drawn={drawn}") == 0
        folder = dataset.parent / "out" / "sub-01" / "perf"
        flows.append((folder / "sub-01_task-rest_seg-AHA17_desc-fermi_segments.tsv").read_text())
    assert flows[0] == flows[1]


def shifted(drawn: Path) -> None:
    data, affine = read_image(mask_of(drawn), np.uint8)
    affine[2, 3] += 40
    write_image(mask_of(drawn), data, affine)


def labelled(drawn: Path) -> None:
    data, affine = read_image(mask_of(drawn), np.uint8)
    write_image(mask_of(drawn), data + 2 * read_image(mask_of(drawn, "label-LV_mask.nii.gz"), np.uint8)[0], affine)


def coloured(drawn: Path) -> None:
    write_image(mask_of(drawn), np.zeros((36, 32, 1), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def far_points(drawn: Path) -> None:
    path = mask_of(drawn, "desc-landmarks_points.tsv")
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    moved = [rows[0], *([name, z, str(-float(x)), str(-float(y)), w] for name, z, x, y, w in rows[1:])]
    path.write_text("\n".join("\t".join(row) for row in moved) + "\n")


def curve(drawn: Path, factor: float = 1.0, unit: float = 1.0, sidecar: dict[str, Any] | None = None) -> None:
    path = mask_of(drawn, "desc-aif_timeseries.tsv")
    times = np.arange(40) * 0.85
    values = 4.0 * np.exp(-(((times - 14) / 4.0) ** 2))
    rows = [f"{t * factor:.4f}\t{c * unit:.6f}" for t, c in zip(times, values, strict=True)]
    path.write_text("\n".join(["time\tconcentration", *rows]) + "\n")
    if sidecar:
        write_json(path.with_suffix(".json"), sidecar)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shifted, "lies on another grid than its series: shifted by 40.0 mm"),
        (labelled, "has the labels 1, 2: a label image is no mask"),
        (coloured, "the data type is RGB"),
        (far_points, "It fits with x and y negated: are the points in LPS?"),
        (lambda drawn: curve(drawn, factor=1000), "is it in ms?"),
        (lambda drawn: curve(drawn, unit=1000), "is it in µmol/L?"),
        (lambda drawn: curve(drawn, sidecar={"Haematocrit": 0.3}), "Haematocrit is 0.3, that of the series 0.42"),
    ],
)
def test_what_is_handed_in_and_is_something_else(dataset: Path, spoil: Callable[[Path], None], words: str) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    assert texts(findings(dataset, drawn=drawn), "refused") == ""
    spoil(drawn)
    assert words in texts(findings(dataset, drawn=drawn), "refused")


def test_muscle_that_is_handed_in_has_values_in_the_wall_alone(dataset: Path) -> None:
    drawn, series = hand_drawn(dataset.parent / "drawn"), example_series(concentration=True)
    muscle = np.where(example_masks()["myocardium"][:, :, None, None], series.data, np.nan)
    fields = {"Units": "mmol/L", "VolumeTiming": series.times.tolist()}
    write_json(mask_of(drawn, "desc-muscle_dce.json"), fields)
    for values, words in ((muscle, ""), (1000 * muscle, "highest concentration is"), (muscle * np.nan, "has a value")):
        write_image(mask_of(drawn, "desc-muscle_dce.nii.gz"), values.astype(np.float32))
        told = [f for f in findings(dataset, drawn=drawn) if "desc-muscle" in f.file]
        assert all(f.refused and words in f.text for f in told) and bool(told) is bool(words), told


@pytest.mark.parametrize(
    ("name", "units", "configuration", "refused"),
    [
        ("conc", "1", {}, True),
        ("muscle", "1", {}, True),
        ("conc", "mmol/L", {}, False),
        ("conc", "1", {"concentration": "linear"}, False),
        ("conc", "mmol/L", {"concentration": "linear"}, True),
    ],
)
def test_tissue_and_input_function_are_in_one_unit(
    dataset: Path, name: str, units: str, configuration: dict[str, str], refused: bool
) -> None:
    drawn, series = hand_drawn(dataset.parent / "drawn"), example_series(concentration=True)
    write_image(mask_of(drawn, f"desc-{name}_dce.nii.gz"), series.data)
    write_json(mask_of(drawn, f"desc-{name}_dce.json"), {"Units": units, "VolumeTiming": series.times.tolist()})
    study = api.plan(dataset, dataset.parent / "out", derivatives={"drawn": drawn}, configuration=configuration)
    found = [f for _, f in study.findings()]
    told = [f for f in found if "flow needs both in one unit" in f.text]
    assert [f.file for f in told if f.refused] == [str(mask_of(drawn, f"desc-{name}_dce.json"))] * refused


def test_series_maps_and_displacements_that_are_handed_in(dataset: Path) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    series = example_series()
    write_image(mask_of(drawn, "desc-preproc_dce.nii.gz"), np.roll(series.data, 14, axis=0)[:, ::-1])
    write_image(mask_of(drawn, "desc-moco_xfm.nii.gz"), np.full((*series.data.shape, 3), 90, np.float32))
    write_image(mask_of(drawn, "desc-conc_dce.nii.gz"), 1000 * series.data / series.data.max())
    write_json(mask_of(drawn, "desc-conc_dce.json"), {"Units": "mmol/L", "VolumeTiming": series.times.tolist()})
    for quantity, units in (("MBF", "mL/100g/min"), ("Fb", None)):
        name = f"model-Fermi_param-{quantity}_desc-fermi_dcemap"
        write_image(mask_of(drawn, f"{name}.nii.gz"), np.ones((36, 32, 1), np.float32))
        write_json(mask_of(drawn, f"{name}.json"), {"Units": units} if units else {})
    study = api.plan(
        dataset, dataset.parent / "out", derivatives={"drawn": drawn}, configuration={"kinetics": ["fermi"]}
    )
    found = [f for _, f in study.findings()]
    doubts, refusals = texts(found, "doubt"), texts(found, "refused")
    assert "little in common with its series" in doubts and "displaces by up to 90 mm" in doubts
    assert "gives no Units; a map of Fb is in mL/min/mL" in doubts
    assert "mmol/L, possible are 0.05 to 50: is it in µmol/L?" in refusals
    assert "Units is 'mL/100g/min', a map of MBF is in mL/min/g" in refusals


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("label-Myocardium_mask.nii.gz", "sub-01_task-rest_label-Myocardium_mask.nii.gz is passed over"),
        ("label-myo_mask.nii.gz", "(sub-01_task-rest_label-myocardium_mask.nii.gz would be taken)"),
        ("label-myocard_mask.nii.gz", "label-myocardium_mask.nii.gz would be taken"),
        ("desc-AIF_timeseries.tsv", "desc-aif_timeseries.tsv would be taken"),
    ],
)
def test_names_that_nearly_fit_are_said(dataset: Path, name: str, words: str) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    source = mask_of(drawn) if name.endswith(".gz") else mask_of(drawn, "desc-landmarks_points.tsv")
    source.rename(mask_of(drawn, name))
    assert words in texts(findings(dataset, drawn=drawn), "doubt")


def test_a_link_without_content_that_is_handed_in_is_refused(dataset: Path) -> None:
    drawn = hand_drawn(dataset.parent / "annexed")
    mask = next(drawn.rglob("*label-myocardium_mask.nii.gz"))
    mask.unlink()
    mask.symlink_to(drawn / ".git" / "annex" / "object")
    with pytest.raises(DatasetError, match="a link without content: fetch it"):
        api.plan(dataset, dataset.parent / "out", derivatives={"drawn": drawn})


def test_a_dataset_that_gives_nothing_is_said(dataset: Path) -> None:
    other = hand_drawn(dataset.parent / "other", participant="02")
    assert "-d other: no file of it stands in for a step of this scan; it has sub-02" in texts(
        findings(dataset, other=other), "doubt"
    )
    assert "-d raw2: no file of it" in texts(findings(dataset, raw2=dataset), "doubt")
    assert findings(dataset, drawn=hand_drawn(dataset.parent / "drawn")) == []
    # Frames that a reader left out are something, though they stand in for no step.
    frames = dataset.parent / "frames"
    name = series_path(dataset).name.replace("_dce.nii.gz", "_desc-frames_timeseries.tsv")
    times = json.loads(
        series_path(dataset).with_name(series_path(dataset).name.replace(".nii.gz", ".json")).read_text()
    )
    write_json(frames / "dataset_description.json", {"Name": "f", "BIDSVersion": "1.10.0", "DatasetType": "derivative"})
    (frames / "sub-01" / "perf").mkdir(parents=True)
    write_left_out(frames / "sub-01" / "perf" / name, np.array(times["VolumeTiming"], float), [5], {})
    assert "no file of it" not in texts(findings(dataset, frames=frames), "doubt")


# --- nothing falls out without a word


def json_of(image: Path) -> Path:
    return image.with_name(image.name.replace(".nii.gz", ".json"))


def with_aif(dataset: Path, name: str = "task-rest_acq-aif") -> None:
    source = series_path(dataset)
    target = source.with_name(f"sub-01_{name}_dce.nii.gz")
    shutil.copy(source, target)
    shutil.copy(str(source).replace(".nii.gz", ".json"), str(target).replace(".nii.gz", ".json"))


def test_an_image_that_lies_aside_is_a_warning_of_the_tissue_and_a_remark_of_the_input(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One frame of noise: a voxel's curve has it, the mean of a pool's voxels hardly."""
    image = nib.load(series_path(dataset))
    data = np.asarray(image.dataobj).copy()
    data[..., 30] = np.random.default_rng(0).gamma(1.0, 3.0 * np.median(data), data.shape[:3])
    write_image(series_path(dataset), data, image.affine)
    with_aif(dataset)
    drawn = hand_drawn(dataset.parent / "drawn")
    assert run(dataset, "-d", f"drawn={drawn}", "--motion-correction", "progressive") == 0
    assert "sub-01 task-rest myocardium (handed in): " in capsys.readouterr().err
    status = read_status(dataset.parent / "out", "01")
    assert status is not None
    steps = {s.key.series: s.outcome for s in status.scans[0].steps if s.key.step == "motion-correction"}
    words = "1 of 40 slice images could not be corrected"
    assert words in steps[""].warnings[0]
    assert words in steps["aif"].summary and not steps["aif"].warnings


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p.rename(p.with_name(p.name.replace(".nii.gz", ".NII.GZ"))), "in small letters"),
        (lambda p: p.rename(p.with_name(p.name.replace("_dce", "_DCE"))), "in small letters"),
        (lambda p: p.rename(p.with_name(p.name.replace("_dce", "_dce (1)"))), "ends in _dce.nii.gz"),
        (lambda p: p.rename(p.with_name("sub-pat_1_task-rest_dce.nii.gz")), "no underscore as in sub-pat_1"),
        (lambda p: p.rename(p.with_name("sub-01_task-rest_acq-a_b_dce.nii.gz")), "no underscore as in acq-a_b"),
        (lambda p: p.rename(p.with_name("sub-01_task-rest_acq-a_acq-b_dce.nii.gz")), "acq- stands twice in its name"),
        (lambda p: p.rename(p.with_name(p.name.replace(".nii.gz", ".mgz"))), "only NIfTI is read"),
        (lambda p: p.unlink(), "its image is not there"),
        (lambda p: json_of(p).rename(p.with_name("sub-01_task-rest_DCE.json")), "_dce.json, in small letters"),
        (lambda p: json_of(p).rename(p.with_name("sub-01_task-rest_dce.JSON")), "_dce.json, in small letters"),
        (lambda p: p.rename(p.parents[1] / p.name), "lies in the folder perf/"),
        (lambda p: p.parent.rename(p.parents[1] / "dce"), "lies in the folder perf/"),
        (lambda p: p.parent.rename(p.parents[1] / "func"), "lies in the folder perf/"),
        (lambda p: p.rename(p.with_name(p.name.replace("_dce", "_dcea"))), "ends in _dce.nii.gz"),
        (lambda p: p.parent.rename(p.parents[1] / "Perf"), "its folder must be called perf"),
        (lambda p: p.rename(p.with_name("sub-01_task-rest_acq-AIF_dce.nii.gz")), "acq-aif, in small letters"),
    ],
)
def test_a_series_that_would_be_passed_over_is_an_error(
    dataset: Path, spoil: Callable[[Path], Any], words: str
) -> None:
    with_aif(dataset)
    spoil(series_path(dataset))
    with pytest.raises(DatasetError, match="not taken as series") as refused:
        find_series(dataset)
    assert words in str(refused.value)


def test_json_files_that_others_inherit_are_no_series(dataset: Path) -> None:
    path = series_path(dataset)
    shutil.move(str(path), path.with_name("sub-01_task-rest_run-1_dce.nii.gz"))
    write_json(path.with_name("sub-01_dce.json"), {"MagneticFieldStrength": 1.5})
    assert len(find_series(dataset)) == 1


def header_at(*places: float, spacing: float = 10.0) -> ImageHeader:
    """Header of short-axis slices at places along the way from base to apex."""
    way = np.array([-0.65, 0.60, -0.47]) / np.linalg.norm([-0.65, 0.60, -0.47])
    first = np.cross(way, [0, 0, 1.0]) / np.linalg.norm(np.cross(way, [0, 0, 1.0]))
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([2 * first, 2 * np.cross(way, first), spacing * way])
    affine[:3, 3] = places[0] * way
    return ImageHeader((40, 44, len(places), 12), tuple(map(tuple, affine.tolist())), "int16")


def raw_series(name: str, header: ImageHeader | None = None) -> SeriesInput:
    entities = dict(part.split("-") for part in name.split("_"))
    return SeriesInput(Path(f"{name}_dce.nii.gz"), entities, {}, header or header_at(0, 10, 20), f"bids:raw:{name}")


def test_runs_pair_as_numbers_and_what_is_left_alone_is_said() -> None:
    def pairs(*names: str) -> list[Scan]:
        return pair_series([raw_series(f"sub-01_task-rest{name}") for name in names])

    (scan,) = pairs("_run-01", "_acq-aif_run-1")
    assert scan.aif is not None and scan.notes == ()
    exact = pairs("_run-01", "_acq-aif_run-1", "_acq-aif_run-01")
    assert exact[0].aif is not None and exact[0].aif.entities["run"] == "01"
    tissue, lone = pairs("_run-01", "_acq-aif_ce-gd_run-01")
    assert tissue.aif is None and lone.tissue is None
    assert "is not paired with" in tissue.notes[0] and "no ce against ce-gd" in tissue.notes[0]
    assert "The tissue series sub-01_task-rest_run-01_dce.nii.gz is not paired" in lone.notes[0]
    shared = pairs("_acq-base", "_acq-mid", "_acq-aif")
    assert [scan.aif is not None for scan in shared] == [True, True]


def test_a_reconstruction_of_the_scanner_is_told_of_or_taken_with_the_same_input_function() -> None:
    """Motion-corrected by the scanner: left for the series as acquired, or chosen by a filter."""
    tissue, aif, moco = (raw_series(f"sub-01_task-rest{name}") for name in ("", "_acq-aif", "_rec-moco"))
    every = [one.entities for one in (tissue, aif, moco)]
    (scan,) = pair_series([tissue, aif], every)
    assert scan.notes == ("The tissue series is there as rec-moco too, which was not selected (--bids-filter-file).",)
    (scan,) = pair_series([moco, aif], every)
    assert scan.aif is aif and scan.notes == ()
    also = raw_series("sub-01_task-rest_acq-aif_rec-moco").entities
    (scan,) = pair_series([moco, aif], [*every, also])
    assert "The input-function series is there as rec-moco too" in scan.notes[0]
    # What was not selected is there all the same.
    (scan,) = pair_series([moco], [moco.entities, aif.entities])
    assert "input-function series sub-01_task-rest_acq-aif is there and not selected" in scan.notes[0]


def test_a_participant_without_series_is_said(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "sub-02").mkdir()
    assert run(dataset, "--dry-run", "--participant-label", "01", "sub-02") == 0
    assert "sub-02: no series of it is selected" in capsys.readouterr().err
    # Of all participants it is said too, in one line.
    (dataset / "sub-03" / "anat").mkdir(parents=True)
    assert run(dataset, "--dry-run") == 0
    assert "2 participants of whom no series is selected: sub-02, sub-03" in capsys.readouterr().err


def test_a_series_that_the_filters_leave_out_is_said(dataset: Path) -> None:
    with_aif(dataset)
    selection = api.Selection(filters={"dce": {"acquisition": "tissue"}})
    study = api.plan(dataset, dataset.parent / "out", selection=selection)
    (scan,) = study.participants[0].scans
    assert "Its tissue series sub-01_task-rest is there and not selected" in scan.warnings[0]
    selection = api.Selection(filters={"aif": {"acquisition": None}})
    (scan,) = api.plan(dataset, dataset.parent / "out", selection=selection).participants[0].scans
    assert "Its input-function series sub-01_task-rest_acq-aif is there and not selected" in scan.warnings[0]


def test_slices_take_the_levels_of_those_in_their_place() -> None:
    whole, part = header_at(0, 10, 20), header_at(11, 21)
    scans = [Scan(raw_series("sub-01_task-rest", whole), None), Scan(raw_series("sub-01_task-stress", part), None)]
    levels, note = shared_levels(scans)["sub-01_task-stress"]
    assert levels == ("mid", "apical") and "task-rest are mid, apical" in note
    assert "sub-01_task-rest" not in shared_levels(scans)
    # Elsewhere, or in another plane, a stack speaks for itself; so it does where it would be called the same.
    for other in (header_at(60, 70), header_at(0, 10), replace(whole, affine=tuple(map(tuple, np.eye(4).tolist())))):
        assert not shared_levels([scans[0], Scan(raw_series("sub-01_task-stress", other), None)])
    assert not shared_levels([scans[0], Scan(raw_series("sub-01_ses-B_task-stress", part), None)])
    back = levels_from(whole.grid, ("basal", "mid", "apical"), header_at(20, 10, 0, spacing=-10).grid)
    assert back == ("apical", "mid", "basal")
    assert np.allclose(np.diff(slice_places(part.grid, whole.grid)), 10)


def test_slices_in_files_of_their_own_are_a_stack() -> None:
    def told(*places: float, name: str = "sub-01_task-rest_acq-{}") -> list[str]:
        names = [name.format("abcd"[k]) for k in range(len(places))]
        scans = [Scan(raw_series(n, header_at(p)), None) for n, p in zip(names, places, strict=True)]
        found = shared_levels(scans)
        return [found[n][0][0] if n in found else "mid" for n in names]

    # In the order of the alphabet: apical, basal, mid.
    assert told(20, 0, 10) == ["apical", "basal", "mid"]
    assert told(20, 10) == ["mid", "basal"] and told(0, 10, 20, 30) == ["basal", "mid", "mid", "apical"]
    # A slice that was scanned twice, and repetitions, are no stack.
    assert told(0, 5) == ["mid", "mid"] and told(0, 20, name="sub-01_task-rest_run-{}") == ["mid", "mid"]
    note = shared_levels([Scan(raw_series(f"sub-01_task-rest_acq-{p}", header_at(p)), None) for p in (0, 10, 20)])
    assert "the apical one of 3 that lie in files of their own" in note["sub-01_task-rest_acq-20"][1]


def test_the_name_of_a_slice_in_a_file_of_its_own_counts_where_its_place_allows_it() -> None:
    nowhere = ImageHeader((40, 44, 1, 12), tuple(map(tuple, np.diag([2.0, 2, 10, 1]).tolist())), "int16")

    def told(**places: float | None) -> dict[str, tuple[str, str]]:
        headers = {a: nowhere if p is None else header_at(p) for a, p in places.items()}
        scans = [Scan(raw_series(f"sub-01_task-rest_acq-{acq}", h), None) for acq, h in headers.items()]
        found = shared_levels(scans)
        names = {acq: found.get(f"sub-01_task-rest_acq-{acq}", (("mid",), "")) for acq in places}
        return {acq: (str(levels[0]), note) for acq, (levels, note) in names.items()}

    # Places that agree need no word; two slices that places alone would call basal and mid are what they are called.
    assert told(apex=20, base=0, mid=10) == {"apex": ("apical", ""), "base": ("basal", ""), "mid": ("mid", "")}
    assert told(mid=10, Apical=20) == {"mid": ("mid", ""), "Apical": ("apical", "")}
    # Where the header tells no place, or one place for all, the name is all that there is.
    for place in (None, 0.0):
        assert told(base=place, mid=place)["base"] == ("basal", "Its slice is called basal, as its name says.")
        assert told(apex=place)["apex"][0] == "apical"
    # Where it tells another order, the place counts, and the contradiction is said.
    wrong = told(base=20, mid=10, apex=0)
    assert wrong["base"][0] == "apical" and "its name says basal" in wrong["base"][1]
    assert wrong["mid"] == ("mid", "")
    # Other names say nothing, and without an orientation nothing tells.
    assert told(one=0, two=0) == {"one": ("mid", ""), "two": ("mid", "")}
    assert all("may be another one" in note for _, note in told(one=None, two=None).values())


def lifted(task: str, by: float) -> Any:
    """A scan of the report's examples that lies higher."""
    made = scan(task, shape=(40, 44, 2))
    assert made.corrected is not None
    affine = made.corrected.affine.copy()
    affine[2, 3] += by
    return replace(made, corrected=replace(made.corrected, affine=affine))


def test_reserve_is_told_only_where_rest_and_stress_meet() -> None:
    for by, apart in ((0.0, set()), (3.0, set()), (8.0, {4, 10})):
        (study,) = studies_of([scan("rest", shape=(40, 44, 2)), lifted("stress", by)])
        assert segments_apart(study) == apart
        rest, stress = reserve_tables(study, ("nlls", "2cxm"))
        assert {4, 10} - set(reserve_of(rest, stress, "MBF")) == apart
        told = [w for w in warnings_of(participant(*study.scans), [study]) if "have other slices" in w]
        assert bool(told) == bool(apart)


def test_what_keeps_rest_and_stress_apart_is_said() -> None:
    def told(*scans: Any) -> list[str]:
        studies = studies_of(scans)
        return [w for w in warnings_of(participant(*scans), studies) if "no reserve" in w]

    rest, stress = (replace(s, entities={**s.entities, "ses": s.label[5:]}) for s in (scan("rest"), scan("stress")))
    (said,) = told(rest, stress)
    assert said.endswith(
        "There is no reserve: Rest, session rest and Stress, session stress differ in session."
    ) and said.startswith("All scans")
    assert told(rest) == [] and told(scan("rest"), scan("stress")) == []
    assert told(rest, stress, replace(rest, label="x", entities={"task": "rest", "ses": "B"})) == []


def test_two_relative_flows_have_no_reserve() -> None:
    """The unknown factor of each scan is its own, and so their ratio says nothing."""
    scans = [scan("rest", shape=(40, 44, 2)), scan("stress", shape=(40, 44, 2))]
    assert scans[1].aif is not None
    scans[1] = replace(scans[1], aif=replace(scans[1].aif, units="1"))
    (study,) = studies_of(scans)
    assert reserve_tables(study, ("nlls", "2cxm")) == (None, None)
    headline: Any = headline_elements(participant(*scans), [study])[0]
    _, stress, reserve = dict(headline.rows)["All segments"]
    assert stress.value == "2.60" and reserve.value == "–" and reserve.note == "none: flow is relative"
    page = render_report(participant(*scans))
    assert "Perfusion reserve" not in page and "Reserve below" not in page
    assert "Relative units: compare colours within a scan alone." in page


def test_bullseyes_of_relative_flow_have_the_colours_of_the_maps() -> None:
    """Of absolute flow the scale is fixed; a fitted one is that of the voxels, whose range is another."""
    one = scan("stress", shape=(40, 44, 2))
    assert one.aif is not None
    maps = (replace(one.maps[0], data=one.maps[0].data * 5.0),)
    (study,) = studies_of([replace(one, aif=replace(one.aif, units="1"), maps=maps)])
    page = render_report(participant(*study.scans))
    assert "Colour scale of MBF (relative units) from 0 to 20" in page
    assert {each.scale.high for each in segment_pictures(study, ("nlls", "2cxm"))} == {20.0}


# --- complete and doubtful


def record(label: str, *steps: StepRecord, **fields: Any) -> ScanRecord:
    values = {"entities": {"task": "rest"}, "tissue": f"{label}.nii", "aif": None, "warnings": (), **fields}
    return ScanRecord(label, steps=steps, **values)


def ended(step: str, doubts: tuple[str, ...] = ()) -> StepRecord:
    return StepRecord(StepKey(step, "nlls"), StepOutcome(step, "nlls", "done", doubts=doubts))


def test_complete_means_that_every_scan_has_flow() -> None:
    good, none = record("task-rest", ended("kinetics"), has_flow=True), record("task-stress", ended("kinetics"))
    lone = record("task-rest_acq-aif", ended("input-function"), tissue=None, aif="a.nii")
    assert summarise("01", 0, (good,)).complete
    status = summarise("01", 0, (good, none, lone))
    assert status.state == "done" and not status.complete
    assert [p.step for p in status.steps_without_result] == ["task-stress: flow", "task-rest_acq-aif: flow"]
    assert "no tissue series" in status.steps_without_result[1].reason


WHY = "MBF is above 2 mL/min/g in 11 of 11 segments at rest: no heart has that"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [("filled", "of the left ventricle's blood is outlined as wall"), ("away", "Insertion points handed in: ")],
)
def test_what_is_handed_in_and_cannot_be_is_doubtful(dataset: Path, tmp_path: Path, change: str, words: str) -> None:
    drawn = hand_drawn(tmp_path / "drawn")
    wall = next(drawn.rglob("*_label-myocardium_mask.nii.gz"))
    points = next(drawn.rglob("*_points.tsv"))
    if change == "filled":
        masks = example_masks()
        write_image(wall, (masks["myocardium"] | masks["lv"])[:, :, None].astype(np.uint8))
    else:
        # The wall is the app's own, so that the points can be held against it only when it is there.
        wall.unlink()
        head, *rows = (line.split("\t") for line in points.read_text().splitlines())
        moved = [[name, k, str(float(x) + 30.0), y, z] for name, k, x, y, z in rows]
        points.write_text("".join("\t".join(row) + "\n" for row in (head, *moved)))
    assert run(dataset, "-d", str(drawn)) == 0
    doubts = read_status(dataset.parent / "out", "01").steps_doubtful
    assert any(": myocardium" in problem.step and words in problem.reason for problem in doubts), doubts


def test_a_table_of_points_that_is_none_is_refused(dataset: Path, tmp_path: Path) -> None:
    drawn = hand_drawn(tmp_path / "drawn")
    next(drawn.rglob("*_points.tsv")).write_text("hello\n")
    assert "column 'name' is missing" in texts(findings(dataset, drawn=drawn), "refused")


def test_doubtful_flow_is_marked_in_status_and_report() -> None:
    status = summarise("01", 0, (record("task-rest", ended("segment-values", (WHY,)), has_flow=True),))
    assert [(p.step, p.reason) for p in status.steps_doubtful] == [("task-rest: segment-values (nlls)", WHY)]
    doubtful = scan("rest", shape=(40, 44, 2))
    doubtful = replace(doubtful, steps=(*doubtful.steps, StepOutcome("segment-values", "nlls", "done", doubts=(WHY,))))
    studies = studies_of([doubtful, scan("stress", shape=(40, 44, 2))])
    told = warnings_of(participant(*studies[0].scans), studies)
    assert any("flow by nlls is doubtful and left out of the summary" in warning and WHY in warning for warning in told)
    headline: Any = headline_elements(participant(*studies[0].scans), studies)[0]
    rest, stress, reserve = dict(headline.rows)["All segments"]
    assert headline.columns == ("Territory", "Rest (doubtful)", "Stress", "Reserve (stress / rest)")
    assert rest.value == "–" and "doubtful" in rest.note
    assert reserve.value == "–" and stress.value == "2.60"
    page = render_report(participant(*studies[0].scans))
    assert "What to do about Rest" in page and "Reserve below" not in page
    assert "Perfusion reserve (doubtful) (stress / rest)" in page
    two = [replace(s, maps=(*s.maps, replace(s.maps[0], plugin="fermi"))) for s in studies[0].scans]
    compared = render_report(participant(*two)).split("Methods compared")[-1]
    assert "Rest (doubtful): nlls" in compared and "Stress: nlls" in compared
    assert "Map of MBF (mL/min/g), Rest (doubtful)" in page and "Map of MBF (mL/min/g), Stress (doubtful)" not in page


def test_doubtful_flow_takes_no_part_in_the_group() -> None:
    table = segments("rest")
    rows = [
        GroupRow(who, {"task": "rest"}, "task-rest", plugin, row, table.units, who == "02")
        for who in ("01", "02")
        for plugin in ("nlls", "fermi")
        for row in table.rows
    ]
    assert all(len(values) == 12 for _, _, values in flows_by_method(rows))
    assert compare(rows)[0].result.n == 11
    columns, cells, _ = segment_cells(rows)
    assert [c[columns.index("doubtful")] for c in cells[:1] + cells[-1:]] == ["no", "yes"]


def test_flow_too_high_for_a_heart_is_doubtful_from_end_to_end(dataset: Path) -> None:
    """Input function and tissue in different scales: ten times the flow, marked wherever it stands."""
    drawn = hand_drawn(dataset.parent / "drawn")
    times = np.arange(40) * 0.85
    since = np.clip(times - 10.0, 0.0, None)
    values = 0.4 * (since / 4.0) ** 2 * np.exp(2.0 - since / 2.0) + 0.06 * (1 - np.exp(-since / 8.0))
    rows = [f"{t:.3f}\t{c:.6f}" for t, c in zip(times, values, strict=True)]
    mask_of(drawn, "desc-aif_timeseries.tsv").write_text("\n".join(["time\tconcentration", *rows]) + "\n")
    assert run(dataset, "-d", f"drawn={drawn}") == 0
    out = dataset.parent / "out"
    status = json.loads((out / "sub-01" / "sub-01_status.json").read_text())
    of_blood, of_flow = (problem["reason"] for problem in status["steps_doubtful"])
    assert "the blood within the wall has 10 times the concentration" in of_blood and "no heart has that" in of_flow
    assert status["scans"][0]["doubtful"][1].startswith("fermi: MBF is above 2")
    sidecar = out / "sub-01" / "perf" / "sub-01_task-rest_seg-AHA17_desc-fermi_segments.json"
    assert "no heart has that" in json.loads(sidecar.read_text())["Doubtful"][1]
    assert "is doubtful and left out of the summary" in (out / "sub-01.html").read_text(encoding="utf-8")
    assert main([str(dataset), str(out), "group"]) == 0
    assert "\tyes\t" in (out / "group_segments.tsv").read_text()
    page = (out / "group.html").read_text(encoding="utf-8")
    assert "doubtful, and left out of this page: " in page and "MBF is above 2" in page


def flow_of(out: Path, task: str, flow: float, run: str = "", method: str = "nlls") -> ScanRecord:
    """A published scan whose segments all have one flow."""
    prefix = f"sub-01_task-{task}{f'_run-{run}' if run else ''}"
    rows = tuple(SegmentRow(k, f"segment {k}", "transmural", 9, 9, {"MBF": flow}) for k in range(1, 7))
    files = write_segments(out, prefix, SegmentTable(method, "2CXM", rows, {"MBF": "mL/min/g"}), ())
    step = replace(
        ended("segment-values"),
        key=StepKey("segment-values", method),
        files=tuple(FileRecord(role, path.name) for role, path in files.items()),
    )
    entities = {"task": task, **({"run": run} if run else {})}
    return record(prefix.removeprefix("sub-01_"), step, entities=entities)


def by_methods(out: Path, task: str, **flows: float) -> ScanRecord:
    """A published scan with flow by several methods."""
    scans = [flow_of(out, task, flow, method=method) for method, flow in flows.items()]
    return replace(scans[0], steps=tuple(step for scan in scans for step in scan.steps))


def leader(scan: ScanRecord) -> str:
    return scan.of_step("segment-values")[0].key.plugin


def test_the_first_method_that_gives_flow_leads_rest_and_stress(tmp_path: Path) -> None:
    rest = by_methods(tmp_path, "rest", nlls=0.9, cnn=0.8, fermi=0.7)
    stress = by_methods(tmp_path, "stress", nlls=np.nan, cnn=2.8, fermi=2.4)
    for found in (scans := led([rest, stress], ("nlls", "cnn", "fermi"), tmp_path)):
        assert leader(found) == "cnn" and [r.key.plugin for r in found.steps] == ["cnn", "nlls", "fermi"]
        assert found.warnings == (
            "Flow is shown by cnn: nlls, which comes first, gives it in fewer than half of the segments of "
            "task-stress.",
        )
    # A later run in which it gives flow takes the warning back, and the lead; so does one that asks for another.
    mended = by_methods(tmp_path, "stress", nlls=3.0, cnn=2.8, fermi=2.4)
    again = led([scans[0], mended], ("nlls", "cnn", "fermi"), tmp_path)
    assert again == (rest, mended)
    assert {leader(scan) for scan in led(again, ("fermi",), tmp_path)} == {"fermi"}


def test_a_method_that_was_not_run_on_a_scan_is_not_said_to_give_nothing(tmp_path: Path) -> None:
    rest, stress = by_methods(tmp_path, "rest", nlls=0.9, fermi=0.7), by_methods(tmp_path, "stress", fermi=2.4)
    for found in led([rest, stress], ("nlls",), tmp_path):
        assert leader(found) == "fermi"
        assert found.warnings == ("Flow is shown by fermi: nlls, which comes first, was not run on task-stress.",)
    # Each by another method: said, and not held against each other.
    rest, stress = by_methods(tmp_path, "rest", nlls=1.9), by_methods(tmp_path, "stress", fermi=0.5)
    kept, warned = led([rest, stress], ("nlls",), tmp_path)
    assert kept == rest and leader(warned) == "fermi"
    assert [text.split(", was")[0] for text in warned.warnings] == [
        "Flow is shown by fermi: nlls, which leads in task-rest"
    ]
    assert with_reserve([kept, warned], tmp_path) == (kept, warned)
    both = by_methods(tmp_path, "rest", nlls=1.9, fermi=1.8)
    assert "less than two thirds" in with_reserve([both, stress], tmp_path)[1].warnings[0]


def test_the_method_that_was_asked_for_first_leads_where_no_other_gives_more(tmp_path: Path) -> None:
    rest, stress = (by_methods(tmp_path, task, cnn=np.nan, nlls=np.nan) for task in ("rest", "stress"))
    assert led([rest, stress], ("cnn", "nlls"), tmp_path) == (rest, stress)
    assert led([], (), tmp_path) == () and leader(led([rest], ("nlls",), tmp_path)[0]) == "nlls"


def test_a_reserve_that_no_heart_has_is_said(tmp_path: Path) -> None:
    rest, low = flow_of(tmp_path, "rest", 1.9), flow_of(tmp_path, "stress", 0.5)
    kept, warned = with_reserve([rest, low], tmp_path)
    assert kept == rest and len(warned.warnings) == 1
    assert "Against task-rest: Flow under stress is less than two thirds" in warned.warnings[0]
    # What an earlier run said is said once, and no more when it is mended.
    assert with_reserve([kept, warned], tmp_path)[1] == warned
    flow_of(tmp_path, "rest", 0.6)
    assert with_reserve([rest, warned], tmp_path)[1] == low
    # Runs are compared with their own, sessions with none of another.
    runs = [flow_of(tmp_path, *each) for each in (("rest", 1.9, "1"), ("rest", 0.4, "2"), ("stress", 0.5, "2"))]
    assert with_reserve(runs, tmp_path) == tuple(runs)
    apart = replace(low, entities={"task": "stress", "ses": "B"})
    flow_of(tmp_path, "rest", 1.9)
    assert with_reserve([rest, apart], tmp_path)[1] == apart


def test_an_outline_without_muscle_is_said_by_the_method_that_leads(tmp_path: Path) -> None:
    codes = np.full((8, 8, 1), 255, np.uint8)
    codes[2:6, 2:6] = 0
    codes[2:4, 2:6] = 19
    write_image(tmp_path / "qc.nii.gz", codes)
    fit = replace(ended("kinetics"), key=StepKey("kinetics", "nlls"), files=(FileRecord("qc", "qc.nii.gz"),))
    scan_of = flow_of(tmp_path, "rest", 1.0)
    (told,) = judged(replace(scan_of, steps=(fit, *scan_of.steps)), tmp_path).warnings
    assert told == "50% of the outlined wall shows no enhancement above the noise: is the outline too wide?"
    second = replace(fit, key=StepKey("kinetics", "fermi"))
    assert judged(replace(scan_of, steps=(second, *scan_of.steps)), tmp_path).warnings == ()


def test_participants_that_were_run_otherwise_are_said(tmp_path: Path) -> None:
    def run_of(participant: str, density: float = 1.05, **outcome: Any) -> ScanRecord:
        (tmp_path / f"sub-{participant}").mkdir(exist_ok=True)
        path = tmp_path / f"sub-{participant}" / f"sub-{participant}_config.yaml"
        path.write_text(f"haematocrit: 0.42\ntissue-density: {density}\n", encoding="utf-8")
        made = replace(StepOutcome("kinetics", "nlls", "done", version="1.0", options={"model": "2cxm"}), **outcome)
        moco = StepRecord(StepKey("motion-correction"), StepOutcome("motion-correction", "progressive", "done"))
        values = StepRecord(StepKey("segment-values", "nlls"), replace(made, step="segment-values"))
        return record("task-rest", StepRecord(StepKey("kinetics", "nlls"), made), moco, values)

    def told(**second: Any) -> str:
        scans = {who: [run_of(who)] for who in ("01", "02", "04", "05")}
        return "\n".join(settings_apart(tmp_path, {**scans, "03": [run_of("03", **second)]}))

    assert told() == ""
    density = told(density=1.0)
    assert "tissue-density is 1.05 in sub-01, sub-02, sub-04 and 1 more, 1.0 in sub-03" in density
    assert "version of nlls (kinetics) is 1.0 in sub-01" in told(version="1.1")
    # Once, though values of the segments were computed with the same options.
    assert told(options={"model": "fermi"}).count("model of nlls (kinetics) is 2cxm") == 1
    assert "segment-values" not in told(options={"model": "fermi"})
    # What was handed in no plugin has made.
    assert told(state="handed-in", plugin="", version="2") == ""
    page = render_group([], [], 2, apart=[density])
    assert "Tissue-density is 1.05 in sub-01" in page
