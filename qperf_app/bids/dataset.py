"""What a derivative dataset says of itself at its root, and how files get there whole."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from qperf_app import __version__
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json
from qperf_app.bids.sidecars import RAW

#: Version of BIDS that the names and metadata follow.
BIDS_VERSION = "1.11.2"


def write_description(out_dir: Path, bids_dir: Path, datasets: Mapping[str, Path]) -> None:
    """Write ``dataset_description.json``, ``.bidsignore`` and ``README.md`` of OUT_DIR.

    Links are relative to OUT_DIR: a path of the machine may name a person. Links of earlier runs stay.
    """
    with exclusive(out_dir, "description"):
        _write_description(out_dir, bids_dir, datasets)


def _write_description(out_dir: Path, bids_dir: Path, datasets: Mapping[str, Path]) -> None:
    path = out_dir / "dataset_description.json"
    links = {RAW: _relative(bids_dir, out_dir), **{name: _relative(p, out_dir) for name, p in datasets.items()}}
    try:
        earlier = read_json(path).get("DatasetLinks", {}) if path.is_file() else {}
    except DatasetError:
        earlier = {}
    description = {
        "Name": "qperf-app: quantitative first-pass myocardial perfusion",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "n/a",
        "GeneratedBy": [{"Name": "qperf-app", "Version": __version__}],
        "SourceDatasets": [{"URL": links[RAW]}],
        "DatasetLinks": {**earlier, **links},
    }
    replace_text(path, json.dumps(description, indent=2, ensure_ascii=False) + "\n")
    replace_text(out_dir / ".bidsignore", "sub-*.html\ngroup*.html\n")
    replace_text(out_dir / "README.md", README)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    A process number would not do for the temporary name: jobs in containers on several machines share theirs.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    staging = out_dir / f".staging-{owner}"
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


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


README = """# Quantitative myocardial perfusion

Made by qperf-app. Open `sub-<label>.html` for a participant's report; `sub-<label>/sub-<label>_status.json` says how
the run ended; maps and masks lie in `sub-<label>/[ses-<label>/]perf/`. Methods and references: `logs/CITATION.md`.
"""
