"""Fields of a sidecar that are written nearly as one that is known, and would be passed over in silence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qperf_app.checks.findings import Finding, doubt
from qperf_app.checks.ranges import FIELDS
from qperf_app.checks.timing import FRAME_TIMES, TIMING

#: Fields that decide about the result (``bids_spec/``).
KNOWN = tuple(
    dict.fromkeys(
        (
            TIMING, FRAME_TIMES, *(entry.name for entry in FIELDS), "Units", "ProtonDensityVolumeCount", "SliceTiming",
            "SliceEncodingDirection", "PulseSequenceType", "ScanningSequence", "SequenceVariant",
            "SaturationEfficiency",
            "SpoilingRFPhaseIncrement", "Catalysation", "CatalysationExcitations", "ContrastBolusIngredient",
            "PatientWeight",
        )
    )
)  # fmt: skip
#: What people write that is not near in letters.
_SPELLINGS: Mapping[str, str] = {"hct": "Haematocrit"}
#: Likeness of two names from which one may be a slip of the other: a letter or two, or a last word that is missing.
_ALIKE = 0.85
_BY_SMALL = {name.lower(): name for name in KNOWN}


def spelling_findings(file: str, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """Doubt every field whose name is nearly that of a known one."""
    for name in metadata:
        meant = known_field(name)
        if meant:
            yield doubt(file, meant, f"{name} is no field that is read: is it {meant}?")


def slip_for(field: str, names: Iterable[str]) -> str:
    """The name that stands for a field by a slip; empty where none does."""
    return next((name for name in names if known_field(name) == field), "")


def known_field(name: str) -> str:
    """The known field that another name is a slip of; empty for a known field, and for one of BIDS' or DICOM's own."""
    small = name.lower()
    meant = "" if name in KNOWN else _SPELLINGS.get(small, "") or _BY_SMALL.get(small.replace("_", ""), "")
    if meant or name in KNOWN:
        return meant
    # BIDS tells EchoTime1 from EchoTime, and which direction is encoded by the first word.
    same = [other for other in _BY_SMALL if other[0] == small[:1] and not any(map(str.isdigit, small))]
    close = difflib.get_close_matches(small, same, n=1, cutoff=_ALIKE)
    return _BY_SMALL[close[0]] if close and not _in_dicom(name) else ""


def _in_dicom(name: str) -> bool:
    """Whether DICOM has a keyword of this name."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(name) is not None
