"""Find the series of a raw BIDS dataset and their metadata.

Only the folders of the chosen participants and sessions are listed, and only JSON files that apply to a chosen series
are opened: what else is in the dataset costs nothing and can't break anything. ``docs/data-format.md`` compares this
with the libraries that index whole datasets.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qperf_app.bids.errors import DatasetError, SelectionError, refuse_unknown
from qperf_app.bids.filters import Choice, labels_of
from qperf_app.bids.images import read_json
from qperf_app.bids.names import (
    AIF_LABEL,
    DATATYPE,
    IMAGE_EXTENSIONS,
    INPUT_SERIES,
    NAME_ENTITIES,
    SUFFIX,
    as_acquired,
    is_input_series,
    parse_name,
    plain_label,
    prefix,
)
from qperf_app.bids.strays import strays_of
from qperf_app.checks.timing import with_timing

TASKS = ("rest", "stress")

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class SeriesFile:
    """One perfusion series.

    Attributes
    ----------
    path : the image
    entities : short name to label, in the order of the file name, such as ``{"sub": "01", "task": "rest"}``
    """

    path: Path
    entities: Mapping[str, str] = field(hash=False)

    @property
    def is_aif(self) -> bool:
        """Whether it was made for the input function: of a dual sequence, or with the small dose of a dual bolus."""
        return is_input_series(self.entities)

    @property
    def prefix(self) -> str:
        """File name without suffix and extension; the names of all derivatives begin with it."""
        return prefix(self.entities)


def list_participants(bids_dir: StrPath) -> tuple[str, ...]:
    """Labels, without ``sub-``, of the dataset's participants, sorted.

    Raises
    ------
    DatasetError
        If the dataset is not a folder that can be read.
    """
    return tuple(sorted(_labelled_folders(Path(bids_dir), "sub")))


def find_series(
    bids_dir: StrPath,
    participants: Iterable[str] | None = None,
    sessions: Iterable[str] | None = None,
    tasks: Iterable[str] | None = None,
    filters: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[SeriesFile, ...]:
    """Find the series of the chosen participants, sessions and tasks.

    Parameters
    ----------
    bids_dir
        Raw dataset.
    participants, sessions, tasks
        Labels, with or without ``sub-``, ``ses-`` and ``task-``; None for all.
    filters
        What a ``--bids-filter-file`` holds: entities and the values they may have, for tissue series (``dce``) and for
        input-function and prebolus series (``aif``). A value is a label, a list of labels, ``"*"`` (any) or None
        (absent).

    Returns
    -------
    tuple of SeriesFile
        In order of participant, session and file name; at least one. Of several reconstructions (``rec``) of one
        acquisition only that without the entity, unless the filters speak of it.

    Raises
    ------
    SelectionError
        If a label names what isn't there, or nothing is left.
    DatasetError
        If the dataset can't be read, has no series at all, or a selected one twice or under a name it can't have.
    """
    root = Path(bids_dir)
    chosen = _chosen_participants(root, participants)
    sessions, tasks = (None if labels is None else tuple(labels) for labels in (sessions, tasks))
    of_sessions = labels_of(sessions, "ses")
    if of_sessions is not None:
        refuse_unknown(
            "ses", of_sessions, (ses for sub in chosen for ses in _labelled_folders(root / f"sub-{sub}", "ses"))
        )
    homes = [home for label in chosen for home in _homes(root / f"sub-{label}", of_sessions)]
    found = [series for home in homes for series in _series_of(home)]
    choice = Choice.of(sessions, tasks, filters or {})
    lost = [stray.problem for home in homes for stray in strays_of(home) if choice.takes(stray.entities)]
    if not found and not lost and participants is None and not sessions and not tasks and not filters:
        raise DatasetError(f"{root}: no perfusion series (sub-*/[ses-*/]{DATATYPE}/*_{SUFFIX}.nii.gz){_hint(root)}")
    selected = () if lost and not found else select_series(root, found, sessions, tasks, filters)
    problems = [*lost, *_name_problems(selected)]
    if not problems:
        selected, problems = _one_reconstruction(selected, choice)
    if problems:
        noun = "file that is" if len(problems) == 1 else "files that are"
        raise DatasetError("\n  ".join([f"{len(problems)} {noun} not taken as series:", *problems]))
    return selected


def list_series(bids_dir: StrPath, participants: Iterable[str]) -> tuple[SeriesFile, ...]:
    """All series of some participants, whatever a command selects of them, in order of name."""
    root = Path(bids_dir)
    homes = (home for label in sorted(set(participants)) for home in _homes(root / f"sub-{label}", None))
    return tuple(series for home in homes for series in _series_of(home))


def select_series(
    root: Path,
    found: Sequence[SeriesFile],
    sessions: Iterable[str] | None = None,
    tasks: Iterable[str] | None = None,
    filters: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[SeriesFile, ...]:
    """Of series that were found, those of the chosen sessions and tasks that pass the filters.

    Parameters
    ----------
    root
        Dataset, for the message.
    found, sessions, tasks, filters
        See :func:`find_series`.

    Raises
    ------
    SelectionError
        If a label names what isn't there, or nothing is left.
    """
    choice = Choice.of(sessions, tasks, filters or {})
    for entity, labels in choice.labels.items():
        refuse_unknown(entity, labels, {series.entities.get(entity) for series in found})
    selected = tuple(series for series in found if choice.takes(series.entities))
    if not selected:
        raise SelectionError(f"{root}: the filters select none of {len(found)} perfusion series")
    return selected


def sidecar(path: StrPath, bids_dir: StrPath, listings: dict[Path, list[str]] | None = None) -> dict[str, Any]:
    """Metadata of a file: its JSON file over those it inherits from, up to the root of the dataset.

    Fields of null count as absent, and ``FrameTimesStart`` serves where ``VolumeTiming`` is.

    Parameters
    ----------
    path, bids_dir
        The file, and the dataset it lies in.
    listings
        Names of the JSON files of folders seen before. Hand the same mapping to several calls, and a folder that
        their files share, such as the root with all its participants, is listed once.

    Raises
    ------
    DatasetError
        If a JSON file that applies can't be read, is not an object, or is one of two that apply in one folder.
    """
    image, root = Path(path).absolute(), Path(bids_dir).absolute()
    parsed = parse_name(image.name)
    if parsed is None or not image.is_relative_to(root):
        raise DatasetError(f"{path}: not a BIDS file of {bids_dir}")
    entities, suffix, _ = parsed
    below = image.parent.relative_to(root).parts
    listings = {} if listings is None else listings
    metadata: dict[str, Any] = {}
    for depth in range(len(below) + 1):
        folder = root.joinpath(*below[:depth])
        if folder not in listings:
            listings[folder] = _json_names(folder)
        applicable = _applicable(folder, listings[folder], entities, suffix)
        if applicable is not None:
            metadata.update(read_json(folder / applicable))
    return with_timing(metadata)


def _labelled_folders(folder: Path, entity: str) -> list[str]:
    """Labels of the subfolders that an entity names."""
    start = f"{entity}-"
    try:
        with os.scandir(folder) as entries:
            return [entry.name[len(start) :] for entry in entries if entry.name.startswith(start) and entry.is_dir()]
    except OSError as error:
        raise DatasetError(f"{folder}: can't be listed: {error.strerror}") from error


def _chosen_participants(root: Path, participants: Iterable[str] | None) -> Sequence[str]:
    present = list_participants(root)
    wanted = labels_of(participants, "sub")
    if wanted is None:
        return present
    refuse_unknown("sub", wanted, present)
    return [label for label in present if label in wanted]


def _homes(folder: Path, sessions: frozenset[str] | None) -> list[Path]:
    """Folders of one participant that hold datatypes, of the wanted sessions only."""
    labels = sorted(_labelled_folders(folder, "ses"))
    homes = [folder / f"ses-{label}" for label in labels if sessions is None or label in sessions]
    return [*([folder] if sessions is None else []), *homes]


def _series_of(home: Path) -> Iterator[SeriesFile]:
    """Series of one participant's session."""
    for name in _names(home / DATATYPE):
        parsed = parse_name(name)
        if parsed is not None and parsed[1] == SUFFIX and parsed[2] in IMAGE_EXTENSIONS:
            yield SeriesFile(home / DATATYPE / name, parsed[0])


def _names(folder: Path) -> list[str]:
    """Names in a folder, sorted; none where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(f"{folder}: can't be listed: {error.strerror}") from error


def _one_reconstruction(selected: Sequence[SeriesFile], choice: Choice) -> tuple[tuple[SeriesFile, ...], list[str]]:
    """One series of each acquisition, that without ``rec`` where there are several; and where none is to be preferred.

    What a scanner computes of one acquisition (motion-corrected, filtered) is the same passage again. A filter that
    speaks of reconstructions takes all that it names.
    """
    every: dict[tuple[Path, frozenset[tuple[str, str]]], dict[str | None, list[SeriesFile]]] = {}
    for series in selected:
        if choice.names(series.entities, "rec"):
            continue
        by_label = every.setdefault((series.path.parent, frozenset(as_acquired(series.entities).items())), {})
        by_label.setdefault(series.entities.get("rec"), []).append(series)
    left_out: set[Path] = set()
    problems: list[str] = []
    for by_label in every.values():
        if len(by_label) > 1 and None not in by_label:
            (first, *_), labels = next(iter(by_label.values())), " and ".join(f"rec-{label}" for label in by_label)
            problems.append(f"{first.path}: its acquisition is there as {labels}; choose one with --bids-filter-file")
        elif len(by_label) > 1:
            left_out |= {series.path for label, of_label in by_label.items() if label for series in of_label}
    return tuple(series for series in selected if series.path not in left_out), problems


def _name_problems(selected: Sequence[SeriesFile]) -> Iterator[str]:
    """What would let results of one series land under another's name."""
    taken: set[tuple[Path, str]] = set()
    for series in selected:
        home = series.path.parent.parent
        folders = [home.name] if "ses" not in series.entities else [home.parent.name, home.name]
        if folders != [f"{key}-{series.entities.get(key)}" for key in ("sub", "ses")[: len(folders)]]:
            yield f"{series.path}: sub and ses of the name are not those of its folder"
        kind = series.entities.get("acq", "").lower()
        if kind in INPUT_SERIES and not series.is_aif:
            yield f"{series.path}: the {INPUT_SERIES[kind]} is acq-{kind}, in small letters"
        if series.entities.get("task") not in TASKS:
            yield f"{series.path}: the name must say task-{' or task-'.join(TASKS)}"
        if tuple(series.entities) != tuple(key for key in NAME_ENTITIES if key in series.entities):
            yield f"{series.path}: a series' name has {', '.join(NAME_ENTITIES)} in this order and nothing else"
        without_extension = series.path.name.partition(".")[0]
        if (series.path.parent, without_extension) in taken:
            yield f"{series.path}: the series is there twice, as .nii and as .nii.gz"
        taken.add((series.path.parent, without_extension))
    yield from _echo_problems(selected)


def _echo_problems(selected: Sequence[SeriesFile]) -> Iterator[str]:
    """What keeps files with an echo from being one input-function series of two echoes."""
    echoes: dict[Path, list[SeriesFile]] = {}
    for series in selected:
        echoes.setdefault(series.path.with_name(series.prefix), []).append(series)
    for of_series in echoes.values():
        several = [series for series in of_series if "echo" in series.entities]
        numbers = sorted(plain_label("echo", series.entities["echo"]) for series in several)
        if several and several[0].entities.get("acq") != AIF_LABEL:
            yield f"{several[0].path}: only an input-function series (acq-{AIF_LABEL}) may have echoes"
        elif several and (numbers != ["1", "2"] or len(several) < len(of_series)):
            yield f"{several[0].path}: an input-function series has no echo in its names, or echo-1 and echo-2"


def _json_names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".json")]
    except OSError as error:
        raise DatasetError(f"{folder}: can't be listed: {error.strerror}") from error


def _applicable(folder: Path, names: Iterable[str], entities: Mapping[str, str], suffix: str) -> str | None:
    """The one JSON file of a folder whose metadata a file with these entities inherits.

    Where several apply, one with all of the file's entities is its own and wins, as in BIDS.
    """
    found: dict[str, dict[str, str]] = {}
    for name in names:
        parsed = parse_name(name)
        if parsed and parsed[1:] == (suffix, ".json") and parsed[0].items() <= entities.items():
            found[name] = parsed[0]
    own = [name for name, its in found.items() if its == dict(entities)]
    if len(found) > 1 and not own:
        raise DatasetError(f"{folder}: several JSON files apply to one series: {', '.join(sorted(found))}")
    return (own or list(found))[0] if found else None


#: Files that are looked at for DICOM, and where its mark stands.
_LOOKED_AT, _DICOM_MARK = 20, (128, b"DICM")


def _hint(root: Path) -> str:
    """What a folder without series may be instead."""
    if root.name.startswith(("sub-", "ses-")):
        return f"; it is a folder of a dataset: give the dataset itself, {root.parent}"
    offset, mark = _DICOM_MARK
    for path in itertools.islice((p for p in root.rglob("*") if p.is_file()), _LOOKED_AT):
        try:
            with path.open("rb") as file:
                if file.read(offset + len(mark))[offset:] == mark:
                    return "; it holds DICOM files: `qperf import` makes a dataset of them"
        except OSError:
            continue
    return ""
