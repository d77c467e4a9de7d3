"""The group level: which scans to look at, and how sites, scanners and sequences compare."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from qperf_app.bids.tables import read_table
from qperf_app.cli.app import main
from qperf_app.plugins import SegmentRow
from qperf_app.report.agreement import agreement
from qperf_app.workflow.group import (
    GroupRow,
    compare,
    compare_by_stratum,
    flows_by_method,
    hearts,
    outliers,
    relative_in_words,
    segment_cells,
    strata_among,
)
from qperf_app.workflow.results import write_report
from qperf_app.workflow.selection import counted_twice
from qperf_app.workflow.status import ScanRecord, mark_interrupted
from qperf_app.workflow.strata import strata_of
from tests.datasets import edit_sidecar, hand_drawn, series_path, small_dataset, write_image, write_json
from tests.test_gate import record

UNITS = {"MBF": "mL/min/g"}


def group(flows: list[float], second: float = 1.1, doubtful: tuple[int, ...] = ()) -> list[GroupRow]:
    """A scan for each flow, with twelve segments about it, by two plugins; scanners A and B take turns."""
    rows = []
    for number, flow in enumerate(flows):
        scanner = {"scanner": "AB"[number % 2], "sequence": "FLASH"}
        for plugin, factor in (("nlls", 1.0), ("fermi", second if number % 2 else 1.0)):
            for segment in range(1, 13):
                value = factor * flow * (1 + 0.02 * (segment - 6.5))
                row = SegmentRow(segment, f"segment {segment}", "transmural", 10, 10, {"MBF": value})
                who = (f"{number:02}", {"task": "rest"}, "task-rest", plugin, row, UNITS, number in doubtful)
                rows.append(GroupRow(*who, why="too high" if number in doubtful else "", strata=scanner))
    return rows


FLOWS = [0.7, 0.8, 0.75, 0.9, 0.85, 0.72, 0.78, 0.81, 0.88]


def test_a_scan_far_from_the_others_is_told_and_no_other() -> None:
    assert outliers(hearts(group(FLOWS))) == []
    told = outliers(hearts(group([*FLOWS, 1.9])))
    assert [(heart.scan, heart.plugin) for heart, _ in told] == [("sub-09 task-rest", p) for p in ("nlls", "fermi")]
    heart, (low, high) = told[0]
    assert heart.flow == pytest.approx(1.9, rel=0.02) and low < min(FLOWS) and max(FLOWS) < high < 1.9
    # Twice or half: what is far is told on the scale of ratios. Of a few scans nobody knows what is usual.
    assert len(outliers(hearts(group([*FLOWS, 0.3])))) == 2
    assert outliers(hearts(group([0.7, 0.8, 0.75, 1.9]))) == []
    # What is left out does not say what is usual either.
    assert outliers(hearts(group([*FLOWS, 1.9], doubtful=(9,)))) == []


def test_relative_flow_stands_in_the_table_and_in_no_figure() -> None:
    """A scan whose flow is known but for a factor, among others: nothing that is said of several scans counts it."""
    rows = group([*FLOWS, 9.0])
    mixed = [replace(g, units={"MBF": "1"}) if g.participant == "09" else g for g in rows]
    assert len(hearts(rows)) - len(hearts(mixed)) == 2 and outliers(hearts(mixed)) == []
    assert compare(mixed)[0].result.n == 12 * len(FLOWS)
    assert max(max(values) for _, _, values in flows_by_method(mixed)) < 2.0
    columns, cells, units = segment_cells(mixed)
    assert [cell[columns.index("relative")] for cell in cells] == ["no"] * 24 * len(FLOWS) + ["yes"] * 24
    # One unit for the column, that of the others; the column beside it says for which rows it doesn't hold.
    assert units == {"MBF": "mL/min/g"}
    assert relative_in_words(mixed)[0].startswith("1 of 10 scans has flow in relative units")
    assert relative_in_words(rows) == ()


def test_agreement_is_that_of_each_scanner_where_there_are_several() -> None:
    rows = group(FLOWS)
    assert strata_among(rows) == {"scanner": ["A", "B"]}
    (whole,) = compare(rows)
    one, other = compare_by_stratum(rows)
    assert [(c.by, c.stratum, c.part) for c in (one, other)] == [("scanner", s, "segments") for s in "AB"]
    assert whole.result.n == one.result.n + other.result.n
    assert one.result.bias == pytest.approx(0.0) and one.result.icc == pytest.approx(1.0)
    flows = np.array([row.row.values["MBF"] for row in rows if row.strata["scanner"] == "B" and row.plugin == "nlls"])
    assert other.result.bias == pytest.approx(0.1 * flows.mean()) and other.result.icc < 0.9


def test_interval_of_an_icc_draws_whole_participants() -> None:
    rng = np.random.default_rng(3)
    hearts_ = np.repeat(rng.normal(1.0, 0.3, 12), 16)
    first = hearts_ + rng.normal(0.0, 0.05, hearts_.size)
    second = hearts_ + np.repeat(rng.normal(0.0, 0.2, 12), 16)
    whose = [f"{n:02d}" for n in np.repeat(np.arange(12), 16)]
    whole = agreement(first, second, whose)
    assert whole.icc_lower < whole.icc < whole.icc_upper
    # Sixteen segments of one heart say the same: as if each were a person's own, the interval would be narrow.
    apart = agreement(first, second, [str(n) for n in range(len(first))])
    assert apart.icc == whole.icc
    assert whole.icc_upper - whole.icc_lower > 2 * (apart.icc_upper - apart.icc_lower)
    few = agreement(first[:64], second[:64], whose[:64])
    assert np.isfinite(few.icc) and np.isnan([few.icc_lower, few.icc_upper]).all()


def test_site_scanner_and_sequence_come_from_the_metadata(tmp_path: Path) -> None:
    raw = small_dataset(tmp_path / "raw", participants=("01", "02"))
    told = {"Manufacturer": "Acme", "ManufacturersModelName": "One", "MagneticFieldStrength": 3, "InstitutionName": "X"}
    edit_sidecar(raw, **told)
    (raw / "participants.tsv").write_text("participant_id\tsite\nsub-01\tBerne\nsub-02\tn/a\n")
    path = series_path(raw, "01").relative_to(raw).as_posix()
    scans = {
        "01": [record("task-rest", tissue=path, acquisition="single bolus")],
        "02": [record("task-rest", tissue=series_path(raw, "02").relative_to(raw).as_posix())],
    }
    found = strata_of(scans, raw, tmp_path / "out")
    assert found["01", "task-rest"]["site"] == "Berne" and found["01", "task-rest"]["scanner"] == "Acme One 3 T"
    assert found["01", "task-rest"]["sequence"].endswith(", single bolus") and "site" not in found["02", "task-rest"]
    # Without the table, the institution; without the raw dataset nothing but what results carry.
    (raw / "participants.tsv").unlink()
    assert strata_of(scans, raw, tmp_path / "out")["01", "task-rest"]["site"] == "X"
    assert "scanner" not in strata_of(scans, tmp_path / "gone", tmp_path / "out")["01", "task-rest"]


def test_the_page_compares_two_sites(tmp_path: Path) -> None:
    raw, out = small_dataset(tmp_path / "raw", participants=("01", "02")), tmp_path / "out"
    (raw / "participants.tsv").write_text("participant_id\tsite\nsub-01\tBerne\nsub-02\tLeeds\n")
    write_json(raw / "participants.json", {"site": {"Description": "Where"}})
    for who in ("01", "02"):
        hand_drawn(tmp_path / "drawn", who)
    flags = ["--nprocs", "1", "--skip-bids-validation", "--motion-correction", "none", "--kinetics", "fermi", "cnn"]
    flags += ["-d", f"drawn={tmp_path / 'drawn'}", "--work-dir", str(tmp_path / "work")]
    assert main([str(raw), str(out), "participant", *flags]) == 0
    assert main([str(raw), str(out), "group"]) == 0
    page = html.unescape((out / "group.html").read_text(encoding="utf-8"))
    drawn = re.findall(r'role="img" aria-label="([^"]*)"', page)
    for start in (
        "rest, fermi, medians by line: Berne",
        "ICC, rest: fermi and cnn, segments",
        "Leeds, rest: fermi and",
    ):
        assert any(words.startswith(start) for words in drawn), (start, drawn)
    assert "Agreement by site" in page and "Flow by site" in page and "Flow by scanner" not in page
    rows = read_table(out / "group_segments.tsv")
    assert {(row["participant_id"], row["site"]) for row in rows} == {("sub-01", "Berne"), ("sub-02", "Leeds")}
    assert {row["stratum"] for row in read_table(out / "group_agreement.tsv")} == {"n/a", "Berne", "Leeds"}
    for name in ("segments", "agreement"):
        columns = (out / f"group_{name}.tsv").read_text().splitlines()[0].split("\t")
        told = json.loads((out / f"group_{name}.json").read_text())
        assert [column for column in columns if not told.get(column, {}).get("Description")] == []
        units = {"bias": "mL/min/g"} if name == "agreement" else {"MBF": "mL/min/g", "MBF_q05": "mL/min/g"}
        assert {column: told[column]["Units"] for column in units} == units
    told = json.loads((out / "group_segments.json").read_text())
    # What the participants' own tables say: flow is a median over voxels, all else is of a curve.
    assert told["MBF_q05"]["Description"].startswith("Lower bound of the 90 % interval")
    assert told["PS"]["Description"].startswith("PS of the segment's curve")
    folder = out / "sub-01" / "perf"
    for stat, words in (("std", "Standard deviation"), ("q05", "Lower bound of the 90 %"), ("q50", "Median")):
        sidecar = folder / f"sub-01_task-rest_model-2CXM_param-MBF_stat-{stat}_desc-cnn_dcemap.json"
        assert json.loads(sidecar.read_text())["Description"].startswith(words)


def test_scans_without_flow_are_said_on_the_page_and_in_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = small_dataset(tmp_path / "raw", participants=("01", "02")), tmp_path / "out"
    drawn = hand_drawn(tmp_path / "drawn")
    flags = ("--motion-correction", "none", "--kinetics", "fermi", "--skip-bids-validation", "--nprocs", "1")
    run = [str(raw), str(out), "participant", "-w", str(tmp_path / "work"), *flags, "--participant-label"]
    assert main([*run, "01", "-d", str(drawn)]) == 0
    # One without a bolus, and one that was interrupted before it was begun.
    image = nib.load(series_path(raw, "02"))
    data = np.asarray(image.dataobj)
    noise = np.random.default_rng(0).normal(1.0, 0.02, data.shape)
    write_image(series_path(raw, "02"), (data[..., :1] * noise).astype(np.float32), image.affine)
    main([*run, "02"])
    mark_interrupted(out, ["03"])
    # And one whose results were copied without their status file.
    shutil.copytree(out / "sub-01" / "perf", out / "sub-04" / "perf")
    capsys.readouterr()
    assert main([str(raw), str(out), "group"]) == 0
    said = capsys.readouterr().err
    assert "no flow, or of few segments only, of sub-02 task-rest, sub-03: the page says why" in said
    assert "warning: not counted, since no status file says what is there: sub-04\n" in said
    page = re.sub(r"<[^>]+>", " ", (out / "group.html").read_text())
    assert re.search(r"sub-04\s+not counted: its folder has no status file", page)
    assert "no flow: " in page and "no result: its last run is interrupted" in page
    assert "3 scans to look at, listed below with why." in page and "No warnings." not in page
    # A status file that a full disk or an older version left.
    broken = out / "sub-02" / "sub-02_status.json"
    whole = broken.read_text()
    broken.write_text(whole[:100])
    assert main([str(raw), str(out), "group"]) == 0
    assert "not counted, since its status file can't be read: sub-02: not readable as JSON" in capsys.readouterr().err
    assert re.search("sub-02.*not counted: its status can&#39;t be read", (out / "group.html").read_text(), re.DOTALL)
    assert main([str(raw), str(out), "group", "--participant-label", "01"]) == 0
    assert "sub-02" not in capsys.readouterr().err
    assert main([str(raw), str(out), "group", "--participant-label", "02"]) == 16
    assert f"{broken}: not readable as JSON" in capsys.readouterr().err
    broken.write_text(whole)
    assert "nothing of them was computed" not in said
    # Whose job never ran.
    for folder in (raw / "sub-01").rglob("perf"):
        new = raw / "sub-05" / folder.relative_to(raw / "sub-01")
        new.mkdir(parents=True)
        for path in folder.iterdir():
            shutil.copy(path, new / path.name.replace("sub-01", "sub-05"))
    assert main([str(raw), str(out), "group"]) == 0
    said = capsys.readouterr().err
    assert "warning: not counted, since nothing of them was computed: sub-05\n" in said
    assert "not counted: in the dataset, and not computed" in (out / "group.html").read_text()
    assert main([str(raw), str(out), "group", "--participant-label", "01", "--dry-run"]) == 0
    assert "sub-05" not in capsys.readouterr().err
    # Where the dataset is not.
    assert main([str(tmp_path / "elsewhere"), str(out), "group", "--dry-run"]) == 0
    # Who has been taken out of the dataset.
    shutil.rmtree(raw / "sub-02")
    assert main([str(raw), str(out), "group"]) == 0
    assert "warning: counted, though no longer in BIDS_DIR: sub-02" in capsys.readouterr().err
    # A single series: its report says so too.
    for path in (raw / "sub-01").rglob("*_dce.*"):
        path.unlink()
    assert main([str(raw), str(out), "group"]) == 0
    assert "counted, though no longer in BIDS_DIR: sub-01 task-" in capsys.readouterr().err
    page, remarks = write_report(out, raw, "01")
    assert "Its series is no longer in the dataset" in page.read_text(encoding="utf-8")
    assert all(any("no longer in the dataset" in text for text in texts) for texts in remarks.values())
    assert "no longer in the dataset" in (out / "group.html").read_text()


def test_reconstructions_of_one_acquisition_are_named_but_the_first() -> None:
    def scan(label: str) -> ScanRecord:
        return ScanRecord(label, dict(part.split("-") for part in label.split("_")), None, None, (), ())

    scans = [
        scan(label) for label in ("task-rest_run-1", "task-rest_rec-moco_run-01", "task-rest_run-2", "task-stress")
    ]
    assert counted_twice({"01": scans, "02": scans[1:]}) == ["sub-01 task-rest_rec-moco_run-01"]
