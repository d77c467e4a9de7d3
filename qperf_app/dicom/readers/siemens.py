"""Siemens, VA to XA, classic and enhanced.

Numaris 4 (VA to VE) writes classic images. ``AcquisitionTime`` is each image's own; ``TriggerTime`` is the delay after
the R wave; ``RepetitionTime`` is the whole shot's; ``ScanningSequence`` of a bSSFP read-out may be SE, and
``SequenceName`` tells it. XA writes enhanced multi-frame files with ``FrameAcquisitionDateTime``, or classic copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qperf_app.dicom import values as v
from qperf_app.dicom.frames import Frame
from qperf_app.dicom.readers.generic import GenericReader
from qperf_app.dicom.readers.standard import private_name
from qperf_app.dicom.readers.vendors import vendor_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: s from the first image of the series.
TIME_AFTER_START = ("SIEMENS MR HEADER", 0x0019, 0x16)


class SiemensReader(GenericReader):
    """Reads Siemens' files."""

    name = "siemens"
    private = (TIME_AFTER_START,)

    def reads(self, dataset: Dataset) -> bool:
        """Where ``Manufacturer`` says so."""
        return vendor_of(v.text(dataset.get("Manufacturer"))) == "Siemens"

    def finish(self, found: Frame, hints: Mapping[str, Any]) -> Frame:
        """Add ``TimeAfterStart`` to the clocks."""
        name = private_name(*TIME_AFTER_START)
        time = v.number(hints.get(name))
        return found if time is None else replace(found, clocks={**found.clocks, f"TimeAfterStart, {name}": time})
