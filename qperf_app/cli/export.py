"""``qperf export OUT_DIR DICOM_DIR``: results as DICOM, in the patient's study or in a new one."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qperf_app.cli.errors import DONE, NOTHING_SELECTED, PARTICIPANT_FAILED, UNUSABLE_DATASET, USAGE, UsageError
from qperf_app.cli.progress import named

if TYPE_CHECKING:
    from qperf_app.dicom.export.participant import ExportOptions
    from qperf_app.dicom.export.reference import Reference
    from qperf_app.dicom.export.results import Results


#: Files that are named in a line of the terminal.
_MOST_NAMED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="folder that qperf-app wrote its results to")
    parser.add_argument("dicom_dir", metavar="DICOM_DIR", type=Path, help="folder to write; nothing in it is replaced")
    parser.add_argument(
        "--reference",
        metavar="DICOM",
        type=Path,
        help="file or folder with the study as the scanner gave it: the results join it. Without it they carry the "
        "participant's label only",
    )
    chosen = parser.add_argument_group("what is exported")
    chosen.add_argument("--participant-label", nargs="+", default=[], metavar="LABEL", help="with or without sub-")
    chosen.add_argument("--session-label", nargs="+", default=[], metavar="LABEL", help="with or without ses-")
    chosen.add_argument(
        "--kinetics", nargs="+", default=[], metavar="NAME", help="plugins (default: the one that heads the report)"
    )
    chosen.add_argument(
        "--quantity", nargs="+", default=[], metavar="NAME", help="such as MBF vb Ta (default: that of the report)"
    )
    chosen.add_argument("--no-pictures", action="store_true", help="leave the report's pictures out")
    chosen.add_argument("--no-page", action="store_true", help="leave the PDF of the report out")
    chosen.add_argument("--dry-run", action="store_true", help="only list the maps; write and send nothing")

    archive = parser.add_argument_group("archive")
    archive.add_argument("--send", metavar="HOST:PORT", help="send what was written by C-STORE")
    archive.add_argument("--called-ae", default="ANY-SCP", metavar="TITLE", help="title of the archive")
    archive.add_argument("--calling-ae", default="QPERF", metavar="TITLE", help="title of this application")


def run(args: argparse.Namespace) -> int:
    """Export every participant selected; return an exit code of the contract."""
    from qperf_app.bids.errors import DatasetError
    from qperf_app.dicom.export.participant import ExportOptions
    from qperf_app.dicom.export.reference import ReferenceStudyError

    options = ExportOptions(tuple(args.kinetics), tuple(args.quantity), not args.no_pictures, not args.no_page)
    try:
        selected = _select(args)
        _check_choice(selected, options)
        reference = _reference(args, selected)
        _check_archive(args)
        failed = [results for results in selected if not _export(args, results, reference, options)]
    except (UsageError, ReferenceStudyError) as error:
        return _refuse(error, USAGE)
    except DatasetError as error:
        return _refuse(error, UNUSABLE_DATASET)
    except LookupError as error:
        return _refuse(error.args[0], NOTHING_SELECTED)
    return PARTICIPANT_FAILED if failed else DONE


def _refuse(error: Exception | str, code: int) -> int:
    print(f"qperf export: {error}", file=sys.stderr)
    return code


def _select(args: argparse.Namespace) -> list[Results]:
    """Results of the participants and sessions asked for; LookupError where there are none."""
    from qperf_app.dicom.export.results import list_results, read_results
    from qperf_app.workflow.status import gone_files, unfinished

    present = list_results(args.out_dir)
    _check_folder(args.out_dir.resolve(), args.dicom_dir.resolve())
    wanted = [label.removeprefix("sub-") for label in args.participant_label] or present
    unknown = sorted(set(wanted) - set(present))
    if unknown:
        raise LookupError(f"{args.out_dir}: no results of participant {', '.join(unknown)}")
    sessions = [label.removeprefix("ses-") for label in args.session_label]
    selected = [results for label in dict.fromkeys(wanted) for results in read_results(args.out_dir, label, sessions)]
    if not selected:
        raise LookupError(f"{args.out_dir}: no results of session {', '.join(sessions) or 'any'}")
    participants = dict.fromkeys(results.participant for results in selected)
    gone = [path for label in participants for path in gone_files(args.out_dir, label)]
    missing = [f"left out, since they are no longer there: {named(gone, _MOST_NAMED)}"] if gone else []
    for told in (*unfinished(args.out_dir, participants), *missing):
        print(f"warning: {told}", file=sys.stderr)
    standing = [args.dicom_dir / results.name for results in selected if (args.dicom_dir / results.name).exists()]
    if standing and not args.dry_run:
        raise UsageError(f"{standing[0]} exists; the export replaces nothing")
    return selected


def _check_folder(out_dir: Path, dicom_dir: Path) -> None:
    """Refuse a folder within the results or a BIDS dataset: neither holds DICOM files."""
    for folder in (dicom_dir, *dicom_dir.parents):
        if folder == out_dir or (folder / "dataset_description.json").is_file():
            raise UsageError(f"DICOM_DIR {dicom_dir} lies in {folder}, a BIDS dataset; choose a folder beside it")


def _check_choice(selected: list[Results], options: ExportOptions) -> None:
    """Refuse a choice of plugins and quantities that leaves no map, LookupError."""
    from qperf_app.dicom.export.participant import planned_maps

    chosen = options.plugins or options.quantities
    if chosen and not any(planned_maps(results, options) for results in selected):
        raise LookupError(f"no map of {', '.join((*options.plugins, *options.quantities))} is there")


def _reference(args: argparse.Namespace, selected: list[Results]) -> Reference | None:
    from qperf_app.dicom.export.reference import read_reference

    if args.reference is None:
        return None
    if len(selected) > 1:
        names = ", ".join(results.name for results in selected)
        raise UsageError(f"--reference is one study, and {names} are selected; choose one with --participant-label")
    return read_reference(args.reference)


def _check_archive(args: argparse.Namespace) -> None:
    from qperf_app.dicom.export.send import Archive

    try:
        args.archive = Archive.parse(args.send, args.called_ae, args.calling_ae) if args.send else None
    except ValueError as error:
        raise UsageError(str(error)) from None


def _export(args: argparse.Namespace, results: Results, reference: Reference | None, options: ExportOptions) -> bool:
    """Export and send one session; False, and a line, where that failed."""
    from qperf_app.dicom.export.participant import ExportError, export_results, planned_maps
    from qperf_app.dicom.export.send import SendError, send

    if args.dry_run:
        for name in planned_maps(results, options):
            print(f"{results.name}: {name}")
        return True
    new = not args.dicom_dir.exists()
    try:
        exported = export_results(results, args.dicom_dir / results.name, reference, options)
        for note in exported.notes:
            print(note, file=sys.stderr)
        print(f"{args.dicom_dir / results.name}: {len(exported.files)} objects")
        if args.archive is not None:
            print(f"{args.send}: {send(exported.files, args.archive)} objects stored")
        return True
    except (ExportError, SendError) as error:
        reason = str(error)
    except OSError as error:
        # The library raises it once more, with a traceback for a text.
        first = error.__cause__ if error.strerror is None and isinstance(error.__cause__, OSError) else error
        reason = f"{args.dicom_dir}: can't be written: {first.strerror or first}"
    print(f"qperf export: {reason}", file=sys.stderr)
    if new:
        # Nothing half-written: what is in it is of participants before this one, or sent in vain.
        with contextlib.suppress(OSError):
            args.dicom_dir.rmdir()
    return False
