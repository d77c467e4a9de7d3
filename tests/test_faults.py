"""The fault campaign's pure parts: what is damaged, in which order, and how an outcome is judged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.fault_inputs import AIF, TISSUE, damages, edit_header
from benchmarks.fault_outcomes import (
    CRASH,
    DOUBTFUL,
    FAILED,
    REFUSED,
    RIGHT,
    SILENT,
    UNCLEAR,
    judge,
    largest_difference,
)
from benchmarks.faults import counts_table, drawn_order

SIDECAR = {"FlipAngle": [3.0, 5.0, 5.0], "EchoTime": 0.001, "TaskName": "rest"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for stem, echo in ((TISSUE, 0.001), (AIF, 0.002)):
        path = tmp_path / f"{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**SIDECAR, "EchoTime": echo}))
        nib.save(nib.Nifti1Image(np.ones((4, 4, 2, 30), np.int16), np.eye(4)), tmp_path / f"{stem}.nii.gz")
    return tmp_path


def test_each_damage_has_a_name_of_its_own(folder: Path) -> None:
    names = [damage.name for damage in damages(folder)]
    assert len(set(names)) == len(names)
    assert {"sidecar", "header", "voxels", "file", "mask", "points", "input function"} == {
        damage.kind for damage in damages(folder)
    }


@pytest.mark.parametrize(
    ("field", "change", "expected"),
    [
        ("FlipAngle", "x 1000", [3000.0, 5000.0, 5000.0]),
        ("FlipAngle", "cut short", [3.0, 5.0]),
        ("EchoTime", "of the other series", 0.002),
        ("TaskName", "null", None),
        ("TaskName", "in a list", ["rest"]),
    ],
)
def test_a_sidecar_is_damaged_in_one_field(folder: Path, field: str, change: str, expected: object) -> None:
    (damage,) = (d for d in damages(folder) if (d.stem, d.field, d.change) == (TISSUE, field, change))
    damage.apply(folder)
    found = json.loads((folder / f"{TISSUE}.json").read_text())
    assert found == {**SIDECAR, field: expected}


def test_a_header_is_damaged_in_one_field() -> None:
    raw = nib.Nifti1Image(np.ones((4, 4, 2), np.int16), np.eye(4)).to_bytes()
    found = np.frombuffer(edit_header(raw, "pixdim", lambda v: v * 1000)[:348], nib.nifti1.header_dtype)
    assert found["pixdim"][0][1] == 1000
    before = np.frombuffer(raw[:348], nib.nifti1.header_dtype)
    assert all(np.array_equal(found[n], before[n]) for n in before.dtype.names or () if n != "pixdim")


def test_kinds_come_by_turns_and_from_the_seed() -> None:
    kinds = ["header"] * 50 + ["mask"] * 3
    order = drawn_order(kinds, 1)
    assert sorted(order) == list(range(53))
    assert [kinds[n] for n in order[:6]].count("mask") == 3
    assert order == drawn_order(kinds, 1) != drawn_order(kinds, 2)


@pytest.mark.parametrize(
    ("code", "text", "written", "difference", "expected"),
    [
        (0, "", True, 0.019, RIGHT),
        (0, "warning: known", True, 0.5, SILENT),
        (0, "warning: known\nwarning: Haematocrit is 0.9", True, 0.5, DOUBTFUL),
        (0, "", True, math.inf, SILENT),
        (1, "sub-01: failed: concentration: no signal", True, math.inf, FAILED),
        (16, "dce.json: Haematocrit is 50", False, math.inf, REFUSED),
        (16, "dce.json: Haematocrit is 50", True, math.inf, UNCLEAR),
        (16, "something is wrong", False, math.inf, UNCLEAR),
        (70, "internal error", False, math.inf, CRASH),
        (0, "Traceback (most recent call last)", True, 0.0, CRASH),
    ],
)
def test_outcomes(code: int, text: str, written: bool, difference: float, expected: str) -> None:
    assert judge(code, text, written, difference, {"warning: known"}, ("dce.json",)) == expected


def test_a_segment_that_loses_its_flow_differs() -> None:
    reference = {"1": 1.0, "2": math.nan}
    assert largest_difference({"1": 1.01, "2": math.nan}, reference) == pytest.approx(0.01)
    assert largest_difference({"1": math.nan, "2": math.nan}, reference) == math.inf
    assert largest_difference({"1": 1.0}, reference) == math.inf


def test_the_table_counts_every_result_once() -> None:
    results = [
        {"kind": "mask", "outcome": RIGHT},
        {"kind": "mask", "outcome": SILENT},
        {"kind": "file", "outcome": RIGHT},
    ]
    table = counts_table(results, 10)
    assert table.rows[-1] == ("all", 2, 0, 0, 0, 0, 1, 0)
