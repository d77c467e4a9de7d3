"""GE, classic and enhanced.

``TriggerTime`` counts from the start of the scan and is the only true clock: ``AcquisitionTime`` and ``ContentTime``
tell when images were made. ``MagneticFieldStrength`` may be in gauss, ``InversionTime`` ends at the centre of k-space,
and ``ScanningSequence`` may be RM (research mode), which says nothing of the read-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qperf_app.dicom import values as v
from qperf_app.dicom.readers.generic import GenericReader
from qperf_app.dicom.readers.vendors import vendor_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class GEReader(GenericReader):
    """Reads GE's files; the standard's fields are enough."""

    name = "ge"

    def reads(self, dataset: Dataset) -> bool:
        """Where ``Manufacturer`` says so."""
        return vendor_of(v.text(dataset.get("Manufacturer"))) == "GE"
