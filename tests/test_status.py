"""The status file: its schema, what is refused, and the Python API that reads it."""

from __future__ import annotations

import errno
import hashlib
import html
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import get_args, get_type_hints

import jsonschema
import numpy as np
import pytest
import yaml

from qperf_app import api
from qperf_app.bids.errors import DatasetError
from qperf_app.cli.app import main
from qperf_app.cli.tools import main as tools
from qperf_app.training.weights import read_arrays, read_card, write_weights
from qperf_app.workflow.outcomes import one_line
from qperf_app.workflow.status import ParticipantStatus, read_status, status_path, status_schema, write_status
from tests.datasets import edit_sidecar, hand_drawn, small_dataset, step_states, write_json

SCHEMA = Path(__file__).parents[1] / "bids_spec" / "status.schema.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One participant, run from Python."""
    root = tmp_path_factory.mktemp("api")
    raw, drawn = small_dataset(root / "raw", tasks=("rest",)), hand_drawn(root / "drawn")
    configuration = {"motion-correction": "none", "kinetics": ["fermi"]}
    study = api.plan(raw, root / "out", configuration=configuration, derivatives={"drawn": drawn})
    assert study.problems() == []
    statuses = api.run(study, api.Execution(root / "work"), say=lambda text: None)
    assert [status.state for status in statuses.values()] == ["done"]
    return raw, root / "out"


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == status_schema()


def test_a_status_file_fits_the_schema(finished: tuple[Path, Path]) -> None:
    content = json.loads(status_path(finished[1], "01").read_text(encoding="utf-8"))
    jsonschema.validate(content, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert step_states(content["scans"][0])["kinetics", "fermi"] == "done"


def test_the_status_and_the_page_say_when_it_was_computed(finished: tuple[Path, Path]) -> None:
    raw, out = finished
    computed = read_status(out, "01").computed
    assert abs(datetime.now(UTC) - datetime.fromisoformat(computed)) < timedelta(hours=1)
    page = out / "sub-01.html"
    page.unlink()
    # Written again it bears the day of its results.
    write_status(out, replace(read_status(out, "01"), computed="2026-03-05T23:59:59+00:00"))
    assert main([str(raw), str(out), "participant", "--reports-only"]) == 0
    assert "computed on 2026-03-05" in page.read_text(encoding="utf-8")
    write_status(out, replace(read_status(out, "01"), computed=computed))


def test_a_status_of_another_version_is_refused_by_name(finished: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads(status_path(finished[1], "01").read_text(encoding="utf-8"))
    path = status_path(tmp_path, "01")
    content["scans"][0]["steps"] = {"kinetics:fermi": {"state": "done"}}
    write_json(path, content)
    with pytest.raises(DatasetError, match=f"{path}.*scans.*run the participant again"):
        read_status(tmp_path, "01")


def test_results_are_loaded_for_a_notebook(finished: tuple[Path, Path]) -> None:
    raw, out = finished
    result = api.load(out, raw)["01"]
    (scan,) = result.scans
    flow = next(m for m in scan.maps if m.quantity == "MBF")
    assert scan.series is not None and flow.data.shape == scan.series.data.shape[:3]
    assert np.isfinite(flow.data).any() and flow.plugin == "fermi"
    # Without the raw dataset there is no uncorrected series.
    assert api.load(out)["01"].scans[0].series is None
    with pytest.raises(DatasetError, match="no participant's results"):
        api.load(raw)


def test_terminal_status_and_report_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings, and the haematocrit that was used: the series' own, not that of the configuration."""
    raw, drawn, out = small_dataset(tmp_path / "raw"), hand_drawn(tmp_path / "drawn"), tmp_path / "out"
    edit_sidecar(raw, Haematocrit=0.5)
    flags = ["--motion-correction", "none", "--kinetics", "fermi", "--skip-bids-validation", "-d", f"drawn={drawn}"]
    assert main([str(raw), str(out), "participant", "--work-dir", str(tmp_path / "work"), *flags]) == 0
    (scan,) = read_status(out, "01").scans
    terminal, page = capsys.readouterr().err, html.unescape((out / "sub-01.html").read_text(encoding="utf-8"))
    assert scan.remarks
    for text in scan.remarks:
        assert terminal.count(f"sub-01 task-rest: {text}") == 1 and text in page
    assert (scan.haematocrit.value, scan.haematocrit.source) == (0.5, "sidecar")
    assert "haematocrit 0.5 (of the series' sidecar)" in page
    configuration = (out / "sub-01" / "sub-01_config.yaml").read_text(encoding="utf-8")
    assert "haematocrit: 0.42  # of series whose sidecar gives none\n" in configuration
    assert yaml.safe_load(configuration)["haematocrit"] == 0.42


def test_other_weights_are_named_by_their_digest_everywhere(tmp_path: Path) -> None:
    shipped = Path(str(files("qperf_cnn") / "weights" / "kinetics.npz"))
    own = tmp_path / "own.npz"
    write_weights(own, [0.999 * array for array in read_arrays(shipped)], read_card(shipped))
    ours, theirs = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (own, shipped))
    raw, drawn, out = small_dataset(tmp_path / "raw"), hand_drawn(tmp_path / "drawn"), tmp_path / "out"
    config = tmp_path / "config.yaml"
    config.write_text(f"kinetics: {{plugin: cnn, options: {{weights: {own}}}}}\nmotion-correction: none\n")
    quick = ["-w", str(tmp_path / "work"), "--nprocs", "1", "--skip-bids-validation", "--config-file", str(config)]
    assert main([str(raw), str(out), "participant", *quick, "-d", f"drawn={drawn}"]) == 0

    step = next(s for s in read_status(out, "01").scans[0].of_step("kinetics"))
    assert step.outcome.loaded_files == {"own.npz": ours} and step.outcome.version == "1.1"
    for path in (status_path(out, "01"), out / "logs" / "CITATION.md", out / "sub-01.html"):
        text = path.read_text(encoding="utf-8")
        assert ours[:12] in text and theirs[:12] not in text, path


def test_the_example_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    small_dataset(tmp_path / "bids")
    hand_drawn(tmp_path / "contours")
    monkeypatch.chdir(tmp_path)
    text = (SCHEMA.parents[1] / "docs" / "operators.md").read_text(encoding="utf-8")
    block = text.split("## From Python", 1)[1].split("```python\n", 1)[1].split("```", 1)[0]
    # Motion correction takes most of the time.
    quick = block.replace('"kinetics": [', '"motion-correction": "none", "kinetics": [')
    exec(compile(quick, "operators.md", "exec"), {})
    assert "task-rest [('nlls', 'mL/min/g', (36, 32, 1)), ('fermi'" in capsys.readouterr().out


def test_a_run_that_has_not_ended_is_said_by_who_reads_its_results(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished[1], out)
    write_status(out, replace(read_status(out, "01"), state="interrupted"))
    assert tools(["export", str(out), str(tmp_path / "dicom"), "--dry-run"]) == 0
    assert "sub-01: its last run is interrupted" in capsys.readouterr().err
    assert main([str(finished[0]), str(out), "group"]) == 0
    assert "sub-01: its last run is interrupted" in capsys.readouterr().err


def test_whoever_stops_reading_gets_no_traceback() -> None:
    command = f"{sys.executable} -m qperf_app.cli.tools plugins | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout and not done.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "qperf plugins: stopped"),
        (OSError(errno.ENOSPC, "No space left on device"), 70, "qperf plugins: no space left on the disk"),
        (ValueError("a"), 70, "qperf plugins: internal error: ValueError: a"),
    ],
)
def test_what_ends_a_tool_is_a_line(
    error: BaseException,
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr("qperf_app.cli.plugins.run", run)
    assert tools(["plugins"]) == code
    said = capsys.readouterr().err
    assert words in said.splitlines()[-1] and ("Traceback" in said) == isinstance(error, ValueError)


def test_a_full_disk_is_said_in_words() -> None:
    moved = OSError(errno.ENOSPC, "No space left on device", "work/mask.nii.gz", None, "out/sub-01/mask.nii.gz")
    assert one_line(moved) == "no space left on the disk: out/sub-01/mask.nii.gz can't be written"
    assert one_line(ValueError("a\nb")) == "ValueError: a b"


def test_every_state_is_in_the_schema_of_the_dataset() -> None:
    states = get_args(get_type_hints(ParticipantStatus)["state"])
    schema = json.loads(SCHEMA.with_name("schema.json").read_text(encoding="utf-8"))
    assert set(schema["objects"]["metadata"]["state"]["enum"]) == set(states)
