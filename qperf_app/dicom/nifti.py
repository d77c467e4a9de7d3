"""NIfTI files with JSON sidecars, as dcm2niix and what calls it write them, as frames.

Converters split a perfusion series: a file for each slice, another for the proton-density images. Taken as frames, the
slices are joined, timed and described by the same code as those of DICOM. The clock is ``FrameTimesStart`` (or
``VolumeTiming``); where there is neither, a ``RepetitionTime`` that a heart beat can have is the constant step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.dicom import values as v
from qperf_app.dicom.frames import PULSE_SPACING, FileRef, Frame, Header, Problem
from qperf_app.dicom.keywords import CODES
from qperf_app.dicom.readers.standard import OTHER_IMAGES
from qperf_app.dicom.readers.vendors import MODELS, vendor_of

EXTENSIONS = (".nii", ".nii.gz")
#: Numbers in the unit that DICOM has.
_SAME_UNIT = (
    "MagneticFieldStrength", "ImagingFrequency", "SliceThickness", "SpacingBetweenSlices", "EchoTrainLength",
    "PercentSampling", "PixelBandwidth", "ContrastBolusVolume", "ContrastBolusTotalDose",
    "ContrastBolusIngredientConcentration",
)  # fmt: skip
#: The same under the name that converters give it.
_RENAMED = {"PhaseEncodingSteps": "NumberOfPhaseEncodingSteps"}
#: A step from frame to frame, s, that is one of heart beats.
_BEAT = (0.25, 15.0)
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def nifti_frames(sources: Sequence[Path]) -> tuple[list[Frame], list[Problem]]:
    """Frames of all NIfTI files of the sources (files and folders), and files that can't be read."""
    frames: list[Frame] = []
    problems: list[Problem] = []
    for path in _files(sources):
        try:
            frames += _frames(path)
        except DatasetError as error:
            problems.append(Problem(FileRef(str(path)), str(error).removeprefix(f"{path}: ")))
    return frames, problems


def is_nifti(path: str) -> bool:
    """Whether a path names a NIfTI file."""
    return path.lower().endswith(EXTENSIONS)


def _files(sources: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for source in sources:
        paths = sorted(source.rglob("*")) if source.is_dir() else [source]
        found.update({path: None for path in paths if is_nifti(path.name) and path.is_file()})
    return list(found)


def _frames(path: Path) -> list[Frame]:
    """One frame for each slice of each volume; its index is volume times slices plus slice."""
    import nibabel as nib

    try:
        image: Any = nib.load(path)
    except Exception as error:
        raise DatasetError(f"{path}: is not readable as NIfTI ({' '.join(str(error).split())})") from None
    sidecar = read_json(sidecar_path(path)) if sidecar_path(path).is_file() else {}
    shape = (*image.shape, 1, 1)[:4]
    affine = np.asarray(image.affine, np.float64)
    header = _header(path, sidecar, affine, shape, image.ndim)
    orientation = tuple((_RAS_TO_LPS[:, None] * affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)).T.ravel())
    clocks, interval = _clocks(path, sidecar, shape)
    flips = _each(sidecar.get("FlipAngle"), shape[3])
    saturated = None if header.left_out else _saturated(header)
    frames = []
    for t in range(shape[3]):
        for k in range(shape[2]):
            position = _RAS_TO_LPS * (affine[:3, :3] @ [0.0, 0.0, k] + affine[:3, 3])
            frames.append(Frame(
                header=header, file=FileRef(str(path)), index=t * shape[2] + k, uid=str(path),
                instance=t * shape[2] + k, temporal_position=t + 1, position=tuple(position), orientation=orientation,
                clocks=clocks(t, k), flip_angle=flips[t], echo_time=_milliseconds(sidecar, "EchoTime"),
                inversion_time=_milliseconds(sidecar, "InversionTime"), interval=interval, saturated=saturated,
            ))  # fmt: skip
    return frames


def _header(
    path: Path, sidecar: Mapping[str, Any], affine: NDArray[np.float64], shape: Sequence[int], ndim: int
) -> Header:
    values: dict[str, Any] = {}
    for name in _SAME_UNIT:
        if (number := v.number(sidecar.get(name))) is not None:
            values[name] = number
    for name, keyword in _RENAMED.items():
        if (number := v.number(sidecar.get(name))) is not None:
            values[keyword] = number
    for name in ("RepetitionTime", "RepetitionTimeExcitation"):
        if (milliseconds := _milliseconds(sidecar, name)) is not None:
            values["RepetitionTime"], values[PULSE_SPACING] = milliseconds, name
    values.setdefault("SpacingBetweenSlices", float(np.linalg.norm(affine[:3, 2])))
    for name in CODES:
        if codes := _codes(sidecar.get(name)):
            values[name] = codes
    values["SequenceName"] = v.text(sidecar.get("SequenceName")).lstrip("_*")
    values["ContrastBolusAgent"] = v.text(sidecar.get("ContrastBolusAgent"))
    number = v.whole(sidecar.get("SeriesNumber"))
    begin = _start(sidecar)
    kinds = _codes(sidecar.get("ImageType"))
    words = (sidecar.get("SeriesDescription"), sidecar.get("ProtocolName"), path.name.split(".")[0])
    model = v.text(sidecar.get("ManufacturersModelName"))
    other = next((OTHER_IMAGES[kind] for kind in kinds if kind in OTHER_IMAGES), "")
    return Header(
        patient="", study="",
        # Without a start the files' clocks have nothing in common.
        series=str(path) if number is None or begin is None else f"{path.parent} {number}",
        frame_of_reference="", series_number=number, begin=begin,
        words=" ".join(v.text(word) for word in words).lower(),
        vendor=vendor_of(v.text(sidecar.get("Manufacturer"))),
        model=next((name for name in MODELS if name.upper() in model), ""),
        modality=v.text(sidecar.get("Modality")) or "MR", image_type=kinds, rows=shape[1], columns=shape[0],
        spacing=(float(np.linalg.norm(affine[:3, 1])), float(np.linalg.norm(affine[:3, 0]))), burnt_in=False,
        left_out=other or ("" if ndim in (3, 4) else f"has {ndim} dimensions"), values=values,
    )  # fmt: skip


def _clocks(path: Path, sidecar: Mapping[str, Any], shape: Sequence[int]) -> tuple[Any, float | None]:
    """Clocks of a frame by volume and slice, and the constant step that stands for them where there are none.

    Files of one series have one clock only by their ``AcquisitionTime``, so that all times count from it.
    """
    start = _start(sidecar)
    base = start or 0.0
    name, times = _volume_times(path, sidecar, shape[3])
    step = None if name else _step(sidecar)
    offsets = [offset or 0.0 for offset in _each(sidecar.get("SliceTiming"), shape[2])]
    trigger = v.number(sidecar.get("TriggerDelayTime")) if shape[3] == 1 else None

    def clocks(t: int, k: int) -> dict[str, float]:
        found = {} if start is None else {"AcquisitionTime": start}
        if name:
            found[name] = base + times[t] + offsets[k]
        elif start is not None and step is not None:
            found["AcquisitionTime, RepetitionTime"] = start + t * step + offsets[k]
        elif start is not None and shape[3] == 1:
            # A lone volume began when the file did.
            found |= dict.fromkeys(("FrameTimesStart", "AcquisitionTime, RepetitionTime"), start + offsets[k])
        if trigger is not None:
            found["TriggerDelayTime"] = 1e-3 * trigger + offsets[k]
        return found

    return clocks, step


def _volume_times(path: Path, sidecar: Mapping[str, Any], n: int) -> tuple[str, list[float]]:
    """Name and values, s, of the list of volumes' times; empty where there is none."""
    name = next((name for name in ("VolumeTiming", "FrameTimesStart") if name in sidecar), "")
    if not name:
        return "", []
    times = [time for time in _each(sidecar[name], n) if time is not None]
    if not isinstance(sidecar[name], list) or len(times) != n:
        raise DatasetError(f"{path}: {name} must be a list of {n} numbers, one for each volume")
    return name, times


def _step(sidecar: Mapping[str, Any]) -> float | None:
    """``RepetitionTime`` where it is one of heart beats; ``pixdim[4]`` is 1 where nobody set it, and never taken."""
    step = v.number(sidecar.get("RepetitionTime"))
    return step if step is not None and _BEAT[0] <= step <= _BEAT[1] else None


def _start(sidecar: Mapping[str, Any]) -> float | None:
    text = str(sidecar.get("AcquisitionTime", ""))
    # dcm2niix writes seconds below ten with one digit.
    match = re.fullmatch(r"(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d+)?)", text)
    return None if match is None else 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def _each(value: Any, count: int) -> list[float | None]:
    """A value for each of ``count``: of a list of as many, or the same for all."""
    if isinstance(value, list):
        return [v.number(part) for part in value] if len(value) == count else [None] * count
    return [v.number(value)] * count


def _milliseconds(sidecar: Mapping[str, Any], name: str) -> float | None:
    seconds = v.number(sidecar.get(name))
    return None if seconds is None else round(1e3 * seconds, 6)


def _codes(value: Any) -> tuple[str, ...]:
    """Codes of a list, or of a text in which converters join them by underscores or backslashes."""
    parts = value if isinstance(value, list) else re.split(r"[_\\]", str(value)) if value else []
    return v.words(parts)


def _saturated(header: Header) -> bool | None:
    options, variant = header.values.get("ScanOptions", ()), header.values.get("SequenceVariant", ())
    if "SR" in options or "MP" in variant:
        return True
    return False if options or variant else None
