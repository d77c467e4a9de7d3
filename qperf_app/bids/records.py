"""The records of :mod:`qperf_app.plugins` as files of the contract, both ways.

What a step writes and what a user hands in are read by the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_image, read_json, sidecar_path, write_image
from qperf_app.bids.names import derivative_name, map_name, qc_name
from qperf_app.bids.sidecars import carried, describe, describe_image, quantity_in_words
from qperf_app.bids.tables import read_input_function, read_landmarks, write_input_function, write_landmarks
from qperf_app.checks.timing import with_timing
from qperf_app.geometry import Grid
from qperf_app.plugins import (
    BloodPools,
    ConcentrationSeries,
    InputFunction,
    KineticMaps,
    MapKey,
    Motion,
    Myocardium,
    QualityCode,
    Series,
    SpillOver,
    TissueConstants,
)
from qperf_app.plugins.keys import Role
from qperf_app.plugins.quality import legend

__all__ = ["read_landmarks"]

#: Fields that say when each slice was read.
SLICE_FIELDS = ("SliceTiming", "SliceEncodingDirection")
#: Neighbours of the muscle in words.
NEIGHBOURS: Mapping[str, str] = {
    "LV": "blood of the left ventricle",
    "RV": "blood of the right ventricle",
    "fat": "fat",
}


def read_series(path: Path, metadata: Mapping[str, Any] | None = None, onto: Grid | None = None) -> Series:
    """Read a series, its axes turned onto a grid; its sidecar is the metadata where none is given.

    Raises
    ------
    DatasetError
        When the image can't be read, is not four-dimensional, or does not agree with ``VolumeTiming``.
    """
    content = with_timing(metadata if metadata is not None else read_json(sidecar_path(path)))
    data, affine = read_image(path, onto=onto)
    times = np.asarray(content.get("VolumeTiming", ()), dtype=np.float64)
    if data.ndim != 4 or len(times) != data.shape[-1]:
        raise DatasetError(f"{path}: shape {data.shape} does not fit the {len(times)} times of VolumeTiming")
    return Series(data, times, affine, content)


def write_corrected(out: Path, prefix: str, series: Series, sources: Sequence[str]) -> Path:
    """Write a motion-corrected series."""
    path = out / derivative_name(prefix, "preproc")
    fields = {**carried(series.metadata), "VolumeTiming": series.times.tolist()}
    write_image(
        path, np.asarray(series.data, np.float32), series.affine,
        describe_image("Motion-corrected series", series.units, sources, **fields), measured=True,
    )  # fmt: skip
    return path


def read_motion(path: Path, onto: Grid | None = None) -> Motion:
    """Read a displacement field; frames are taken as corrected where the sidecar does not say otherwise.

    Turned onto a grid, its vectors stay as they are: they are mm in the world.
    """
    displacement, _ = read_image(path, onto=onto)
    if displacement.ndim != 5 or displacement.shape[-1] != 3:
        raise DatasetError(f"{path}: shape {displacement.shape}, expected (x, y, z, t, 3)")
    sidecar = read_json(sidecar_path(path)) if sidecar_path(path).is_file() else {}
    shape = displacement.shape[2:4]
    corrected = np.asarray(sidecar.get("CorrectedFrames", np.ones(shape, dtype=bool)), dtype=bool)
    cost, residual = (_by_frame(sidecar.get(name)) for name in ("RegistrationCost", "ResidualMotion"))
    return Motion(displacement, corrected.reshape(shape), cost, residual)


def _by_frame(values: Any) -> NDArray[np.float64] | None:
    """Numbers (z, t) of a sidecar, ``null`` as NaN; None where there are none."""
    return None if values is None else np.array([[np.nan if v is None else v for v in row] for row in values], float)


def write_motion(out: Path, prefix: str, motion: Motion, series: Series, sources: Sequence[str]) -> Path:
    """Write a displacement field, mm in the RAS+ world frame."""
    path = out / derivative_name(prefix, "xfm")
    fields: dict[str, Any] = {"CorrectedFrames": motion.corrected.tolist()}
    for name, values in (("RegistrationCost", motion.cost), ("ResidualMotion", motion.residual)):
        if values is not None:
            fields[name] = [[None if np.isnan(v) else round(float(v), 6) for v in row] for row in values]
    description = "Displacement of each frame, world RAS+: the corrected voxel at p is read from p + displacement"
    write_image(
        path, np.asarray(motion.displacement, np.float32), series.affine,
        describe_image(description, "mm", sources, **fields),
    )  # fmt: skip
    return path


def read_mask(path: Path, onto: Grid | None = None) -> NDArray[np.bool_]:
    """Read a mask, (x, y, z), its axes turned onto a grid.

    Raises
    ------
    DatasetError
        Naming the file, where it can't be read or has more than one volume.
    """
    data, _ = read_image(path, onto=onto)
    data = data[..., 0] if data.ndim == 4 and data.shape[-1] == 1 else data
    if data.ndim != 3:
        raise DatasetError(f"{path}: shape {data.shape}; a mask has one volume")
    inside: NDArray[np.bool_] = np.nan_to_num(data) > 0.5
    return inside


def read_pools(paths: Mapping[Any, Path]) -> BloodPools:
    """Read blood pools. Without input-function voxels the whole left ventricle stands for them."""
    _, affine = read_image(paths["lv"])
    lv = read_mask(paths["lv"])
    rv = read_mask(paths["rv"]) if "rv" in paths else np.zeros_like(lv)
    aif = read_mask(paths["aif-voxels"]) if "aif-voxels" in paths else lv
    return BloodPools(lv, rv, aif, affine)


def write_pools(out: Path, prefix: str, pools: BloodPools, sources: Sequence[str]) -> dict[Role, Path]:
    """Write the blood pools, the left one with its estimated Dice, and the voxels of the input function."""
    descriptions = {
        "lv": ("Left-ventricular blood pool", pools.lv),
        "rv": ("Right-ventricular blood pool", pools.rv),
        "aif-voxels": ("Voxels that the arterial input function is averaged over", pools.aif),
    }
    files: dict[Role, Path] = {}
    for role, (description, mask) in descriptions.items():
        if role == "rv" and not mask.any():
            continue
        files[role] = out / derivative_name(prefix, role)
        fields = _estimated(pools.estimated_dice) if role == "lv" else {}
        write_image(files[role], mask, pools.affine, describe_image(description, "1", sources, Type="ROI", **fields))
    return files


def _estimated(dice: Sequence[float]) -> dict[str, Any]:
    """Field of a mask's sidecar: estimated Dice of each slice, None where there is no outline."""
    return {"EstimatedDice": [round(d, 3) if np.isfinite(d) else None for d in dice]} if dice else {}


def read_aif(path: Path) -> InputFunction:
    """Read an input function without the frames that have no concentration."""
    aif = read_input_function(path)
    keep = np.isfinite(aif.concentration)
    signal = None if aif.signal is None else aif.signal[keep]
    return replace(aif, times=aif.times[keep], concentration=aif.concentration[keep], signal=signal)


def write_aif(
    out: Path,
    prefix: str,
    aif: InputFunction,
    haematocrit: float,
    sources: Sequence[str],
    role: str = "aif",
    more: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, float]]:
    """Write an input function with its features and ``more`` fields of its sidecar; returns the features as well."""
    from qperf_app.physics.input_function import find_features

    keep = np.isfinite(aif.concentration)
    found = find_features(aif.times[keep], aif.concentration[keep])
    features = {
        "foot": found.foot,
        "peak": found.peak,
        "valley": found.valley,
        "duration": found.first_pass_duration,
        "area": found.area,
        "peak_value": found.peak_value,
    }
    fields = {key: None if np.isnan(value) else round(float(value), 6) for key, value in features.items()}
    if aif.log_peak_sd:
        fields["peak_value_log_sd"] = round(aif.log_peak_sd, 6)
    path = out / derivative_name(prefix, role)
    sidecar = describe("Arterial input function", aif.units, sources, Haematocrit=0 if aif.plasma else haematocrit)
    write_input_function(path, aif, {**sidecar, **fields, **(more or {})})
    return path, features


#: What a series of concentration is of, after its quantity, by role.
_OF_CONCENTRATION: Mapping[str, str] = {
    "conc": "",
    "muscle": " in the muscle of each voxel of the wall",
    "muscle-shift": " in the muscle: change where each voxel holds one standard deviation more blood",
}


def write_concentration(
    out: Path, prefix: str, series: Series, converted: ConcentrationSeries, sources: Sequence[str], role: str = "conc"
) -> Path:
    """Write the concentration of the dynamic volumes: in each voxel, in its muscle, or by how much that may change."""
    path = out / derivative_name(prefix, role)
    kept = ("Haematocrit", *SLICE_FIELDS)
    fields = {name: series.metadata[name] for name in kept if name in series.metadata}
    fields["VolumeTiming"] = series.dynamic().times.tolist()
    description = "Gadolinium concentration" if converted.units == "mmol/L" else "Relative gadolinium concentration"
    description += _OF_CONCENTRATION[role]
    write_image(
        path, converted.data.astype(np.float32), series.affine,
        describe_image(description, converted.units, sources, **fields), measured=role == "conc",
    )  # fmt: skip
    return path


def copy_concentration(
    out: Path,
    prefix: str,
    path: Path,
    sources: Sequence[str],
    raw: Mapping[str, Any] | None = None,
    role: str = "conc",
) -> Path:
    """Bring a concentration series that was handed in among the outputs; its slices' times are the raw series'."""
    series = read_series(path)
    own = {name: value for name, value in series.metadata.items() if name not in SLICE_FIELDS}
    of_raw = {name: raw[name] for name in SLICE_FIELDS if raw and name in raw}
    series = replace(series, metadata={**own, **of_raw})
    converted = ConcentrationSeries(series.data, series.units, np.isnan(series.data))
    return write_concentration(out, prefix, series, converted, sources, role)


def write_spill_over(
    out: Path, prefix: str, series: Series, found: SpillOver, sources: Sequence[str]
) -> dict[Role, Path]:
    """Write the concentration in the muscle, its change, and each neighbour's share with its standard deviation."""
    files: dict[Role, Path] = {}
    if found.muscle is not None:
        files["muscle"] = write_concentration(out, prefix, series, found.muscle, sources, "muscle")
        if found.shift is not None:
            change = replace(found.muscle, data=found.shift)
            files["muscle-shift"] = write_concentration(out, prefix, series, change, sources, "muscle-shift")
    for name, values in found.fractions.items():
        words = f"Share of the voxel that is {NEIGHBOURS[name]}"
        for role, data, text in (
            (f"fraction-{name}", values, words),
            (f"fraction-sd-{name}", found.sd[name], f"Standard deviation of: {words}"),
        ):
            files[role] = out / derivative_name(prefix, role)
            write_image(files[role], data.astype(np.float32), series.affine, describe_image(text, "1", sources))
    return files


def read_muscle_fraction(files: Mapping[Role, Path]) -> NDArray[np.float64] | None:
    """Share of each voxel of the wall that is muscle, (x, y, z); None where what else is in it was not looked for."""
    found = [read_image(files[role])[0] for role in map("fraction-{}".format, NEIGHBOURS) if role in files]
    return np.asarray(1.0 - np.sum(found, axis=0)) if found else None


def write_myocardium(
    out: Path, prefix: str, myocardium: Myocardium, affine: NDArray[np.float64], sources: Sequence[str]
) -> dict[Role, Path]:
    """Write the mask and, where there are some, the landmarks."""
    files: dict[Role, Path] = {"myocardium": out / derivative_name(prefix, "myocardium")}
    description = "Left-ventricular myocardium"
    sidecar = describe_image(description, "1", sources, Type="ROI", **_estimated(myocardium.estimated_dice))
    write_image(files["myocardium"], myocardium.mask, affine, sidecar)
    if myocardium.landmarks:
        files["landmarks"] = out / derivative_name(prefix, "landmarks")
        sidecar = describe("Insertion points of the right ventricle", "mm", sources)
        write_landmarks(files["landmarks"], myocardium.landmarks, sidecar)
    return files


#: What a map of a statistic holds; a quantity's own map needs no word.
_STATISTICS: Mapping[str, str] = {
    "mean": "Mean of the posterior",
    "std": "Standard deviation of the posterior",
    "q05": "Lower bound of the 90 % interval",
    "q50": "Median of the posterior",
    "q95": "Upper bound of the 90 % interval",
}


def write_maps(
    out: Path,
    prefix: str,
    plugin: str,
    result: KineticMaps,
    voxels: NDArray[np.intp],
    shape: Sequence[int],
    affine: NDArray[np.float64],
    constants: TissueConstants,
    sources: Sequence[str],
) -> dict[Role, Path]:
    """Write a kinetics plugin's maps, NaN outside the voxels, and its quality map."""
    index = tuple(np.asarray(voxels).T)
    files: dict[Role, Path] = {}
    for parameter in result.maps:
        volume = np.full(tuple(shape), np.nan, dtype=np.float32)
        volume[index] = parameter.values
        key = MapKey(result.model, parameter.quantity, parameter.statistic or "")
        fields: dict[str, Any] = {"Haematocrit": constants.haematocrit}
        if parameter.quantity == "MBF":
            fields["TissueDensity"] = constants.density
        files[key] = out / map_name(prefix, key, plugin)
        words = f"{quantity_in_words(parameter.quantity, parameter.units)} of the {result.model} model"
        words = f"{_STATISTICS[parameter.statistic]} of {words}" if parameter.statistic else words
        sidecar = describe_image(words, parameter.units, sources)
        write_image(files[key], volume, affine, {**sidecar, **fields})
    codes = np.full(tuple(shape), QualityCode.OUTSIDE, dtype=np.uint8)
    codes[index] = result.qc
    levels = {str(code): text for code, text in {**legend(codes), **result.qc_legend}.items()}
    files["qc"] = out / qc_name(prefix, plugin)
    write_image(
        files["qc"], codes, affine, describe_image("Why a voxel has no full estimate", "1", sources, Levels=levels)
    )
    return files
