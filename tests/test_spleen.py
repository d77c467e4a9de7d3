"""The spleen that a reader marks: its enhancement under stress against that at rest, and nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from qperf_app.bids.spleen import read_spleen_share
from qperf_app.cli.app import main
from qperf_app.physics.input_function import NoBolusError
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.physics.spleen import NoEnhancementError, first_pass_enhancement, region_curve
from qperf_app.report.page import render_report
from qperf_app.testing.examples import example_masks
from tests.datasets import hand_drawn, series_path, small_dataset, step_states, write_image
from tests.report_examples import bare_scan, participant

TIMES = np.arange(0.0, 50.0, 0.8)
#: A place beside the example heart, (x, y).
BESIDE = (slice(29, 35), slice(23, 31))
TASKS = ("rest", "stress")


# ---- the measure


def blood_curve(width: float = 2.4) -> np.ndarray:
    """Concentration of the blood, mmol/L: a first pass from 10 s on, and what comes back."""
    x = np.maximum(TIMES - 10.0, 0.0) / (3.0 * width)
    return 5.0 * x**3 * np.exp(3.0 * (1.0 - x)) + 0.6 * (1.0 - np.exp(-np.maximum(TIMES - 22.0, 0.0) / 8.0))


def signals(flow: float, gain: float = 1.0, residual: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Signal of spleen and blood 0.1 s after saturation; ``residual``, mmol/L in blood, is of an earlier injection."""
    blood = blood_curve()
    spleen = two_compartment_exchange(TIMES, blood / 0.58, flow, 0.5, 0.20, 0.20, 1.0)
    rates = (1.06, spleen + 0.4 / 0.58 * residual), (1.5, blood + residual)
    found = [gain * (1.0 - np.exp(-0.1 * (1.0 / t1 + 4.5 * concentration))) for t1, concentration in rates]
    return found[0], found[1]


def share(flow: float, **other: float) -> float:
    return first_pass_enhancement(TIMES, *signals(flow, **other)).share


def test_the_share_follows_flow() -> None:
    shares = [share(flow) for flow in (0.2, 0.4, 0.6, 0.9, 1.3)]
    assert all(low < 0.9 * high for low, high in pairwise(shares))
    assert share(0.3) / share(0.9) == pytest.approx(0.45, abs=0.1)


def test_neither_gain_nor_what_an_earlier_injection_left_makes_a_switch_off() -> None:
    assert share(0.9, gain=700.0) == pytest.approx(share(0.9))
    after = share(0.9, residual=0.4)
    assert after == pytest.approx(share(0.9), rel=0.1)
    # Relative to the signal before the bolus it would be another number altogether.
    relative = []
    for residual in (0.0, 0.4):
        spleen, blood = (values / values[0] for values in signals(0.9, residual=residual))
        relative.append(first_pass_enhancement(TIMES, spleen, blood).share)
    assert relative[1] > 1.4 * relative[0]


def test_single_frames_do_not_count() -> None:
    spleen, blood = signals(0.9)
    moved, unknown = spleen.copy(), spleen.copy()
    moved[[20, 30]] = [5.0, 0.0]
    unknown[18:20] = np.nan
    clean = first_pass_enhancement(TIMES, spleen, blood)
    assert first_pass_enhancement(TIMES, moved, blood).share == pytest.approx(clean.share, rel=0.05)
    assert first_pass_enhancement(TIMES, unknown, blood).share == pytest.approx(clean.share, rel=0.05)
    # Blood comes back, and breath with it, when the first pass is over.
    late = np.where(TIMES > 42.0, 3.0, spleen)
    assert first_pass_enhancement(TIMES, late, blood) == clean


@pytest.mark.parametrize(
    ("times", "part", "words"),
    [
        (TIMES, "noise", "does not enhance"),
        (TIMES[:30], "all", "ends too soon"),
        (TIMES, "late", "no image before the bolus"),
    ],
)
def test_what_shows_no_first_pass_has_no_share(times: np.ndarray, part: str, words: str) -> None:
    spleen, blood = (values[: len(times)] for values in signals(0.9))
    if part == "noise":
        spleen = 0.2 + np.random.default_rng(3).normal(0.0, 0.01, len(times))
    if part == "late":
        spleen = np.where(times < 12.0, np.nan, spleen)
    with pytest.raises(NoEnhancementError, match=words):
        first_pass_enhancement(times, spleen, blood)


def test_without_a_bolus_there_is_nothing_to_hold_it_against() -> None:
    with pytest.raises(NoBolusError):
        first_pass_enhancement(TIMES, signals(0.9)[0], np.ones(len(TIMES)))


def test_the_border_of_a_mask_is_no_part_of_its_curve() -> None:
    data = np.full((5, 5, 1, 8), 3.0)
    data[:2, :, :, 3], data[0] = 90.0, np.nan
    mask = np.zeros((5, 5, 1), bool)
    mask[:5] = True
    assert region_curve(data, mask).tolist() == [3.0] * 8
    data[:3] = np.nan
    assert np.isnan(region_curve(data, mask)).all()


# ---- the line of the report


@pytest.mark.parametrize(
    ("rest", "stress", "told", "not_told"),
    [
        (0.40, 0.18, ["Spleen: enhancement under stress 45 % of that at rest"], ["marked"]),
        (0.40, None, ["Spleen: marked at rest and not under stress"], ["enhancement under stress"]),
        (None, float("nan"), ["Spleen: marked under stress and not at rest"], ["enhancement under stress"]),
        (0.40, float("nan"), [], ["Spleen"]),
        (None, None, [], ["Spleen"]),
    ],
)
def test_the_report_compares_what_was_marked_in_both(
    rest: float | None, stress: float | None, told: list[str], not_told: list[str]
) -> None:
    scans = (replace(bare_scan(task), spleen=value) for task, value in zip(TASKS, (rest, stress), strict=True))
    page = render_report(participant(*scans), ())
    assert all(text in page for text in told) and not any(text in page for text in not_told)


# ---- through the command line


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rest and stress with an organ beside the heart that takes up 0.4 and 0.1 of the blood's enhancement."""
    root = tmp_path_factory.mktemp("spleen")
    raw = small_dataset(root / "raw", tasks=TASKS)
    blood = example_masks()["lv"]
    for task, part in zip(TASKS, (0.4, 0.1), strict=True):
        path = series_path(raw, task=task)
        image = nib.load(path)
        data = np.asarray(image.get_fdata(), np.float32)
        enhancement = data[blood, 0].mean(axis=0)
        enhancement = np.roll(np.maximum(enhancement - enhancement[:4].mean(), 0.0), 4)
        data[(*BESIDE, 0)] += part * enhancement
        write_image(path, data, image.affine)
        hand_drawn(root / "drawn", task=task)
    run(root, "without")
    return root


def run(root: Path, name: str, **marked: np.ndarray) -> dict[str, Any]:
    """Compute with masks of the spleen by task; returns the status."""
    for task, mask in marked.items():
        path = root / f"{name}-masks" / "sub-01" / "perf" / f"sub-01_task-{task}_label-spleen_mask.nii.gz"
        write_image(path, mask.astype(np.uint8))
    command = [str(root / "raw"), str(root / name), "participant", "-w", str(root / f"work-{name}"), "--nprocs", "1"]
    command += ["--skip-bids-validation", "--motion-correction", "none", "--kinetics", "fermi"]
    command += ["-d", f"drawn={root / 'drawn'}", *([f"mine={root / f'{name}-masks'}"] if marked else [])]
    assert main(command) == 0
    return status_of(root, name)


def status_of(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / name / "sub-01" / "sub-01_status.json").read_text())
    return found


def files_of(root: Path, name: str) -> dict[str, bytes]:
    """Published images and tables, by name; sidecars and pages name the datasets."""
    paths = sorted((root / name / "sub-01").rglob("*_*"))
    return {p.name: p.read_bytes() for p in paths if p.name.endswith((".nii.gz", ".tsv"))}


def beside(empty: bool = False) -> np.ndarray:
    mask = np.zeros((*example_masks()["lv"].shape, 1), bool)
    mask[(*BESIDE, 0)] = not empty
    return mask


def spleen_files(root: Path, name: str, task: str) -> dict[Any, Path]:
    start = root / name / "sub-01" / "perf" / f"sub-01_task-{task}"
    endings = {"spleen": "label-spleen_mask.nii.gz", "spleen-curve": "desc-spleen_timeseries.tsv"}
    paths = {role: start.with_name(f"{start.name}_{ending}") for role, ending in endings.items()}
    return {role: path for role, path in paths.items() if path.is_file()}


def judgements(status: dict[str, Any]) -> Any:
    """State, doubts and warnings of participant, scans and steps."""
    scans = [
        (scan["has_flow"], scan["doubtful"], scan["warnings"], scan["remarks"], step_states(scan))
        for scan in status["scans"]
    ]
    return status["state"], status["complete"], status["steps_doubtful"], scans


def test_a_marked_spleen_is_told_and_changes_nothing(heart: Path) -> None:
    before = status_of(heart, "without")
    page = (heart / "without" / "sub-01.html").read_text(encoding="utf-8")
    assert "pleen" not in json.dumps(before) and "Spleen" not in page

    after = run(heart, "with", rest=beside(), stress=beside())
    shares = [read_spleen_share(spleen_files(heart, "with", task)) for task in TASKS]
    assert shares == pytest.approx([0.4, 0.1], rel=0.1)
    page = (heart / "with" / "sub-01.html").read_text(encoding="utf-8")
    assert f"Spleen: enhancement under stress {100 * shares[1] / shares[0]:.0f} % of that at rest" in page
    assert "handed in: " in page and "spleen" in page[page.index("handed in: ") :][:200]
    old, new = files_of(heart, "without"), files_of(heart, "with")
    added = {path.name for task in TASKS for path in spleen_files(heart, "with", task).values()}
    assert len(added) == 4 and new.keys() - old.keys() == added
    assert {name: content for name, content in new.items() if name not in added} == old
    for scan in after["scans"]:
        (record,) = (step for step in scan["steps"] if step["key"]["step"] == "spleen")
        assert record["outcome"]["state"] == "handed-in" and not record["outcome"]["doubts"]
        scan["steps"].remove(record)
    after["steps_done"] = [name for name in after["steps_done"] if "spleen" not in name]
    assert judgements(after) == judgements(before)

    # Taken away again, nothing of it stays.
    for path in (heart / "with-masks" / "sub-01" / "perf").iterdir():
        path.unlink()
    run(heart, "with", rest=beside())
    assert set(files_of(heart, "with")) == set(old) | {p.name for p in spleen_files(heart, "with", "rest").values()}
    assert "Spleen: marked at rest and not under stress" in (heart / "with" / "sub-01.html").read_text(encoding="utf-8")


def test_a_mask_that_can_not_be_the_spleen_has_one_line_and_no_number(heart: Path) -> None:
    wall = example_masks()["myocardium"][:, :, None]
    status = run(heart, "wrong", rest=beside(empty=True), stress=beside() | wall)
    count, inside = int((beside() | wall).sum()), int(wall.sum())
    told = {
        "task-rest": "Spleen: its mask is empty. No enhancement is shown.",
        "task-stress": f"Spleen: {inside} of the {count} voxels of its mask lie in the heart's outlines. "
        "No enhancement is shown.",
    }
    for scan in status["scans"]:
        assert [text for text in scan["remarks"] if "pleen" in text] == [told[scan["label"]]]
        assert "spleen-curve" not in spleen_files(heart, "wrong", scan["entities"]["task"])
    page = (heart / "wrong" / "sub-01.html").read_text(encoding="utf-8")
    assert "Spleen: enhancement" not in page and "Spleen: marked" not in page
    before = status_of(heart, "without")
    assert (status["state"], status["complete"]) == (before["state"], before["complete"])
    assert status["steps_doubtful"] == before["steps_doubtful"]
    nothing = files_of(heart, "without")
    assert {name: content for name, content in files_of(heart, "wrong").items() if "spleen" not in name} == nothing


def test_a_mask_on_another_grid_is_refused(heart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = heart / "other" / "sub-01" / "perf" / "sub-01_task-rest_label-spleen_mask.nii.gz"
    write_image(path, np.ones((10, 10, 1), np.uint8))
    command = [str(heart / "raw"), str(heart / "out-other"), "participant", "-w", str(heart / "work-other")]
    assert main([*command, "--skip-bids-validation", "-d", f"mine={heart / 'other'}"]) == 16
    assert f"{path}: lies on another grid than its series: shape (10, 10, 1)" in capsys.readouterr().err
