"""Real headers of two scanners, with made-up pixels, and a real series in the manner of its scanner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from qperf_app.bids.images import read_image, read_json
from qperf_app.bids.validate import validate
from qperf_app.cli.tools import main
from qperf_app.plugins.steps.concentration import choose_by_metadata
from qperf_concentration import SaturationRecoveryFlash

#: What no header has, and a scanner protocol must say.
FILLED_IN = {"SaturationDelayTime": 0.1, "RepetitionTimeExcitation": 0.0027, "ExcitationsToKSpaceCenter": 25}
#: Fields that the JSON files give in s from the first; here counted from nine o'clock.
SECONDS = ("AcquisitionTime", "ContentTime", "SeriesTime")


def write_series(headers: Path, out: Path, pixels: np.ndarray | None = None) -> dict[str, Any]:
    """Write the instances of a header file as DICOM; pixels (instance, row, column) are noise where not given."""
    found = json.loads(headers.read_text())
    out.mkdir(parents=True)
    rng = np.random.default_rng(1)
    uids = {name: generate_uid(entropy_srcs=[headers.name, name]) for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    for number, instance in enumerate(found["per_instance"]):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        fields = {
            **found["same_in_all"],
            **instance,
            **uids,
            "SOPInstanceUID": generate_uid(entropy_srcs=[str(number)]),
        }
        for keyword, value in fields.items():
            if keyword.endswith("_s"):
                setattr(ds, keyword.removesuffix("_s"), clock(32_400 + value))
            else:
                setattr(ds, keyword, str(value) if keyword == "SoftwareVersions" else value)
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200101"
        shape = (ds.Rows, ds.Columns)
        values = rng.integers(50, 60, shape) if pixels is None else pixels[number]
        ds.PixelData = values.astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()
        ds.save_as(out / f"{number}.dcm", enforce_file_format=True)
    return found


def clock(seconds: float) -> str:
    whole, part = divmod(round(seconds * 1e6), 1_000_000)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{part:06d}"


def run(*arguments: Any) -> int:
    return main(["import", *map(str, arguments)])


@pytest.fixture
def imported(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def make(name: str) -> tuple[dict[str, Any], dict[str, Any], str]:
        headers = write_series(data_dir / "dicom_headers" / name, tmp_path / "dicom")
        assert run(tmp_path / "dicom", tmp_path / "bids") == 0
        sidecar = read_json(next(tmp_path.glob("bids/sub-01/perf/*_dce.json")))
        assert not [issue for issue in validate(tmp_path / "bids") if issue.severity == "error"]
        return headers, sidecar, "".join(capsys.readouterr())

    return make


def test_ge_trigger_time_is_the_clock_and_the_field_is_in_gauss(imported):
    headers, sidecar, said = imported("ge_sr_spgr_first_pass.json")
    times = np.array([instance["TriggerTime"] for instance in headers["per_instance"]]) / 1e3
    np.testing.assert_allclose(sidecar["VolumeTiming"], times - times[0], atol=1e-6)
    assert sidecar["MagneticFieldStrength"] == 1.5
    assert sidecar["RepetitionTimeExcitation"] == pytest.approx(0.006827)
    assert "SaturationDelayTime" not in sidecar and "PulseSequenceType" not in sidecar
    for missing in ("SaturationDelayTime", "ExcitationsToKSpaceCenter", "PulseSequenceType"):
        assert missing in said
    # Whatever else is filled in: a read-out that nobody has named is converted by no equation.
    names, (warning,) = choose_by_metadata([{**sidecar, **FILLED_IN}])
    assert names == ["linear"] and "No field names the read-out" in warning and "flow is not absolute" in warning
    assert choose_by_metadata([{**sidecar, **FILLED_IN, "PulseSequenceType": "Saturation-recovery EPI"}])[0] == [
        "sr-epi"
    ]


def test_siemens_acquisition_time_is_the_clock_and_a_shot_is_no_pulse_spacing(imported):
    headers, sidecar, said = imported("siemens_sr_trufi_rest.json")
    times = np.array([instance["AcquisitionTime_s"] for instance in headers["per_instance"]])
    np.testing.assert_allclose(sidecar["VolumeTiming"], times - times[0], atol=1e-6)
    assert sidecar["PulseSequenceType"] == "Saturation-recovery bSSFP"
    assert sidecar["MagneticFieldStrength"] == 1.5
    assert "RepetitionTimeExcitation" not in sidecar and "272.5 ms" in said
    assert "ScanningSequence" not in sidecar and "says SE" in said
    assert (sidecar["ContrastBolusIngredient"], sidecar["ContrastBolusVolume"]) == ("GADOLINIUM", 15)
    for missing in ("SaturationDelayTime", "RepetitionTimeExcitation", "ExcitationsToKSpaceCenter"):
        assert missing in said
    assert choose_by_metadata([sidecar])[0] == ["linear"]
    assert choose_by_metadata([{**sidecar, **FILLED_IN}]) == (["sr-bssfp"], ())
    problems = SaturationRecoveryFlash().problems({**sidecar, **FILLED_IN}, (64, 64, 1, len(times)))
    assert any("sr-flash converts FLASH only" in problem for problem in problems)


def test_pisa_comes_back_from_dicom_in_the_manner_of_its_scanner(data_dir, tmp_path):
    found = np.load(data_dir / "pisa" / "first_pass.npz")
    images = found["images"]
    write_series(data_dir / "dicom_headers" / "ge_sr_spgr_first_pass.json", tmp_path / "dicom", images)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    path = next(tmp_path.glob("bids/sub-01/perf/*_dce.nii.gz"))
    data, affine = read_image(path)
    # Stored by column, row, slice, volume; the source is by volume, row and column.
    np.testing.assert_array_equal(data[:, :, 0], images.transpose(2, 1, 0))
    times = found["time_s"].astype(float)
    np.testing.assert_allclose(
        read_json(path.with_name(path.name[:-7] + ".json"))["VolumeTiming"], times - times[0], atol=1e-3
    )
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :2], axis=0), found["pixel_spacing_mm"][::-1], rtol=5e-4)
    first = pydicom.dcmread(tmp_path / "dicom" / "0.dcm")
    np.testing.assert_allclose(affine[:3, 3] * [-1, -1, 1], first.ImagePositionPatient, atol=1e-3)
