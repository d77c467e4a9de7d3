"""How the images were read out: spoiled gradient echo (FLASH), bSSFP or EPI, and after what preparation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qperf_app.dicom.frames import READOUT, Frame, Header
from qperf_app.physics.sequences import READ_OUTS
from qperf_app.physics.sequences.readout import readout_of_codes, readout_of_name, readouts_in_words

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
    of_name = readout_of_name(str(values.get("SequenceName", ""))) if header.vendor == "Siemens" else ""
    for readout, origin in ((of_name, "SequenceName"), _enhanced(values), _classic(values)):
        if readout in READ_OUTS:
            return readout, origin
    described = [readout for readout in readouts_in_words(header.words) if readout in READ_OUTS]
    return (described[0], "SeriesDescription or ProtocolName") if len(described) == 1 else ("", "")


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
    if "EP" not in scanning and "GR" not in scanning:
        return "", ""
    readout, field = readout_of_codes(scanning, variant)
    return readout, field if field == "ScanningSequence" else f"ScanningSequence, {field}"


def preparation(frames: Sequence[Frame]) -> str:
    """ "Saturation-recovery " or "Inversion-recovery " where the header tells of a preparation, else empty."""
    last = frames[-1]
    if "IR" in last.header.values.get("ScanningSequence", ()) or "YES" in last.header.values.get(
        "InversionRecovery", ()
    ):
        return "Inversion-recovery "
    return "Saturation-recovery " if last.saturated else ""
