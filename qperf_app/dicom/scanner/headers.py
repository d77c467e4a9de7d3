"""What the header of every image holds, whoever made the scanner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from qperf_app.dicom.scanner.acquisition import StoredSeries, StudyOptions
from qperf_app.dicom.scanner.clock import STUDY_DATE, STUDY_START, time_of_day
from qperf_app.dicom.scanner.manners import Manner, Scaling
from qperf_app.dicom.uids import derived_uid

_WORDS = {"tissue": "perfusion", "aif": "perfusion AIF", "prebolus": "prebolus", "proton-density": "perfusion PD"}


@dataclass(frozen=True)
class Study:
    """A study that is being written.

    Parameters
    ----------
    name : str
        What its identifiers are derived from; the same name gives the same ones.
    patient : str
        Label of the participant.
    manner : Manner
    options : StudyOptions
    """

    name: str
    patient: str
    manner: Manner
    options: StudyOptions

    def uid(self, *parts: object) -> UID:
        """Identifier of a part of the study."""
        return derived_uid(self.name, *parts)

    def scaling(self, series: StoredSeries) -> Scaling | None:
        """How a series' values are stored."""
        if self.options.rescale is not None:
            return Scaling(*self.options.rescale)
        return self.manner.scaling(series.maximum) if self.manner.scaling else None


def decimal(value: float) -> DSfloat:
    """A decimal string of at most 16 characters."""
    return DSfloat(float(value), auto_format=True)


def decimals(values: NDArray[np.float64]) -> list[DSfloat]:
    """Decimal strings of an array."""
    return [decimal(value) for value in values]


def stored_pixels(pixels: NDArray[np.floating], scaling: Scaling | None, signed: bool) -> NDArray[np.integer]:
    """Integers that a header's scaling leads back to the values."""
    kind = np.int16 if signed else np.uint16
    values = np.asarray(pixels, np.float64)
    if scaling is not None:
        values = (values - scaling.intercept) / scaling.slope
    limits = np.iinfo(kind)
    return np.clip(np.rint(values), limits.min, limits.max).astype(kind)


def set_fields(dataset: Dataset, fields: Mapping[str, Any]) -> None:
    """Set elements by keyword; numbers of a decimal string are shortened to what it holds."""
    for keyword, value in fields.items():
        shortened = isinstance(value, float) and dictionary_VR(keyword) == "DS"
        setattr(dataset, keyword, decimal(value) if shortened else value)


def new_file(study: Study, series: StoredSeries, storage: UID, instance: int) -> Dataset:
    """A dataset with its file meta information, and the modules of patient, study, series and equipment."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    set_fields(dataset, {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": storage,
        "SOPInstanceUID": study.uid("instance", series.number, instance),
        "PatientName": "Phantom^Digital",
        "PatientID": f"PHANTOM-{study.patient}",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyInstanceUID": study.uid("study"),
        "StudyDate": STUDY_DATE,
        "StudyTime": time_of_day(STUDY_START),
        "StudyID": "1",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": "MR",
        "SeriesInstanceUID": study.uid("series", series.number),
        "SeriesNumber": series.number,
        "SeriesDate": STUDY_DATE,
        "SeriesTime": time_of_day(STUDY_START + series.start),
        "AcquisitionDate": STUDY_DATE,
        "ContentDate": STUDY_DATE,
        "PatientPosition": "HFS",
        "FrameOfReferenceUID": study.uid("frame of reference"),
        "PositionReferenceIndicator": None,
        "InstanceNumber": instance,
        "BurnedInAnnotation": "NO",
        "MagneticFieldStrength": series.metadata.get("MagneticFieldStrength"),
        **study.manner.equipment,
    })  # fmt: skip
    dataset.BodyPartExamined = "HEART"
    if study.manner.described:
        words = f"{_WORDS[series.kind]} {series.task}"
        set_fields(dataset, {"StudyDescription": "Heart", "SeriesDescription": words, "ProtocolName": words})
    _add_contrast(dataset, series)
    return dataset


def _add_contrast(dataset: Dataset, series: StoredSeries) -> None:
    if not series.has_agent:
        return
    names = ("ContrastBolusIngredient", "ContrastBolusVolume", "ContrastBolusIngredientConcentration")
    dataset.ContrastBolusAgent = series.metadata["ContrastBolusIngredient"]
    set_fields(dataset, {name: series.metadata[name] for name in names if name in series.metadata})


def set_pixels(dataset: Dataset, stored: NDArray[np.integer]) -> None:
    """Image Pixel module of one frame (rows, columns), or of several (frames, rows, columns)."""
    signed = np.issubdtype(stored.dtype, np.signedinteger)
    set_fields(dataset, {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(signed),
    })  # fmt: skip
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
