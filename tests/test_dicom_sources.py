"""Folders as they come: other images, damaged files, archives of all kinds. One line each, and the rest goes on."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from qperf_app.bids.records import read_series
from qperf_app.cli.tools import main
from qperf_app.dicom.frames import FileRef
from qperf_app.dicom.scan import scan_files
from qperf_app.dicom.scanner import write_study
from qperf_app.dicom.sources import list_files
from tests.test_dicom_import import acquisition, assert_same, digests, imported, phantom, rest  # noqa: F401


def run(*arguments: Any) -> int:
    return main(["import", *map(str, arguments)])


def changed(path: Path, out: Path, number: int, **fields: Any) -> Path:
    """A copy of an image with other fields, in a series of its own."""
    ds = pydicom.dcmread(path)
    for keyword, value in fields.items():
        setattr(ds, keyword, value)
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=[str(number)])
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[f"{number} image"])
    ds.SeriesNumber = number
    ds.save_as(out)
    return out


@pytest.fixture
def study(rest, tmp_path) -> list[Path]:  # noqa: F811
    return write_study(tmp_path / "dicom", rest[:1], "siemens")


def test_other_images_and_damaged_files_have_a_line_each(study, rest, tmp_path, capsys):  # noqa: F811
    odd = tmp_path / "dicom" / "odd"
    odd.mkdir()
    image = study[0]
    changed(image, odd / "ct.dcm", 101, Modality="CT", SOPClassUID=CTImageStorage)
    changed(image, odd / "derived.dcm", 102, ImageType=["DERIVED", "PRIMARY", "M"])
    changed(image, odd / "colour.dcm", 103, PhotometricInterpretation="RGB", SamplesPerPixel=3)
    changed(image, odd / "localiser.dcm", 104, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    changed(image, odd / "phase.dcm", 105, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
    changed(image, odd / "single.dcm", 106, FlipAngle=70.0, SeriesDescription="late enhancement")
    content = image.read_bytes()
    changed(image, odd / "short.dcm", 107)
    (odd / "short.dcm").write_bytes((odd / "short.dcm").read_bytes()[:-500])
    (odd / "header.dcm").write_bytes(content[:400])
    (odd / "random.dcm").write_bytes(content[:132] + np.random.default_rng(0).bytes(3000))
    (odd / "empty.dcm").write_bytes(b"")
    (odd / "notes.txt").write_text("nothing to see here")
    (odd / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert_same(imported(tmp_path / "bids", "task-rest"), rest[0].series)
    output = capsys.readouterr()
    for number, reason in enumerate(
        ("modality CT", "derived image", "colour image", "localiser", "phase image", "not dynamic"), start=101
    ):
        lines = [line for line in output.out.splitlines() if line.startswith(f"series {number}: left out, 1 image")]
        assert len(lines) == 1 and reason in lines[0]
    for name, reason in (("short.dcm", "cut short"), ("header.dcm", ""), ("random.dcm", ""), ("broken.zip", "")):
        lines = [line for line in output.err.splitlines() if name in line]
        assert len(lines) == 1 and reason in lines[0]
    assert len([line for line in output.err.splitlines() if "is not DICOM" in line and "notes.txt" in line]) == 1


def test_a_cine_a_t1_map_and_another_organ_are_no_first_pass(study, tmp_path, capsys):
    for number, path in enumerate(study):
        ds = pydicom.dcmread(path)
        ds.TriggerTime = 20.0 * (number // 3)
        ds.AcquisitionTime = ds.ContentTime = "101010"
        ds.save_as(path)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 16
    assert "cine" in capsys.readouterr().out
    assert not (tmp_path / "bids").exists()


def test_normalised_copies_are_left_out(study, rest, tmp_path, capsys):  # noqa: F811
    for number, path in enumerate(study):
        ds = pydicom.dcmread(path)
        kind = ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
        copy = changed(
            path, path.with_name(f"norm{number}.dcm"), 9, ImageType=kind, PixelData=b"\1\0" * ds.Rows * ds.Columns
        )
        again = pydicom.dcmread(copy)
        again.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        again.save_as(copy)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert_same(imported(tmp_path / "bids", "task-rest"), rest[0].series)
    assert "series 9: left out, 36 images: the same images as series 10" in capsys.readouterr().out


def test_a_lost_image_costs_its_volume(study, rest, tmp_path, capsys):  # noqa: F811
    study[20].unlink()
    study[25].write_bytes(study[25].read_bytes()[:-10])
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    found, expected = imported(tmp_path / "bids", "task-rest"), rest[0].series
    assert found.data.shape[-1] == expected.data.shape[-1] - 2
    kept = [i for i in range(12) if i not in (20 // 3, 25 // 3)]
    np.testing.assert_array_equal(found.data, expected.data[..., kept])
    np.testing.assert_allclose(found.times, expected.times[kept] - expected.times[0], atol=1e-3)
    assert "not complete" in capsys.readouterr().out


def test_pixels_that_cannot_be_decoded_cost_their_volume(study, rest, tmp_path, capsys):  # noqa: F811
    for path in study:
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(path)
    content = study[20].read_bytes()
    study[20].write_bytes(content[:-200] + b"\xff" * 192 + content[-8:])
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    found, expected = imported(tmp_path / "bids", "task-rest"), rest[0].series
    kept = [i for i in range(12) if i != 20 // 3]
    np.testing.assert_array_equal(found.data, expected.data[..., kept])
    assert len(found.metadata["VolumeTiming"]) == len(found.metadata["FlipAngle"]) == 11
    said = capsys.readouterr().err
    assert str(study[20]) in said and ": 1 of 12 volumes are left out\n" in said


def test_a_spoilt_value_is_no_matter_for_the_terminal(study, tmp_path, recwarn):
    uid = pydicom.dcmread(study[3]).SOPInstanceUID
    study[3].write_bytes(study[3].read_bytes().replace(uid.encode(), uid.replace(".", "x").encode()))
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert not recwarn.list


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"])
def test_lossless_compression(study, rest, tmp_path, syntax):  # noqa: F811
    gdcm = pytest.importorskip("gdcm")
    for path in study:
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    assert pydicom.dcmread(study[0]).file_meta.TransferSyntaxUID == syntax
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert_same(imported(tmp_path / "bids", "task-rest"), rest[0].series)


def test_archives_that_bite_are_not_opened(study, tmp_path):
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(study[0], "../../../etc/passwd")
        archive.writestr("zeros", b"\0" * 50_000_000)
        archive.writestr("inner.zip", b"PK\x03\x04")
    files, problems = list_files([path])
    assert len(files) == 3 and not problems
    frames, problems = scan_files(files)
    assert len(frames) == 1 and {problem.reason for problem in problems} == {"is not DICOM"}
    assert frames[0].file == FileRef(str(path), "../../../etc/passwd")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dicom", "odd.zip"]


def test_a_header_that_swells_is_refused(study, tmp_path):
    ds = pydicom.dcmread(study[0])
    ds.ImageComments = "x" * (70 * 2**20)
    ds.save_as(study[0])
    frames, problems = scan_files([FileRef(str(study[0]))])
    assert not frames and "64 MiB" in problems[0].reason


def test_dicomdir_names_the_files(study, rest, tmp_path):  # noqa: F811
    files = FileSet()
    for path in study:
        ds = pydicom.dcmread(path)
        ds.StudyDate, ds.StudyTime = "20200101", "090000"
        files.add(ds)
    files.write(tmp_path / "disc")
    shutil.rmtree(tmp_path / "dicom")
    assert run(tmp_path / "disc" / "DICOMDIR", tmp_path / "a") == 0
    assert run(tmp_path / "disc", tmp_path / "b") == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert_same(imported(tmp_path / "a", "task-rest"), rest[0].series)


def test_a_dicomdir_reaches_nothing_outside_its_folder(study, tmp_path):
    disc = tmp_path / "disc"
    disc.mkdir()
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    record = Dataset()
    record.ReferencedFileID = ["..", *study[0].relative_to(tmp_path).parts]
    ds.DirectoryRecordSequence = [record]
    ds.save_as(disc / "DICOMDIR", enforce_file_format=True)
    files, problems = list_files([disc / "DICOMDIR"])
    assert not files and "outside" in problems[0].reason


def test_images_of_two_people_are_refused(study, tmp_path, capsys):
    ds = pydicom.dcmread(study[0])
    ds.PatientID = "SOMEBODY ELSE"
    ds.save_as(study[0])
    assert run(tmp_path / "dicom", tmp_path / "bids") == 2
    said = capsys.readouterr().err
    assert "2 patients" in said and "SOMEBODY" not in said
    assert not (tmp_path / "bids").exists()


def test_a_source_that_is_not_there_is_named(tmp_path, capsys):
    assert run(tmp_path / "nowhere", tmp_path / "bids") == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_dataset_does_not_lie_among_the_patients_files(study, tmp_path, capsys):
    assert run(tmp_path / "dicom", tmp_path / "dicom" / "bids") == 2
    assert "lies in SOURCE" in capsys.readouterr().err and not (tmp_path / "dicom" / "bids").exists()
    # The other way round is BIDS's own: sourcedata.
    shutil.move(tmp_path / "dicom", tmp_path / "bids" / "sourcedata")
    assert run(tmp_path / "bids" / "sourcedata", tmp_path / "bids") == 0


def test_one_persons_images_under_two_labels_are_said(study, tmp_path, capsys):
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert "the same images" not in capsys.readouterr().err
    assert run(tmp_path / "dicom", tmp_path / "bids", "--participant", "02") == 0
    said = "sub-01/perf/sub-01_task-rest_dce.nii.gz: the same images are now of sub-02 too; a person has one label"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-3", "two"])
def test_a_number_of_processes_that_is_none_is_refused(study, tmp_path, number):
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "dicom", tmp_path / "bids", "--nprocs", number)


def test_an_import_that_fails_leaves_the_dataset_as_it_was(study, tmp_path, monkeypatch):
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    before = digests(tmp_path / "bids")
    from qperf_app.dicom import dataset

    def fail(*arguments: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(dataset, "affine_of", fail)
    assert run(tmp_path / "dicom", tmp_path / "bids", "--participant", "02") == 2
    assert digests(tmp_path / "bids") == before
    assert read_series(next(tmp_path.glob("bids/sub-01/perf/*.nii.gz"))).data.size


def test_the_number_of_processes_changes_nothing(study, monkeypatch):
    from qperf_app.dicom import scan

    files = [FileRef(str(path)) for path in study]
    one = scan_files(files)
    monkeypatch.setattr(scan, "_MANY", 10)
    monkeypatch.setattr(scan, "_CHUNK", 7)
    assert scan_files(files, processes=2) == one
