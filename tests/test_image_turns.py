"""Images of a large study: those of the first participants are read before anything runs, the others in their turn."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from qperf_app import api
from qperf_app.bids.images import sidecar_path
from qperf_app.cli.app import main
from qperf_app.workflow import values
from tests.datasets import hand_drawn, series_path, small_dataset

PEOPLE = ("01", "02", "03", "04")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four participants of whom one is read before the run; a value of 02 is NaN, 04 is a copy of 03."""
    monkeypatch.setattr(values, "READ_BEFORE", 1)
    raw = small_dataset(tmp_path / "raw", participants=PEOPLE)
    spoil(raw, "02")
    shutil.copy(series_path(raw, "03"), series_path(raw, "04"))
    return raw


def spoil(raw: Path, participant: str) -> None:
    path = series_path(raw, participant)
    image = nib.load(path)
    data = np.asarray(image.dataobj, np.float32)
    data[20, 16, 0, 5] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine), path)


def command(raw: Path, *more: str) -> list[str]:
    folder = raw.parent
    drawn = [folder / f"drawn{p}" for p in PEOPLE]
    for participant, target in zip(PEOPLE, drawn, strict=True):
        if not target.exists():
            hand_drawn(target, participant=participant)
    return [
        str(raw), str(folder / "out"), "participant", "-w", str(folder / "work"), "--skip-bids-validation",
        "--motion-correction", "none", "--kinetics", "fermi", "-d", *map(str, drawn), *more,
    ]  # fmt: skip


def status(raw: Path, participant: str) -> dict[str, Any]:
    path = raw.parent / "out" / f"sub-{participant}" / f"sub-{participant}_status.json"
    read: dict[str, Any] = json.loads(path.read_text())
    return read


@pytest.mark.parametrize("nprocs", [1, 2])
def test_who_has_an_unusable_image_fails_and_the_others_run(study: Path, nprocs: int, capsys: Any) -> None:
    assert main(command(study, "--nprocs", str(nprocs))) == 1
    said = capsys.readouterr().err
    assert "the images of 3 more participants are checked when their turn comes" in said
    image = series_path(study, "02").resolve()
    assert f"sub-02: not run: {image}: values that are not finite in 1 frame (from 1: 6)" in said
    assert "3 of 4 participants done" in said
    bad = status(study, "02")
    assert bad["state"] == "failed" and bad["steps_failed"][0]["step"] == "images"
    out = study.parent / "out"
    assert [path.name for path in (out / "sub-02").rglob("*") if path.is_file()] == ["sub-02_status.json"]
    assert [status(study, p)["state"] for p in PEOPLE] == ["done", "failed", "done", "done"]


def test_a_copy_is_told_of_the_later_one(study: Path) -> None:
    # The report of the other may be done by then.
    main(command(study, "--nprocs", "1"))
    told = {p: [w for w in status(study, p)["scans"][0]["warnings"] if "very values of" in w] for p in ("03", "04")}
    assert not told["03"] and "sub-03_task-rest_dce.nii.gz" in told["04"][0]
    assert "very values of" in (study.parent / "out" / "sub-04.html").read_text()


def test_nothing_new_begins_after_a_refused_image_where_that_is_asked_for(study: Path, capsys: Any) -> None:
    assert main(command(study, "--nprocs", "1", "--stop-on-first-crash")) == 1
    assert [status(study, p)["state"] for p in PEOPLE] == ["done", "failed", "failed", "failed"]
    assert "not finite" in status(study, "02")["steps_failed"][0]["reason"]
    assert "not begun" in status(study, "03")["steps_failed"][0]["reason"]


def test_who_was_not_begun_is_not_done_by_what_an_earlier_run_left(study: Path, capsys: Any) -> None:
    bad = series_path(study, "02").read_bytes()
    shutil.copy(series_path(study, "01"), series_path(study, "02"))
    assert main(command(study, "--nprocs", "1")) == 0
    before = status(study, "03")
    series_path(study, "02").write_bytes(bad)
    spoil(study, "03")
    capsys.readouterr()
    assert main(command(study, "--nprocs", "1", "--stop-on-first-crash")) == 1
    assert [status(study, p)["state"] for p in PEOPLE] == ["done", "failed", "failed", "failed"]
    after = status(study, "03")
    assert after["scans"] == before["scans"] and after["steps_failed"][0]["step"] == "run"
    said = capsys.readouterr().err
    assert "1 of 4 participants done" in said and "crash files" not in said
    assert "sub-01.html" in said and "sub-02.html" not in said and "sub-03.html" not in said


@pytest.mark.parametrize("nprocs", [1, 2])
def test_an_image_that_changes_before_its_turn_fails_its_participant(
    study: Path, nprocs: int, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = values.InTurn.findings

    def after_a_change(self: values.InTurn, plan: Any) -> Any:
        if plan.participant == "02":
            image = nib.load(series_path(study, "04"))
            still = np.asarray(image.dataobj)[..., 0]
            nib.save(nib.Nifti1Image(still, image.affine), series_path(study, "04"))
        return begun(self, plan)

    monkeypatch.setattr(values.InTurn, "findings", after_a_change)
    assert main(command(study, "--nprocs", str(nprocs))) == 1
    reason = status(study, "04")["steps_failed"][0]["reason"]
    assert reason.startswith(f"{series_path(study, '04').resolve()}: has changed since the run began")
    assert status(study, "03")["state"] == "done"


class MortalReaders(ThreadPoolExecutor):
    """In place of a process: as one that is killed over participant 03, as often as that is to happen."""

    deaths = 0
    dead = False

    def submit(self, read: Any, plan: Any) -> Any:  # type: ignore[override]
        if self.dead:
            raise BrokenProcessPool
        if plan.participant == "03" and MortalReaders.deaths > 0:
            MortalReaders.deaths -= 1
            self.dead = True
            ended: Future[Any] = Future()
            ended.set_exception(BrokenProcessPool())
            return ended
        return super().submit(read, plan)


@pytest.mark.parametrize(("deaths", "failed"), [(1, ["02"]), (2, ["02", "03"])])
def test_a_reading_process_that_is_killed_fails_one_participant_at_most(
    study: Path, deaths: int, failed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MortalReaders, "deaths", deaths)
    monkeypatch.setattr(values, "_process", lambda count=1: MortalReaders(count))
    assert main(command(study, "--nprocs", "2")) == 1
    assert MortalReaders.deaths == 0
    assert [p for p in PEOPLE if status(study, p)["state"] == "failed"] == failed
    if deaths == 2:
        reason = status(study, "03")["steps_failed"][0]["reason"]
        image = series_path(study, "03").resolve()
        assert reason.startswith(f"{image}: the process that read it was killed")


def test_what_an_earlier_run_left_stays(study: Path) -> None:
    sane = series_path(study, "02").read_bytes()
    shutil.copy(series_path(study, "01"), series_path(study, "02"))
    main(command(study, "--nprocs", "1"))
    before = status(study, "02")
    assert before["state"] == "done"
    series_path(study, "02").write_bytes(sane)
    main(command(study, "--nprocs", "1"))
    after = status(study, "02")
    assert after["state"] == "failed" and after["scans"] == before["scans"]


def test_a_plan_that_is_run_again_reads_the_images_again(study: Path) -> None:
    folder = study.parent
    plan = api.plan(study, folder / "out", configuration={"motion-correction": "none", "kinetics": ["fermi"]}).check()
    for _ in range(2):
        statuses = api.run(plan, api.Execution(folder / "work"), say=lambda text: None)
        assert [statuses[p].state for p in PEOPLE] == ["done", "failed", "done", "done"]
        assert plan.unread == 3 and any("very values" in text for text in statuses["04"].scans[0].warnings)


def test_first_participants_are_refused_before_anything_runs(study: Path, capsys: Any) -> None:
    spoil(study, "01")
    assert main(command(study)) == 16
    assert "not finite" in capsys.readouterr().err and not (study.parent / "out").exists()


def test_metadata_of_all_are_checked_before_anything_runs(study: Path, capsys: Any) -> None:
    sidecar = sidecar_path(series_path(study, "04"))
    fields = json.loads(sidecar.read_text())
    del fields["VolumeTiming"]
    sidecar.write_text(json.dumps(fields))
    assert main(command(study)) == 16
    assert "VolumeTiming" in capsys.readouterr().err and not (study.parent / "out").exists()


def test_small_studies_are_read_whole_before_anything_runs(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "READ_BEFORE", 100)
    plan = api.plan(study, study.parent / "out")
    assert any("not finite" in problem for problem in plan.problems())
    assert main(command(study)) == 16
    monkeypatch.setattr(values, "READ_BEFORE", 1)
    assert any("not finite" in problem for problem in plan.problems())
    assert plan.check().unread == 3
