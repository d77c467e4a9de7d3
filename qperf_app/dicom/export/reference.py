"""The original DICOM that results are joined to, and where in it a result lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from qperf_app.dicom.export.grid import FrameGrid, Plane, arrangements


class ReferenceStudyError(Exception):
    """The reference can't be used; the message is one line."""


@dataclass(frozen=True)
class ReferenceSeries:
    """Images of one series: a plane and the header of the image that it is in, in order of the files."""

    uid: UID
    number: str
    frame_of_reference: UID
    images: tuple[tuple[Plane, Dataset], ...]

    def image_of(self, plane: Plane) -> tuple[Plane, Dataset] | None:
        """The first image in a plane."""
        return next((image for image in self.images if image[0].agrees(plane)), None)

    def times_of(self, plane: Plane) -> int:
        """How many images lie in a plane."""
        return sum(image[0].agrees(plane) for image in self.images)


@dataclass(frozen=True)
class Reference:
    """A patient's study as the scanner gave it.

    Parameters
    ----------
    study : Dataset
        A header with the fields of patient and study.
    series : tuple of ReferenceSeries
        Those that have planes.
    """

    study: Dataset
    series: tuple[ReferenceSeries, ...]


def read_reference(path: Path) -> Reference:
    """Read the headers of a file, or of all files in a folder; what is no DICOM is passed over.

    Raises
    ------
    ReferenceStudyError
        Where there is no MR image, or more than one patient or study.
    """
    if not path.exists():
        raise ReferenceStudyError(f"{path}: no such file or folder")
    headers = [header for header in _headers(path) if header.get("Modality") == "MR"]
    if not headers:
        raise ReferenceStudyError(f"{path}: no MR images")
    for keyword in ("PatientID", "StudyInstanceUID"):
        # The values themselves would identify the patient in a log.
        if len({str(header.get(keyword, "")) for header in headers}) > 1:
            raise ReferenceStudyError(f"{path}: images of more than one {keyword}; hand in one study")
    groups: dict[str, list[tuple[Plane, Dataset]]] = {}
    for header in headers:
        for plane in _planes(header):
            groups.setdefault(str(header.SeriesInstanceUID), []).append((plane, header))
    series = tuple(
        ReferenceSeries(UID(uid), str(images[0][1].get("SeriesNumber", "")), _frame_of_reference(images), tuple(images))
        for uid, images in groups.items()
    )
    return Reference(headers[0], series)


def find_grid(
    reference: Reference, affine: NDArray[np.floating], shape: tuple[int, int, int], volumes: int, thickness: float
) -> FrameGrid:
    """Find the series of the reference that a volume lies on.

    Where several series have its slices, those with as many images of each as the scan has volumes are preferred, or
    no image is named as the source.

    Parameters
    ----------
    reference : Reference
    affine, shape
        Of the volume.
    volumes : int
        Of the scan that it was made from.
    thickness : float
        Of a slice, mm.

    Raises
    ------
    ReferenceStudyError
        Where no series has all slices, or several have that don't share a frame of reference.
    """
    for swapped, flipped, planes in arrangements(affine, shape):
        fitting = [series for series in reference.series if all(series.image_of(plane) for plane in planes)]
        if not fitting:
            continue
        same_length = [series for series in fitting if series.times_of(planes[0]) == volumes]
        chosen = same_length or fitting
        frames_of_reference = {series.frame_of_reference for series in chosen}
        if len(frames_of_reference) > 1:
            numbers = ", ".join(series.number for series in chosen)
            raise ReferenceStudyError(f"series {numbers} have these slices in different frames of reference")
        images = [image for plane in planes if (image := chosen[0].image_of(plane)) is not None]
        return FrameGrid(
            swapped, flipped, tuple(plane for plane, _ in images), thickness, chosen[0].frame_of_reference,
            _distinct(header for _, header in images), len(chosen) == 1,
        )  # fmt: skip
    raise ReferenceStudyError("no series of the reference has its slices (position, orientation, spacing and size)")


def _headers(path: Path) -> Iterator[Dataset]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        try:
            yield dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, OSError, EOFError):
            continue


def _planes(header: Dataset) -> Iterator[Plane]:
    """Planes of the frames of an image; none of what lies nowhere."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        if "ImagePositionPatient" in header and "ImageOrientationPatient" in header and "PixelSpacing" in header:
            yield _plane(header, header, header, header)
        return
    shared = header.SharedFunctionalGroupsSequence[0]
    for frame in header.PerFrameFunctionalGroupsSequence:
        groups = []
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
            group = frame.get(name) or shared.get(name)
            if not group:
                return
            groups.append(group[0])
        yield _plane(header, *groups)


def _plane(header: Dataset, position: Dataset, orientation: Dataset, measures: Dataset) -> Plane:
    return Plane(
        np.array(position.ImagePositionPatient, float),
        np.array(orientation.ImageOrientationPatient, float),
        np.array(measures.PixelSpacing, float),
        (int(header.Rows), int(header.Columns)),
    )


def _frame_of_reference(images: Iterable[tuple[Plane, Dataset]]) -> UID:
    return UID(next((str(h.FrameOfReferenceUID) for _, h in images if h.get("FrameOfReferenceUID")), ""))


def _distinct(headers: Iterable[Dataset]) -> tuple[Dataset, ...]:
    """Each image once; of several files that hold many frames the first, since only one can stand for all."""
    found = {str(header.SOPInstanceUID): header for header in headers}
    some = tuple(found.values())
    return some[:1] if "NumberOfFrames" in some[0] else some
