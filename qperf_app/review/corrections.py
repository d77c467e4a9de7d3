"""Corrections as a BIDS derivative dataset, for ``qperf-app -d corrections=…`` and ``qperf train --dataset``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qperf_app import __version__
from qperf_app.bids.dataset import BIDS_VERSION, CORRECTIONS, OWN_NAME, RESULTS, REVIEW, is_review, replace_files
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.handins import left_out_name
from qperf_app.bids.images import read_json, sidecar_path, write_image, write_json
from qperf_app.bids.names import derivative_name, folder_of
from qperf_app.bids.sidecars import RAW, describe, describe_image
from qperf_app.bids.spleen import MASK as SPLEEN_MASK
from qperf_app.bids.tables import read_left_out, write_landmarks, write_left_out
from qperf_app.bids.whole import replace_text
from qperf_app.plugins.steps import SEGMENT_VALUES, SPLEEN
from qperf_app.review.edits import Edits, PlaneName, Structure, Touched, landmarks_of, mask_of, plane_name
from qperf_app.review.planes import Plane
from qperf_app.review.study import ReviewScan, Study

_WORDS: Mapping[Structure, str] = {
    "myocardium": "Left-ventricular myocardium",
    "lv": "Left-ventricular blood pool",
    "rv": "Right-ventricular blood pool",
    "aif-voxels": "Voxels that the arterial input function is averaged over",
    "spleen": "Spleen",
}


def check_corrections(study: Study) -> None:
    """Refuse a folder for the corrections that is something else.

    Raises
    ------
    DatasetError
    """
    folder = study.corrections
    if any(folder.is_relative_to(dataset) for dataset in (study.out_dir, study.bids_dir)):
        raise DatasetError(f"{folder}: corrections go to a folder of their own, outside OUT_DIR and the raw dataset")
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder}: is no folder; give another one with --corrections")
    if is_review(folder):
        return
    if folder.is_dir() and any(entry for entry in folder.iterdir() if not entry.name.startswith(".")):
        raise DatasetError(f"{folder}: is not empty, and not of {REVIEW}; give another folder with --corrections")


def write_description(study: Study) -> None:
    """Write what the dataset says of itself at its root."""
    folder = study.corrections
    links = {RAW: study.bids_dir, RESULTS: study.out_dir}
    description = {
        "Name": "Corrections of a reader to results of qperf-app",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "n/a",
        "GeneratedBy": [{"Name": OWN_NAME, "Version": __version__, "Description": REVIEW}],
        "SourceDatasets": [{"URL": _relative(path, folder)} for path in links.values()],
        "DatasetLinks": {name: _relative(path, folder) for name, path in links.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "dataset_description.json", json.dumps(description, indent=2, ensure_ascii=False) + "\n")
    if not (folder / "README.md").is_file():
        replace_text(folder / "README.md", README)


def write_corrections(study: Study, scan: ReviewScan, edits: Edits, planes: Mapping[str, Plane]) -> list[str]:
    """Bring the files of a scan to what was drawn: write what was touched, remove what no longer is.

    What belongs together is written together: the wall with its insertion points, the blood pools with each other.
    The voxels of the input function are written where they were chosen; else the app chooses them in the pool given.
    The segments' flow, as it was before the first correction, is kept beside them: the group level says what changed.

    Returns
    -------
    list of str
        Names of the files that are there now.
    """
    wanted: dict[str, bool] = {}
    with replace_files(study.corrections, f"review-{scan.key}") as staging:
        for structure in edits.regions:
            plane = planes[plane_name(structure, planes)]
            name = derivative_name(plane.prefix, structure)
            mask = mask_of(edits, structure, plane)
            wanted[name] = edits.is_drawn(structure) and (bool(mask.any()) or structure == "myocardium")
            if wanted[name]:
                sources = [_uri(derivative_name(plane.prefix, "preproc"))]
                sidecar = describe_image(_WORDS[structure], "1", sources, Type="ROI", Manual=True)
                write_image(_place(staging, name), mask, plane.series.affine, sidecar)
        if "tissue" in planes:
            plane = planes["tissue"]
            name = derivative_name(plane.prefix, "landmarks")
            points = landmarks_of(edits, plane)
            wanted[name] = edits.is_drawn("landmarks") and bool(points)
            if wanted[name]:
                sources = [_uri(derivative_name(plane.prefix, "preproc"))]
                words = "Insertion points of the right ventricle"
                write_landmarks(_place(staging, name), points, describe(words, "mm", sources, Manual=True))
        for of, plane in planes.items():
            name = left_out_name(plane.prefix)
            frames = edits.left_out.get(of, []) if "frames" in edits.touched else []  # type: ignore[call-overload]
            wanted[name] = bool(frames)
            if frames:
                sources = [_uri(derivative_name(plane.prefix, "preproc"))]
                sidecar = describe("Frames that a reader left out", "n/a", sources)
                write_left_out(_place(staging, name), plane.series.times, frames, sidecar)
        # A spleen that is marked changes no flow.
        marked = {derivative_name(plane.prefix, SPLEEN_MASK) for plane in planes.values()}
        is_corrected = any(there for name, there in wanted.items() if name not in marked)
        wanted |= _keep_flow(study, scan, is_corrected, staging)
    for name, there in wanted.items():
        if not there:
            path = _path(study, name)
            for file in (path, sidecar_path(path)):
                file.unlink(missing_ok=True)
    return [name for name, there in wanted.items() if there]


def _keep_flow(study: Study, scan: ReviewScan, is_corrected: bool, staging: Path) -> dict[str, bool]:
    """Copy the segments' tables of results that no correction is in yet; returns which tables are wanted."""
    found: dict[str, bool] = {}
    of_flow = tuple(step for step in scan.record.steps if step.key.step != SPLEEN.name)
    before = CORRECTIONS not in study.datasets_of(replace(scan.record, steps=of_flow))
    for record in scan.record.of_step(SEGMENT_VALUES.name):
        path = record.paths.get("transmural")
        if path is None or not (study.out_dir / path).is_file():
            continue
        name = Path(path).name
        found[name] = is_corrected
        if is_corrected and before:
            shutil.copyfile(study.out_dir / path, _place(staging, name))
            sidecar = {**read_json(sidecar_path(study.out_dir / path)), "Sources": [_uri(name)]}
            write_json(sidecar_path(_place(staging, name)), sidecar)
    return found


def corrected_files(study: Study, planes: Mapping[str, Plane]) -> dict[Touched, Path]:
    """Files of a scan that the corrections hold, by what a reader has touched to make them."""
    found: dict[Touched, Path] = {}
    for structure in _WORDS:
        name = plane_name(structure, planes)
        if name:
            found[structure] = _path(study, derivative_name(planes[name].prefix, structure))
    if "tissue" in planes:
        found["landmarks"] = _path(study, derivative_name(planes["tissue"].prefix, "landmarks"))
    return {role: path for role, path in found.items() if path.is_file()}


def corrected_frames(study: Study, planes: Mapping[str, Plane]) -> dict[PlaneName, list[int]]:
    """Frames that the corrections of a scan leave out."""
    found: dict[PlaneName, list[int]] = {}
    for name, plane in planes.items():
        path = _path(study, left_out_name(plane.prefix))
        if path.is_file():
            found[name] = list(read_left_out(path, len(plane.series.times)))  # type: ignore[index]
    return found


def _path(study: Study, name: str) -> Path:
    return study.corrections / folder_of(name) / name


def _place(staging: Path, name: str) -> Path:
    path = staging / folder_of(name) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def sources_of(planes: Mapping[str, Plane]) -> list[str]:
    """BIDS URIs of what a reader looks at."""
    return [_uri(derivative_name(plane.prefix, "preproc")) for plane in planes.values()]


def _uri(name: str) -> str:
    return f"bids:{RESULTS}:{folder_of(name)}/{name}"


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


README = """# Corrections

Outlines, insertion points, input-function regions and frames that a reader drew or chose with `qperf review`, under the
names of the results that they replace: `qperf-app BIDS_DIR OUT_DIR participant -d corrections=HERE` computes with them,
`qperf train STEP OUT --dataset BIDS_DIR HERE` learns from them. `…_desc-review_log.tsv` says who looked at a scan,
when, and what was decided.
"""
