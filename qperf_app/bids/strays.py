"""Files that look like perfusion series and can't be taken as such: nothing falls out without a word."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qperf_app.bids.names import DATATYPE, IMAGE_EXTENSIONS, SUFFIX, is_input_series, parse_entities, parse_name

#: Image formats that people put in place of NIfTI.
_OTHER_FORMATS = (".img", ".hdr", ".mgz", ".mgh", ".nrrd", ".mha", ".mhd", ".dcm", ".nii.bz2", ".nii.zst", ".nii.xz")


@dataclass(frozen=True)
class Stray:
    """One such file, and what is wrong with it."""

    path: Path
    why: str
    entities: Mapping[str, str] = field(hash=False)

    @property
    def problem(self) -> str:
        """One line that names the file."""
        return f"{self.path}: {self.why}"


def strays_of(home: Path) -> Iterator[Stray]:
    """Look through the folder of a participant or session for series that would be passed over.

    These are images beside the folder ``perf``, in one that is written otherwise or in another one, names in capitals
    or with something behind the suffix, other formats, and JSON files whose image is not there.
    """
    try:
        entries = sorted(os.scandir(home), key=lambda entry: entry.name)
    except OSError:
        return
    folders = [entry.name for entry in entries if entry.name.lower() == DATATYPE and entry.is_dir()]
    for entry in entries:
        if _looks_like_a_series(entry.name) and not entry.is_dir():
            yield _stray(Path(entry.path), f"a series lies in the folder {DATATYPE}/")
        elif entry.is_dir() and entry.name.lower() != DATATYPE and not entry.name.startswith("ses-"):
            for name in filter(_looks_like_a_series, _listed(entry.path)):
                yield _stray(Path(entry.path, name), f"a series lies in the folder {DATATYPE}/")
    for folder in folders:
        names = sorted(os.listdir(home / folder))
        for name in names:
            why = _why(name) if folder == DATATYPE else f"its folder must be called {DATATYPE}"
            if why and _looks_like_a_series(name):
                yield _stray(home / folder / name, why)
        images = {name.lower().partition(".")[0] for name in names if _looks_like_a_series(name)}
        for name in names:
            found, small = parse_name(name), parse_name(name.lower())
            if found and small and small[1:] == (SUFFIX, ".json") != found[1:]:
                yield _stray(home / folder / name, f"metadata of a series are in _{SUFFIX}.json, in small letters")
        for name in _orphans(names):
            if name.lower().partition(".")[0] not in images:
                yield _stray(home / folder / name, "its image is not there")


def _listed(folder: str) -> list[str]:
    """Names in a folder of another datatype, sorted; none where it can't be looked into, which is none of ours."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _stray(path: Path, why: str) -> Stray:
    return Stray(path, why, parse_entities(path.name))


def _looks_like_a_series(name: str) -> bool:
    """Whether a name is that of an image, and has the suffix as a word of its own."""
    lower = name.lower()
    stem = lower.partition(".")[0]
    return (
        lower.startswith("sub-")
        and lower.endswith((*IMAGE_EXTENSIONS, *_OTHER_FORMATS))
        and any(re.fullmatch(f"{SUFFIX}[a-z0-9]?", word.split(" ")[0].split("(")[0]) for word in stem.split("_"))
    )


def _why(name: str) -> str:
    """What keeps a file in the right folder from being a series; empty where nothing does."""
    parsed = parse_name(name)
    if parsed is not None and parsed[1] == SUFFIX and parsed[2] in IMAGE_EXTENSIONS:
        return ""
    *parts, suffix = name.partition(".")[0].split("_")
    loose = [f"{before}_{part}" for before, part in itertools.pairwise(parts) if "-" not in part]
    if loose and suffix == SUFFIX and name.endswith(IMAGE_EXTENSIONS):
        return f"a label has letters and digits only, no underscore as in {loose[0]}"
    entities = [part.partition("-")[0].lower() for part in parts]
    twice = [entity for k, entity in enumerate(entities) if entity in entities[:k]]
    if twice:
        return f"{twice[0]}- stands twice in its name"
    wanted = f"the name of a series ends in _{SUFFIX}.nii.gz or _{SUFFIX}.nii"
    return f"{wanted}, in small letters" if name.lower().endswith(IMAGE_EXTENSIONS) else f"{wanted}: only NIfTI is read"


def _orphans(names: list[str]) -> Iterator[str]:
    """JSON files of series whose image is not there.

    One that others may inherit from is none. The own file of a tissue series would apply to its ``acq-aif`` and
    ``acq-prebolus`` series too; where that one has its own, it is an orphan all the same.
    """
    parsed = {name: found for name in names if (found := parse_name(name)) and found[1] == SUFFIX}
    images = [entities for entities, _, extension in parsed.values() if extension in IMAGE_EXTENSIONS]
    sidecars = {name: entities for name, (entities, _, extension) in parsed.items() if extension == ".json"}
    for name, entities in sidecars.items():
        heirs = [image for image in images if entities.items() <= image.items()]
        own = [heir for heir in heirs if heir == entities]
        served = [
            heir
            for heir in heirs
            if not is_input_series(heir) or entities.get("acq") == heir["acq"] or heir not in sidecars.values()
        ]
        if not own and not served and "sub" in entities and "task" in entities:
            yield name
