"""Philips, classic and enhanced.

Values are stored scaled for the display, differently in each series: (stored x RescaleSlope + RescaleIntercept) /
(RescaleSlope x scale slope) is what can be compared (Chenevert et al., Transl Oncol 2014;7:65-71). ``AcquisitionTime``
may be the start of the scan in all images; ``TriggerTime`` the delay after the R wave, or the time in the scan; a
private element holds when each dynamic began. ``InstanceNumber`` need not follow time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qperf_app.dicom import values as v
from qperf_app.dicom.frames import READOUT, Frame
from qperf_app.dicom.readers.generic import GenericReader
from qperf_app.dicom.readers.standard import private_name
from qperf_app.dicom.readers.vendors import vendor_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CREATOR = "Philips MR Imaging DD 001"
SCALE_SLOPE = (_CREATOR, 0x2005, 0x0E)
SCANNING_TECHNIQUE = ("Philips Imaging DD 001", 0x2001, 0x20)
DYNAMIC_SCAN_BEGIN_TIME = (_CREATOR, 0x2005, 0xA0)

#: Part of the scanning technique's name, first match, and the read-out that it means.
READOUTS: Mapping[str, str] = {
    "EPI": "EPI", "B-TFE": "bSSFP", "BTFE": "bSSFP", "B-FFE": "bSSFP", "BFFE": "bSSFP", "BALANCED": "bSSFP",
    "TFE": "FLASH", "FFE": "FLASH",
}  # fmt: skip


class PhilipsReader(GenericReader):
    """Reads Philips' files."""

    name = "philips"
    private = (SCALE_SLOPE, SCANNING_TECHNIQUE, DYNAMIC_SCAN_BEGIN_TIME)

    def reads(self, dataset: Dataset) -> bool:
        """Where ``Manufacturer`` says so."""
        return vendor_of(v.text(dataset.get("Manufacturer"))) == "Philips"

    def finish(self, found: Frame, hints: Mapping[str, Any]) -> Frame:
        """Scale the values back, and add when the dynamic of the image began to the clocks."""
        name = private_name(*DYNAMIC_SCAN_BEGIN_TIME)
        time = v.number(hints.get(name))
        if time is not None:
            found = replace(found, clocks={**found.clocks, f"dynamic scan begin time, {name}": time})
        technique = v.text(hints.get(private_name(*SCANNING_TECHNIQUE)))
        readout = next((kind for word, kind in READOUTS.items() if word in technique), "")
        if readout:
            values = {
                **found.header.values,
                READOUT: (readout, f"scanning technique, {private_name(*SCANNING_TECHNIQUE)}"),
            }
            found = replace(found, header=replace(found.header, values=values))
        scale = v.number(hints.get(private_name(*SCALE_SLOPE)))
        if scale is None or scale <= 0:
            return found
        return replace(found, slope=1.0 / scale, intercept=found.intercept / (found.slope * scale))
