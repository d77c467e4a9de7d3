"""Nothing that identifies anybody leaves: every output byte is searched for every text of the input."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from qperf_app.cli.tools import main
from qperf_app.dicom.scanner import Acquisition, write_study
from tests.test_dicom_import import acquisition, phantom  # noqa: F401

#: In every text that is filled in, whatever its length; dates, times and identifiers have their own.
MARK, DATE, TIME, ROOT = "ZQXW", "19561103", "131719", "1.2.826.0.1.77777"
MARKED = {
    "PN": f"{MARK}^Name", "LO": f"{MARK} long", "SH": f"{MARK} short", "ST": f"{MARK} text", "LT": f"{MARK} text",
    "UT": f"{MARK} text", "UC": f"{MARK} text", "AE": f"{MARK}AE", "CS": f"{MARK}CODE", "UR": f"http://{MARK}",
    "DA": DATE, "TM": f"{TIME}.25", "DT": f"{DATE}{TIME}.25", "AS": "077Y",
}  # fmt: skip
#: What images are recognised by as images: code strings and identifiers of the standard, and the order of things.
KEPT = {
    "Modality", "PhotometricInterpretation", "SpecificCharacterSet", "SOPClassUID", "ImageType", "FrameType",
    "ComplexImageComponent", "SaturationRecovery", "EchoPlanarPulseSequence", "SteadyStatePulseSequence",
    "EchoPulseSequence",
}  # fmt: skip
CLOCKS = {"AcquisitionTime", "ContentTime", "AcquisitionDateTime"}


@cache
def marks() -> Dataset:
    """A marked value for every element of the dictionary."""
    ds = Dataset()
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if keyword and not retired and tag >> 16 > 0x0004 and keyword not in KEPT and vr in MARKED:
            setattr(ds, keyword, MARKED[vr])
    return ds


def fill(ds: Dataset, number: int) -> None:
    """Put a marked value into every element of the dictionary that may hold text, a date, a time or an identifier."""
    vendor, words = str(ds.Manufacturer), str(ds.SeriesDescription)
    own = {name: getattr(ds, name) for name in CLOCKS if name in ds}
    ds.update(marks())
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(ds, name, f"{ROOT}.{abs(hash(getattr(ds, name))) % 10**9}")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.{number}"
    # A study on another day, at another time, that still runs.
    for name, value in own.items():
        setattr(ds, name, f"{DATE}{TIME[:2]}{value[10:]}" if name.endswith("DateTime") else f"{TIME[:2]}{value[2:]}")
    ds.Manufacturer = f"{vendor} {MARK}"
    ds.SeriesDescription = f"{MARK} {words} Miller"
    ds.private_block(0x0009, f"{MARK} CREATOR", create=True).add_new(0x01, "LO", f"{MARK} private")
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", f"{MARK} header".encode())
    for group in ds.get("PerFrameFunctionalGroupsSequence", ()):
        content = group.FrameContentSequence[0]
        content.FrameComments = f"{MARK} comment"
        for name in ("FrameAcquisitionDateTime", "FrameReferenceDateTime"):
            if name in content:
                setattr(content, name, DATE + getattr(content, name)[8:])


@pytest.mark.parametrize("manner", ["siemens", "siemens-xa", "philips", "ge"])
def test_no_output_holds_anything_that_identifies(phantom: Path, tmp_path: Path, capsys: Any, manner: str) -> None:  # noqa: F811
    measured: list[Acquisition] = [acquisition(phantom, "rest"), acquisition(phantom, "rest", "aif")]
    home = tmp_path / f"{MARK}-Miller"
    for number, path in enumerate(write_study(home, measured, manner)):
        ds = pydicom.dcmread(path)
        fill(ds, number)
        ds.save_as(path)
        path.rename(path.with_name(f"{MARK}{number}.dcm"))
    assert main(["import", str(home), str(tmp_path / "bids")]) == 0
    files = [path for path in (tmp_path / "bids").rglob("*") if path.is_file()]
    assert len(files) >= 8
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content += gzip.decompress(content)
        for mark in (MARK, DATE, TIME, "77777", "Miller", "077Y", "SIEMENS CSA", "2000-01-01", "1956"):
            assert mark.encode() not in content, (path, mark)
            assert mark not in str(path.relative_to(tmp_path / "bids"))


def test_burnt_in_text_is_warned_of(phantom: Path, tmp_path: Path, capsys: Any) -> None:  # noqa: F811
    for path in write_study(tmp_path / "dicom", [acquisition(phantom, "rest")], "ge"):
        ds = pydicom.dcmread(path)
        ds.BurnedInAnnotation = "YES"
        ds.save_as(path)
    assert main(["import", str(tmp_path / "dicom"), str(tmp_path / "bids")]) == 0
    assert "burnt in" in capsys.readouterr().out
