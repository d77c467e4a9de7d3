"""The sidecar of an imported series: each value with where it comes from, and what is missing.

Nothing reaches the sidecar but what is listed here: numbers, and words of closed lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qperf_app import __version__
from qperf_app.dicom.doses import contrast_fields
from qperf_app.dicom.frames import PULSE_SPACING, Frame
from qperf_app.dicom.protocols import ASKED, Protocol
from qperf_app.dicom.readout import SEQUENCE_NAME, find_readout, preparation
from qperf_app.dicom.roles import Role
from qperf_app.dicom.timing import Timed

#: A ``RepetitionTime`` up to this is the spacing of the excitations, ms; a longer one is a shot's or a beat's.
_LONGEST_PULSE_SPACING = 20.0
#: Larmor frequency of hydrogen, MHz/T.
_LARMOR = 42.577
#: Field strengths of scanners, T.
_FIELDS = (0.2, 0.35, 0.4, 0.55, 1.0, 1.2, 1.5, 3.0, 5.0, 7.0)
_CODES: Mapping[str, frozenset[str]] = {
    "ScanningSequence": frozenset(("SE", "IR", "GR", "EP", "RM")),
    "SequenceVariant": frozenset(("SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE")),
    "MRAcquisitionType": frozenset(("2D", "3D")),
}
PROTOCOL_FILE, FROM_PIXELS = "protocol file", "derived: the first images are brighter"


@dataclass
class Sidecar:
    """Metadata as they are gathered.

    Attributes
    ----------
    fields, origins : dict
        Value, and where it comes from, by field.
    remarks : list of str
    """

    fields: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def set(self, name: str, value: Any, origin: str) -> None:
        """Set a field."""
        self.fields[name], self.origins[name] = value, origin

    def content(self) -> dict[str, Any]:
        """What is written."""
        software = {"ConversionSoftware": "qperf import", "ConversionSoftwareVersion": __version__}
        return {**self.fields, **software, "ImportedFrom": self.origins}


def describe(
    role: Role, timed: Timed, protocols: Mapping[str, Mapping[str, Any]], brighter: int = 0
) -> tuple[Sidecar, Protocol]:
    """Sidecar of a series, and the protocol whose file may have more.

    Parameters
    ----------
    role : Role
    timed : Timed
    protocols : mapping
        Content of the protocol file.
    brighter : int
        How many leading volumes the pixels show to be without saturation.
    """
    sidecar = Sidecar()
    frames = timed.frames[0]
    _set_scan(sidecar, role, timed)
    _set_sequence(sidecar, frames)
    count, origin = proton_density_count(timed)
    if brighter > count:
        count, origin = brighter, FROM_PIXELS
    _set_flip_angles(sidecar, frames, count, origin)
    for name, value, source in contrast_fields(role.stack):
        sidecar.set(name, value, source)
    about = _about(role, frames[-1], sidecar)
    protocol = Protocol(about)
    _apply(sidecar, protocols.get(protocol.fingerprint, {}), len(frames))
    return sidecar, Protocol(about, tuple(name for name in ASKED if name not in sidecar.fields))


def proton_density_count(timed: Timed) -> tuple[int, str]:
    """Leading volumes that the headers tell to be proton-density weighted, and how."""
    frames = timed.frames[0]
    if timed.apart:
        return timed.apart, "a series of its own"
    flips = [frame.flip_angle for frame in frames]
    main = _usual(flips)
    if main is not None:
        count = next((i for i, flip in enumerate(flips) if flip is None or abs(flip - main) <= 0.5), len(flips))
        if 0 < count < len(flips) / 2:
            return count, "FlipAngle"
    late = [frame.saturated for frame in frames[len(frames) // 2 :]]
    if all(late):
        count = next((i for i, frame in enumerate(frames) if frame.saturated is not False), len(frames))
        if 0 < count < len(frames) / 2:
            return count, "saturation (ScanOptions, SequenceVariant, InversionTime or SaturationRecovery)"
    return 0, ""


def _set_scan(sidecar: Sidecar, role: Role, timed: Timed) -> None:
    header = role.stack.header
    sidecar.set("TaskName", role.task, role.task_origin)
    for name, value in (("Modality", "MR"), ("BodyPart", "HEART"), ("Units", "arbitrary")):
        sidecar.fields[name] = value
    if header.vendor:
        sidecar.set("Manufacturer", header.vendor, "Manufacturer")
    if header.model:
        sidecar.set("ManufacturersModelName", header.model, "ManufacturerModelName")
    clock = role.stack.clock
    derived = "derived: " if clock is not None and clock.derived else ""
    sidecar.set("VolumeTiming", [round(float(t), 6) for t in timed.volumes], f"{derived}{timed.source}")
    if np.abs(timed.slices).max() > 5e-4:
        sidecar.set("SliceTiming", [round(float(t), 6) for t in timed.slices], f"{derived}{timed.source}")
    for name in ("SliceThickness", "SpacingBetweenSlices"):
        if header.values.get(name, 0.0) > 0:
            sidecar.set(name, header.values[name], name)
    strength, origin = field_strength(header.values)
    if strength:
        sidecar.set("MagneticFieldStrength", strength, origin)


def field_strength(values: Mapping[str, Any]) -> tuple[float, str]:
    """Field strength, T, also where the header has gauss or mT, or only the Larmor frequency; 0 where it has none."""
    given = values.get("MagneticFieldStrength", 0.0)
    candidates = [(given / scale, unit) for scale, unit in ((1.0, ""), (1e4, ", gauss"), (1e3, ", mT"))]
    for strength, unit in candidates:
        near = min(_FIELDS, key=lambda known: abs(known - strength))
        if abs(strength - near) <= 0.1 * near:
            return (strength if unit == "" else round(strength, 4)), f"MagneticFieldStrength{unit}"
    for name in ("ImagingFrequency", "TransmitterFrequency"):
        strength = values.get(name, 0.0) / _LARMOR
        near = min(_FIELDS, key=lambda known: abs(known - strength))
        if abs(strength - near) <= 0.1 * near:
            return near, f"derived: {name}"
    return 0.0, ""


def _set_sequence(sidecar: Sidecar, frames: Sequence[Frame]) -> None:
    last = frames[-1]
    values = last.header.values
    readout, origin = find_readout(last.header)
    if readout:
        sidecar.set("PulseSequenceType", f"{preparation(frames)}{readout}", origin)
    for name, allowed in _CODES.items():
        codes = [code for code in values.get(name, ()) if code in allowed]
        if codes and not (name == "ScanningSequence" and _contradicts(codes, readout)):
            sidecar.set(name, codes[0] if len(codes) == 1 else codes, name)
        elif codes:
            sidecar.remarks.append(f"{name} says {', '.join(codes)}, but the read-out is {readout} ({origin})")
    name = str(values.get("SequenceName", "")).lower()
    if SEQUENCE_NAME.fullmatch(name):
        sidecar.set("SequenceName", name, "SequenceName")
    time, told = values.get("RepetitionTime", 0.0), values.get(PULSE_SPACING, "RepetitionTime")
    if 0 < time <= _LONGEST_PULSE_SPACING:
        sidecar.set("RepetitionTimeExcitation", _seconds(time), told)
    elif time:
        sidecar.remarks.append(f"{told} {time:g} ms is that of a shot or a beat, not the excitations' spacing")
    if last.echo_time and 0 < last.echo_time < 1000:
        sidecar.set("EchoTime", _seconds(last.echo_time), "EchoTime")
    if last.inversion_time and 0 < last.inversion_time < 5000:
        sidecar.set("InversionTime", _seconds(last.inversion_time), "InversionTime")


def _contradicts(codes: Sequence[str], readout: str) -> bool:
    """Whether a spin echo is told where the read-out is a gradient echo."""
    return bool(readout) and "SE" in codes


def _set_flip_angles(sidecar: Sidecar, frames: Sequence[Frame], count: int, origin: str) -> None:
    if count:
        sidecar.set("ProtonDensityVolumeCount", count, origin)
    flips = [frame.flip_angle for frame in frames]
    if any(flip is None or not 0 < flip <= 360 for flip in flips):
        return
    same = len(set(flips)) == 1
    sidecar.set("FlipAngle", flips[0] if same else flips, "FlipAngle")
    if count and same:
        sidecar.remarks.append("FlipAngle is the same for proton-density and other frames; is that so?")


def _apply(sidecar: Sidecar, given: Mapping[str, Any], n: int) -> None:
    """Let the protocol file's values stand over the header's."""
    for name, value in given.items():
        if name in ("FlipAngle", "ProtonDensityFlipAngle"):
            continue
        sidecar.set(name, value, PROTOCOL_FILE)
    readout = sidecar.fields.get("PulseSequenceType")
    if "SaturationDelayTime" in given and readout in ("FLASH", "bSSFP", "EPI"):
        origin = sidecar.origins["PulseSequenceType"]
        sidecar.set("PulseSequenceType", f"Saturation-recovery {readout}", f"{origin}; SaturationDelayTime")
    count = sidecar.fields.get("ProtonDensityVolumeCount", 0)
    if "FlipAngle" not in given and "ProtonDensityFlipAngle" not in given:
        return
    known = sidecar.fields.get("FlipAngle")
    flips = known if isinstance(known, list) else [known] * n
    dynamic = given.get("FlipAngle", flips[-1])
    weighted = [given["ProtonDensityFlipAngle"]] * count if "ProtonDensityFlipAngle" in given else flips[:count]
    if dynamic is None or None in weighted:
        return
    angles = [*weighted, *[dynamic] * (n - count)]
    sidecar.set("FlipAngle", angles if len(set(angles)) > 1 else dynamic, PROTOCOL_FILE)


def _about(role: Role, frame: Frame, sidecar: Sidecar) -> dict[str, Any]:
    """Technical values that tell one scanner protocol from another."""
    values, header = frame.header.values, frame.header
    about: dict[str, Any] = {
        "series": "input function" if role.kind == "aif" else "tissue",
        "vendor": header.vendor or "unknown",
        "tesla": round(sidecar.fields.get("MagneticFieldStrength", 0.0), 2) or None,
        "readout": sidecar.fields.get("PulseSequenceType"),
        "matrix": "x".join(str(n) for n in values.get("AcquisitionMatrix", (header.columns, header.rows))),
        "phase_lines": _rounded(
            values.get("NumberOfPhaseEncodingSteps", values.get("MRAcquisitionPhaseEncodingStepsInPlane")), 0
        ),
        "percent_sampling": _rounded(values.get("PercentSampling"), 0),
        "repetition_time_ms": _rounded(values.get("RepetitionTime"), 1),
        "echo_time_ms": _rounded(frame.echo_time, 2),
        "inversion_time_ms": _rounded(frame.inversion_time, 0),
        "flip_angle": _rounded(frame.flip_angle, 0),
        "bandwidth_hz_per_pixel": _rounded(values.get("PixelBandwidth"), 0),
    }
    return {name: value for name, value in about.items() if value is not None}


def _rounded(value: float | None, digits: int) -> float | int | None:
    if value is None:
        return None
    return round(value) if digits == 0 else round(float(value), digits)


def _seconds(milliseconds: float) -> float:
    return round(float(milliseconds) / 1e3, 9)


def _usual(values: Sequence[float | None]) -> float | None:
    """The value of most frames of the second half."""
    late = [value for value in values[len(values) // 2 :] if value is not None]
    return max(set(late), key=late.count) if late else None
