"""The report's page as an Encapsulated PDF, printed by a Chromium where there is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from qperf_app.dicom.export.objects import Described, ExportObject, finish, identifiers
from qperf_app.dicom.export.study import ExportStudy

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 120.0
_DATES = re.compile(rb"/(CreationDate|ModDate) ?\(D:(\d{14})[^)]*\)")


def find_browser() -> str | None:
    """Path of a Chromium, or None."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def print_page(page: Path, browser: str) -> bytes:
    """Print a page to PDF; the date in it is blanked, so that the same page gives the same bytes.

    Raises
    ------
    OSError
        Where the browser fails or makes nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "page.pdf"
        command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}"]
        # Chromium's sandbox refuses to run as root, as in a container; the page is our own and loads nothing.
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            subprocess.run([*command, page.absolute().as_uri()], capture_output=True, timeout=_PATIENCE, check=True)
            content = target.read_bytes()
        except (subprocess.SubprocessError, OSError) as error:
            raise OSError(f"{browser} did not print the page ({type(error).__name__})") from None
    return _DATES.sub(_blank, content)


def write_page(study: ExportStudy, pdf: bytes, number: int) -> ExportObject:
    """A PDF as an object."""
    what = Described(f"{study.results.name}_report", "REPORT", f"qperf-app report {study.results.name}")
    arguments = identifiers(study, what, number, pdf)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source = study.header()
    for keyword in _PATIENT_AND_STUDY:
        if keyword in source:
            dataset[keyword] = source[keyword]
    dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.SOPInstanceUID = arguments["sop_instance_uid"]
    dataset.SeriesInstanceUID = arguments["series_instance_uid"]
    dataset.SeriesNumber = number
    dataset.InstanceNumber = 1
    dataset.Modality = "DOC"
    dataset.Manufacturer, dataset.ManufacturerModelName = (
        arguments["manufacturer"],
        arguments["manufacturer_model_name"],
    )
    dataset.SoftwareVersions = arguments["software_versions"]
    dataset.DeviceSerialNumber = arguments["device_serial_number"]
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "NO"
    dataset.DocumentTitle = what.text
    dataset.ConceptNameCodeSequence = []
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return finish(study, what, dataset, False)


_PATIENT_AND_STUDY = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "OtherPatientIDsSequence", "PatientAge", "PatientSize", "PatientWeight", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
)  # fmt: skip


def _blank(match: re.Match[bytes]) -> bytes:
    """The same number of bytes, so that the positions in the PDF stay true."""
    return match.group(0).replace(match.group(2), b"19000101000000")
