"""What all exported objects have in common: identifiers, equipment, dates, and the images that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from qperf_app import __version__
from qperf_app.dicom.export.grid import FrameGrid
from qperf_app.dicom.export.study import NO_DATE, NO_TIME, ExportStudy

#: Added to a content label where the numbers are to be read with care; a label has 16 characters.
DOUBTFUL = "_DOUBTFUL"


@dataclass(frozen=True)
class Described:
    """What an object is called.

    Parameters
    ----------
    name : str
        Of its file, and what its identifiers follow from: neutral, such as ``task-rest_desc-nlls_param-MBF``.
    label : str
        ``ContentLabel``: capitals, digits and underscores.
    text : str
        In words, for ``SeriesDescription`` and ``ContentDescription``.
    doubts : tuple of str
        Why it is to be read with care; empty where it isn't.
    """

    name: str
    label: str
    text: str
    doubts: tuple[str, ...] = ()

    @property
    def content_label(self) -> str:
        """At most 16 characters; says whether the content is doubtful."""
        return f"{self.label[: 16 - len(DOUBTFUL)]}{DOUBTFUL}" if self.doubts else self.label[:16]

    @property
    def description(self) -> str:
        """At most 64 characters; says first whether the content is doubtful."""
        return f"{'DOUBTFUL: ' if self.doubts else ''}{self.text}"[:64]


@dataclass(frozen=True)
class ExportObject:
    """A finished object and the name of its file."""

    name: str
    dataset: Dataset


def identifiers(study: ExportStudy, what: Described, number: int, content: bytes) -> dict[str, Any]:
    """Arguments that every object takes: a series of its own, identifiers that follow from the content."""
    digest = hashlib.sha256(content).hexdigest()
    return {
        "series_instance_uid": study.derived("series", what.name, digest),
        "series_number": number,
        "sop_instance_uid": study.derived("instance", what.name, digest),
        "instance_number": 1,
        "manufacturer": "qperf-app",
        "manufacturer_model_name": "qperf-app",
        "software_versions": __version__,
        "device_serial_number": __version__,
    }


def geometry(grid: FrameGrid) -> dict[str, Any]:
    """Arguments that say where frames lie."""
    first = grid.planes[0]
    between = [_short(np.linalg.norm(plane.position - first.position)) for plane in grid.planes[1:2]]
    return {
        "pixel_measures": PixelMeasuresSequence(
            [_short(value) for value in first.spacing], _short(grid.thickness), *between
        ),
        "plane_orientation": PlaneOrientationSequence("PATIENT", [_short(value) for value in first.orientation]),
        "plane_positions": [
            PlanePositionSequence("PATIENT", [_short(value) for value in plane.position]) for plane in grid.planes
        ],
    }  # fmt: skip


def finish(study: ExportStudy, what: Described, dataset: Dataset, named: bool) -> ExportObject:
    """Settle what the library fills in for itself: dates, descriptions, and images that aren't there.

    The date of a new study's objects is 1900-01-01: the standard asks for one and none may be told. In a patient's
    study it is that of the study, so that the same results give the same bytes.
    """
    date, time = NO_DATE, NO_TIME
    if study.reference is not None:
        date = str(study.reference.study.get("StudyDate") or NO_DATE)
        time = str(study.reference.study.get("StudyTime") or NO_TIME)
    fields: Mapping[str, str] = {
        "ContentDate": date,
        "ContentTime": time,
        "SeriesDescription": what.description,
    }
    for keyword, value in fields.items():
        setattr(dataset, keyword, value)
    for keyword in (
        "InstanceCreationDate",
        "InstanceCreationTime",
        "SeriesDate",
        "SeriesTime",
        "ContributingEquipmentSequence",
    ):
        dataset.pop(keyword, None)
    if what.doubts:
        dataset.ImageComments = "; ".join(what.doubts)
    if not named:
        _forget_sources(dataset)
    return ExportObject(what.name, dataset)


def _forget_sources(dataset: Dataset) -> None:
    for keyword in ("ReferencedSeriesSequence", "StudiesContainingOtherReferencedInstancesSequence"):
        dataset.pop(keyword, None)
    groups = [*dataset.get("SharedFunctionalGroupsSequence", ()), *dataset.get("PerFrameFunctionalGroupsSequence", ())]
    for group in groups:
        group.pop("DerivationImageSequence", None)


def _short(value: float | np.floating[Any]) -> DSfloat:
    """A decimal of at most 16 characters, as the representation DS holds."""
    return DSfloat(float(value), auto_format=True)


def content_of(array: NDArray[Any]) -> bytes:
    """Bytes of an array, for a digest."""
    return np.ascontiguousarray(array).tobytes()
