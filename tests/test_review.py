"""The review: what a reader draws becomes files that the app takes, nobody loses work, and nobody else gets in."""

from __future__ import annotations

import csv
import html
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_image
from qperf_app.bids.records import read_landmarks, read_mask
from qperf_app.bids.reviews import read_reviews, review_name
from qperf_app.bids.segment_tables import read_segments
from qperf_app.cli.app import main
from qperf_app.plugins import SegmentRow, StepKey, StepOutcome
from qperf_app.review import curves
from qperf_app.review.application import make_application
from qperf_app.review.corrections import check_corrections
from qperf_app.review.desk import Desk
from qperf_app.review.drafts import ChangedMeanwhile
from qperf_app.review.listing import listed
from qperf_app.review.study import ReviewScan, Study, open_study
from qperf_app.review.worker import compute, planned
from qperf_app.training.cases import WALL, CaseKind
from qperf_app.training.drawn_cases import find_drawn_cases
from qperf_app.workflow.group import GroupRow, without_unusable
from qperf_app.workflow.reviewed import ReviewedScan, in_words, reviewed_scans
from qperf_app.workflow.status import ScanRecord, StepRecord, read_status
from tests.reviewed import finished_study

KEY = "sub-01_task-rest"
ADDRESS, TOKEN = "127.0.0.1:4321", "a-token"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return finished_study(tmp_path_factory.mktemp("reviewed"))


@pytest.fixture
def study(finished: Study, tmp_path: Path) -> Study:
    """The same with corrections of its own."""
    return replace(finished, corrections=tmp_path / "corrections")


class NoComputing:
    """Takes requests and does nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def request(self, participant: str) -> int:
        self.asked.append(participant)
        return len(self.asked)

    def news(self, since: int) -> tuple[int, list[dict[str, Any]]]:
        return since, []


def client_of(study: Study, reader: str = "Ann", token: str = TOKEN) -> TestClient:
    application = make_application(Desk(study, reader), NoComputing(), ADDRESS, TOKEN)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return TestClient(application, base_url=f"http://{ADDRESS}", headers=headers)


def widened(edits: dict[str, Any], by: float = 2.0) -> dict[str, Any]:
    """Edits with the outer border of the first slice moved outwards at one handle."""
    changed = json.loads(json.dumps(edits))
    region = changed["regions"]["myocardium"][0]
    centre = np.mean(region["outer"], axis=0)
    away = np.array(region["outer"][0]) - centre
    region["outer"][0] = (np.array(region["outer"][0]) + by * away / np.linalg.norm(away)).tolist()
    region["painted"] = None
    changed["touched"] = ["myocardium"]
    return changed


# ---- curves


def test_a_curve_goes_through_its_handles_and_is_smooth_there() -> None:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    handles = np.stack([30.3 + 10 * np.cos(angles), 25.4 + 8 * np.sin(angles)], axis=1)
    curve = curves.closed_curve(handles)
    assert np.allclose(curve[:: curves.POINTS_PER_SPAN], handles)
    steps = np.diff(np.concatenate([curve, curve[:2]]), axis=0)
    turns = np.abs(np.angle(np.exp(1j * np.diff(np.arctan2(steps[:, 1], steps[:, 0])))))
    assert turns.max() < 0.15
    assert curves.inside(handles, (60, 60)).sum() == pytest.approx(np.pi * 80, rel=0.03)


def test_a_handle_moves_the_spans_next_to_it_and_no_others() -> None:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    handles = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    moved = handles.copy()
    moved[0] *= 2
    apart = np.abs(curves.closed_curve(handles) - curves.closed_curve(moved)).max(axis=1) > 0
    spans = {int(i) // curves.POINTS_PER_SPAN for i in np.flatnonzero(apart)}
    assert spans == {10, 11, 0, 1}


@pytest.mark.parametrize("radius", [4.0, 9.0, 20.0])
def test_a_curve_that_is_fitted_to_a_mask_encloses_it(radius: float) -> None:
    rows, columns = np.indices((64, 64))
    mask = (rows - 30) ** 2 + 1.4 * (columns - 33) ** 2 <= radius**2
    handles = curves.fit_handles(mask)
    assert handles is not None
    again = curves.inside(handles, mask.shape)
    assert 2 * (again & mask).sum() / (again.sum() + mask.sum()) > 0.95


def test_nothing_has_no_curve() -> None:
    assert curves.fit_handles(np.zeros((8, 8), bool)) is None


def test_runs_hold_any_mask() -> None:
    mask = np.random.default_rng(1).random((17, 23)) > 0.6
    assert (curves.from_runs(curves.to_runs(mask), mask.shape) == mask).all()
    with pytest.raises(ValueError, match="outside"):
        curves.from_runs([390, 2], mask.shape)


def test_a_brush_is_round_in_millimetres() -> None:
    blank = np.zeros((40, 40), bool)
    painted = curves.brushed(blank, [(20, 20)], 8.0, (2.0, 1.0), add=True)
    assert painted.any(axis=1).sum() == 9
    assert painted.any(axis=0).sum() == 17
    assert not curves.brushed(painted, [(20, 20)], 9.0, (2.0, 1.0), add=False).any()


# ---- who is let in


@pytest.mark.parametrize("path", ["/api/scans", f"/api/scans/{KEY}", "/api/events", f"/api/scans/{KEY}/film/tissue"])
@pytest.mark.parametrize("token", ["", "another-token"])
def test_without_the_token_nothing_is_told(study: Study, path: str, token: str) -> None:
    assert client_of(study, token=token).get(path).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:4321"},
        {"Host": "localhost:4321"},
        {"Host": "127.0.0.1:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_page_or_name_is_refused_with_the_token_too(study: Study, headers: dict[str, str]) -> None:
    for path in ("/", "/static/main.js", "/api/scans"):
        assert client_of(study).get(path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2fguard.py",
        "/static/%2e%2e%2fguard.py",
        "/static/index.html%00",
        "/api/scans/..%2f..%2fraw%2fREADME.md",
        "/api/scans/sub-99_task-rest",
        f"/api/scans/{KEY}/film/..%2ftissue",
        "/report/01",
        "/report/..%2fsub-01",
        "/sub-01.html",
        "/api/../dataset_description.json",
    ],
)
def test_nothing_is_found_by_a_path(study: Study, path: str) -> None:
    assert client_of(study).get(path).status_code in (400, 404)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: {**r, "outer": r["inner"], "inner": r["outer"]}, "inner border lies outside of the outer one"),
        (lambda r: {**r, "outer": [(x * 1e9, y) for x, y in r["outer"]]}, "far outside of the image"),
    ],
)
def test_borders_that_are_no_wall_are_refused(study: Study, change: Callable[[Any], Any], words: str) -> None:
    client = client_of(study)
    edits = client.get(f"/api/scans/{KEY}").json()["edits"]
    walls = [change({**region, "painted": None}) for region in edits["regions"]["myocardium"]]
    edits = {**edits, "regions": {**edits["regions"], "myocardium": walls}, "touched": ["myocardium"]}
    answer = client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": edits})
    assert answer.status_code == 400 and words in answer.json()["error"]


def test_a_series_without_frames_is_refused(study: Study) -> None:
    client = client_of(study)
    scan = client.get(f"/api/scans/{KEY}").json()
    frames = list(range(len(scan["planes"]["tissue"]["times"])))
    edits = {**scan["edits"], "left_out": {"tissue": frames}, "touched": ["frames"]}
    answer = client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": edits})
    assert answer.status_code == 400 and "0 dynamic frames of the tissue series would be left" in answer.json()["error"]


def test_a_request_that_is_too_large_is_refused(study: Study) -> None:
    client = client_of(study)
    assert client.put(f"/api/scans/{KEY}/draft", headers={"Content-Length": str(10**9)}).status_code == 413
    chunks = client.put(f"/api/scans/{KEY}/draft", content=iter([b"{}"]))
    assert chunks.status_code == 413


def test_the_page_may_load_nothing_from_elsewhere(study: Study) -> None:
    answer = client_of(study, token="").get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    report = client_of(study).get(f"/api/scans/{KEY}").json()["report"]
    shown = client_of(study).get(report)
    assert shown.status_code == 404  # of another server: its reports have other addresses
    client = client_of(study)
    shown = client.get(client.get(f"/api/scans/{KEY}").json()["report"])
    assert "sandbox" in shown.headers["content-security-policy"]
    assert "allow-same-origin" not in shown.headers["content-security-policy"]
    assert "sub-01" in shown.text or "Participant 01" in shown.text


def test_edits_that_do_not_fit_are_refused_by_name(study: Study) -> None:
    client = client_of(study)
    edits = client.get(f"/api/scans/{KEY}").json()["edits"]
    wrong = json.loads(json.dumps(edits))
    wrong["regions"]["myocardium"] = []
    answer = client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": wrong})
    assert answer.status_code == 400 and "myocardium" in answer.json()["error"]
    wrong = {**edits, "points": [{"name": "RVInsertionAnterior", "slice": 7, "x": 1, "y": 1}]}
    assert client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": wrong}).status_code == 400
    wrong = {**edits, "points": [{"name": "Elsewhere", "slice": 0, "x": 1, "y": 1}]}
    assert "points.0.name" in client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": wrong}).json()["error"]
    for points, words in (
        ([{"name": "RVInsertionAnterior", "slice": 0, "x": x, "y": 1} for x in (1, 2)], "twice"),
        ([{"name": "RVInsertionAnterior", "slice": 0, "x": 1e6, "y": 1}], "far outside"),
    ):
        answer = client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": {**edits, "points": points}})
        assert answer.status_code == 400 and words in answer.json()["error"]
    answer = client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": {}})
    assert answer.json()["error"] == "myocardium: its regions are missing"
    assert client.post(f"/api/scans/{KEY}/preview", json=[]).json()["error"] == "Input should be an object"
    assert not study.corrections.exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ([(1e9, 1e9), (-1e9, 1e9)], "far outside"),
        ([("NaN", 1)], "far outside"),
        ([(1, 1)] * 10_001, "at most 10000"),
        ([], "paints nothing"),
    ],
)
def test_a_stroke_that_is_none_is_refused(study: Study, path: list[Any], words: str) -> None:
    stroke = {"structure": "myocardium", "region": {}, "path": path, "radius": 4, "add": True}
    answer = client_of(study).post(f"/api/scans/{KEY}/brush", json=stroke)
    assert answer.status_code == 400 and words in answer.json()["error"]


# ---- looking


def test_the_film_is_the_corrected_series(study: Study) -> None:
    client = client_of(study)
    plane = client.get(f"/api/scans/{KEY}").json()["planes"]["tissue"]
    answer = client.get(f"/api/scans/{KEY}/film/tissue")
    step, zero = (float(answer.headers[name]) for name in ("X-Signal-Step", "X-Signal-Zero"))
    film = np.frombuffer(answer.content, "<u2").reshape(plane["shape"]) * step + zero
    data, _ = read_image(study.out_dir / "sub-01/perf/sub-01_task-rest_desc-preproc_dce.nii.gz")
    opened = Desk(study).open(KEY).planes["tissue"]
    for frame in (0, 5):
        assert np.allclose(opened.from_screen(film[:, frame]), data[..., frame], atol=step)


def test_screen_and_world_are_each_other_s_inverse(study: Study) -> None:
    plane = Desk(study).open(KEY).planes["tissue"]
    world = plane.point_to_world(12.25, 7.5, 0)
    assert plane.point_to_screen(world) == pytest.approx((12.25, 7.5))


def outcome(step: str, state: str, **more: Any) -> StepRecord:
    return StepRecord(StepKey(step), StepOutcome(step=step, plugin="", state=state, **more))  # type: ignore[arg-type]


def scan(label: str, *steps: StepRecord, **more: Any) -> ReviewScan:
    record = ScanRecord(label, {}, f"sub-01/perf/sub-01_{label}_dce.nii.gz", None, (), steps, **more)
    return ReviewScan(f"sub-01_{label}", "01", record)


def test_doubtful_scans_come_first_each_with_why(study: Study) -> None:
    scans = [
        scan("task-a", has_flow=True),
        scan("task-b", outcome("myocardium", "done", warnings=("The wall widens.",)), has_flow=True),
        scan("task-c", outcome("input-function", "done", doubts=("no dose gives this peak",)), has_flow=True),
        scan("task-d", outcome("blood-pool", "not-found", reason="no ventricles")),
        scan("task-e", has_flow=True, doubtful=("nlls: flow of 9 mL/min/g",)),
    ]
    rows = listed(study, scans, {"09": "its status is of another version"})
    assert [row.label for row in rows] == ["task-d", "", "task-c", "task-e", "task-b", "task-a"]
    assert rows.pop(1).reasons == ("its status is of another version",)
    assert rows[0].reasons == ("blood-pool: no ventricles",)
    assert rows[1].reasons == ("no dose gives this peak",)
    assert rows[2].reasons == ("nlls: flow of 9 mL/min/g",)


def test_segments_and_blood_follow_what_is_drawn(study: Study) -> None:
    client = client_of(study)
    told = client.get(f"/api/scans/{KEY}").json()
    wider = client.post(f"/api/scans/{KEY}/preview", json=widened(told["edits"], 3.0)).json()
    voxels = [sum(byte > 0 for byte in bytes.fromhex(p["segments"][0])) for p in (told["preview"], wider)]
    assert voxels[1] > voxels[0]
    moved = json.loads(json.dumps(told["edits"]))
    moved["points"][0]["x"] += 6
    turned = client.post(f"/api/scans/{KEY}/preview", json=moved).json()
    assert turned["segments"] != told["preview"]["segments"]
    stroke = {"structure": "aif-voxels", "region": {}, "path": [told["edits"]["regions"]["lv"][0]["outer"][0]]}
    drawn = client.post(f"/api/scans/{KEY}/brush", json={**stroke, "radius": 5, "add": True}).json()
    moved["regions"]["aif-voxels"][0], moved["touched"] = drawn, ["aif-voxels"]
    blood = client.post(f"/api/scans/{KEY}/preview", json=moved).json()["blood"]
    assert blood["signal"] != told["preview"]["blood"]["signal"]


# ---- nobody loses work


def test_a_draft_is_there_after_the_browser_was_closed(study: Study) -> None:
    first = client_of(study)
    told = first.get(f"/api/scans/{KEY}").json()
    drawn = widened(told["edits"])
    kept = first.put(f"/api/scans/{KEY}/draft", json={"version": told["version"], "edits": drawn}).json()
    again = client_of(study).get(f"/api/scans/{KEY}").json()
    assert again["version"] == kept["version"] and not again["saved"]
    assert again["edits"]["regions"]["myocardium"] == drawn["regions"]["myocardium"]
    assert client_of(study).get("/api/scans").json()["scans"][0]["pending"]


def test_two_sessions_do_not_lose_each_other_s_work(study: Study) -> None:
    ann, bob = client_of(study, "Ann"), client_of(study, "Bob")
    before = ann.get(f"/api/scans/{KEY}").json()
    mine = {"version": before["version"], "edits": widened(before["edits"], 1.0)}
    yours = {"version": before["version"], "edits": widened(before["edits"], 4.0)}
    assert ann.put(f"/api/scans/{KEY}/draft", json=mine).status_code == 200
    for request in (
        bob.put(f"/api/scans/{KEY}/draft", json=yours),
        bob.post(f"/api/scans/{KEY}/compute", json={"version": before["version"]}),
        bob.post(f"/api/scans/{KEY}/decision", json={"version": before["version"], "decision": "accepted"}),
    ):
        assert request.status_code == 409
        assert "Ann" in request.json()["error"]
    now = bob.get(f"/api/scans/{KEY}").json()
    assert now["edits"]["regions"]["myocardium"] == mine["edits"]["regions"]["myocardium"]
    assert bob.put(f"/api/scans/{KEY}/draft", json={**yours, "version": now["version"]}).status_code == 200


def test_who_looked_and_what_was_decided_is_written_down(study: Study) -> None:
    client = client_of(study)
    decision = {"version": 0, "decision": "accepted", "comment": "as I would\tdraw it"}
    told = client.post(f"/api/scans/{KEY}/decision", json=decision).json()
    wrong = {"version": told["version"], "decision": "not usable"}
    assert client.post(f"/api/scans/{KEY}/decision", json=wrong).status_code == 200
    first, last = read_reviews(study.corrections, KEY)
    assert (first.reader, first.decision, first.comment) == ("Ann", "accepted", "as I would draw it")
    assert last.decision == "not usable"
    row = client.get("/api/scans").json()["scans"][0]
    assert row["decision"] == "not usable" and row["reader"] == "Ann"


def test_edits_that_were_not_computed_can_not_be_accepted(study: Study) -> None:
    client = client_of(study)
    edits = widened(client.get(f"/api/scans/{KEY}").json()["edits"])
    kept = client.put(f"/api/scans/{KEY}/draft", json={"version": 0, "edits": edits}).json()
    accept = {"version": kept["version"], "decision": "accepted"}
    assert client.post(f"/api/scans/{KEY}/decision", json=accept).status_code == 400
    # Nor while they are computed, by whoever asks.
    told = client.post(f"/api/scans/{KEY}/compute", json={"version": kept["version"]}).json()
    accept["version"] = told["version"]
    assert client.post(f"/api/scans/{KEY}/decision", json=accept).status_code == 400
    assert client.post(f"/api/scans/{KEY}/decision", json={**accept, "decision": "not usable"}).status_code == 200
    # Nor by a server that was started since, where nothing has been computed.
    client = client_of(study)
    (row,) = client.get("/api/scans").json()["scans"]
    assert row["pending"] and not client.get(f"/api/scans/{KEY}").json()["saved"]
    accept["version"] += 1
    answer = client.post(f"/api/scans/{KEY}/decision", json=accept)
    assert answer.status_code == 400 and "compute again" in answer.json()["error"]


def test_a_folder_of_somebody_else_takes_no_corrections(study: Study, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    thesis = tmp_path / "mine" / "thesis.tex"
    for folder in (tmp_path / "mine", thesis, study.out_dir, study.out_dir / "new", study.bids_dir / "derivatives"):
        with pytest.raises(DatasetError):
            check_corrections(replace(study, corrections=folder))


def test_one_damaged_file_does_not_hide_the_others(study: Study) -> None:
    drafts = study.corrections / ".drafts"
    drafts.mkdir(parents=True)
    (drafts / f"{KEY}.json").write_text('{"version": "many"}')
    client = client_of(study)
    (row,) = client.get("/api/scans").json()["scans"]
    assert row["severity"] == "no result" and "version" in row["reasons"][0]
    assert client.get(f"/api/scans/{KEY}").status_code == 422


def test_a_comment_that_is_too_long_is_refused_and_hides_nothing(study: Study) -> None:
    client = client_of(study)
    decided = {"version": 0, "decision": "not usable", "comment": "a" * 200_000}
    answer = client.post(f"/api/scans/{KEY}/decision", json=decided)
    assert answer.status_code == 400 and answer.json()["error"].startswith("comment: ")
    assert client.post(f"/api/scans/{KEY}/decision", json={**decided, "comment": "dark"}).status_code == 200
    # By whatever else it came in.
    table = study.corrections / review_name(KEY)
    table.write_text(table.read_text().replace("dark", "a" * 200_000))
    # The most that a field may hold is the process's own, and libraries lift it.
    before = csv.field_size_limit(131_072)
    (row,) = client.get("/api/scans").json()["scans"]
    csv.field_size_limit(before)
    assert row["severity"] == "no result" and table.name in row["reasons"][0]


# ---- corrections


def corrected(study: Study, edits: dict[str, Any], version: int = 0) -> dict[str, Any]:
    """Keep edits and save them as corrections."""
    client = client_of(study)
    kept = client.put(f"/api/scans/{KEY}/draft", json={"version": version, "edits": edits})
    assert kept.status_code == 200, kept.json()
    told = client.post(f"/api/scans/{KEY}/compute", json={"version": kept.json()["version"]})
    assert told.status_code == 200, told.json()
    return told.json()


def test_corrections_are_what_was_drawn(study: Study) -> None:
    desk = Desk(study)
    plane = desk.open(KEY).planes["tissue"]
    edits = widened(desk.describe(KEY)["edits"])
    edits["points"][0]["x"] += 3.0
    edits["touched"].append("landmarks")
    corrected(study, edits)
    folder = study.corrections / "sub-01" / "perf"
    region = edits["regions"]["myocardium"][0]
    expected = curves.inside(region["outer"], plane.shape[1:]) & ~curves.inside(region["inner"], plane.shape[1:])
    mask = read_mask(folder / f"{KEY}_label-myocardium_mask.nii.gz", plane.grid)
    assert (plane.to_screen(mask)[0] == expected).all()
    before = desk.describe(KEY)["preview"]
    points = read_landmarks(folder / f"{KEY}_desc-landmarks_points.tsv")
    assert plane.point_to_screen(points[0].position)[0] == pytest.approx(edits["points"][0]["x"], abs=1e-3)
    assert before["segments"]
    sidecar = json.loads((folder / f"{KEY}_label-myocardium_mask.json").read_text())
    assert sidecar["Manual"] is True and sidecar["Sources"][0].startswith("bids:results:")
    assert not (folder / f"{KEY}_label-LV_mask.nii.gz").exists()
    (task,) = [t for t in planned(study, "01", 1).participants[0].tasks.values() if t.step == "myocardium"]
    assert {str(record.path) for record in task.handed_in} == {
        str(folder / f"{KEY}_label-myocardium_mask.nii.gz"), str(folder / f"{KEY}_desc-landmarks_points.tsv")
    }  # fmt: skip


def test_reconstructions_are_computed_again_as_they_were(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of an acquisition's a filter had chosen in the run before."""
    raw = tmp_path / "raw"
    shutil.copytree(study.bids_dir, raw)
    for source in raw.glob("sub-01/perf/sub-01_task-rest*"):
        shutil.copy(source, source.with_name(source.name.replace("task-rest", "task-rest_rec-moco")))
    status = read_status(study.out_dir, "01")
    (scan,) = (scan for scan in status.scans if scan.label == "task-rest")
    moco = replace(scan, tissue=scan.tissue.replace("task-rest", "task-rest_rec-moco"))
    for scans, labels in (((moco,), ["task-rest_rec-moco"]), ((moco, scan), ["task-rest", "task-rest_rec-moco"])):
        monkeypatch.setattr("qperf_app.review.worker.read_status", lambda *_, found=scans: replace(status, scans=found))
        found = planned(replace(study, bids_dir=raw), "01", 1).participants[0].scans
        assert sorted(each.scan.label for each in found) == labels


def test_frames_left_out_take_no_part_in_what_is_computed(study: Study) -> None:
    edits = {**Desk(study).describe(KEY)["edits"], "left_out": {"tissue": [5, 9]}, "touched": ["frames"]}
    corrected(study, edits)
    tasks = planned(study, "01", 1).participants[0].tasks.values()
    out = {task.step: task.left_out.frames for task in tasks if task.left_out is not None}
    assert out == dict.fromkeys(("input-function", "concentration", "spill-over", "joint-input-function"), (5, 9))
    assert Desk(study).describe(KEY)["edits"]["left_out"] == {"tissue": [5, 9]}
    path = study.corrections / "sub-01" / "perf" / f"{KEY}_desc-frames_timeseries.tsv"
    told = path.read_text()
    path.write_text("".join(told.splitlines(keepends=True)[:-1]))
    with pytest.raises(DatasetError, match="volumes"):
        planned(study, "01", 1)
    path.write_text(told.replace("\t0\n", "\t1\n"))
    with pytest.raises(DatasetError, match="0 dynamic volumes are not left out; flow needs at least 8"):
        planned(study, "01", 1)


def test_what_is_undone_is_no_correction_any_more(study: Study) -> None:
    edits = Desk(study).describe(KEY)["edits"]
    told = corrected(study, widened(edits))
    corrected(study, edits, told["version"])
    names = {path.name for path in (study.corrections / "sub-01" / "perf").iterdir()}
    assert names == {f"{KEY}_desc-review_log.tsv", f"{KEY}_desc-review_log.json"}


def test_a_spleen_that_is_marked_is_told_of_and_corrects_no_flow(finished: Study, tmp_path: Path) -> None:
    shutil.copytree(finished.out_dir.parent, tmp_path / "copy")
    study = open_study(tmp_path / "copy" / "out", None, None, tmp_path / "copy" / "work")
    edits, before = Desk(study).describe(KEY)["edits"], flow_of(study)
    empty = edits["regions"]["spleen"][0]
    assert empty == {"outer": None, "inner": None, "painted": []}
    stroke = {"structure": "spleen", "region": empty, "path": [[3, 28]], "radius": 8, "add": True}
    painted = client_of(study).post(f"/api/scans/{KEY}/brush", json=stroke).json()
    marked = json.loads(json.dumps({**edits, "touched": ["spleen"]}))
    marked["regions"]["spleen"][0] = painted
    told = corrected(study, marked)
    folder, name = study.corrections / "sub-01" / "perf", f"{KEY}_label-spleen_mask.nii.gz"
    plane = Desk(study).open(KEY).planes["tissue"]
    mask = plane.to_screen(read_mask(folder / name, plane.grid))
    assert mask.sum() == sum(painted["painted"][1::2]) > 10 and mask[0, 28, 3]
    tables = [path.name for path in folder.iterdir() if not path.name.endswith(".json")]
    assert sorted(tables) == [f"{KEY}_desc-review_log.tsv", name]
    compute(study, "01", 1, lambda content: None)
    assert (study.out_dir / "sub-01" / "perf" / name).is_file() and flow_of(study) == before
    again = Desk(study).describe(KEY)
    assert again["edits"]["regions"]["spleen"][0]["painted"] == painted["painted"] and again["saved"]
    # What flow was is still there to be kept when something is drawn that changes it.
    wall = {**widened(again["edits"], 4.0), "touched": ["spleen", "myocardium"]}
    corrected(study, wall, told["version"])
    compute(study, "01", 1, lambda content: None)
    assert flow_of(study) != before
    kept = Desk(study).describe(KEY)["flow_before"]["values"]
    assert [v for v in kept.values() if v is not None] == pytest.approx([v for v in before if np.isfinite(v)])


def test_corrections_are_training_cases(study: Study) -> None:
    corrected(study, widened(Desk(study).describe(KEY)["edits"], 3.0))
    (case,) = find_drawn_cases(study.bids_dir, study.corrections, CaseKind.MUSCLE, "chained", lambda text: None)
    mask = read_mask(study.corrections / "sub-01" / "perf" / f"{KEY}_label-myocardium_mask.nii.gz")
    assert ((case().labels == WALL) == mask).all()
    # On the very series that the reader saw, and not one that is aligned anew.
    seen, _ = read_image(study.out_dir / "sub-01/perf/sub-01_task-rest_desc-preproc_dce.nii.gz")
    assert np.array_equal(case().series.data, seen)


def flow_of(study: Study) -> list[float]:
    path = study.out_dir / "sub-01/perf" / f"{KEY}_seg-AHA17_desc-fermi_segments.tsv"
    return [row.values["MBF"] for row in read_segments("fermi", "", {"transmural": path}).rows]


def test_what_hangs_on_a_correction_is_computed_again_and_nothing_else(study: Study) -> None:
    before = flow_of(study)
    edits = widened(Desk(study).describe(KEY)["edits"], 4.0)
    corrected(study, {**edits, "left_out": {"tissue": [7]}, "touched": ["myocardium", "frames"]})
    told: list[dict[str, Any]] = []
    compute(study, "01", 1, lambda content: told.append(dict(content)))
    assert told[-1]["state"] == "done", told[-1]
    after = flow_of(study)
    assert after != before
    (row,) = client_of(study).get("/api/scans").json()["scans"]
    assert not row["pending"] and client_of(study).get(f"/api/scans/{KEY}").json()["saved"]
    status = json.loads((study.out_dir / "sub-01" / "sub-01_status.json").read_text())
    steps = {step["key"]["step"]: step["outcome"] for step in status["scans"][0]["steps"]}
    assert "corrections" in steps["myocardium"]["summary"]
    assert "expert" in steps["blood-pool"]["summary"]
    assert any("a reader left out" in text for text in steps["concentration"]["warnings"])
    scans = {"01": read_status(study.out_dir, "01").scans}
    (reviewed,) = reviewed_scans(study.out_dir, scans)
    assert reviewed.decision == "corrected"
    assert list(reviewed.before) == [value for value in before if np.isfinite(value)]
    assert reviewed.after != reviewed.before
    assert main([str(study.bids_dir), str(study.out_dir), "group"]) == 0
    page = (study.out_dir / "group.html").read_text(encoding="utf-8")
    assert in_words([reviewed], 1)[0] == "Readers looked at 1 of 1 scans: 1 corrected."
    assert all(text in page for text in in_words([reviewed], 1))
    # Another session sees what flow was before, and that the scan is a corrected one, once it is accepted too.
    told = Desk(study).describe(KEY)
    assert [v for v in told["flow_before"]["values"].values() if v is not None] == pytest.approx(list(reviewed.before))
    Desk(study).decide(KEY, told["version"], "accepted", "")
    (row,) = Desk(study).rows()
    assert (row.decision, row.corrected) == ("accepted", True)
    # As it was: nothing is drawn, the corrections are taken away, and the results are those of before.
    desk = Desk(study)
    version = desk.describe(KEY)["version"]
    own = replace(desk._current(desk.open(KEY))[1], touched=[])
    kept = desk.keep(KEY, version, own)
    desk.decide(KEY, kept["version"], "corrected", "")
    compute(study, "01", 1, lambda content: None)
    assert flow_of(study) == before
    assert desk.describe(KEY)["flow_before"] is None and not desk.rows()[0].corrected


def test_an_ordinary_run_keeps_the_corrections(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(study.out_dir, tmp_path / "out")
    study = open_study(tmp_path / "out", study.bids_dir, None, study.work_dir)
    corrected(study, widened(Desk(study).describe(KEY)["edits"]))
    run = [str(study.bids_dir), str(study.out_dir), "participant", "--dry-run", "--kinetics", "fermi"]
    run += ["--work-dir", str(study.work_dir), "--skip-bids-validation"]
    for given, told in (
        ([], f"Readers' corrections are used: {study.corrections}."),
        (["-d", f"mine={study.corrections}"], ""),
        (["-d", f"corrections={study.bids_dir.parent / 'drawn'}"], "are not used: -d corrections names"),
    ):
        assert main([*run, *given]) == 0
        said = capsys.readouterr()
        told_of = [line for line in said.err.splitlines() if "eaders' corrections" in line]
        assert len(told_of) == bool(told) and all(told in line for line in told_of)
        (wall,) = [line for line in said.err.splitlines() if ": myocardium " in line]
        assert f"{'drawn' if 'not used' in told else study.corrections}/sub-01/perf/{KEY}_label-myocardium" in wall


def test_the_list_warns_of_what_the_report_does(study: Study) -> None:
    (record,) = read_status(study.out_dir, "01").scans
    (row,) = Desk(study).rows()
    page = html.unescape((study.out_dir / "sub-01.html").read_text(encoding="utf-8"))
    assert record.remarks and set(record.remarks) <= set(row.reasons) and row.severity != "none"
    assert all(text in page for text in row.reasons)


def test_libraries_say_nothing_to_the_terminal(tmp_path: Path) -> None:
    """A network's step loads TensorFlow, which writes past everything as it is loaded."""
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("import os\nos.write(2, b'I0000 00:00:17.5 cpu_feature_guard\\nkept\\n')\n")
    code = "from qperf_app.review.worker import _WarmUp; from pathlib import Path; _WarmUp(Path('work')).run()"
    code += "; import tensorflow"
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "plugins")])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True
    )
    assert done.returncode == 0 and done.stderr == b"kept\n", done.stderr


def test_scans_that_are_not_usable_take_no_part_in_the_group() -> None:
    row = SegmentRow(7, "mid anterior", "transmural", 10, 10, {"MBF": 1.0})
    rows = [GroupRow("01", {}, scan, "nlls", row, {}) for scan in ("task-rest", "task-stress")]
    reviewed = [ReviewedScan("01", "task-rest", "not usable"), ReviewedScan("01", "task-stress", "accepted")]
    assert [g.doubtful for g in without_unusable(rows, reviewed)] == [True, False]
    assert in_words(reviewed, 4) == ["Readers looked at 2 of 4 scans: 1 accepted, 1 not usable."]


def test_a_version_that_is_not_the_last_is_refused_in_the_files_too(study: Study) -> None:
    desk = Desk(study, "Ann")
    edits = desk._current(desk.open(KEY))[1]
    desk.keep(KEY, 0, edits)
    with pytest.raises(ChangedMeanwhile, match="Ann"):
        Desk(study, "Bob").keep(KEY, 0, edits)
