"""The study that results go into: the patient's own, or a new one that knows only the participant's label."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, MRImageStorage
from pydicom.valuerep import DSfloat

from qperf_app import __version__
from qperf_app.dicom.export.grid import FrameGrid, Plane, arrangements
from qperf_app.dicom.export.reference import Reference, find_grid
from qperf_app.dicom.export.results import Results
from qperf_app.dicom.uids import derived_uid
from qperf_app.plugins import ScanResult, Series

#: Series of an export are numbered from here, beyond those of a scanner.
FIRST_SERIES = 9001
#: Where no date may be told but the standard asks for one.
NO_DATE, NO_TIME = "19000101", "000000"


@dataclass(frozen=True)
class ExportStudy:
    """A study that is being written.

    Parameters
    ----------
    results : Results
    reference : Reference or None
    uid : UID
        ``StudyInstanceUID``.
    """

    results: Results
    reference: Reference | None
    uid: UID

    def derived(self, *parts: object) -> UID:
        """Identifier of a part of the export."""
        return derived_uid(self.uid, self.results.name, __version__, *parts)

    def grid(self, scan: ScanResult, series: Series) -> FrameGrid:
        """Frames of what lies on a series of a scan.

        Raises
        ------
        ReferenceStudyError
            Where the reference has no series with these slices.
        """
        shape: tuple[int, int, int] = series.data.shape[:3]
        thickness = float(series.metadata.get("SliceThickness", series.voxel_size[2]))
        if self.reference is not None:
            return find_grid(self.reference, series.affine, shape, len(series.times), thickness)
        swapped, flipped, planes = next(arrangements(series.affine, shape))
        frame_of_reference = self.derived("frame of reference", scan.label)
        sources = tuple(self._stand_in(frame_of_reference, scan, plane, thickness, k) for k, plane in enumerate(planes))
        return FrameGrid(swapped, flipped, planes, thickness, frame_of_reference, sources, False)

    def header(self) -> Dataset:
        """A header with the fields of patient and study."""
        if self.reference is not None:
            return self.reference.study
        header = Dataset()
        header.SpecificCharacterSet = "ISO_IR 192"
        header.SOPClassUID = MRImageStorage
        header.SOPInstanceUID = self.derived("stand-in")
        header.StudyInstanceUID = self.uid
        header.SeriesInstanceUID = self.derived("stand-in series")
        header.PatientID = f"sub-{self.results.participant}"
        # A name of one component ends in a caret, which says that it is meant so.
        header.PatientName = f"{header.PatientID}^"
        header.StudyID = f"ses-{self.results.session}"[:16] if self.results.session else ""
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime"):
            setattr(header, keyword, "")
        header.ReferringPhysicianName = ""
        header.Modality = "MR"
        return header

    def _stand_in(
        self, frame_of_reference: UID, scan: ScanResult, plane: Plane, thickness: float, index: int
    ) -> Dataset:
        """A header in the place of an image that isn't there; it is never named in what is written."""
        header = self.header()
        header.SOPInstanceUID = self.derived("stand-in", scan.label, index)
        header.FrameOfReferenceUID = frame_of_reference
        header.Rows, header.Columns = plane.shape
        header.SliceThickness = DSfloat(thickness, auto_format=True)
        header.PixelSpacing = _decimals(plane.spacing)
        header.ImagePositionPatient = _decimals(plane.position)
        header.ImageOrientationPatient = _decimals(plane.orientation)
        return header


def open_study(results: Results, reference: Reference | None) -> ExportStudy:
    """Join the study of the reference, or begin one whose identifier follows from the images that were analysed."""
    if reference is not None:
        return ExportStudy(results, reference, UID(str(reference.study.StudyInstanceUID)))
    digest = hashlib.sha256()
    for scan in results.scans:
        for series in (scan.corrected, scan.aif_corrected):
            if series is not None:
                digest.update(np.ascontiguousarray(series.data, np.float32).tobytes())
    return ExportStudy(results, None, derived_uid("study", results.name, digest.hexdigest()))


def _decimals(values: NDArray[np.float64]) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]
