"""Ends, names and places: what stops a run, what it leaves behind, and whose folders it writes to."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qperf_app.bids.validate import validate
from qperf_app.cli.app import main
from qperf_app.workflow.occupancy import describe_run, occupy
from qperf_app.workflow.outcomes import OUTCOME_FILE
from tests.datasets import hand_drawn, series_path, small_dataset, write_json

QUICK = ("--motion-correction", "none", "--kinetics", "fermi", "--skip-bids-validation")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants of the example heart, with drawn masks of both."""
    root = tmp_path_factory.mktemp("ends")
    small_dataset(root / "raw", participants=("01", "02"))
    for participant in ("01", "02"):
        hand_drawn(root / "drawn", participant)
    return root


def command(dataset: Path, out: Path, *arguments: str) -> list[str]:
    drawn = ["-d", f"drawn={dataset / 'drawn'}"]
    return [str(dataset / "raw"), str(out), "participant", "-w", str(out.parent / "work"), *QUICK, *drawn, *arguments]


def start(dataset: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    """The app as a process at the head of a session of its own."""
    words = [sys.executable, "-m", "qperf_app.cli.app", *command(dataset, out, *arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def left_of(session: int, patience: float = 10.0) -> list[str]:
    """Processes of a session that live on, once those that were killed have had time to end."""
    until = time.monotonic() + patience
    while True:
        command = ["ps", "-s", str(session), "-o", "stat=", "-o", "args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        alive = [line for line in listed if not line.startswith("Z")]
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(0.1)


def state(out: Path, participant: str = "01") -> str:
    return str(json.loads((out / f"sub-{participant}" / f"sub-{participant}_status.json").read_text())["state"])


@pytest.mark.parametrize("nprocs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_at_once(dataset: Path, tmp_path: Path, nprocs: str, number: signal.Signals) -> None:
    out = tmp_path / "out"
    process = start(dataset, out, "--nprocs", nprocs)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[1/"):
            break
    asked = time.monotonic()
    # Ctrl-C reaches every process of a terminal; a batch system tells the first.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    said = process.stdout.read()
    assert process.wait() == 128 + number
    assert "stopped; run the same command again" in said and "Traceback" not in said
    assert left_of(process.pid) == []
    # Generous: what was seen is a tenth of a second, and other work may be going on.
    assert time.monotonic() - asked < 20
    # With two processes one participant may have been at its end.
    assert "interrupted" in {state(out), state(out, "02")} <= {"interrupted", "done"}
    assert not list(out.glob(".staging*"))


STOPPED_WHILE_BUSY = """
import sys, time
from pathlib import Path
from qperf_app.cli.interruption import stopping_at_once

tidied, begun = map(Path, sys.argv[1:])
with stopping_at_once("qperf-app") as at_stop:
    at_stop.append(lambda: (tidied.touch(), time.sleep(1)))
    print("busy", flush=True)
    while True:
        time.sleep(0.01)
        if tidied.exists():
            begun.touch()
"""


def test_nothing_begins_after_a_signal(tmp_path: Path) -> None:
    # A step whose process is killed is tried again: not by a run that is about to end, which has tidied up.
    tidied, begun = tmp_path / "tidied", tmp_path / "begun"
    words = [sys.executable, "-c", STOPPED_WHILE_BUSY, str(tidied), str(begun)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None and process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM, process.stdout.read()
    assert tidied.exists() and not begun.exists()


def test_a_worker_that_is_killed_takes_nothing_with_it(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(dataset, out, "--nprocs", "2")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[2/"):
            break
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(workers.stdout.split()[0]), signal.SIGKILL)
    said = process.stdout.read()
    assert process.wait() == 0, said
    assert state(out) == state(out, "02") == "done"


def test_damaged_work_files_are_made_again(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = command(dataset, out, "--nprocs", "1", "--participant-label", "01")
    assert main(words) == 0
    image = out / "sub-01" / "perf" / "sub-01_task-rest_desc-conc_dce.nii.gz"
    whole = image.read_bytes()
    (damaged,) = (tmp_path / "work").rglob(image.name)
    damaged.write_bytes(whole[: len(whole) // 2])
    capsys.readouterr()
    assert main(words) == 0
    assert "damaged and are made again" in capsys.readouterr().err
    assert image.read_bytes() == whole
    (tmp_path / "work" / "qperf" / "sub_01" / "task_rest_segments" / OUTCOME_FILE).write_text("{")
    assert main(words) == 0


def test_what_an_earlier_run_left_is_not_taken_for_this_ones(dataset: Path, tmp_path: Path) -> None:
    from qperf_app.workflow.publish import collect
    from tests.runs import request_of

    out, dataset = tmp_path / "out", shutil.copytree(dataset, tmp_path / "own")
    assert main(command(dataset, out, "--nprocs", "1", "--participant-label", "01")) == 0
    request = request_of(dataset / "raw", out, tmp_path / "work", dataset / "drawn", {"kinetics": ["fermi"]})
    assert {o.step.state for o in collect(request).values()} == {"done", "handed-in"}
    # Other options of a step: its outcome is of an earlier run, and so is all that reads it.
    other = {"kinetics": ["fermi"], "concentration": {"plugin": "linear", "options": {}}}
    request = request_of(dataset / "raw", out, tmp_path / "work", dataset / "drawn", other)
    states = {o.step.step: (o.step.state, o.step.reason) for o in collect(request, "the disk went away").values()}
    assert states["concentration"] == ("failed", "not begun: the disk went away")
    assert states["kinetics"][0] == "skipped"
    # Another image under the same name.
    shutil.copy(series_path(dataset / "raw", "02"), series_path(dataset / "raw"))
    request = request_of(dataset / "raw", out, tmp_path / "work", dataset / "drawn", {"kinetics": ["fermi"]})
    states = {o.step.step: (o.step.state, o.step.reason) for o in collect(request, "the disk went away").values()}
    assert states["motion-correction"] == ("failed", "not begun: the disk went away")
    assert {states[step][0] for step in ("concentration", "kinetics")} == {"skipped"}


def test_two_runs_of_one_participant_do_not_meet(tmp_path: Path) -> None:
    said: list[str] = []
    holder = (
        "from pathlib import Path; import sys, time\n"
        "from qperf_app.workflow.occupancy import describe_run, occupy\n"
        "work = Path(sys.argv[1])\n"
        "with occupy(work, ['01', 'A+1'], describe_run(Path('/theirs/bids'), Path('/theirs/out')), print):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None and other.stdout is not None and other.stdout.readline() == "held\n"
    mine = describe_run(tmp_path / "bids", tmp_path / "out")
    with occupy(tmp_path, ["02"], mine, said.append):
        assert said == []

    def say(text: str) -> None:
        said.append(text)
        assert other.stdin is not None
        other.stdin.close()

    with occupy(tmp_path, ["01"], mine, say):
        assert other.wait() == 0
    assert len(said) == 1 and "sub-01: waiting for a run of /theirs/bids to /theirs/out" in said[0]


def test_a_label_with_plus_runs(tmp_path: Path) -> None:
    raw = small_dataset(tmp_path / "raw", participants=("A+1",))
    words = [str(raw), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "work"), "--nprocs", "1", *QUICK]
    assert main(words) == 0
    assert state(tmp_path / "out", "A+1") == "done"


@pytest.mark.parametrize("nprocs", ["1", "2"])
def test_a_path_may_hold_any_sign(dataset: Path, tmp_path: Path, nprocs: str) -> None:
    out = tmp_path / "Köln 50% %s $x {} [1]" / "out"
    assert main(command(dataset, out, "--participant-label", "01", "--nprocs", nprocs)) == 0
    assert state(out) == "done"


def test_a_path_that_is_not_utf8_is_refused(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latin = os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller")
    for words in ([latin, str(tmp_path / "out")], [str(dataset / "raw"), latin]):
        assert main([*words, "participant", "-w", str(tmp_path / "work")]) == 2
        assert "the path is not UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


DESCRIPTIONS = [
    ({"Name": "x", "BIDSVersion": "1.4.0", "GeneratedBy": [{"Name": "fMRIPrep"}]}, "the dataset of fMRIPrep"),
    ({"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "raw"}, "a raw dataset"),
    (
        {"DatasetType": "raw", "GeneratedBy": [{"Name": "qperf-app", "Description": "qperf import"}]},
        "what qperf import wrote",
    ),
    (
        {"DatasetType": "derivative", "GeneratedBy": [{"Name": "qperf-app", "Description": "qperf phantom --seed 1"}]},
        "what qperf phantom --seed 1 wrote",
    ),
]


@pytest.mark.parametrize(("description", "whose"), DESCRIPTIONS)
def test_anothers_dataset_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], description: dict[str, object], whose: str
) -> None:
    out = tmp_path / "out"
    write_json(out / "dataset_description.json", description)
    before = {path: path.read_bytes() for path in out.rglob("*")}
    assert main(command(dataset, out)) == 2
    assert whose in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*")} == before


def test_what_others_wrote_beside_stays_and_work_inside_is_valid(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("my own notes on this study, in some words that a validator takes for a text " * 4)
    (out / ".bidsignore").write_text("figures/\n")
    drawn = ["-d", f"drawn={dataset / 'drawn'}"]
    words = [str(dataset / "raw"), str(out), "participant", "-w", str(out / "tmp" / "work"), "--nprocs", "1"]
    assert main([*words, *QUICK, *drawn, "--participant-label", "01"]) == 0
    assert (out / "README.md").read_text().startswith("my own notes")
    assert (out / ".bidsignore").read_text().splitlines()[0] == "figures/"
    assert [str(issue) for issue in validate(out) if issue.severity == "error"] == []


def test_a_validator_that_cannot_run_stops_nobody(dataset: Path, tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))

    words = [w for w in command(dataset, tmp_path / "out", "--dry-run") if w != "--skip-bids-validation"]
    app = subprocess.run(
        [sys.executable, "-m", "qperf_app.cli.app", *words],
        preexec_fn=limited, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert app.returncode == 0, app.stderr
    assert "warning: the BIDS validator could not run" in app.stderr and "ulimit -v" in app.stderr
    tool = subprocess.run(
        [sys.executable, "-m", "qperf_app.cli.tools", "validate", str(dataset / "raw")],
        preexec_fn=limited, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tool.returncode == 70 and tool.stderr.count("\n") == 1


def test_a_current_folder_that_was_deleted(dataset: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, shutil, sys; shutil.rmtree(os.getcwd()); from qperf_app.cli.app import main; sys.exit(main())"
    words = [sys.executable, "-c", code, *command(dataset, tmp_path / "out")]
    path = os.pathsep.join(map(str, [Path(__file__).parents[1], Path(__file__).parents[1] / "plugins"]))
    ended = subprocess.run(
        words, cwd=gone, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert ended.returncode == 2 and "the current folder was deleted" in ended.stderr


def test_a_full_work_disk_is_told(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        drawn = ["-d", f"drawn={dataset / 'drawn'}"]
        words = [str(dataset / "raw"), str(tmp_path / "out"), "participant", "-w", str(small), "--nprocs", "1"]
        assert main([*words, *QUICK, *drawn]) == 1
    finally:
        subprocess.run(["umount", str(small)], check=True)
    said = capsys.readouterr().err
    assert "No space left" in said or "disk of the work directory is full" in said
    assert "Traceback" not in said and state(tmp_path / "out") == "failed"


def test_series_replaced_under_the_same_name_is_computed_again(dataset: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(dataset / "raw", tmp_path / "raw")
    words = [str(raw), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "work"), "--nprocs", "1", *QUICK]
    words += ["--participant-label", "01"]
    assert main(words) == 0
    image = tmp_path / "out" / "sub-01" / "perf" / "sub-01_task-rest_desc-conc_dce.nii.gz"
    before = image.read_bytes()
    shutil.copyfile(series_path(raw, "02"), series_path(raw, "01"))
    assert main(words) == 0
    assert image.read_bytes() != before


def test_another_version_of_the_app_computes_again(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command(dataset, tmp_path / "out", "--nprocs", "1", "--participant-label", "01")
    outcome = tmp_path / "work" / "qperf" / "sub_01" / "task_rest_segments" / OUTCOME_FILE
    made = []
    for version in (None, None, "9.9"):
        if version:
            monkeypatch.setattr("qperf_app.workflow.tasks.__version__", version)
        assert main(words) == 0
        made.append(outcome.stat().st_mtime_ns)
    assert made[0] == made[1] < made[2]
