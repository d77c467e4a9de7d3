"""Lay the measurement data out as BIDS datasets: ``python -m tests.realdata DATA OUT``.

Only what is known of a series is written. What the contract needs and nobody recorded (frame times, voxel size of
two sources) is assumed, and each dataset's README says so. Masks that people drew go to ``derivatives/drawn`` under
names that the app doesn't take for a hand-in: they are for measuring.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

BIDS_VERSION = "1.10.0"
#: One frame for each heartbeat where no times were recorded: 75 beats per minute.
ASSUMED_FRAME_INTERVAL = 0.8
#: Edge lengths, mm, where no voxel size was recorded.
ASSUMED_TISSUE_VOXEL = (2.0, 2.0, 8.0)
ASSUMED_AIF_VOXEL = (5.6, 5.6, 8.0)


def build_mlperf(data_dir: Path, out: Path) -> Path:
    """18 free-breathing series of 6 patients, files as they come; ``derivatives/drawn`` has the per-frame masks."""
    assumptions = (
        f"VolumeTiming: {ASSUMED_FRAME_INTERVAL} s from frame to frame (one frame per heartbeat, no times recorded).",
        "The files' affine has the voxel size but an assumed orientation; some patients look mirrored in it.",
    )
    _describe(out, "Free-breathing first pass, rest and adenosine stress", assumptions)
    _describe_derivative(out / "derivatives" / "drawn", "Masks drawn frame by frame")
    for source in sorted((data_dir / "mlperf").glob("*_perf.nii.gz")):
        match = re.fullmatch(r"sub-(\w+)_task-(rest|stress)_slice-(base|mid)_perf\.nii\.gz", source.name)
        if match is None:
            raise ValueError(f"{source}: unexpected file name")
        subject, task, level = match.groups()
        prefix = f"sub-{subject}_task-{task}_acq-{level}"
        raw = out / f"sub-{subject}" / "perf" / f"{prefix}_dce.nii.gz"
        raw.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, raw)
        _write_json(
            _sidecar(raw), _timed({"Units": "arbitrary"}, _even_times(nib.Nifti1Image.from_filename(source).shape[3]))
        )
        drawn = out / "derivatives" / "drawn" / f"sub-{subject}" / "perf" / f"{prefix}_desc-drawn_dseg.nii.gz"
        drawn.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.with_name(source.name.replace("_perf.", "_dseg.")), drawn)
        _label(drawn, raw.relative_to(out), ("myocardium", "LV blood pool"))
    return out


def build_qperf_rest(data_dir: Path, out: Path) -> Path:
    """One resting slice that is concentration already.

    ``derivatives/authors`` hands in the AIF, ``derivatives/ring`` a myocardium mask where ``tests/realdata_ring.py``
    has a recipe for it, and ``derivatives/drawn`` has the authors' flow map (``desc-authors_dcemap``) to compare with.
    """
    found = np.load(data_dir / "qperf" / "rest.npz")
    haematocrit = round(float(found["hematocrit"]), 4)
    assumptions = (
        f"Voxel size {ASSUMED_TISSUE_VOXEL} mm and the orientation of the picture.",
        "The handed-in input function was measured in the LV cavity, so it is taken for whole blood.",
    )
    _describe(out, "Resting first pass in gadolinium concentration", assumptions)
    concentration = on_grid(found["concentration_mM"])[:, :, None]
    times = np.arange(concentration.shape[3], dtype=np.float64) * float(found["dt_s"])
    metadata = {"Units": "mmol/L", "Haematocrit": haematocrit, "ContrastBolusIngredient": "GADOLINIUM"}
    affine = picture_affine(ASSUMED_TISSUE_VOXEL)
    raw = _write_series(out, "sub-01_task-rest", concentration, affine, _timed(metadata, times))

    authors = out / "derivatives" / "authors"
    _describe_derivative(authors, "Input function of the authors")
    table = authors / "sub-01" / "perf" / "sub-01_task-rest_desc-aif_timeseries.tsv"
    _write_table(table, ("time", "concentration"), zip(times, found["aif_mM"], strict=True))
    columns = {"time": {"Units": "s"}, "concentration": {"Units": "mmol/L"}}
    _write_json(table.with_suffix(".json"), {**columns, "Haematocrit": haematocrit, "Sources": [_uri(raw)]})

    drawn = out / "derivatives" / "drawn"
    _describe_derivative(drawn, "Flow map of the authors, read back from their picture")
    flow = drawn / "sub-01" / "perf" / "sub-01_task-rest_desc-authors_dcemap.nii.gz"
    _save(flow, on_grid(found["authors_mbf_ml_min_g"])[:, :, None], affine)
    _write_json(_sidecar(flow), {"Units": "mL/min/g", "SkullStripped": False, "Sources": [_uri(raw)]})

    recipe = Path(__file__).with_name("realdata_ring.py")
    if recipe.is_file():
        ring = out / "derivatives" / "ring"
        _describe_derivative(ring, "Myocardium ring")
        mask = ring / "sub-01" / "perf" / "sub-01_task-rest_label-myocardium_mask.nii.gz"
        pixels = np.asarray(runpy.run_path(str(recipe))["ring_mask"](found), dtype=np.uint8)
        _save(mask, on_grid(pixels)[:, :, None], affine)
        _write_json(_sidecar(mask), {"SkullStripped": False, "Sources": [_uri(raw)]})
    return out


def build_qperf_aif(data_dir: Path, out: Path) -> Path:
    """Two input-function series with no tissue series; ``derivatives/drawn`` has the authors' LV and RV masks."""
    assumptions = (
        f"VolumeTiming: {ASSUMED_FRAME_INTERVAL} s from frame to frame (one frame per heartbeat, no times recorded).",
        f"Voxel size {ASSUMED_AIF_VOXEL} mm, the orientation of the picture, and that the scans are at rest.",
    )
    _describe(out, "Low-resolution input-function series", assumptions)
    _describe_derivative(out / "derivatives" / "drawn", "Blood pools drawn by the authors")
    for source in sorted((data_dir / "qperf" / "aif_images").glob("*.npz")):
        found = np.load(source)
        data, affine = on_grid(found["series"])[:, :, None], picture_affine(ASSUMED_AIF_VOXEL)
        prefix = f"sub-{source.stem}_task-rest_acq-aif"
        metadata = {"Units": "arbitrary", "ContrastBolusIngredient": "GADOLINIUM"}
        raw = _write_series(out, prefix, data, affine, _timed(metadata, _even_times(data.shape[3])))
        _write_drawn(out, raw, prefix, found["mask_lv1_rv2"], affine, ("LV blood pool", "RV blood pool"))
    return out


def build_pisa(data_dir: Path, out: Path) -> Path:
    """One breath-held resting slice at 1.5 T; ``derivatives/drawn`` has LV, RV and myocardium.

    The inversion time is what the scanner called it; whether it ends at the first excitation or at the centre of
    k-space, and the number of excitations before that centre, nobody recorded, so they aren't written.
    """
    found = np.load(data_dir / "pisa" / "first_pass.npz")
    _describe(out, "Breath-held resting first pass at 1.5 T", ("The orientation of the picture.",))
    data = on_grid(np.moveaxis(found["images"], 0, -1))[:, :, None]
    voxel = (*found["pixel_spacing_mm"][::-1].astype(float), float(found["slice_thickness_mm"]))
    metadata = {
        "Units": "arbitrary",
        "Manufacturer": "GE",
        "MagneticFieldStrength": float(found["field_T"]),
        "RepetitionTimeExcitation": float(found["TR_ms"]) / 1000,
        "EchoTime": float(found["TE_ms"]) / 1000,
        "InversionTime": float(found["TI_ms"]) / 1000,
        "FlipAngle": float(found["flip_deg"]),
    }
    prefix, affine = "sub-01_task-rest", picture_affine(voxel)
    raw = _write_series(out, prefix, data, affine, _timed(metadata, found["time_s"] - found["time_s"][0]))
    labels = np.select([found["lv"], found["rv"], found["myo"]], [1, 2, 3])
    _describe_derivative(out / "derivatives" / "drawn", "Masks drawn by hand")
    _write_drawn(out, raw, prefix, labels, affine, ("LV blood pool", "RV blood pool", "myocardium"))
    return out


def on_grid(picture: NDArray[Any]) -> NDArray[Any]:
    """Turn rows and columns (the first row on top) into x along the columns and y upwards; later axes stay."""
    return np.swapaxes(picture, 0, 1)[:, ::-1]


def picture_affine(voxel: Sequence[float]) -> NDArray[np.float64]:
    """Affine for :func:`on_grid` where the position is unknown: the patient's left on the right of the picture."""
    return np.diag(np.array([-voxel[0], voxel[1], voxel[2], 1.0]))


def _even_times(n_frames: int) -> NDArray[np.float64]:
    return np.arange(n_frames, dtype=np.float64) * ASSUMED_FRAME_INTERVAL


def _timed(metadata: Mapping[str, Any], times: NDArray[np.float64]) -> dict[str, Any]:
    return {"VolumeTiming": [round(float(t), 4) for t in times], **metadata}


def _describe(out: Path, name: str, assumptions: Sequence[str]) -> None:
    _write_json(out / "dataset_description.json", {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"})
    lines = (f"# {name}", "", "For measurement only. Assumed, because it was not recorded:", "")
    (out / "README.md").write_text("\n".join([*lines, *(f"- {text}" for text in assumptions), ""]))


def _describe_derivative(out: Path, name: str) -> None:
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Manual", "Description": "made by the people who published the data"}],
        "DatasetLinks": {"raw": "../.."},
    }
    _write_json(out / "dataset_description.json", description)


def _write_series(
    out: Path, prefix: str, data: NDArray[Any], affine: NDArray[np.float64], metadata: Mapping[str, Any]
) -> Path:
    path = out / prefix.split("_")[0] / "perf" / f"{prefix}_dce.nii.gz"
    _save(path, data, affine)
    _write_json(_sidecar(path), metadata)
    return path.relative_to(out)


def _write_drawn(
    out: Path, raw: Path, prefix: str, labels: NDArray[Any], affine: NDArray[np.float64], names: Sequence[str]
) -> None:
    path = out / "derivatives" / "drawn" / raw.parent / f"{prefix}_desc-drawn_dseg.nii.gz"
    _save(path, on_grid(labels.astype(np.uint8))[:, :, None], affine)
    _label(path, raw, names)


def _label(dseg: Path, raw: Path, names: Sequence[str]) -> None:
    _write_table(Path(str(dseg).removesuffix(".nii.gz") + ".tsv"), ("index", "name"), enumerate(names, start=1))
    _write_json(_sidecar(dseg), {"SkullStripped": False, "Sources": [_uri(raw)]})


def _uri(raw: Path) -> str:
    return f"bids:raw:{raw.as_posix()}"


def _sidecar(image: Path) -> Path:
    return Path(str(image).removesuffix(".nii.gz") + ".json")


def _save(path: Path, data: NDArray[Any], affine: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ascontiguousarray(data), affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _write_table(path: Path, columns: Sequence[str], rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(columns), *("\t".join(_cell(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    return f"{float(value):.6g}" if isinstance(value, float | np.floating) else str(value)


BUILDERS = {
    "mlperf": build_mlperf,
    "qperf_rest": build_qperf_rest,
    "qperf_aif": build_qperf_aif,
    "pisa": build_pisa,
}


def main() -> None:
    """Build every dataset under OUT."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("out", type=Path, help="folder to write mlperf, qperf_rest, qperf_aif and pisa into")
    arguments = parser.parse_args()
    for name, build in BUILDERS.items():
        print(build(arguments.data, arguments.out / name))


if __name__ == "__main__":
    main()
