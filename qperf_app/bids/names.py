"""File names of the contract: one place that knows how a series and what is made of it are called."""

from __future__ import annotations

import re
from collections.abc import Mapping

from qperf_app.plugins.keys import MapKey
from qperf_app.plugins.steps import STEPS

#: Entities of a series' name, in BIDS order.
SERIES_ENTITIES = ("sub", "ses", "task", "acq", "ce", "rec", "run")
#: All that a raw file's name may have: of an input-function series of two echoes, the echo.
NAME_ENTITIES = (*SERIES_ENTITIES, "echo")
#: Acquisition label of an input-function series.
AIF_LABEL = "aif"
#: Acquisition label of the series of a dual-bolus study's small dose.
PREBOLUS_LABEL = "prebolus"
#: Labels of series that the input function is measured in, and what they are called.
INPUT_SERIES: Mapping[str, str] = {AIF_LABEL: "input-function series", PREBOLUS_LABEL: "prebolus series"}
#: Suffix of a series, the folder it lies in, and its image's extensions.
SUFFIX, DATATYPE, IMAGE_EXTENSIONS = "dce", "perf", (".nii.gz", ".nii")


def parse_name(name: str) -> tuple[dict[str, str], str, str] | None:
    """Split a file name into entities (short name to label), suffix and extension; None if it is no BIDS name."""
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    if len(entities) != len(pairs) or not suffix.isalnum():
        return None
    return entities, suffix, dot + extension


def parse_entities(name: str) -> dict[str, str]:
    """Entities of a BIDS file name, ``sub-01_task-rest_dce.nii.gz`` -> ``{"sub": "01", "task": "rest"}``."""
    return {key: value for key, value in (part.split("-", 1) for part in name.split(".")[0].split("_") if "-" in part)}


def plain_label(entity: str, label: str) -> str:
    """The label as it compares with others: a run's index is a number, ``run-1`` is ``run-01``."""
    return str(int(label)) if entity in ("run", "echo") and label.isdecimal() else label


def prefix(entities: Mapping[str, str]) -> str:
    """``sub-01_ses-A_task-rest``, the start of the name of all that is made of one series, of all its echoes."""
    return "_".join(f"{key}-{entities[key]}" for key in SERIES_ENTITIES if key in entities)


def as_acquired(entities: Mapping[str, str]) -> dict[str, str]:
    """Entities as they compare, without the reconstruction: of all reconstructions of one acquisition the same."""
    return {key: plain_label(key, label) for key, label in entities.items() if key != "rec"}


def is_input_series(entities: Mapping[str, str]) -> bool:
    """Whether a series was made for the input function."""
    return entities.get("acq") in INPUT_SERIES


def series_kind(entities: Mapping[str, str]) -> str:
    """What a series is called, ``input-function series``."""
    return INPUT_SERIES.get(entities.get("acq", ""), "tissue series")


def label(entities: Mapping[str, str]) -> str:
    """The prefix without the participant, ``ses-A_task-rest``; ``series`` where nothing else tells it."""
    return prefix({k: v for k, v in entities.items() if k != "sub"}) or "series"


def folder(entities: Mapping[str, str]) -> str:
    """Folder of a series below its dataset, ``sub-01/ses-A/perf``."""
    session = f"/ses-{entities['ses']}" if "ses" in entities else ""
    return f"sub-{entities['sub']}{session}/perf"


def folder_of(name: str) -> str:
    """Folder below its dataset of a file of this name."""
    return folder(parse_entities(name))


#: What stands behind the prefix of a derivative, by its role, as the steps declare it.
ROLES: Mapping[str, str] = {role: file.ending for step in STEPS.values() for role, file in step.files.items()}


def derivative_name(series_prefix: str, role: str) -> str:
    """Name of the derivative of a role, ``sub-01_task-rest_desc-preproc_dce.nii.gz``."""
    return f"{series_prefix}_{ROLES[role]}"


def map_name(series_prefix: str, key: MapKey, plugin: str) -> str:
    """Name of a parameter map."""
    stat = f"_stat-{key.statistic}" if key.statistic else ""
    return f"{series_prefix}_model-{key.model}_param-{key.quantity}{stat}_desc-{plugin}_dcemap.nii.gz"


def map_key(name: str) -> MapKey:
    """Which map a file of :func:`map_name` is."""
    entities = parse_entities(name)
    return MapKey(entities["model"], entities["param"], entities.get("stat", ""))


def qc_name(series_prefix: str, plugin: str) -> str:
    """Name of a kinetics plugin's quality map."""
    return f"{series_prefix}_desc-{plugin}_qc.nii.gz"


#: Segmentation label by wall layer.
LAYERS: Mapping[str, str] = {"transmural": "AHA17", "endo": "AHA17endo", "epi": "AHA17epi"}


def segments_name(series_prefix: str, plugin: str, layer: str = "transmural") -> str:
    """Name of a kinetics plugin's table of AHA segments, for one of :data:`LAYERS`."""
    return f"{series_prefix}_seg-{LAYERS[layer]}_desc-{plugin}_segments.tsv"


def segment_curves_name(series_prefix: str, plugin: str, draws: bool = False) -> str:
    """Name of the table of the segments' curves and a kinetics plugin's fit of them, or of its draws of their flow."""
    return f"{series_prefix}_seg-{LAYERS['transmural']}_desc-{plugin}_{'draws' if draws else 'timeseries'}.tsv"


def identifier(text: str) -> str:
    """``text`` with only letters, digits and underscores, for a workflow node."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)
