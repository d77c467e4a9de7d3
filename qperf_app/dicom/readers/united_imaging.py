"""United Imaging: close to the standard, with ``AcquisitionTime`` of each image, or enhanced multi-frame files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qperf_app.dicom import values as v
from qperf_app.dicom.readers.generic import GenericReader
from qperf_app.dicom.readers.vendors import vendor_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class UnitedImagingReader(GenericReader):
    """Reads United Imaging's files; the standard's fields are enough."""

    name = "united-imaging"

    def reads(self, dataset: Dataset) -> bool:
        """Where ``Manufacturer`` says so."""
        return vendor_of(v.text(dataset.get("Manufacturer"))) == "United Imaging"
