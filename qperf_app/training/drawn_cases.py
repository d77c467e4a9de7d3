"""Training cases from a user's own dataset: raw series, and masks that someone drew or corrected.

The masks may be this app's own outputs after a review, which closes the loop: classical labels, correction by a reader,
training on them, better labels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.dataset import RESULTS, is_review
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json
from qperf_app.bids.index import SeriesFile, find_series, sidecar
from qperf_app.bids.names import derivative_name, folder_of
from qperf_app.bids.records import read_landmarks, read_mask, read_series
from qperf_app.geometry import Grid
from qperf_app.geometry.warp import warp
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.plugins.steps import MOTION_CORRECTION
from qperf_app.training.cases import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind, TrainingCase

#: Masks that a series must have to be trained on. A wall is enough to tell the cavity.
NEEDED: dict[CaseKind, tuple[str, ...]] = {CaseKind.POOLS: ("lv",), CaseKind.MUSCLE: ("myocardium",)}


def find_drawn_cases(
    raw: Path, masks: Path, kind: CaseKind, motion_correction: str, say: Callable[[str], None]
) -> list[Callable[[], TrainingCase]]:
    """Find the series of a raw dataset that have masks in a derivative dataset.

    Parameters
    ----------
    raw, masks : Path
        The masks bear the names of the contract, such as ``…_label-LV_mask.nii.gz``. A corrected series or a
        displacement among them, or among the results that a review was of, is used; without one the series is
        corrected by the plugin ``motion_correction``.
    kind : CaseKind
    say : function

    Returns
    -------
    list of functions
        Each reads one case.

    Raises
    ------
    DatasetError
        Where a dataset can't be read or no series has masks.
    """
    cases: list[Callable[[], TrainingCase]] = []
    looked_at = _looked_at(masks)
    for series in find_series(raw):
        paths = {role: _path(looked_at, series, role) for role in ("preproc", "xfm")}
        paths |= {role: _path(masks, series, role) for role in ("lv", "rv", "myocardium", "landmarks")}
        there = {role: path for role, path in paths.items() if path.is_file()}
        if all(role in there for role in NEEDED[kind]):
            cases.append(partial(read_case, series, raw, there, motion_correction))
    if not cases:
        wanted = " and ".join(derivative_name("…", role) for role in NEEDED[kind])
        raise DatasetError(f"{masks}: no series of {raw} has {wanted}")
    say(f"{masks}: masks of {len(cases)} series")
    return cases


def read_case(series: SeriesFile, raw: Path, files: dict[str, Path], motion_correction: str) -> TrainingCase:
    """Read one series with its masks, free of motion.

    Raises
    ------
    DatasetError
        Where a file can't be read or a mask does not fit the series.
    """
    corrected = _corrected(series, raw, files, motion_correction)
    grid = Grid.of(corrected.data.shape, corrected.affine)
    labels = np.zeros(grid.shape, np.uint8)
    if "lv" not in files:
        labels[_insides(read_mask(files["myocardium"], grid))] = LEFT_BLOOD
    for role, label in (("rv", RIGHT_BLOOD), ("lv", LEFT_BLOOD), ("myocardium", WALL)):
        if role in files:
            labels[read_mask(files[role], grid)] = label
    landmarks = read_landmarks(files["landmarks"]) if "landmarks" in files else ()
    return TrainingCase(corrected, labels, landmarks, series.prefix)


def _looked_at(masks: Path) -> Path:
    """The dataset with the corrected series that masks were drawn on: that of the results that a review was of."""
    if not is_review(masks):
        return masks
    link = read_json(masks / "dataset_description.json").get("DatasetLinks", {}).get(RESULTS)
    return (masks / str(link)).resolve() if link else masks


def _path(masks: Path, series: SeriesFile, role: str) -> Path:
    name = derivative_name(series.prefix, role)
    return masks / folder_of(name) / name


def _insides(wall: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a closed wall encloses in each slice."""
    from scipy.ndimage import binary_fill_holes

    return np.stack([binary_fill_holes(wall[..., k]) for k in range(wall.shape[2])], axis=2) & ~wall


def _corrected(series: SeriesFile, raw: Path, files: dict[str, Path], motion_correction: str) -> Series:
    original = read_series(series.path, sidecar(series.path, raw))
    grid = Grid.of(original.data.shape, original.affine)
    if "preproc" in files:
        return read_series(files["preproc"], original.metadata, grid)
    if "xfm" in files:
        from qperf_app.bids.records import read_motion

        motion = read_motion(files["xfm"], grid)
    else:
        motion = make(load_plugins().get(MOTION_CORRECTION.name, motion_correction)).correct(original, RunContext())
    return original.with_data(warp(original.data, original.affine, motion.displacement))
