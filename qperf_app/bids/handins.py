"""Find files of derivative datasets that replace what the app would compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import without_content
from qperf_app.bids.names import derivative_name, folder_of, map_key
from qperf_app.plugins.keys import Role
from qperf_app.plugins.steps import STEPS


def find_handed_in(datasets: Mapping[str, Path], series_prefix: str, role: str) -> Path | None:
    """File of a role for a series in the first dataset that has it.

    Raises
    ------
    DatasetError
        Where it is a link without content.
    """
    name = derivative_name(series_prefix, role)
    for dataset in datasets.values():
        for candidate in (name, name.removesuffix(".gz")):
            path = dataset / folder_of(name) / candidate
            if path.is_symlink() and not path.exists():
                raise DatasetError(f"{path}: {without_content(path)}")
            if path.is_file():
                return path
    return None


def find_handed_in_maps(datasets: Mapping[str, Path], series_prefix: str, plugin: str) -> dict[Role, Path]:
    """Parameter maps of a kinetics plugin for a series, of the first dataset that has some."""
    for dataset in datasets.values():
        directory = dataset / folder_of(series_prefix)
        found = sorted(directory.glob(f"{series_prefix}_model-*_param-*_desc-{plugin}_dcemap.nii*"))
        if found:
            return {map_key(path.name): path for path in found}
    return {}


def left_out_name(series_prefix: str) -> str:
    """Name of the table of a series' frames that a reader left out."""
    return f"{series_prefix}_desc-frames_timeseries.tsv"


def find_left_out(datasets: Mapping[str, Path], series_prefix: str) -> Path | None:
    """Table of the frames that are left out of a series, in the first dataset that has it."""
    name = left_out_name(series_prefix)
    paths = (dataset / folder_of(name) / name for dataset in datasets.values())
    return next((path for path in paths if path.is_file()), None)


def expected_names(series_prefix: str) -> list[str]:
    """Names of all files, parameter maps aside, that may be handed in for a series."""
    roles = (role for step in STEPS.values() for role in step.hand_ins)
    return [*(derivative_name(series_prefix, role) for role in roles), left_out_name(series_prefix)]


def source_uri(datasets: Mapping[str, Path], path: Path) -> str:
    """BIDS URI of a file that was found in one of the datasets, by the name that the dataset was given."""
    for name, dataset in datasets.items():
        if path.is_relative_to(dataset):
            return f"bids:{name}:{path.relative_to(dataset).as_posix()}"
    raise ValueError(f"{path} lies in none of the datasets handed in")
