"""From the command line's arguments to folders, configuration and selection."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qperf_app.bids.dataset import CORRECTIONS, check_ours, corrections_beside, is_review
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json
from qperf_app.bids.sidecars import RAW
from qperf_app.cli.errors import UsageError
from qperf_app.cli.progress import say
from qperf_app.plugins.manager import PluginRegistry
from qperf_app.plugins.steps import configurable_steps
from qperf_app.workflow.configuration import Configuration, configure, read_configuration, resolve
from qperf_app.workflow.selection import Selection


def check_folders(args: argparse.Namespace) -> None:
    """Refuse folders that can't be read, written or kept apart.

    Raises
    ------
    UsageError
    """
    for what, path in (("BIDS_DIR", args.bids_dir), ("OUT_DIR", args.out_dir), ("--work-dir", args.work_dir)):
        check_text(what, path)
    bids_dir = args.bids_dir.resolve()
    if not bids_dir.is_dir():
        raise UsageError(f"BIDS_DIR {args.bids_dir} is not a folder")
    for what, folder in (("OUT_DIR", args.out_dir.resolve()), ("--work-dir", args.work_dir.resolve())):
        if folder == bids_dir or (bids_dir in folder.parents and (bids_dir / "derivatives") not in folder.parents):
            raise UsageError(f"{what} {folder} lies inside the raw dataset; only below its derivatives/ may it")
    if args.out_dir.resolve() == args.work_dir.resolve():
        raise UsageError(f"OUT_DIR and --work-dir are both {args.out_dir}; take two, the one may be deleted")
    if args.out_dir.resolve() in bids_dir.parents:
        raise UsageError(f"OUT_DIR {args.out_dir} contains the raw dataset")
    try:
        check_ours(args.out_dir.resolve())
    except DatasetError as error:
        raise UsageError(f"OUT_DIR {error}; give a folder of its own") from None


def check_text(what: str, path: Path) -> None:
    """Refuse a path that can't be written into a sidecar or a page.

    Raises
    ------
    UsageError
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        name = os.fsencode(path)
        raise UsageError(f"{what} {name!r}: the path is not UTF-8; rename the folder or link to it") from None


def check_writable(what: str, folder: Path) -> None:
    """Refuse a folder that :func:`make_folder` could not make or write to, without making it.

    Raises
    ------
    UsageError
    """
    path = folder.absolute()
    # The nearest that is there; a link is, whatever it leads to.
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if there.is_symlink() and not there.exists():
        raise UsageError(f"{what} {folder} can't be written to: {there} is a link to what is not there")
    if not there.is_dir():
        raise UsageError(f"{what} {folder} can't be written to: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK) or _is_made_up(there):
        raise UsageError(f"{what} {folder} can't be written to: {there} may not be written to")


def _is_made_up(folder: Path) -> bool:
    """Whether a folder is the kernel's, in which nobody makes files: /proc says that everybody may."""
    return any(folder.is_relative_to(root) and os.path.ismount(root) for root in ("/proc", "/sys"))


def make_folder(what: str, folder: Path) -> None:
    """Make a folder that can be written to.

    Raises
    ------
    UsageError
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own: other jobs may be trying the same folder.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{what} {folder} can't be written to: {error.strerror}") from None


def read_derivatives(entries: Sequence[str] | None) -> dict[str, Path]:
    """Parse ``-d NAME=PATH``; a path without a name takes its folder's.

    Raises
    ------
    UsageError
    """
    datasets: dict[str, Path] = {}
    for entry in entries or ():
        name, _, text = entry.rpartition("=")
        path = Path(text)
        check_text(f"--derivatives {name}", path)
        name = name or path.resolve().name
        if not text or "/" in name or entry.startswith("="):
            raise UsageError(f"--derivatives {entry}: expected NAME=PATH or PATH")
        if not path.is_dir():
            raise UsageError(f"--derivatives {entry}: {text} is not a folder")
        if name in datasets:
            raise UsageError(f"--derivatives {entry}: the name {name!r} is there twice")
        if name == RAW or ":" in name:
            raise UsageError(f"--derivatives {entry}: the name {name!r} can't be used; give another as NAME=PATH")
        datasets[name] = path.resolve()
    return datasets


def with_corrections(out_dir: Path, datasets: Mapping[str, Path]) -> dict[str, Path]:
    """The derivative datasets, before them the readers' corrections that lie beside OUT_DIR: a run again keeps them."""
    beside = corrections_beside(out_dir.resolve())
    if not is_review(beside) or beside in datasets.values():
        return dict(datasets)
    if CORRECTIONS in datasets:
        say(f"warning: readers' corrections in {beside} are not used: -d {CORRECTIONS} names another folder")
        return dict(datasets)
    say(f"Readers' corrections are used: {beside}.")
    return {CORRECTIONS: beside, **datasets}


def make_configuration(args: argparse.Namespace, content: Mapping[str, Any], registry: PluginRegistry) -> Configuration:
    """Merge file and flags and check them against the installed plugins."""
    flags = {step: getattr(args, step.replace("-", "_")) for step in configurable_steps()}
    configuration = configure(content, flags, args.random_seed, args.disable_plugin, args.leave_out_uncorrected)
    return resolve(configuration, registry)


def disabled(args: argparse.Namespace) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Content of the configuration file, and the plugins that it or the flag leaves out."""
    content = read_configuration(args.config_file)
    listed = content.get("disable") or ()
    return content, (*(str(name) for name in listed if isinstance(listed, list)), *args.disable_plugin)


def check_disabled(registry: PluginRegistry) -> None:
    """Refuse to leave out what is not there: the name is a slip, and what was meant would run.

    Raises
    ------
    UsageError
    """
    if registry.not_there:
        known = ", ".join(dict.fromkeys(name for _, name in registry.plugins))
        name = registry.not_there[0]
        raise UsageError(f"--disable-plugin or disable: no plugin named {name!r} to leave out (installed: {known})")


def read_filters(path: Path | None) -> dict[str, Any]:
    """Read ``--bids-filter-file``.

    Raises
    ------
    UsageError
    """
    if path is None:
        return {}
    try:
        return read_json(path)
    except DatasetError as error:
        raise UsageError(f"--bids-filter-file {error}") from None


def read_selection(args: argparse.Namespace) -> Selection:
    """What the command line selects.

    Raises
    ------
    UsageError
        Where the filter file can't be read.
    """

    def labels(given: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if given is None else tuple(given)

    return Selection(
        participants=labels(args.participant_label),
        sessions=labels(args.session_label),
        tasks=labels(args.task_id),
        filters=read_filters(args.bids_filter_file),
    )
