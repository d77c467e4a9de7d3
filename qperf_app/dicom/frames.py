"""What is known of one image from its header, whoever made the scanner.

These records live in memory only. What of them may be written is decided in :mod:`qperf_app.dicom.metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Vector = tuple[float, ...]
#: Key of :attr:`Header.values` under which a reader may tell the read-out (FLASH, bSSFP, EPI) and where it says so.
READOUT = "Readout"
#: Key under which a reader may tell what ``RepetitionTime`` was called.
PULSE_SPACING = "RepetitionTimeField"


@dataclass(frozen=True, slots=True, order=True)
class FileRef:
    """A file, or a member of a zip archive."""

    path: str
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else self.path


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that gave no image, and why, in one line."""

    file: FileRef
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Header:
    """What many images of a series share.

    Parameters
    ----------
    patient, study, series, frame_of_reference : str
        Which images belong together; patient is a digest.
    series_number : int or None
    begin : float or None
        Start of the series, s, for the order of series and studies.
    words : str
        Descriptions in lower case: searched for words such as "stress", never kept.
    vendor, model : str
        From closed lists, empty where not on them.
    modality : str
    image_type : tuple of str
    rows, columns : int
    spacing : (float, float)
        mm between rows and between columns.
    burnt_in : bool
        ``BurnedInAnnotation`` is YES.
    left_out : str
        Why images with this header are not taken; empty where they are.
    values : mapping
        Technical fields by DICOM keyword, units as in DICOM.
    """

    patient: str
    study: str
    series: str
    frame_of_reference: str
    series_number: int | None
    begin: float | None
    words: str
    vendor: str
    model: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    spacing: Vector
    burnt_in: bool
    left_out: str
    values: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One image.

    Parameters
    ----------
    header : Header
        Shared with other images.
    file, index : FileRef, int
        Where its pixels are; the index counts frames from 0.
    uid : str
        ``SOPInstanceUID``: the same image may come twice.
    instance : int or None
        ``InstanceNumber``, or the number within a multi-frame file.
    temporal_position : int or None
    position, orientation : (3,) and (6,) tuples, or None
        ``ImagePositionPatient`` (mm, LPS+) and ``ImageOrientationPatient``.
    clocks : mapping of str to float
        Every time that the header gives, s, by the field that it comes from.
    flip_angle : float or None
        Degrees.
    echo_time, inversion_time : float or None
        ms.
    interval : float or None
        s from one R wave to the next.
    saturated : bool or None
        Whether the header tells of a saturation or preparation pulse; None where it says nothing.
    slope, intercept : float
        Value = slope * stored + intercept.
    """

    header: Header
    file: FileRef
    index: int
    uid: str
    instance: int | None
    temporal_position: int | None
    position: Vector | None
    orientation: Vector | None
    clocks: Mapping[str, float] = field(hash=False)
    flip_angle: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    interval: float | None = None
    saturated: bool | None = None
    slope: float = 1.0
    intercept: float = 0.0
