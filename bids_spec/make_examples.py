"""Write the example datasets: ``python -m qperf_bids_spec.make_examples [FOLDER]``.

Small and plausible rather than realistic: a few voxels, a first pass of a few volumes. Every name and field of the
specification occurs at least once.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from qperf_bids_spec import DERIVATIVE_BIDSIGNORE, EXAMPLES

BIDS_VERSION = "1.11.2"
CREDIT = {"License": "CC0", "Authors": ["A. Author", "B. Author"]}
README = """# Example

Small first-pass series in the layout of the specification. The voxel values are made up; what this dataset is an
example of are the names of its files and their metadata.
"""
AFFINE = np.diag([2.0, 2.0, 10.0, 1.0])
TIMES = [0.0, 0.8, 1.62, 2.41, 3.25, 4.02, 4.86, 5.63]
#: Blood concentration of a first pass, mmol/L, at the volumes after the two proton-density ones.
BOLUS = np.array([0.0, 0.2, 3.1, 5.4, 2.2, 1.0])
SCANNER = {"MagneticFieldStrength": 1.5, "ContrastBolusIngredient": "GADOLINIUM", "BodyPart": "HEART"}
SEQUENCE = {
    "Units": "arbitrary",
    "PulseSequenceType": "Saturation-recovery FLASH",
    "RepetitionTimeExcitation": 0.0024,
    "EchoTime": 0.0011,
    "FlipAngle": [5.0, 5.0, *[12.0] * 6],
    "SaturationDelayTime": 0.095,
    "ProtonDensityVolumeCount": 2,
    "ExcitationsToKSpaceCenter": 24,
    "Haematocrit": 0.42,
}
REST = {"task": "rest"}
REST_AIF = {"task": "rest", "acq": "aif"}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_image(path: Path, data: NDArray[Any], metadata: Mapping[str, Any]) -> None:
    """Write an image and its JSON file."""
    write_json(Path(str(path).removesuffix(".nii.gz") + ".json"), metadata)
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def write_table(
    path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]], metadata: Mapping[str, Any]
) -> None:
    """Write a table and its JSON file."""
    write_json(path.with_suffix(".json"), metadata)
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def stem(subject: str, entities: Mapping[str, str], session: str | None = None) -> Path:
    """Path of a series within its dataset, up to the suffix."""
    session_part = {"ses": session} if session else {}
    parts = {"sub": subject, **session_part, **entities}
    folder = Path(f"sub-{subject}", f"ses-{session}" if session else "", "perf")
    return folder / "_".join(f"{key}-{value}" for key, value in parts.items())


def first_pass(shape: tuple[int, int, int], gain: float) -> NDArray[np.int16]:
    """Two proton-density volumes, then a bolus in the middle of the image."""
    series = np.full((*shape, len(TIMES)), 20.0)
    series[..., :2] = 200.0
    series[1:3, 1:3, :, 2:] += gain * BOLUS
    return series.astype(np.int16)


def make_raw(root: Path) -> None:
    """A dual-sequence rest and stress study, a single-bolus session, and a series that is concentration already."""
    description = {"Name": "First-pass perfusion, example", "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
    write_json(root / "dataset_description.json", {**description, **CREDIT})
    (root / "README.md").write_text(README, encoding="utf-8")
    participants = [("sub-01", 63, "F"), ("sub-02", 58, "M"), ("sub-03", 71, "F")]
    write_table(
        root / "participants.tsv",
        ("participant_id", "age", "sex"),
        participants,
        {"age": {"Units": "year"}, "sex": {"Levels": {"F": "female", "M": "male"}}},
    )
    # What holds for every rest or stress series stands once, in the root.
    for task, name in (("rest", "Rest"), ("stress", "Adenosine stress")):
        write_json(root / f"task-{task}_dce.json", {"TaskName": name, **SCANNER})
    timing = {**SEQUENCE, "VolumeTiming": TIMES}
    for task in ("rest", "stress"):
        write_image(root / f"{stem('01', {'task': task})}_dce.nii.gz", first_pass((4, 4, 3), 10.0), timing)
        aif = f"{stem('01', {'task': task, 'acq': 'aif'})}_dce.nii.gz"
        write_image(root / aif, first_pass((4, 4, 1), 30.0), timing)
    single_bolus = stem("02", {"task": "rest", "ce": "gadobutrol", "run": "1"}, "A")
    write_image(root / f"{single_bolus}_dce.nii.gz", first_pass((4, 4, 1), 10.0), timing)
    concentration = np.zeros((4, 4, 1, len(BOLUS)), np.float32) + 0.1 * BOLUS.astype(np.float32)
    metadata = {"VolumeTiming": TIMES[:6], "Units": "mmol/L", "Haematocrit": 0.42}
    write_image(root / f"{stem('03', {'task': 'rest'})}_dce.nii.gz", concentration, metadata)


def derived(what: str, units: str, *sources: str, **more: Any) -> dict[str, Any]:
    """Metadata that every file of the app has."""
    return {"Description": what, "Units": units, "Sources": list(sources), **more}


def make_images(root: Path, prefix: Path, raw: str) -> None:
    """Series, displacement, masks and maps of one tissue series."""
    here = f"bids::{prefix}"
    shape = (4, 4, 3)
    series = first_pass(shape, 10.0)
    image = {"SkullStripped": False}
    timing = {"VolumeTiming": TIMES}
    metadata = derived("Motion-corrected series", "arbitrary", raw, **image, **timing)
    write_image(root / f"{prefix}_desc-preproc_dce.nii.gz", series, {**SCANNER, **SEQUENCE, **metadata})
    metadata = derived("Displacement of every frame", "mm", raw, **image)
    write_image(root / f"{prefix}_desc-moco_xfm.nii.gz", np.zeros((*series.shape, 3), np.float32), metadata)
    corrected = f"{here}_desc-preproc_dce.nii.gz"
    mask = np.zeros(shape, np.uint8)
    mask[1:3, 1:3] = 1
    segmentation = {"Manual": False, "SpatialReference": corrected}
    metadata = derived("Myocardium of the left ventricle", "1", corrected, Type="ROI", **segmentation)
    write_image(root / f"{prefix}_label-myocardium_mask.nii.gz", mask, metadata)
    concentration = (0.1 * BOLUS * mask[..., None]).astype(np.float32)
    metadata = derived("Gadolinium concentration", "mmol/L", corrected, **image, VolumeTiming=TIMES[2:])
    write_image(root / f"{prefix}_desc-conc_dce.nii.gz", concentration, metadata)
    tissue = f"{here}_desc-conc_dce.nii.gz"
    flow = np.where(mask, 1.02, np.nan).astype(np.float32)
    constants = {"TissueDensity": 1.05, "Haematocrit": 0.42}
    for quantity, units, values in (("Fb", "mL/min/mL", flow), ("MBF", "mL/min/g", flow / 1.05)):
        name = f"{prefix}_model-Fermi_param-{quantity}_desc-fermi_dcemap.nii.gz"
        write_image(root / name, values, derived(quantity, units, tissue, **image, **constants))
    for statistic in ("mean", "std", "q05", "q50", "q95"):
        name = f"{prefix}_model-2CXM_param-Fp_stat-{statistic}_desc-hmc_dcemap.nii.gz"
        write_image(root / name, flow * 0.58, derived("Plasma flow", "mL/min/mL", tissue, **image, **constants))
    codes = {"0": "estimated", "1": "outside the myocardium", "2": "not identifiable"}
    metadata = derived("Why a voxel has no estimate", "1", tissue, **image, Levels=codes)
    write_image(root / f"{prefix}_desc-fermi_qc.nii.gz", 1 - mask, metadata)
    metadata = derived("AHA segments", "1", f"{here}_label-myocardium_mask.nii.gz", **segmentation)
    write_image(root / f"{prefix}_seg-AHA17_dseg.nii.gz", mask * np.uint8(7), metadata)


def make_tables(root: Path, prefix: Path, aif_prefix: Path) -> None:
    """Landmarks, input function and segments of one tissue series."""
    here = f"bids::{prefix}"
    myocardium = f"{here}_label-myocardium_mask.nii.gz"
    names = ("RVInsertionAnterior", "RVInsertionInferior")
    points = [(name, z, 2.0 + 2 * k, 2.0, 10.0 * z) for z in range(3) for k, name in enumerate(names)]
    millimetres = {axis: {"Units": "mm"} for axis in "xyz"}
    metadata = {**derived("Insertions of the right ventricle", "mm", myocardium), **millimetres}
    write_table(root / f"{prefix}_desc-landmarks_points.tsv", ("name", "slice", "x", "y", "z"), points, metadata)
    features = {"foot": 2.41, "peak": 4.02, "valley": 5.63, "duration": 3.22, "area": 8.1, "Haematocrit": 0.42}
    columns = {"time": {"Units": "s"}, "signal": {"Units": "arbitrary"}, "concentration": {"Units": "mmol/L"}}
    source = f"bids::{aif_prefix}_label-LV_mask.nii.gz"
    metadata = {**derived("Arterial input function, whole blood", "mmol/L", source), **features, **columns}
    curve = [(t, 20 + 30 * c, c) for t, c in zip(TIMES[2:], BOLUS.tolist(), strict=True)]
    write_table(root / f"{prefix}_desc-aif_timeseries.tsv", ("time", "signal", "concentration"), curve, metadata)
    lookup = root / f"{prefix}_seg-AHA17_dseg.tsv"
    lookup.write_text("index\tname\n7\tmid anterior\n8\tmid anteroseptal\n", encoding="utf-8")
    columns = {"MBF": {"Units": "mL/min/g", "Description": "Myocardial blood flow"}, "Fb": {"Units": "mL/min/mL"}}
    rows = [(7, "mid anterior", 4, 4, 0.97, 1.02), (8, "mid anteroseptal", 4, 0, "n/a", "n/a")]
    source = f"{here}_model-Fermi_param-MBF_desc-fermi_dcemap.nii.gz"
    for layer in ("", "endo", "epi"):
        name = f"{prefix}_seg-AHA17{layer}_desc-fermi_segments.tsv"
        metadata = {**derived("Means over the AHA segments", "n/a", source), **columns}
        write_table(root / name, ("index", "name", "n_voxels", "n_estimated", "MBF", "Fb"), rows, metadata)


def make_derivatives(root: Path) -> None:
    """What the app leaves behind for the first participant's rest series, and for the group."""
    description = {
        "Name": "First-pass perfusion, example outputs",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **CREDIT,
        "GeneratedBy": [{"Name": "qperf-app", "Version": "0.1.0"}],
        "SourceDatasets": [{"URL": "../raw"}],
        "DatasetLinks": {"raw": "../raw"},
    }
    write_json(root / "dataset_description.json", description)
    (root / "README.md").write_text(README, encoding="utf-8")
    (root / ".bidsignore").write_text(DERIVATIVE_BIDSIGNORE, encoding="utf-8")
    prefix, aif_prefix = stem("01", REST), stem("01", REST_AIF)
    make_images(root, prefix, f"bids:raw:{prefix}_dce.nii.gz")
    pool = np.zeros((4, 4, 1), np.uint8)
    pool[1:3, 1:3] = 1
    source = f"bids:raw:{aif_prefix}_dce.nii.gz"
    for label in ("LV", "RV", "AIF"):
        metadata = derived(f"Blood pool {label}", "1", source, Type="ROI", Manual=False, SpatialReference=source)
        write_image(root / f"{aif_prefix}_label-{label}_mask.nii.gz", pool, metadata)
    make_tables(root, prefix, aif_prefix)
    failed = {"step": "myocardium", "scan": "task-stress", "reason": "no left ventricle was found"}
    status = {"state": "failed", "steps_done": ["motion-correction", "blood-pool"], "steps_failed": [failed]}
    write_json(root / "sub-01" / "sub-01_status.json", status)
    (root / "sub-01" / "sub-01_config.yaml").write_text("kinetics: [fermi]\nseed: 1\n", encoding="utf-8")
    (root / "sub-01.html").write_text("<!doctype html><title>sub-01</title>\n", encoding="utf-8")
    (root / "group.html").write_text("<!doctype html><title>Group</title>\n", encoding="utf-8")
    row = ("sub-01", "n/a", "rest", "task-rest", "fermi", "transmural", 7, "mid anterior", 4, 4, 0.97)
    header = [
        "participant_id",
        "session_id",
        "task",
        "scan",
        "plugin",
        "layer",
        "index",
        "name",
        "n_voxels",
        "n_estimated",
        "MBF",
    ]
    described = {name: {"Description": name} for name in header[1:]}
    write_table(root / "group_segments.tsv", header, [row], described)
    agreement = ("quantity", "bias"), [("MBF", 0.02)]
    write_table(root / "group_agreement.tsv", *agreement, {name: {"Description": name} for name in agreement[0]})
    (root / "logs" / "sub-01").mkdir(parents=True)
    (root / "logs" / "CITATION.md").write_text("Cite qperf-app.\n", encoding="utf-8")
    (root / "logs" / "sub-01" / "crash-1.txt").write_text("Command: qperf-app …\n", encoding="utf-8")


def main() -> None:
    """Replace the two example datasets."""
    parser = argparse.ArgumentParser(prog="python -m qperf_bids_spec.make_examples", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=EXAMPLES, help="where the datasets go")
    folder = parser.parse_args().folder
    for name, make in (("raw", make_raw), ("derivatives", make_derivatives)):
        shutil.rmtree(folder / name, ignore_errors=True)
        make(folder / name)


if __name__ == "__main__":
    main()
