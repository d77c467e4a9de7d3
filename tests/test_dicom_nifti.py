"""What converters make of a perfusion series becomes one series again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from qperf_app.bids.images import read_image, read_json
from qperf_app.bids.validate import validate
from qperf_app.cli.tools import main
from qperf_app.dicom.scanner import write_study
from qperf_app.plugins import Series
from tests.test_dicom_import import imported, phantom, rest  # noqa: F401

SHAPE, BEATS = (20, 24, 3), 12
AFFINE = np.array([[-2.0, 0, 0, 40], [0, 2.0, 0, -50], [0, 0, 10.0, -20], [0, 0, 0, 1]])
TIMES = np.cumsum([0, 0.81, 0.79, 0.9, 0.8, 0.7, 0.82, 0.8, 0.81, 0.85, 0.8, 0.78])
SIDECAR = {
    "Modality": "MR", "Manufacturer": "Siemens", "MagneticFieldStrength": 1.5, "SeriesNumber": 7,
    "SeriesDescription": "stress perf", "AcquisitionTime": "10:11:12.500000", "EchoTime": 0.0011, "FlipAngle": 12,
    "RepetitionTime": 0.15, "RepetitionTimeExcitation": 0.15, "ScanOptions": "SR_CT", "SequenceName": "_tfiperf2d1",
    "PulseSequenceType": "Spin Echo", "DeviceSerialNumber": "123456", "InstitutionName": "Somewhere",
}  # fmt: skip


def write(folder: Path, name: str, data: np.ndarray, affine: np.ndarray = AFFINE, **fields: Any) -> None:
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), folder / f"{name}.nii.gz")
    sidecar = {key: value for key, value in {**SIDECAR, **fields}.items() if value is not None}
    (folder / f"{name}.json").write_text(json.dumps(sidecar))


@pytest.fixture
def series() -> np.ndarray:
    return np.random.default_rng(0).integers(90, 110, (*SHAPE, BEATS)).astype(np.int16)


def run(tmp_path: Path) -> int:
    return main(["import", "--nifti", str(tmp_path / "nifti"), str(tmp_path / "bids")])


def test_a_file_for_each_slice_is_one_series(series, tmp_path):
    for k in range(3):
        affine = AFFINE.copy()
        affine[:3, 3] += k * AFFINE[:3, 2]
        seconds = 12.5 + 0.2 * k
        write(tmp_path / "nifti", f"s{k}", series[:, :, k : k + 1], affine,
              AcquisitionTime=f"10:11:{seconds}", FrameTimesStart=TIMES.tolist())  # fmt: skip
    assert run(tmp_path) == 0
    data, affine = read_image(next(tmp_path.glob("bids/sub-01/perf/sub-01_task-stress_dce.nii.gz")))
    np.testing.assert_array_equal(data, series)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    sidecar = read_json(next(tmp_path.glob("bids/sub-01/perf/*.json")))
    np.testing.assert_allclose(sidecar["VolumeTiming"], TIMES, atol=1e-6)
    np.testing.assert_allclose(sidecar["SliceTiming"], [0, 0.2, 0.4], atol=1e-6)
    assert "RepetitionTimeExcitation" not in sidecar
    assert sidecar["PulseSequenceType"] == "Saturation-recovery bSSFP"
    text = json.dumps(sidecar)
    assert not any(word in text for word in ("123456", "Somewhere", "10:11", "stress perf"))
    assert not [issue for issue in validate(tmp_path / "bids") if issue.severity == "error"]


# dcm2niix writes seconds below ten with one digit.
@pytest.mark.parametrize("clock", ["10:11:10.000000", "10:11:9.000000", "10:13:00.000000", None])
def test_proton_density_images_of_a_file_of_their_own_come_first(series, tmp_path, clock):
    write(
        tmp_path / "nifti",
        "main",
        series,
        FrameTimesStart=TIMES.tolist(),
        AcquisitionTime=clock and SIDECAR["AcquisitionTime"],
    )
    weighted = 4 * series[..., :2]
    write(
        tmp_path / "nifti", "pd", weighted, FrameTimesStart=[0, 0.8], FlipAngle=5, SeriesNumber=6, AcquisitionTime=clock
    )
    assert run(tmp_path) == 0
    found = imported(tmp_path / "bids", "task-stress")
    np.testing.assert_array_equal(found.data, np.concatenate([weighted, series], axis=-1))
    assert found.n_proton_density == 2 and found.metadata["FlipAngle"] == [5.0] * 2 + [12.0] * BEATS
    np.testing.assert_allclose(found.times[2:] - found.times[2], TIMES, atol=1e-6)
    if clock in ("10:11:10.000000", "10:11:9.000000"):
        after = 12.5 - float(clock.rpartition(":")[2])
        np.testing.assert_allclose(found.times[:3], [0, 0.8, after], atol=1e-6)
    else:
        assert found.times[0] == 0 and (np.diff(found.times[:3]) > 0.5).all()


def test_a_constant_repetition_time_is_said_to_be_the_clock(series, tmp_path):
    write(tmp_path / "nifti", "main", series, RepetitionTime=0.85)
    assert run(tmp_path) == 0
    found = imported(tmp_path / "bids", "task-stress")
    np.testing.assert_allclose(np.diff(found.times), 0.85, atol=1e-6)
    assert found.metadata["ImportedFrom"]["VolumeTiming"] == "AcquisitionTime, RepetitionTime"


def test_lone_images_without_a_clock_are_left_out_beside_a_series(series, tmp_path, capsys):
    write(tmp_path / "nifti", "main", series, FrameTimesStart=TIMES.tolist())
    for k, name in enumerate(("one", "two")):
        write(tmp_path / "nifti", name, series[:, :, k : k + 1, 0], SeriesNumber=8 + k, AcquisitionTime=None)
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(imported(tmp_path / "bids", "task-stress").data, series)
    said = capsys.readouterr().out
    assert all(f"series {number}: left out, 1 image: not dynamic" in said for number in (8, 9))


def test_a_series_without_any_clock_is_left_out(series, tmp_path, capsys):
    write(tmp_path / "nifti", "main", series, RepetitionTime=0.0068, Manufacturer="GE")
    assert run(tmp_path) == 16
    assert "no clock" in capsys.readouterr().out
    assert not (tmp_path / "bids").exists()


def test_a_list_of_times_of_another_length_is_an_error_of_that_file(series, tmp_path, capsys):
    write(tmp_path / "nifti", "main", series, FrameTimesStart=TIMES.tolist())
    write(tmp_path / "nifti", "odd", series, FrameTimesStart=[0, 1], SeriesNumber=8)
    (tmp_path / "nifti" / "broken.nii").write_bytes(b"nothing")
    assert run(tmp_path) == 0
    said = capsys.readouterr().err
    assert "odd.nii.gz: FrameTimesStart" in said and "broken.nii" in said


def canonical(series: Series) -> np.ndarray:
    """Data with the axes nearest to the world's; converters turn rows and slices round."""
    return nib.as_closest_canonical(nib.Nifti1Image(series.data, series.affine)).get_fdata()


@pytest.mark.parametrize("manner", ["siemens", "philips"])
def test_dcm2niix_and_import_give_the_series(rest, tmp_path, manner):  # noqa: F811
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")
    write_study(tmp_path / "dicom", rest, manner)
    (tmp_path / "nifti").mkdir()
    command = ["dcm2niix", "-z", "y", "-f", "%s_%d", "-o", str(tmp_path / "nifti"), str(tmp_path / "dicom")]
    subprocess.run(command, check=True, capture_output=True)
    assert run(tmp_path) == 0
    found, expected = imported(tmp_path / "bids", "task-rest"), rest[0].series
    np.testing.assert_allclose(found.times, expected.times - expected.times[0], atol=1e-3)
    assert found.n_proton_density == 3
    flipped = expected.data[:, ::-1]
    np.testing.assert_allclose(
        found.data, flipped, atol=float(expected.data.max()) / 2000 if manner == "philips" else 0
    )
