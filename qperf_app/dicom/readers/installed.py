"""The readers that come with the app, and the choice among all by content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qperf_app.dicom.readers.ge import GEReader
from qperf_app.dicom.readers.generic import GenericReader
from qperf_app.dicom.readers.interface import Reader
from qperf_app.dicom.readers.philips import PhilipsReader
from qperf_app.dicom.readers.siemens import SiemensReader
from qperf_app.dicom.readers.united_imaging import UnitedImagingReader

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: The last one reads whatever the standard allows.
BUILT_IN: tuple[Reader, ...] = (
    SiemensReader(),
    PhilipsReader(),
    GEReader(),
    UnitedImagingReader(),
    GenericReader(),
)


def reader_for(dataset: Dataset, readers: Sequence[Reader]) -> Reader:
    """The first reader whose kind the dataset is."""
    return next(reader for reader in readers if reader.reads(dataset))
