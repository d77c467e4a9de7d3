"""The manners of the vendors: what each writes where, as far as real headers and their converters' reports show.

No vendor's header is imitated whole. What is here is what a conversion has to cope with: which field holds the true
clock, what repetition and inversion time mean, how images are numbered, scaled and put into files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydicom.dataset import Dataset

from qperf_app.dicom.scanner.acquisition import Shot, StoredSeries
from qperf_app.dicom.scanner.clock import date_time, time_of_day

#: Lines of k-space that a read-out has beyond the ones up to its centre.
_LINES_PER_HALF = 2

Fields = dict[str, Any]


@dataclass(frozen=True)
class Scaling:
    """Stored value = (value - intercept) / slope, rounded. ``header`` holds the slope and intercept of the header where
    they are others, as of a vendor who scales for the display and keeps the measured scale in private fields."""

    slope: float
    intercept: float = 0.0
    header: tuple[float, float] | None = None


@dataclass(frozen=True)
class Manner:
    """How one vendor and generation stores a series.

    Parameters
    ----------
    summary : str
    files : {"image", "volume", "series"}
        What one file holds. A file of one image is classic MR Image Storage, the others Enhanced MR Image Storage.
    equipment : mapping
        DICOM keyword to value, the same in all images.
    image : callable
        Fields of one image, of its series and the start of the study in s of the day. Of a multi-frame file, only the
        fields of its top level.
    scaling : callable
        From the largest value of a series; None for values stored as they are.
    slices_first : bool
        Whether images are numbered slice by slice and not volume by volume.
    signed : bool
        ``PixelRepresentation``.
    frame_clock : {"acquisition", "reference"}
        Which of a frame's date-times is its own, the other being the start of the series. Of multi-frame files.
    private : callable, optional
        Adds private elements to an image.
    described : bool
        Whether series and protocol have names.
    """

    summary: str
    files: Literal["image", "volume", "series"]
    equipment: Mapping[str, Any]
    image: Callable[[StoredSeries, Shot, float], Fields]
    scaling: Callable[[float], Scaling] | None = None
    slices_first: bool = False
    signed: bool = False
    frame_clock: Literal["acquisition", "reference"] = "acquisition"
    private: Callable[[Dataset, StoredSeries, Shot, Scaling], None] | None = None
    described: bool = True


def to_centre(series: StoredSeries) -> float:
    """Saturation to the centre of k-space, ms, as vendors give it for an inversion time."""
    sidecar = series.metadata
    excitations = sidecar.get("ExcitationsToKSpaceCenter", 1) * sidecar.get("RepetitionTimeExcitation", 0.0)
    return 1e3 * float(sidecar.get("SaturationDelayTime", 0.0) + excitations)


def shot_length(series: StoredSeries) -> float:
    """Trigger delay, saturation and the whole read-out, ms: what some vendors give for a repetition time."""
    sidecar = series.metadata
    lines = _LINES_PER_HALF * sidecar.get("ExcitationsToKSpaceCenter", 1)
    return 1e3 * float(sidecar.get("SaturationDelayTime", 0.0) + lines * sidecar.get("RepetitionTimeExcitation", 0.0))


def _pulse_spacing(series: StoredSeries) -> float:
    return float(1e3 * series.metadata.get("RepetitionTimeExcitation", 0.0))


def _siemens(series: StoredSeries, shot: Shot, day: float) -> Fields:
    """Each image's own ``AcquisitionTime``; ``TriggerTime`` is the delay after the R wave; the images are ready some
    10 s later (``ContentTime``, which follows the computer); the repetition time is the whole shot's."""
    acquired = day + series.start + shot.time
    ready = acquired + 9.9 + 0.004 * ((7 * shot.frame + 3 * shot.slice) % 5)
    lag = shot.saturated
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanningSequence": "GR",
        "SequenceVariant": ["SP", "MP"] if lag else "SP",
        "ScanOptions": ["SR", "CT"] if lag else "CT",
        "SequenceName": f"*tfl2d1_{_LINES_PER_HALF * series.metadata.get('ExcitationsToKSpaceCenter', 1)}",
        "AcquisitionTime": time_of_day(acquired),
        "ContentTime": time_of_day(ready),
        "TriggerTime": round(1e3 * shot.delay, 1),
        "NominalInterval": round(1e3 * shot.interval),
        "RepetitionTime": round(shot_length(series), 2),
        "InversionTime": round(to_centre(series)) if lag else None,
        "CardiacNumberOfImages": 1,
        "AcquisitionNumber": shot.frame + 1,
    }


def _philips(series: StoredSeries, shot: Shot, day: float) -> Fields:
    """``TriggerTime`` and a private field count from the start of the scan; ``AcquisitionTime`` is the scan's start in
    all images; volumes are numbered (``TemporalPositionIdentifier``)."""
    begin = day + series.start
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"],
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "ScanOptions": "CG",
        "AcquisitionTime": time_of_day(begin, 2),
        "ContentTime": time_of_day(begin, 2),
        "TriggerTime": round(1e3 * shot.time, 3),
        "HeartRate": round(60.0 / shot.interval),
        "RepetitionTime": _pulse_spacing(series),
        "TemporalPositionIdentifier": shot.frame + 1,
        "NumberOfTemporalPositions": series.frames,
        "AcquisitionNumber": series.number,
    }


def _philips_private(dataset: Dataset, series: StoredSeries, shot: Shot, scaling: Scaling) -> None:
    """Scale slope and intercept (value = stored / slope), and when the volume began."""
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0D, "FL", scaling.intercept)
    block.add_new(0x0E, "FL", 1.0 / scaling.slope)
    block.add_new(0xA0, "FL", shot.time - shot.delay)


def _ge(series: StoredSeries, shot: Shot, day: float) -> Fields:
    """``TriggerTime`` counts from the start of the scan and is the only true clock: ``AcquisitionTime`` and
    ``ContentTime`` are when images were made, in whole seconds, within two. Field strength is in gauss."""
    made = int(day + series.start) + int(3.0 * shot.frame / max(series.frames, 1))
    return {
        "MagneticFieldStrength": round(1e4 * series.metadata.get("MagneticFieldStrength", 0.0)),
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": ["CG", "VB_GEMS", "MP_GEMS"],
        "AcquisitionTime": time_of_day(made, 0),
        "ContentTime": time_of_day(made, 0),
        "TriggerTime": round(1e3 * shot.time),
        "NominalInterval": 6,
        "HeartRate": round(60.0 / shot.interval),
        "TriggerWindow": 40,
        "RepetitionTime": _pulse_spacing(series),
        "InversionTime": to_centre(series),
        "CardiacNumberOfImages": shot.frame + 1,
        "AcquisitionNumber": 0,
    }


def _united_imaging(series: StoredSeries, shot: Shot, day: float) -> Fields:
    """``AcquisitionTime`` and ``AcquisitionDateTime`` of each image; otherwise close to the standard."""
    acquired = day + series.start + shot.time
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NONE"],
        "ScanningSequence": "GR",
        "SequenceVariant": ["SP", "MP"] if shot.saturated else "SP",
        "ScanOptions": "CT",
        "AcquisitionTime": time_of_day(acquired),
        "AcquisitionDateTime": date_time(acquired),
        "ContentTime": time_of_day(acquired + 2.0),
        "TriggerTime": round(1e3 * shot.delay, 3),
        "NominalInterval": round(1e3 * shot.interval),
        "RepetitionTime": _pulse_spacing(series),
        "InversionTime": round(to_centre(series), 3) if shot.saturated else None,
        "TemporalPositionIdentifier": shot.frame + 1,
        "NumberOfTemporalPositions": series.frames,
        "AcquisitionNumber": shot.frame + 1,
    }


def _vendor_neutral(series: StoredSeries, shot: Shot, day: float) -> Fields:
    """What is left where an archive or an anonymiser has been: no vendor, no words, ``ContentTime`` for a clock."""
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "ScanOptions": None,
        "ContentTime": time_of_day(day + series.start + shot.time),
        "RepetitionTime": None,
        "TemporalPositionIdentifier": shot.frame + 1,
        "NumberOfTemporalPositions": series.frames,
    }


def _multi_frame(series: StoredSeries, shot: Shot, day: float) -> Fields:
    """Times are in the functional groups of the frames; the top level has the file's."""
    begin = day + series.start
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"],
        "AcquisitionDateTime": date_time(begin + shot.time),
        "ContentTime": time_of_day(begin + shot.time),
        "AcquisitionNumber": shot.frame + 1,
    }


def _twelve_bits(maximum: float) -> Scaling:
    slope = max(maximum, 1.0) / 4095.0
    return Scaling(slope)


def _displayed(maximum: float) -> Scaling:
    """Twelve bits; the header's slope leads to values for the display, some private fields to the measured ones."""
    scaling = _twelve_bits(maximum)
    return Scaling(scaling.slope, 0.0, (round(0.37 * scaling.slope, 6), 0.0))


#: The manners by name.
MANNERS: Mapping[str, Manner] = {
    "siemens": Manner(
        "Siemens before XA: an image per file",
        "image",
        {"Manufacturer": "SIEMENS", "ManufacturerModelName": "Aera", "SoftwareVersions": "syngo MR E11"},
        _siemens,
    ),
    "siemens-xa": Manner(
        "Siemens XA: enhanced, a volume per file",
        "volume",
        {"Manufacturer": "Siemens Healthineers", "ManufacturerModelName": "Sola", "SoftwareVersions": "syngo MR XA50"},
        _multi_frame,
    ),
    "philips": Manner(
        "Philips: an image per file, scaled for the display",
        "image",
        {"Manufacturer": "Philips Medical Systems", "ManufacturerModelName": "Ingenia", "SoftwareVersions": "5.6.1"},
        _philips,
        scaling=_displayed,
        slices_first=True,
        private=_philips_private,
    ),
    "philips-enhanced": Manner(
        "Philips: enhanced, a series per file",
        "series",
        {"Manufacturer": "Philips", "ManufacturerModelName": "Ingenia", "SoftwareVersions": "5.6.1"},
        _multi_frame,
        scaling=_twelve_bits,
        slices_first=True,
        frame_clock="reference",
    ),
    "ge": Manner(
        "GE: an image per file, the clock in TriggerTime",
        "image",
        {"Manufacturer": "GE MEDICAL SYSTEMS", "ManufacturerModelName": "SIGNA Artist", "SoftwareVersions": "29"},
        _ge,
        slices_first=True,
        signed=True,
    ),
    "united-imaging": Manner(
        "United Imaging: an image per file",
        "image",
        {"Manufacturer": "UIH", "ManufacturerModelName": "uMR 790", "SoftwareVersions": "uMR V10"},
        _united_imaging,
    ),
    "vendor-neutral": Manner(
        "no vendor: an image per file, only what every header must hold",
        "image",
        {"Manufacturer": None},
        _vendor_neutral,
        described=False,
    ),
}
