"""Maps of a study that came in as DICOM are those of the same study in BIDS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from qperf_app.cli.app import main
from qperf_app.cli.tools import main as qperf
from qperf_app.dicom.export.results import words_of
from qperf_app.plugins import ScanResult

PERF = Path("sub-01", "perf")
SMALL = ("--tasks", "rest", "--matrix", "64", "--frames", "36", "--proton-density-frames", "2", "--breathing", "none",
         "--t2star")  # fmt: skip


def sidecar(root: Path, acquisition: str = "") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / PERF / f"sub-01_task-rest{acquisition}_dce.json").read_text())
    return content


def maps(raw: Path, out: Path) -> dict[str, np.ndarray]:
    words = [str(raw), str(out), "participant", "-w", str(out.parent / f"{out.name}-work"), "--nprocs", "1"]
    # How far a voxel lies from the blood's border hangs on the last digits of the affine, which DICOM rounds.
    plain = ("--motion-correction", "none", "--spill-over", "none", "--kinetics", "fermi", "nlls")
    assert main([*words, "--skip-bids-validation", *plain]) == 0
    return {path.name: nib.load(path).get_fdata() for path in (out / PERF).glob("*_dcemap.nii.gz")}


def test_maps_of_an_imported_study_equal_those_of_the_bids_dataset(tmp_path: Path) -> None:
    bids, study = tmp_path / "bids", tmp_path / "study"
    still = ("--abnormal-bolus", "0", "--missed-beats", "0")
    assert qperf(["phantom", str(bids), "--participants", "1", "--seed", "1", *SMALL, *still, "--dicom", "ge"]) == 0
    exam = str(bids / "sourcedata" / "ge" / "sub-01")
    assert qperf(["import", exam, str(study)]) == 0
    # What no header holds, as a physicist fills it in.
    protocols = study / "code" / "import_protocols.yaml"
    asked = yaml.safe_load(protocols.read_text())
    for values in asked.values():
        known = sidecar(bids, "_acq-aif" if values["about"]["series"] == "input function" else "")
        values |= {name: known[name] for name, value in values.items() if value is None}
    protocols.write_text(yaml.safe_dump(asked))
    assert qperf(["import", exam, str(study)]) == 0
    # Blood is taken, not scanned.
    (study / "dce.json").write_text(json.dumps({"Haematocrit": sidecar(bids)["Haematocrit"]}))

    # The headers have slices one after another, as scanners do; the phantom looked at all of them at once.
    path = study / PERF / "sub-01_task-rest_dce.json"
    path.write_text(json.dumps({k: v for k, v in sidecar(study).items() if k != "SliceTiming"}))

    expected, found = maps(bids, tmp_path / "of-bids"), maps(study, tmp_path / "of-study")
    assert sidecar(study)["VolumeTiming"] == pytest.approx(sidecar(bids)["VolumeTiming"], abs=1e-3)
    assert set(found) == set(expected) and any("MBF" in name for name in expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, name)


def test_what_two_scans_of_a_task_differ_in_is_in_their_descriptions() -> None:
    scan = ScanResult("task-rest", {"task": "rest", "acq": "base", "rec": "moco", "run": "2"})
    assert words_of(scan) == "rest acq base rec moco run 2"
    assert words_of(ScanResult("task-stress", {"task": "stress"})) == "stress"
