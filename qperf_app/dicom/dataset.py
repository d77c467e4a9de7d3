"""Write imported series into a raw dataset: whole or not at all, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qperf_app import __version__
from qperf_app.bids.dataset import BIDS_VERSION, exclusive, replace_files
from qperf_app.bids.images import sidecar_path, write_image
from qperf_app.bids.names import IMAGE_EXTENSIONS
from qperf_app.bids.whole import replace_text
from qperf_app.dicom.pixels import affine_of, read_series
from qperf_app.dicom.sources import Opener
from qperf_app.dicom.study import ImportRefused, PlannedSeries, PlannedStudy

_LABEL = re.compile(r"[A-Za-z0-9]+")
#: Folder inside the dataset where a study is built before it is moved to its place.
_OWNER = "import"


@dataclass
class Written:
    """What an import did.

    Attributes
    ----------
    images : list of str
        Paths below the dataset.
    problems : list of str
        Frames that could not be read, one line each.
    replaced : list of str
        Images of an earlier import that were taken away: the same ones have other names now.
    """

    images: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


def check_label(entity: str, text: str) -> str:
    """A label without its entity's name.

    Raises
    ------
    ImportRefused
    """
    label = text.removeprefix(f"{entity}-")
    if not _LABEL.fullmatch(label):
        raise ImportRefused(f"{text!r} is no label: letters and digits only")
    return label


def write_studies(
    bids_dir: Path,
    studies: Sequence[PlannedStudy],
    participant: str,
    session: str | None,
    opener: Opener,
    progress: Callable[[], None] = lambda: None,
    known: bool = True,
) -> Written:
    """Write the series of all studies of one participant.

    A study that is there already, by the content of its images, is written in its place; any other one becomes a new
    session. Nothing that is there is changed otherwise.

    Raises
    ------
    ImportRefused
        Where the session that was asked for holds other images of the same names, or where the participant is there
        and was not named (``known`` False): nothing tells whether a new study is of the same person.
    """
    written = Written()
    bids_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(bids_dir, _OWNER):
        chosen: set[str] = set()
        for number, study in enumerate(study for study in studies if study.series):
            with replace_files(bids_dir, _OWNER) as staging:
                label = session
                if session is not None and number:
                    label = f"{session}{number + 1}"
                digests = _stage(staging, study, opener, written, progress)
                if not digests:
                    continue
                several = sum(1 for one in studies if one.series) > 1
                label = _session(bids_dir, participant, label, digests, several, chosen)
                folders = _perf_folders(bids_dir, participant)
                if not known and folders and label not in folders and not chosen:
                    raise ImportRefused(
                        f"sub-{participant} is there already, and whether this is the same person is not known: say "
                        f"--participant {participant}, or another label"
                    )
                chosen.add(label)
                written.problems += _under_another_label(bids_dir, participant, staging)
                _place(staging, study, participant, label, digests, written)
        _write_roots(bids_dir, participant)
    return written


def _stage(
    staging: Path, study: PlannedStudy, opener: Opener, written: Written, progress: Callable[[], None]
) -> dict[int, str]:
    """Write the images under neutral names; digests of those that have volumes, by their place in the study."""
    digests = {}
    for index, series in enumerate(study.series):
        data, kept, bad = read_series(series.timed.frames, opener)
        written.problems += [f"{frame.file}: {reason}" for frame, reason in bad]
        progress()
        numbers, volumes = ", ".join(map(str, series.role.stack.series_numbers)), len(series.timed.frames[0])
        if len(kept) < 2:
            written.problems.append(f"series {numbers}: no volume is whole")
            continue
        if len(kept) < volumes:
            written.problems.append(f"series {numbers}: {volumes - len(kept)} of {volumes} volumes are left out")
        image = staging / f"{index}.nii.gz"
        write_image(image, data, affine_of(series.timed.frames), _content(series, kept))
        digests[index] = _digest(image)
    return digests


def _content(series: PlannedSeries, kept: Sequence[int]) -> dict[str, Any]:
    """The sidecar of the volumes that could be read."""
    content = series.sidecar.content()
    times = content["VolumeTiming"]
    if len(kept) == len(times):
        return content
    content["VolumeTiming"] = [times[t] for t in kept]
    if isinstance(content.get("FlipAngle"), list):
        content["FlipAngle"] = [content["FlipAngle"][t] for t in kept]
    if "ProtonDensityVolumeCount" in content:
        content["ProtonDensityVolumeCount"] = sum(t < content["ProtonDensityVolumeCount"] for t in kept)
    return content


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _perf_folders(bids_dir: Path, participant: str) -> dict[str, Path]:
    """Folders with series of a participant by session, ``""`` for none."""
    home = bids_dir / f"sub-{participant}"
    found = {"": home / "perf"} | {path.name[4:]: path / "perf" for path in sorted(home.glob("ses-*"))}
    return {label: path for label, path in found.items() if path.is_dir()}


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name.endswith(IMAGE_EXTENSIONS))


def _session(
    bids_dir: Path, participant: str, given: str | None, digests: dict[int, str], several: bool, chosen: set[str]
) -> str:
    """Session that a study belongs to; ``""`` for none."""
    if given is not None:
        return given
    folders = _perf_folders(bids_dir, participant)
    for label, folder in folders.items():
        if label not in chosen and set(digests.values()) & {_digest(path) for path in _images(folder)}:
            return label
    if not folders and not several:
        return ""
    number = len(folders) + 1
    while f"{number:02d}" in folders:
        number += 1
    return f"{number:02d}"


def _under_another_label(bids_dir: Path, participant: str, staging: Path) -> list[str]:
    """Say which of the staged images another participant of the dataset has as well."""
    staged = {_digest(path): path.stat().st_size for path in _images(staging)}
    others = (path for path in sorted(bids_dir.glob("sub-*/**/perf/*")) if path.name.endswith(IMAGE_EXTENSIONS))
    ours = f"sub-{participant}"
    return [
        f"{path.relative_to(bids_dir)}: the same images are now of {ours} too; a person has one label"
        for path in others
        if path.relative_to(bids_dir).parts[0] != ours
        and path.stat().st_size in staged.values()
        and _digest(path) in staged
    ]


def _place(
    staging: Path, study: PlannedStudy, participant: str, session: str, digests: dict[int, str], written: Written
) -> None:
    """Give the staged files their names; those of a folder that isn't there yet move to their place in one step."""
    bids_dir = staging.parent
    target = _perf_folders(bids_dir, participant).get(session)
    there = {_digest(path): path for path in _images(target)} if target else {}
    same_study = set(there) & set(digests.values())
    names = {index: study.series[index].name(participant, session) for index in digests}
    for name in names.values():
        if (bids_dir / name).exists() and not same_study:
            raise ImportRefused(f"{name} is there already with other images; give another --session or --participant")
    for index, name in names.items():
        image, place = staging / f"{index}.nii.gz", staging / name
        place.parent.mkdir(parents=True, exist_ok=True)
        sidecar_path(image).rename(sidecar_path(place))
        image.rename(place)
        written.images.append(name)
    if target is None and names:
        made = Path(next(iter(names.values()))).parent
        (bids_dir / made.parent).mkdir(parents=True, exist_ok=True)
        (staging / made).rename(bids_dir / made)
    for digest in same_study:
        # The same series under another name, such as before --task was given.
        if there[digest].relative_to(bids_dir).as_posix() not in names.values():
            written.replaced.append(there[digest].relative_to(bids_dir).as_posix())
            sidecar_path(there[digest]).unlink(missing_ok=True)
            there[digest].unlink()


def _write_roots(bids_dir: Path, participant: str) -> None:
    """What stands at the top of the dataset, where it isn't there yet."""
    description = bids_dir / "dataset_description.json"
    if not description.exists():
        generated = [{"Name": "qperf-app", "Version": __version__, "Description": "qperf import"}]
        content = {"Name": "First-pass perfusion", "BIDSVersion": BIDS_VERSION, "DatasetType": "raw",
                   "License": "n/a", "GeneratedBy": generated}  # fmt: skip
        replace_text(description, json.dumps(content, indent=2) + "\n")
    if not any(bids_dir.glob("README*")):
        replace_text(bids_dir / "README.md", _README)
    table = bids_dir / "participants.tsv"
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else ["participant_id"]
    columns = lines[0].split("\t") if lines else ["participant_id"]
    label = f"sub-{participant}"
    if label not in {line.split("\t")[0] for line in lines}:
        row = [label if column == "participant_id" else "n/a" for column in columns]
        body = sorted([*lines[1:], "\t".join(row)]) if not table.exists() else [*lines[1:], "\t".join(row)]
        replace_text(table, "\n".join(["\t".join(columns), *body]) + "\n")


_README = """# First-pass perfusion

Made by `qperf import` from DICOM. Of the headers only technical values were taken; each sidecar's `ImportedFrom` says
where a value comes from.
"""
