"""What is handed in is held against what the app finds itself: another scale, segments that are turned."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from qperf_app.cli.app import main
from qperf_app.workflow.status import read_status
from tests.datasets import hand_drawn, small_dataset, write_json

PERF, PREFIX = Path("sub-01", "perf"), "sub-01_task-rest"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, outlines of its heart, and the results of a run with them."""
    root = tmp_path_factory.mktemp("held")
    small_dataset(root / "raw")
    hand_drawn(root / "drawn")
    said(root, "out")
    return root


def said(root: Path, out: str, *arguments: str) -> tuple[str, ...]:
    """Run, and return the remarks on the scan."""
    quick = ("-w", str(root / "work"), "--skip-bids-validation", "--motion-correction", "none", "--kinetics", "fermi")
    command = [str(root / "raw"), str(root / out), "participant", *quick, "-d", f"drawn={root / 'drawn'}", *arguments]
    assert main(command) == 0
    (scan,) = read_status(root / out, "01").scans
    return scan.remarks


def copied(root: Path, to: Path, name: str) -> nib.Nifti1Image:
    """A derivative dataset with one image of the results."""
    write_json(to / "dataset_description.json", {"Name": "own", "BIDSVersion": "1.10.0"})
    (to / PERF).mkdir(parents=True)
    for ending in (".nii.gz", ".json"):
        shutil.copyfile(root / "out" / PERF / f"{PREFIX}_{name}{ending}", to / PERF / f"{PREFIX}_{name}{ending}")
    return nib.load(to / PERF / f"{PREFIX}_{name}.nii.gz")


@pytest.mark.parametrize("factor", [1.0, 0.45, 2.2])
def test_muscle_in_another_scale_is_said(root: Path, tmp_path: Path, factor: float) -> None:
    image = copied(root, tmp_path / "own", "desc-muscle_dce")
    # A single value above what can be in blood is refused.
    data = np.minimum(factor * image.get_fdata(dtype=np.float32), 20.0)
    nib.save(nib.Nifti1Image(data, image.affine), image.get_filename())
    told = [text for text in said(root, f"muscle-{factor}", "-d", f"own={tmp_path / 'own'}") if "its scale" in text]
    assert len(told) == (factor != 1.0)
    assert not told or f"{factor:g} times" in told[0]


@pytest.mark.parametrize("turn", [0, 1, -1, 3])
def test_segments_that_are_turned_are_said(root: Path, tmp_path: Path, turn: int) -> None:
    image = copied(root, tmp_path / "own", "seg-AHA17_dseg")
    labels = np.asarray(image.dataobj)
    ring = np.unique(labels[labels > 0])
    assert len(ring) == 6
    turned = np.zeros_like(labels)
    for segment, other in zip(ring, np.roll(ring, turn), strict=True):
        turned[labels == segment] = other
    nib.save(nib.Nifti1Image(turned, image.affine), image.get_filename())
    told = [text for text in said(root, f"turned-{turn}", "-d", f"own={tmp_path / 'own'}") if "turned or mir" in text]
    assert len(told) == (turn != 0)
