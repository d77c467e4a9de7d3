"""How the images were read out: spoiled gradient echo (FLASH), bSSFP or EPI, and after what preparation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qperf_app.dicom.frames import READOUT, Frame, Header

#: Start of Siemens' sequence names, longest first.
_SEQUENCE_NAMES: Mapping[str, str] = {"TFI": "bSSFP", "TFL": "FLASH", "FL": "FLASH", "EP": "EPI"}
#: Words of a description, where no field tells.
_WORDS: Mapping[str, str] = {
    "trufi": "bSSFP", "truefisp": "bSSFP", "ssfp": "bSSFP", "fiesta": "bSSFP", "btfe": "bSSFP", "b-tfe": "bSSFP",
    "bffe": "bSSFP", "flash": "FLASH", "spgr": "FLASH", "tfl": "FLASH", "epi": "EPI",
}  # fmt: skip
#: A sequence's name that is a vendor's, and so may be written.
SEQUENCE_NAME = re.compile(r"\*?(tfi|tfl|fl|ep|epfid)(perf)?[23]d\d{1,3}(_\d{1,3})?")


def find_readout(header: Header) -> tuple[str, str]:
    """Read-out and the field that tells it; both empty where nothing does.

    ``SequenceName`` comes before ``ScanningSequence``, which may say SE of a bSSFP read-out.
    """
    values = header.values
    if READOUT in values:
        readout, origin = values[READOUT]
        return str(readout), str(origin)
    name = str(values.get("SequenceName", "")).lstrip("*")
    if header.vendor == "Siemens":
        for start, readout in _SEQUENCE_NAMES.items():
            if name.startswith(start):
                return readout, "SequenceName"
    for told in (_enhanced(values), _classic(values)):
        if told[0]:
            return told
    for word, readout in _WORDS.items():
        if word in header.words:
            return readout, "SeriesDescription or ProtocolName"
    return "", ""


def _enhanced(values: Mapping[str, Any]) -> tuple[str, str]:
    if "YES" in values.get("EchoPlanarPulseSequence", ()):
        return "EPI", "EchoPlanarPulseSequence"
    if any("FREE_PRECESSION" in code for code in values.get("SteadyStatePulseSequence", ())):
        return "bSSFP", "SteadyStatePulseSequence"
    spoiled = any(code in ("RF", "RF_AND_GRADIENT") for code in values.get("Spoiling", ()))
    if "GRADIENT" in values.get("EchoPulseSequence", ()) and spoiled:
        return "FLASH", "EchoPulseSequence, Spoiling"
    return "", ""


def _classic(values: Mapping[str, Any]) -> tuple[str, str]:
    scanning, variant = values.get("ScanningSequence", ()), values.get("SequenceVariant", ())
    if "EP" in scanning:
        return "EPI", "ScanningSequence"
    if "GR" in scanning and "SP" in variant:
        return "FLASH", "ScanningSequence, SequenceVariant"
    if "GR" in scanning and "SS" in variant:
        return "bSSFP", "ScanningSequence, SequenceVariant"
    return "", ""


def preparation(frames: Sequence[Frame]) -> str:
    """ "Saturation-recovery " or "Inversion-recovery " where the header tells of a preparation, else empty."""
    last = frames[-1]
    if "IR" in last.header.values.get("ScanningSequence", ()) or "YES" in last.header.values.get(
        "InversionRecovery", ()
    ):
        return "Inversion-recovery "
    return "Saturation-recovery " if last.saturated else ""
