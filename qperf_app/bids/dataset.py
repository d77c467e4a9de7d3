"""What a derivative dataset says of itself at its root, and how files get there whole."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from qperf_app import __version__
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json
from qperf_app.bids.sidecars import RAW
from qperf_app.bids.whole import replace_text

#: Name of the app in a dataset that it made.
OWN_NAME = "qperf-app"
#: The tool of ours that writes corrections.
REVIEW = "qperf review"
#: Name that the corrections have among the derivative datasets of a run.
CORRECTIONS = "corrections"
#: Name that the results have in the links of the corrections.
RESULTS = "results"
#: Version of BIDS that the names and metadata follow.
BIDS_VERSION = "1.11.2"


def check_ours(out_dir: Path) -> None:
    """Refuse a folder that holds a dataset of somebody else.

    Raises
    ------
    DatasetError
        Naming whose it is.
    """
    path = out_dir / "dataset_description.json"
    if not path.is_file():
        if any(out_dir.glob("sub-*/")) and not any(out_dir.glob("sub-*/sub-*_status.json")):
            raise DatasetError(f"{out_dir} holds participants of some other dataset, without a {path.name}")
        return
    description = read_json(path)
    listed = description.get("GeneratedBy")
    makers = [maker for maker in listed if isinstance(maker, dict)] if isinstance(listed, list) else []
    names = [str(maker.get("Name")) for maker in makers]
    tools = [str(maker["Description"]) for maker in makers if "Description" in maker]
    if OWN_NAME not in names:
        whose = f"the dataset of {', '.join(names)}" if names else "a raw dataset, or one that nobody claims"
        raise DatasetError(f"{out_dir} is {whose} ({path.name})")
    if description.get("DatasetType") != "derivative" or tools:
        raise DatasetError(f"{out_dir} is what {' and '.join(tools) or 'another tool of ours'} wrote ({path.name})")


def is_review(dataset: Path) -> bool:
    """Whether a dataset holds a reader's corrections, of some scans and not of others."""
    path = dataset / "dataset_description.json"
    makers = read_json(path).get("GeneratedBy") if path.is_file() else None
    return isinstance(makers, list) and any(isinstance(m, dict) and m.get("Description") == REVIEW for m in makers)


def corrections_beside(out_dir: Path) -> Path:
    """Where readers' corrections of OUT_DIR are kept: a folder beside it, named after it (``out-corrections``)."""
    return out_dir.with_name(f"{out_dir.name}-{CORRECTIONS}")


def write_description(out_dir: Path, bids_dir: Path, datasets: Mapping[str, Path], work_dir: Path) -> None:
    """Write ``dataset_description.json``, ``.bidsignore`` and, where there is none, ``README.md`` of OUT_DIR.

    Links are relative to OUT_DIR: a path of the machine may name a person. Links of earlier runs stay, as do lines that
    somebody else has put into ``.bidsignore``.

    Raises
    ------
    DatasetError
        Where the folder is not ours (:func:`check_ours`).
    """
    with exclusive(out_dir, "description"):
        check_ours(out_dir)
        _write_description(out_dir, bids_dir, datasets)
        _ignore(out_dir, work_dir)
        if not (out_dir / "README.md").exists():
            replace_text(out_dir / "README.md", README)


def _write_description(out_dir: Path, bids_dir: Path, datasets: Mapping[str, Path]) -> None:
    path = out_dir / "dataset_description.json"
    links = {RAW: _relative(bids_dir, out_dir), **{name: _relative(p, out_dir) for name, p in datasets.items()}}
    earlier = read_json(path).get("DatasetLinks", {}) if path.is_file() else {}
    description = {
        "Name": "qperf-app: quantitative first-pass myocardial perfusion",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "n/a",
        "GeneratedBy": [{"Name": OWN_NAME, "Version": __version__}],
        "SourceDatasets": [{"URL": links[RAW]}],
        "DatasetLinks": {**earlier, **links},
    }
    replace_text(path, json.dumps(description, indent=2, ensure_ascii=False) + "\n")


def _ignore(out_dir: Path, work_dir: Path) -> None:
    """Name in ``.bidsignore`` what is no BIDS: the pages, and a work directory that lies inside."""
    path = out_dir / ".bidsignore"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    ours = ["sub-*.html", "group*.html"]
    if out_dir in work_dir.parents:
        # The folder at the top: the validator takes those above it for part of the dataset.
        ours.append(f"/{work_dir.relative_to(out_dir).parts[0]}")
    missing = [line for line in ours if line not in lines]
    if missing:
        replace_text(path, "\n".join([*lines, *missing]) + "\n")


@contextmanager
def exclusive(out_dir: Path, owner: str) -> Iterator[None]:
    """Let one process at a time do something to OUT_DIR; others, on whichever machine, wait.

    The lock is the kernel's, so that a process that is killed gives it back. Where the file system has no locks
    there is none, and every write is whole all the same.
    """
    path = out_dir / f".lock-{owner}"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            break
        # Whoever held it before may have removed the file that was waited for.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def replace_files(out_dir: Path, owner: str = "group") -> Iterator[Path]:
    """Give a folder to write into; when the block ends well, each of its files moves to its place in OUT_DIR.

    Until then nothing in OUT_DIR changes, and after an error nothing is left behind; what a killed process left behind
    is removed by the next one. Call it inside :func:`exclusive` where another process may have the same owner.
    """
    staging = _staging(out_dir, owner)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        for source in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = out_dir / source.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_staging(out_dir: Path, owner: str) -> None:
    """Remove what :func:`replace_files` of a process that was killed has left."""
    shutil.rmtree(_staging(out_dir, owner), ignore_errors=True)
    (out_dir / f".lock-{owner}").unlink(missing_ok=True)


def _staging(out_dir: Path, owner: str) -> Path:
    return out_dir / f".staging-{owner}"


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


README = """# Quantitative myocardial perfusion

Made by qperf-app. Open `sub-<label>.html` for a participant's report; `sub-<label>/sub-<label>_status.json` says how
the run ended; maps and masks lie in `sub-<label>/[ses-<label>/]perf/`. Methods and references: `logs/CITATION.md`.
"""
