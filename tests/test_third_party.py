"""A third party's distribution: installed by pip, chosen on the command line, changes the result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qperf_app.bids.images import read_image
from qperf_app.workflow.status import read_status
from tests.datasets import hand_drawn, series_path, small_dataset

DISTRIBUTIONS = Path(__file__).parent / "distributions"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that pip installed both distributions into."""
    root = tmp_path_factory.mktemp("third-party")
    for name in ("upslope", "broken"):
        # A copy: building leaves files behind.
        source = shutil.copytree(DISTRIBUTIONS / name, root / name)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run([*pip, "--target", str(root / "site"), str(source)], check=True, capture_output=True)
    return root / "site"


def command(site: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_listing_shows_what_came_from_where_and_what_broke(site: Path) -> None:
    listing = json.loads(command(site, "qperf_app.cli.tools", "plugins", "--json").stdout)
    upslope = next(p for p in listing["steps"]["kinetics"] if p["name"] == "upslope")
    assert (upslope["distribution"], upslope["version"]) == ("perfusion-upslope", "2.1.0")
    assert upslope["options"][0]["name"] == "window"
    built_in = {p["name"] for p in listing["steps"]["kinetics"] if p["distribution"] == "qperf-app"}
    assert built_in == {"nlls", "fermi", "hmc", "cnn", "pinn"}
    reasons = [b["reason"] for b in listing["broken"]]
    assert all(b["distribution"] == "perfusion-broken" for b in listing["broken"])
    for expected in ("already there", "must take", "API version 0", "must return a class"):
        assert any(expected in reason for reason in reasons), (expected, reasons)


def test_chosen_on_the_command_line_it_changes_the_result(site: Path, tmp_path: Path) -> None:
    raw = small_dataset(tmp_path / "raw")
    drawn = hand_drawn(tmp_path / "drawn")
    out = tmp_path / "out"
    result = command(
        site, "qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(tmp_path / "work"), "--nprocs", "2",
        "--skip-bids-validation", "--motion-correction", "shaken", "-d", f"drawn={drawn}",
        "--kinetics", "upslope", "fermi",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "perfusion-broken" in result.stderr
    perf = out / "sub-01" / "perf"
    assert (perf / "sub-01_task-rest_model-MaxSlope_param-MBF_desc-upslope_dcemap.nii.gz").is_file()
    assert not list(perf.glob("*_desc-nlls_*"))
    # Frames that its motion correction shook stay where they were, and that is said.
    before, after = (
        read_image(path)[0] for path in (series_path(raw), perf / "sub-01_task-rest_desc-preproc_dce.nii.gz")
    )
    np.testing.assert_array_equal(before, after)
    (moco,) = read_status(out, "01").scans[0].of_step("motion-correction")
    assert moco.outcome.summary.endswith("slice 1 as acquired: no stiller when corrected")
    upslope, fermi = (
        (perf / f"sub-01_task-rest_seg-AHA17_desc-{name}_segments.tsv").read_text() for name in ("upslope", "fermi")
    )
    assert upslope != fermi
    report = (out / "sub-01.html").read_text(encoding="utf-8")
    assert "About the upslope estimate" in report and "Miles KA" in report
    assert "Miles KA" in (out / "logs" / "CITATION.md").read_text(encoding="utf-8")


def test_what_is_written_into_the_input_is_refused(site: Path, tmp_path: Path) -> None:
    raw, out = small_dataset(tmp_path / "raw"), tmp_path / "out"
    result = command(
        site, "qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(tmp_path / "work"), "--nprocs", "1",
        "--skip-bids-validation", "--motion-correction", "scribbler", "--kinetics", "fermi",
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "motion-correction (scribbler): ValueError: output array is read-only" in result.stderr
    assert not list((out / "sub-01").glob("perf/*_desc-preproc_dce.*"))


def test_it_passes_the_conformance_suite(site: Path, tmp_path: Path) -> None:
    suite = tmp_path / "test_upslope.py"
    suite.write_text(
        "from qperf_app.testing import KineticsConformance, ReportSectionConformance\n"
        "class TestUpslope(KineticsConformance):\n    name = 'upslope'\n"
        "class TestNote(ReportSectionConformance):\n    name = 'upslope-note'\n"
    )
    result = command(site, "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(suite))
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout
