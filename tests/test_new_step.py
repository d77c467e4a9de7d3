"""A new step takes three files: its declaration, its line in the list of steps, and its runner.

``tests/new_step`` holds the two new files; the line is put into a copy of the package here. All else, planning, the
graph, flags, help, configuration, hand-ins, status, methods paragraph and conformance, has to follow by itself.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.datasets import PLUGIN_OF_A_NEW_STEP, small_dataset, step_states, write_image, write_json

ROOT = Path(__file__).parents[1]
NEW = ROOT / "tests" / "new_step"
STEPS = Path("qperf_app", "plugins", "steps", "__init__.py")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one step more, and a distribution whose plugin fills it."""
    root = tmp_path_factory.mktemp("new-step")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "qperf_app", root / "qperf_app", ignore=ignore)
    shutil.copytree(NEW, root, dirs_exist_ok=True, ignore=ignore)
    text = (root / STEPS).read_text()
    before = "\nfrom qperf_app.plugins.steps.report_section"
    text = text.replace(before, f"\nfrom qperf_app.plugins.steps.noise import NOISE{before}", 1)
    (root / STEPS).write_text(text.replace("        MYOCARDIUM,\n", "        MYOCARDIUM,\n        NOISE,\n", 1))
    (root / "qperf_noise.py").write_text(PLUGIN_OF_A_NEW_STEP)
    info = root / "perfusion_noise-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: perfusion-noise\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qperf_app]\nnoise = qperf_noise\n")
    return root


def run(tree: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(ROOT / "plugins")])}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tree, check=False)


def test_three_files_are_all_that_differs(tree: Path) -> None:
    changed, added = [], []
    for path in sorted((tree / "qperf_app").rglob("*.*")):
        if path.suffix == ".pyc":
            continue
        ours = ROOT / path.relative_to(tree)
        if not ours.exists():
            added.append(path.relative_to(tree).as_posix())
        elif not filecmp.cmp(path, ours, shallow=False):
            changed.append(path.relative_to(tree))
    assert changed == [STEPS]
    assert added == ["qperf_app/plugins/steps/noise.py", "qperf_app/workflow/runners/noise.py"]


def test_help_and_listing_know_it(tree: Path) -> None:
    text = run(tree, "qperf_app.cli.app", "--help").stdout
    assert "--noise NAME" in text and "the noise of each voxel (default: differences)" in " ".join(text.split())
    listing = json.loads(run(tree, "qperf_app.cli.tools", "plugins", "--json").stdout)
    assert [(p["name"], p["distribution"]) for p in listing["steps"]["noise"]] == [("differences", "perfusion-noise")]


def test_it_runs_is_configured_handed_in_and_told_of(tree: Path, tmp_path: Path) -> None:
    raw, out = small_dataset(tmp_path / "raw"), tmp_path / "out"
    config = tmp_path / "config.yaml"
    config.write_text("noise: {plugin: differences, options: {order: 2}}\nkinetics: [fermi]\nmotion-correction: none\n")
    command = ["qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(tmp_path / "work"), "--nprocs", "1"]
    command += ["--skip-bids-validation", "--config-file", str(config)]
    done = run(tree, *command)
    assert done.returncode == 0, done.stderr
    image = out / "sub-01" / "perf" / "sub-01_task-rest_desc-noise_dcemap.nii.gz"
    # The example series has noise of standard deviation 0.5.
    assert np.median(nib.load(image).get_fdata()) == pytest.approx(0.5, rel=0.2)
    status = json.loads((out / "sub-01" / "sub-01_status.json").read_text())
    assert step_states(status["scans"][0])["noise", ""] == "done"
    told = (out / "logs" / "CITATION.md").read_text()
    assert "The noise of each voxel was measured by 'differences' 1.0" in told and "Gasser" in told
    assert "differences 1.0" in (out / "sub-01.html").read_text(encoding="utf-8")

    write_json(tmp_path / "mine" / "dataset_description.json", {"Name": "mine", "BIDSVersion": "1.10.0"})
    write_image(tmp_path / "mine" / image.relative_to(out), np.ones(nib.load(image).shape, np.float32))
    handed = run(tree, *command, "-d", f"mine={tmp_path / 'mine'}")
    assert handed.returncode == 0, handed.stderr
    assert np.median(nib.load(image).get_fdata()) == 1.0
    unknown = run(tree, *command, "--noise", "nobody")
    assert unknown.returncode == 2 and "--noise: no plugin named 'nobody' (installed: differences)" in unknown.stderr
