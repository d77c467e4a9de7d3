"""``qperf review OUT_DIR``: look, correct, compute again, in a browser on this machine."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from qperf_app.cli.allotment import allotted_processors
from qperf_app.cli.arguments import positive
from qperf_app.cli.errors import DONE, UNUSABLE_DATASET, USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="folder that qperf-app wrote its results to")
    parser.add_argument("--reader", default="", metavar="NAME", help="who looks, for the table of decisions")
    parser.add_argument(
        "--corrections", type=Path, metavar="DIR",
        help="dataset that corrections are kept in (default: beside OUT_DIR, named after it: OUT_DIR-corrections)",
    )  # fmt: skip
    parser.add_argument("--bids-dir", type=Path, metavar="DIR", help="the raw dataset (default: the one OUT_DIR names)")
    parser.add_argument(
        "-w", "--work-dir", type=Path, default=Path("work"), metavar="DIR",
        help="work folder of the run: what is in it needs not be computed again (default: ./work)",
    )  # fmt: skip
    parser.add_argument(
        "--nprocs", type=positive, default=allotted_processors(), metavar="N", help="processes that compute at a time"
    )
    parser.add_argument("--port", type=int, default=0, metavar="PORT", help="port on 127.0.0.1 (default: a free one)")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; return an exit code of the contract."""
    from qperf_app.bids.errors import DatasetError
    from qperf_app.cli.environment import set_environment
    from qperf_app.review.corrections import check_corrections
    from qperf_app.review.desk import Desk
    from qperf_app.review.serving import listen, serve
    from qperf_app.review.study import open_study

    try:
        study = open_study(args.out_dir, args.bids_dir, args.corrections, args.work_dir)
        check_corrections(study)
    except DatasetError as error:
        return _refuse(error, UNUSABLE_DATASET)
    set_environment(args.work_dir, 1, gpu=False)
    try:
        listening = listen(args.port)
    except (OSError, OverflowError) as error:
        return _refuse(f"--port {args.port}: {error}", USAGE)
    if not (study.work_dir / "qperf").is_dir():
        _say(f"{study.work_dir} has nothing of a run (--work-dir): each participant takes longer once")
    _say(f"corrections go to {study.corrections}")
    with contextlib.suppress(KeyboardInterrupt):
        serve(Desk(study, args.reader), listening, args.nprocs, announce=_announce)
    return DONE


def _announce(address: str) -> None:
    _say("open this address in a browser; it is yours alone, and valid until this command ends (Ctrl-C):")
    print(address, flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse(reason: object, code: int) -> int:
    print(f"qperf review: {reason}", file=sys.stderr)
    return code
