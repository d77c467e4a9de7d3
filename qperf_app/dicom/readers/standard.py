"""What the standard says of one image, in the same words for classic and for enhanced multi-frame files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from qperf_app.dicom import values as v
from qperf_app.dicom.frames import FileRef, Frame, Header
from qperf_app.dicom.keywords import CLOCKS, CODES, HINTS, IDENTITY, IMAGE, NUMBERS, READ
from qperf_app.dicom.readers.vendors import MODELS, vendor_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = {"1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"}
#: Values of ``ImageType`` or ``ComplexImageComponent`` that no magnitude image of a series has, with what they mean.
OTHER_IMAGES: Mapping[str, str] = {
    "DERIVED": "derived image", "SECONDARY": "secondary image", "LOCALIZER": "localiser",
    "P": "phase image", "PHASE": "phase image", "PHASE MAP": "phase image", "VELOCITY": "velocity image",
    "VELOCITY MAP": "velocity image", "R": "real part", "REAL": "real part", "I": "imaginary part",
    "IMAGINARY": "imaginary part", "MPR": "reformatted image", "MIP": "projection", "PROJECTION IMAGE": "projection",
    "T1 MAP": "map", "T2 MAP": "map", "T2_STAR MAP": "map", "PERFUSION MAP": "map", "MAP": "map",
}  # fmt: skip
#: More than any file has: numbers the frames of several files one after the other.
_FRAMES_PER_FILE = 1_000_000
_STRESS_STATES = {"109091", "109095", "432655005", "434161005"}
_REST_STATES = {"128975004"}

#: What :func:`header` looks at; everything else that is read may differ from image to image.
_OF_HEADER = frozenset((*IDENTITY, *HINTS, *IMAGE, *NUMBERS, *CODES)) - {
    "SOPInstanceUID", "InstanceNumber", "AcquisitionDate", "ContentDate", "ImagePositionPatient", "RescaleSlope",
    "RescaleIntercept",
}  # fmt: skip

#: Keyword to value of what one frame is told by.
Fields = dict[str, Any]


def frames_of(dataset: Dataset) -> Iterator[tuple[v.Lookup, Fields]]:
    """For each frame a lookup by keyword, with the private fields of vendors' sequences left to their readers.

    In an enhanced file a frame's own functional groups come before the shared ones, and these before the top level; in
    a converted one the classic attributes are a functional group too.
    """
    top = _top_level(dataset)
    per_frame = top("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        yield top, {}
        return
    shared = _flat(next(iter(top("SharedFunctionalGroupsSequence") or ()), None))
    for item in per_frame:
        own = {**shared, **_flat(item)}
        yield _lookup(own, top), own


@cache
def _keywords() -> dict[int, str]:
    """Keyword of each element that may be read, by tag."""
    from pydicom.datadict import tag_for_keyword

    tags = {tag_for_keyword(keyword): keyword for keyword in READ}
    return {int(tag): keyword for tag, keyword in tags.items() if tag is not None}


def _top_level(dataset: Dataset) -> v.Lookup:
    """Lookup at the top level; most fields of most files are absent, which pydicom tells by an exception."""
    keywords = _keywords()
    present = {keywords[tag]: tag for tag in map(int, dataset.keys()) if tag in keywords}
    return lambda keyword: dataset[present[keyword]].value if keyword in present else None


def _lookup(own: Fields, top: v.Lookup) -> v.Lookup:
    return lambda keyword: own[keyword] if keyword in own else top(keyword)


def raw_header(dataset: Dataset) -> tuple[Any, ...] | None:
    """The header's fields as they stand in the file: what is the same gives the same :class:`Header`.

    None for a multi-frame file, whose fields are in sequences.
    """
    keywords = _keywords()
    raw = []
    for tag in list(dataset.keys()):
        if keywords.get(int(tag)) in _OF_HEADER:
            element = dataset.get_item(tag)
            value = getattr(element, "value", None)
            if getattr(element, "VR", None) == "SQ" or not isinstance(value, bytes | str | int | None):
                return None
            raw.append((int(tag), value))
    return tuple(raw)


def _flat(groups: Any) -> Fields:
    """Elements of all functional groups of a frame by keyword; private ones by ``(creator, group, element)``."""
    found: Fields = {}
    if groups is None:
        return found
    for group in groups:
        if group.VR != "SQ" or not group.value:
            continue
        for element in group.value[0]:
            if element.keyword:
                found[element.keyword] = element.value
            elif element.tag.is_private and element.private_creator:
                found[private_name(element.private_creator, element.tag.group, element.tag.element)] = element.value
    return found


def private_name(creator: str, group: int, element: int) -> str:
    """Name of a private element, whatever block it lies in."""
    return f"{creator} ({group:04X},xx{element & 0xFF:02X})"


def header(lookup: v.Lookup) -> Header:
    """What the images of a series share."""
    kept: Fields = {}
    for keyword in NUMBERS:
        found = lookup(keyword)
        if keyword == "AcquisitionMatrix":
            matrix = v.numbers(found, 4)
            if matrix and any(matrix):
                kept[keyword] = tuple(int(n) for n in matrix if n)
        elif (value := v.number(found)) is not None:
            kept[keyword] = value
    for keyword in CODES:
        if codes := v.words(lookup(keyword)):
            kept[keyword] = codes
    kept.update(_contrast(lookup))
    name = v.text(lookup("SequenceName") or lookup("PulseSequenceName"))
    kept["SequenceName"] = name
    drug = _texts(lookup("InterventionDrugInformationSequence"), "InterventionDrugName")
    words = " ".join(v.text(lookup(k)) for k in ("SeriesDescription", "ProtocolName", "ImageComments"))
    patient = v.text(lookup("PatientID")) or v.text(lookup("PatientName"))
    image_type = v.words(lookup("FrameType") or lookup("ImageType"))
    day = next((d for k in ("SeriesDate", "StudyDate") if (d := v.days(lookup(k))) is not None), 0.0)
    begin = next((t for k in ("SeriesTime", "StudyTime") if (t := v.seconds_of_day(lookup(k))) is not None), None)
    spacing = v.numbers(lookup("PixelSpacing"), 2)
    model = v.text(lookup("ManufacturerModelName"))
    return Header(
        patient=hashlib.sha256(patient.encode()).hexdigest() if patient else "",
        study=v.text(lookup("StudyInstanceUID")),
        series=v.text(lookup("SeriesInstanceUID")),
        frame_of_reference=v.text(lookup("FrameOfReferenceUID")),
        series_number=v.whole(lookup("SeriesNumber")),
        begin=None if begin is None else day + begin,
        words=" ".join((words, _state(lookup("AcquisitionContextSequence")), drug)).lower(),
        vendor=vendor_of(v.text(lookup("Manufacturer"))),
        model=next((name for name in MODELS if name.upper() in model), ""),
        modality=_modality(lookup),
        image_type=image_type,
        rows=v.whole(lookup("Rows")) or 0,
        columns=v.whole(lookup("Columns")) or 0,
        spacing=spacing or (0.0, 0.0),
        burnt_in=v.text(lookup("BurnedInAnnotation")) == "YES",
        left_out=_left_out(lookup, image_type, spacing),
        values=kept,
    )


def _modality(lookup: v.Lookup) -> str:
    """Modality; an anonymiser may have left its storage class only."""
    storage = v.text(lookup("SOPClassUID"))
    return v.text(lookup("Modality")) or ("MR" if storage == MR_IMAGE or storage in ENHANCED else "")


def _monochrome(lookup: v.Lookup) -> bool:
    return (v.text(lookup("PhotometricInterpretation")) or "MONOCHROME2").startswith("MONOCHROME")


def _left_out(lookup: v.Lookup, image_type: tuple[str, ...], spacing: Any) -> str:
    """Why images with this header are no part of a series; empty where they may be."""
    modality, storage = _modality(lookup), v.text(lookup("SOPClassUID"))
    if modality != "MR":
        return f"modality {modality[:8] if modality.isalnum() else 'unknown'}"
    if not lookup("Rows") or not lookup("Columns"):
        return "no image"
    if (v.whole(lookup("SamplesPerPixel")) or 1) != 1 or not _monochrome(lookup):
        return "colour image"
    kinds = [*image_type, *v.words(lookup("ComplexImageComponent"))]
    other = next((OTHER_IMAGES[kind] for kind in kinds if kind in OTHER_IMAGES), "")
    if other:
        return other
    if storage and storage != MR_IMAGE and storage not in ENHANCED:
        return "not stored as an MR image"
    if spacing is None or min(spacing) <= 0:
        return "no pixel spacing"
    return ""


def frame(shared: Header, lookup: v.Lookup, file: FileRef, index: int) -> Frame:
    """One image."""
    number = v.whole(lookup("InstanceNumber"))
    if lookup("PerFrameFunctionalGroupsSequence") is not None:
        number = _FRAMES_PER_FILE * (number or 0) + index
    return Frame(
        header=shared,
        file=file,
        index=index,
        uid=v.text(lookup("SOPInstanceUID")),
        instance=number,
        temporal_position=v.whole(lookup("TemporalPositionIndex") or lookup("TemporalPositionIdentifier")),
        position=v.numbers(lookup("ImagePositionPatient"), 3),
        orientation=v.numbers(lookup("ImageOrientationPatient"), 6),
        clocks=_clocks(lookup),
        flip_angle=v.number(lookup("FlipAngle")),
        echo_time=_first(lookup, "EchoTime", "EffectiveEchoTime"),
        inversion_time=_first(lookup, "InversionTime", "InversionTimes"),
        interval=_interval(lookup),
        saturated=_saturated(lookup),
        slope=v.number(lookup("RescaleSlope")) or 1.0,
        intercept=v.number(lookup("RescaleIntercept")) or 0.0,
    )


def _clocks(lookup: v.Lookup) -> dict[str, float]:
    clocks: dict[str, float] = {}
    for keyword, factor in CLOCKS.items():
        value = lookup(keyword)
        if value is None:
            continue
        if factor is not None:
            time = v.number(value)
            time = None if time is None else time * factor
        elif keyword.endswith("DateTime"):
            time = v.moment(value)
        else:
            time = v.seconds_of_day(value)
            dates = (keyword.replace("Time", "Date"), "AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
            day = next((d for k in dates if (d := v.days(lookup(k))) is not None), 0.0)
            time = None if time is None else day + time
        if time is not None:
            clocks[keyword] = time
    return clocks


def _first(lookup: v.Lookup, *keywords: str) -> float | None:
    return next((n for keyword in keywords if (n := v.number(lookup(keyword))) is not None), None)


def _interval(lookup: v.Lookup) -> float | None:
    """Time from one R wave to the next, s, where it is one that a heart has."""
    candidates = [_first(lookup, "NominalInterval", "RRIntervalTimeNominal")]
    rate = v.number(lookup("HeartRate"))
    candidates.append(60_000.0 / rate if rate else None)
    return next((ms / 1e3 for ms in candidates if ms is not None and 250 <= ms <= 3000), None)


def _saturated(lookup: v.Lookup) -> bool | None:
    """Whether the header tells of a preparation pulse before the read-out."""
    told = v.text(lookup("SaturationRecovery"))
    if told in ("YES", "NO"):
        return told == "YES"
    options, variant = v.words(lookup("ScanOptions")), v.words(lookup("SequenceVariant"))
    if "SR" in options or "MP" in variant or "IR" in v.words(lookup("ScanningSequence")):
        return True
    time = _first(lookup, "InversionTime", "InversionTimes")
    if time is not None:
        return time > 0
    return False if options or variant else None


def _contrast(lookup: v.Lookup) -> Fields:
    """Volume and concentration of enhanced files, which are in sequences of their own."""
    found: Fields = {}
    for sequence in ("ContrastBolusAgentSequence", "ContrastAdministrationProfileSequence"):
        for item in lookup(sequence) or ():
            for keyword in ("ContrastBolusVolume", "ContrastBolusIngredientConcentration"):
                if (value := v.number(item.get(keyword))) is not None:
                    found[keyword] = value
            for code in item.get("ContrastBolusIngredientCodeSequence") or ():
                found["ContrastBolusIngredient"] = v.words(code.get("CodeMeaning"))
            for profile in item.get("ContrastAdministrationProfileSequence") or ():
                if (value := v.number(profile.get("ContrastBolusVolume"))) is not None:
                    found["ContrastBolusVolume"] = value
    agent = " ".join(
        (v.text(lookup("ContrastBolusAgent")), _texts(lookup("ContrastBolusAgentSequence"), "CodeMeaning"))
    )
    found["ContrastBolusAgent"] = agent.strip()
    return found


def _texts(sequence: Any, keyword: str) -> str:
    return " ".join(v.text(item.get(keyword)) for item in sequence or ())


def _state(context: Any) -> str:
    """ "STRESS" or "REST" where the acquisition context says so in a code."""
    codes = {v.text(code.get("CodeValue")) for item in context or () for code in item.get("ConceptCodeSequence") or ()}
    return "STRESS" if codes & _STRESS_STATES else "REST" if codes & _REST_STATES else ""
