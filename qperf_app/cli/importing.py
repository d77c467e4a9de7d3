"""``qperf import SOURCE … BIDS_DIR``: a perfusion study's DICOM to a raw dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qperf_app.checks.wording import counted
from qperf_app.cli.allotment import allotted_processors
from qperf_app.cli.arguments import positive
from qperf_app.cli.errors import DONE, UNUSABLE_DATASET, USAGE

if TYPE_CHECKING:
    from qperf_app.dicom.frames import Problem
    from qperf_app.dicom.study import PlannedStudy

#: Options may stand between the sources and the dataset.
INTERMIXED = True
#: Files with the same fault have a line each up to this many; of the others so many are named.
_MOST_LINES, _NAMED = 20, 3
#: What is said of a file that is something else altogether.
NOT_DICOM = "is not DICOM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("sources", metavar="SOURCE", nargs="+", type=Path,
                        help="files, folders, zip archives or DICOMDIR: one person's exam, all at once")  # fmt: skip
    parser.add_argument("bids_dir", metavar="BIDS_DIR", type=Path, help="raw dataset; made where it isn't there")
    parser.add_argument("--participant", metavar="LABEL",
                        help="label in the dataset (default: 01; must be said where 01 is there already)")  # fmt: skip
    parser.add_argument("--session", metavar="LABEL",
                        help="session (default: none; a further study of a participant becomes ses-02, …)")  # fmt: skip
    parser.add_argument("--task", choices=("rest", "stress"),
                        help="of every scan of the sources, where the headers don't say it")  # fmt: skip
    parser.add_argument("--protocol", type=Path, metavar="FILE",
                        help="YAML of what no header holds, once for each scanner protocol; written ready to fill in "
                        "(default: BIDS_DIR/code/import_protocols.yaml)")  # fmt: skip
    parser.add_argument("--nifti", action="store_true", help="the sources are NIfTI files with JSON, from a converter")
    parser.add_argument("--dry-run", action="store_true", help="say what was found and would be written; write nothing")
    parser.add_argument("--nprocs", type=positive, default=allotted_processors(), metavar="N",
                        help="processes that read headers (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Import; return 0, 2 for a command line that can't be followed, 16 where the sources hold no first pass."""
    from qperf_app.bids.errors import DatasetError
    from qperf_app.dicom.dataset import check_label
    from qperf_app.dicom.protocols import ProtocolError
    from qperf_app.dicom.study import ImportRefused

    try:
        for source in args.sources:
            if not source.exists():
                raise ImportRefused(f"SOURCE {source} is not there")
            if args.bids_dir.resolve().is_relative_to(source.resolve()):
                raise ImportRefused(f"BIDS_DIR {args.bids_dir} lies in SOURCE {source}; give a folder beside it")
        if args.bids_dir.exists() and not args.bids_dir.is_dir():
            raise ImportRefused(f"BIDS_DIR {args.bids_dir} is not a folder")
        said = args.participant is not None
        args.participant = check_label("sub", args.participant or "01")
        args.session = None if args.session is None else check_label("ses", args.session)
        return _import(args, said)
    except (ImportRefused, ProtocolError) as error:
        print(f"qperf import: {error}", file=sys.stderr)
        return USAGE
    except DatasetError as error:
        print(f"qperf import: {error}", file=sys.stderr)
        return UNUSABLE_DATASET
    except OSError as error:
        print(f"qperf import: {args.bids_dir} can't be written: {error.strerror or error}", file=sys.stderr)
        return USAGE


def _import(args: argparse.Namespace, said: bool) -> int:
    from qperf_app.dicom.dataset import write_studies
    from qperf_app.dicom.protocols import DEFAULT_NAME, add_protocols, read_protocols
    from qperf_app.dicom.sources import Opener

    path = args.protocol or args.bids_dir / "code" / DEFAULT_NAME
    protocols = read_protocols(path)
    opener = Opener()
    try:
        studies = _plan(args, protocols, opener)
        planned = [series for study in studies for series in study.series]
        _say_studies(studies, args.participant)
        if not planned:
            print("qperf import: the sources hold no first-pass series", file=sys.stderr)
            return UNUSABLE_DATASET
        if args.dry_run:
            return DONE
        advance, close = _bar(len(planned), "series", "writing")
        try:
            written = write_studies(
                args.bids_dir, studies, args.participant, args.session, opener, lambda: advance(1), said
            )
        finally:
            close()
    finally:
        opener.close()
    for line in written.problems:
        print(f"qperf import: {line}", file=sys.stderr)
    for name in written.replaced:
        print(f"qperf import: {args.bids_dir / name}: these images are now under another name", file=sys.stderr)
    add_protocols(path, (series.protocol for series in planned))
    _say_missing(planned, path)
    for name in written.images:
        print(args.bids_dir / name)
    return DONE if written.images else UNUSABLE_DATASET


def _plan(args: argparse.Namespace, protocols: dict[str, dict[str, Any]], opener: Any) -> Sequence[PlannedStudy]:
    """Read the headers and say what could not be read."""
    from qperf_app.dicom.nifti import nifti_frames
    from qperf_app.dicom.scan import scan_files
    from qperf_app.dicom.sources import list_files
    from qperf_app.dicom.study import plan_studies

    if args.nifti:
        frames, problems = nifti_frames(args.sources)
        _say_problems(problems)
        return plan_studies(frames, protocols, opener, args.task)
    files, problems = list_files(args.sources)
    advance, close = _bar(len(files), "file", "reading headers")
    try:
        frames, bad = scan_files(files, args.nprocs, advance, _third_party_readers())
    finally:
        close()
    _say_problems([*problems, *bad])
    return plan_studies(frames, protocols, opener, args.task)


def _third_party_readers() -> Sequence[Any]:
    """Readers of installed distributions; one that is broken is said, and the others go on."""
    from qperf_app.plugins.manager import load_plugins

    registry = load_plugins()
    for broken in registry.broken:
        print(f"qperf import: {broken}", file=sys.stderr)
    return tuple(registry.dicom_readers.values())


def _bar(total: int, unit: str, what: str) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    from tqdm import tqdm

    bar = tqdm(total=total, unit=unit, desc=what, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False)
    return bar.update, bar.close


def _say_problems(problems: Sequence[Problem]) -> None:
    """A line for each file that can't be read, up to a number; one for all that are no DICOM."""
    reasons: dict[str, list[str]] = {}
    for problem in problems:
        reasons.setdefault(problem.reason, []).append(str(problem.file))
    for reason, files in reasons.items():
        shown = 0 if reason == NOT_DICOM else _MOST_LINES
        for file in files[:shown]:
            print(f"qperf import: {file}: {reason}", file=sys.stderr)
        rest = files[shown:]
        if rest:
            names = ", ".join(rest[:_NAMED]) + (", …" if len(rest) > _NAMED else "")
            print(f"qperf import: {counted(len(rest), 'file')}: {reason}: {names}", file=sys.stderr)


def _say_studies(studies: Sequence[PlannedStudy], participant: str) -> None:
    """The table of what was found."""
    from qperf_app.dicom.table import study_lines

    for study in studies:
        for line in study_lines(study):
            print(line)


def _say_missing(planned: Sequence[Any], path: Path) -> None:
    protocols = {series.protocol.fingerprint: series.protocol for series in planned if series.protocol.missing}
    for fingerprint, protocol in protocols.items():
        names, them = ", ".join(protocol.missing), "it" if len(protocol.missing) == 1 else "them"
        # Only EPI can't do without.
        echo_alone = protocol.missing == ("EchoTime",) and "EPI" not in str(protocol.about["readout"])
        until = "the signal's decay until its echo is not counted" if echo_alone else "flow is relative"
        text = f"no header holds {names}; give {them} in {path} and import again; until then {until}"
        print(f"qperf import: protocol {fingerprint}: {text}", file=sys.stderr)
