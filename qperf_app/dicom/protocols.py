"""What no header holds, once for each scanner protocol, in a file that the user fills in and keeps.

A protocol is recognised by technical values alone, so that the file names nobody and no place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qperf_app.bids.whole import replace_text
from qperf_app.methods.yaml_files import load_yaml

#: Name of the file in a dataset's ``code`` folder, where ``--protocol`` names no other.
DEFAULT_NAME = "import_protocols.yaml"

#: Fields that are asked for where the header has none: unit and what they are.
ASKED: Mapping[str, str] = {
    "SaturationDelayTime": "s, centre of the saturation pulse to the first excitation of the read-out",
    "RepetitionTimeExcitation": "s, from one excitation of the read-out to the next",
    "ExcitationsToKSpaceCenter": "number of the excitation at the centre of k-space, counted from 1",
    "PulseSequenceType": "read-out: Saturation-recovery FLASH, Saturation-recovery bSSFP, Saturation-recovery EPI",
    "EchoTime": "s",
    "FlipAngle": "degrees, of the dynamic frames",
    "MagneticFieldStrength": "T",
}
#: Further fields that a protocol may have; they stand over what the header says.
OPTIONAL: Mapping[str, str] = {
    "ProtonDensityFlipAngle": "degrees, of the proton-density frames, where the header gives one flip angle for all",
    "ProtonDensityVolumeCount": "leading frames that are proton-density weighted",
    "ContrastBolusIngredientConcentration": "mg/mL of the active ingredient in the agent as injected",
}
#: Least and greatest value of each number.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "SaturationDelayTime": (1e-4, 5.0),
    "RepetitionTimeExcitation": (1e-4, 1.0),
    "ExcitationsToKSpaceCenter": (1, 10_000),
    "EchoTime": (1e-5, 1.0),
    "FlipAngle": (0.1, 180.0),
    "MagneticFieldStrength": (0.01, 15.0),
    "ProtonDensityFlipAngle": (0.1, 180.0),
    "ProtonDensityVolumeCount": (0, 100),
    "ContrastBolusIngredientConcentration": (0.1, 2000.0),
}
_INTEGERS = ("ExcitationsToKSpaceCenter", "ProtonDensityVolumeCount")
_READOUTS = tuple(f"{preparation}{name}" for preparation in ("Saturation-recovery ", "Inversion-recovery ", "")
                  for name in ("FLASH", "bSSFP", "EPI"))  # fmt: skip
#: Key under which the technical values stand that a protocol is recognised by; for the reader, not read back.
_ABOUT = "about"


class ProtocolError(Exception):
    """The protocol file can't be used; the message is one line."""


@dataclass(frozen=True)
class Protocol:
    """A scanner protocol as content tells it.

    Parameters
    ----------
    about : mapping
        Technical values that it is recognised by.
    missing : tuple of str
        Names of :data:`ASKED` that neither header nor file gives.
    """

    about: Mapping[str, Any]
    missing: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Ten hexadecimal digits that are a function of :attr:`about`."""
        text = json.dumps(self.about, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def read_protocols(path: Path) -> dict[str, dict[str, Any]]:
    """Filled-in values by fingerprint; empty where there is no file yet.

    Raises
    ------
    ProtocolError
        Naming file, protocol and field.
    """
    import yaml

    if not path.exists():
        return {}
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProtocolError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(entry, dict | None) for entry in content.values()):
        raise ProtocolError(f"{path}: must hold protocols, each with fields")
    return {str(name): _checked(path, str(name), entry or {}) for name, entry in content.items()}


def _checked(path: Path, name: str, entry: Mapping[Any, Any]) -> dict[str, Any]:
    found = {}
    for key, value in entry.items():
        if key == _ABOUT or value is None:
            continue
        if key not in ASKED and key not in OPTIONAL:
            known = ", ".join((*ASKED, *OPTIONAL))
            raise ProtocolError(f"{path}: protocol {name}: {key} is unknown; fields are {known}")
        if key == "PulseSequenceType":
            if value not in _READOUTS:
                raise ProtocolError(f"{path}: protocol {name}: {key} is {value!r}; choose from {', '.join(_READOUTS)}")
            found[key] = value
            continue
        least, most = _LIMITS[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ProtocolError(f"{path}: protocol {name}: {key} is {value!r}; expected {least:g} to {most:g}")
        if key in _INTEGERS and int(value) != value:
            raise ProtocolError(f"{path}: protocol {name}: {key} is {value!r}; expected a whole number")
        found[key] = int(value) if key in _INTEGERS else value
    return found


def add_protocols(path: Path, protocols: Iterable[Protocol]) -> list[str]:
    """Append protocols that the file doesn't have yet, ready to fill in; what stands there stays as it is.

    Returns the fingerprints that were added. The file is not touched where there are none.
    """
    known = set(read_protocols(path))
    new = {p.fingerprint: p for p in protocols if p.missing and p.fingerprint not in known}
    if not new:
        return []
    before = path.read_text(encoding="utf-8") if path.exists() else _INTRODUCTION
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, before.rstrip("\n") + "\n" + "".join(_block(new[name]) for name in sorted(new)))
    return sorted(new)


def _block(protocol: Protocol) -> str:
    lines = ["", f"'{protocol.fingerprint}':", f"  {_ABOUT}: {json.dumps(dict(protocol.about), ensure_ascii=False)}"]
    for name in protocol.missing:
        lines.append(f"  {name}: null  # {ASKED[name]}")
    return "\n".join([*lines, ""])


_INTRODUCTION = """\
# What no DICOM header holds, once for each scanner protocol. Fill in, keep this file, and run qperf import again;
# a protocol is recognised by the technical values in its line "about", which are not read back.
# Until the values are there the dataset is valid and flow is relative.
#
# Also allowed in a protocol, over what the header says:
""" + "".join(f"#   {name}: {meaning}\n" for name, meaning in {**ASKED, **OPTIONAL}.items())
