"""Which read-out the metadata name: spoiled gradient echo (FLASH), bSSFP or EPI.

A signal equation holds for its own read-out only, so that what is not named, or named in two ways, is not known.
Fields have the names of BIDS, which are those of DICOM; the DICOM import asks the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qperf_app.physics.sequences.sequence import READ_OUTS, ReadOut

#: Spin echo, with or without an echo-planar read-out: none of those whose signal is computed here.
SPIN_ECHO = "spin echo"

#: Words of descriptions. Balanced ones are looked for first: "balanced TFE" is no TFE.
_WORDS: Mapping[str, re.Pattern[str]] = {
    "bSSFP": re.compile(r"true\s*-?fisp|tru\s?fi|balanced|ssfp|free.precession|fiesta|b-?tfe|b-?ffe", re.I),
    "EPI": re.compile(r"echo.?planar|(?<![a-z])epi(?![a-z])|fgre-?et", re.I),
    SPIN_ECHO: re.compile(r"spin.?echo|\b[tf]se\b|haste|(?-i:\bSE\b)", re.I),
    "FLASH": re.compile(r"flash|spgr|spoiled|(?<![a-z])tfl(?![a-z])", re.I),
}  # fmt: skip
_UNBALANCED = re.compile(r"(?<!b)(?<!b-)tfe|t1-?ffe|turbo.field.echo", re.I)
#: Siemens' names of sequences: "*tfl2d1_48", "tfiperf2d1", "epfid2d1_128".
_SEQUENCE_NAME = re.compile(r"[*_]?(tfi|tfl|fl|epse|ep)[a-z]*[23]d", re.I)
_SEQUENCES = {"tfi": "bSSFP", "tfl": "FLASH", "fl": "FLASH", "ep": "EPI", "epse": SPIN_ECHO}
_TEXTS = ("PulseSequenceType", "PulseSequenceDetails", "SequenceName")


@dataclass(frozen=True)
class NamedReadOut:
    """What the metadata say.

    Attributes
    ----------
    readout : {"FLASH", "bSSFP", "EPI"} or None
        None where it is not known.
    reason : str
        Why it is not known, as a phrase; else empty.
    fields : tuple of str
        Fields that name a read-out, this or another one.
    """

    readout: ReadOut | None
    reason: str
    fields: tuple[str, ...]

    @property
    def contradictory(self) -> bool:
        """Whether fields name a read-out, but not one whose signal is known."""
        return self.readout is None and bool(self.fields)


def named_readout(metadata: Mapping[str, Any]) -> NamedReadOut:
    """Read-out after saturation that the metadata of a series name.

    ``ScanningSequence`` SE counts for nothing beside a field that names bSSFP: scanners write it of such series.
    """
    named = list(_named(metadata))
    if any(readout == "bSSFP" for _, readout in named):
        named = [(field, readout) for field, readout in named if (field, readout) != ("ScanningSequence", SPIN_ECHO)]
    fields = tuple(dict.fromkeys(field for field, _ in named))
    readouts = list(dict.fromkeys(readout for _, readout in named))
    prepared = next((name for name in _TEXTS[:2] if re.search("inversion", str(metadata.get(name, "")), re.I)), None)
    if prepared:
        return NamedReadOut(None, f"{prepared} is {metadata[prepared]!r}: inversion, not saturation", (prepared,))
    if not readouts:
        return NamedReadOut(None, f"no field names the read-out ({_TEXTS[0]})", ())
    if len(readouts) > 1:
        words = ", ".join(f"{field} {metadata[field]!r} ({readout})" for field, readout in named)
        return NamedReadOut(None, f"fields contradict each other about the read-out: {words}", fields)
    for known in READ_OUTS:
        if readouts == [known]:
            return NamedReadOut(known, "", fields)
    return NamedReadOut(None, f"{fields[0]} is {metadata[fields[0]]!r}: {readouts[0]}", fields)


def readouts_in_words(text: str) -> list[str]:
    """Read-outs that a description names, each once."""
    found = [readout for readout, pattern in _WORDS.items() if pattern.search(text)]
    return found or (["FLASH"] if _UNBALANCED.search(text) else [])


def readout_of_name(sequence_name: str) -> str:
    """Read-out that a name of Siemens' sequences tells; empty for another name."""
    match = _SEQUENCE_NAME.match(sequence_name)
    return _SEQUENCES[match[1].lower()] if match else ""


def readout_of_codes(scanning: Collection[str], variant: Collection[str]) -> tuple[str, str]:
    """Read-out that ``ScanningSequence`` and ``SequenceVariant`` tell, and the field that decides; both may be empty.

    SE alone is a spin echo, EP with it a spin echo with an echo-planar read-out.
    """
    if "SE" in scanning and "GR" not in scanning:
        return SPIN_ECHO, "ScanningSequence"
    if "EP" in scanning:
        return "EPI", "ScanningSequence"
    if "SP" in variant:
        return "FLASH", "SequenceVariant"
    return ("bSSFP", "SequenceVariant") if "SS" in variant else ("", "")


def _named(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Field and read-out, for each field that names one."""
    for field in _TEXTS:
        text = metadata.get(field)
        if isinstance(text, str):
            of_name = readout_of_name(text) if field == "SequenceName" else ""
            for readout in [of_name] if of_name else readouts_in_words(text):
                yield field, readout
    readout, field = readout_of_codes(*(_codes(metadata.get(n)) for n in ("ScanningSequence", "SequenceVariant")))
    if readout:
        yield field, readout


def _codes(value: Any) -> set[str]:
    """Codes of a field that DICOM lists with backslashes and BIDS as a list or one string."""
    parts = value if isinstance(value, list | tuple) else [value] if isinstance(value, str) else []
    return {code.upper() for part in parts for code in re.split(r"[\\/_,;\s]+", str(part)) if code}
