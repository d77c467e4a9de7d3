"""Command line of ``qperf-app``. Imports nothing heavy: ``--help`` must answer at once."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from qperf_app import __version__
from qperf_app.cli.allotment import allotted_memory_gb, allotted_processors
from qperf_app.cli.arguments import Parser, count, positive
from qperf_app.cli.errors import EXIT_CODES
from qperf_app.plugins.steps import configurable_steps
from qperf_app.plugins.steps.spec import AUTO, slot_of


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qperf-app``."""
    parser = Parser(
        prog="qperf-app",
        description="Quantitative first-pass myocardial perfusion MRI: from a BIDS dataset to flow maps and a report.",
        epilog=f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
    )
    parser.add_argument("bids_dir", metavar="BIDS_DIR", type=Path, help="raw dataset, laid out as bids_spec/ says")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="derivative dataset to write")
    parser.add_argument("level", choices=("participant", "group"), help="participants' maps, or tables of a group")
    parser.add_argument("--version", action="version", version=f"qperf-app {__version__}")
    _add_selection(parser.add_argument_group("which data"))
    _add_steps(parser.add_argument_group("which method (qperf plugins lists them)"))
    _add_execution(parser.add_argument_group("how to run"))
    return parser


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--participant-label", "--participant_label", nargs="+", metavar="LABEL", action="extend",
                       help="participants to process, with or without 'sub-' (default: all)")  # fmt: skip
    group.add_argument("--session-label", "--session_label", nargs="+", metavar="LABEL", action="extend",
                       help="sessions to process, with or without 'ses-'")  # fmt: skip
    group.add_argument("-t", "--task-id", "--task_id", nargs="+", metavar="TASK", action="extend",
                       help="tasks to process (rest, stress)")  # fmt: skip
    group.add_argument("--bids-filter-file", type=Path, metavar="FILE",
                       help='JSON of entities to select, such as {"dce": {"run": "1"}, "aif": {…}}')  # fmt: skip
    group.add_argument("-d", "--derivatives", nargs="+", metavar="NAME=PATH", action="extend", default=None,
                       help="derivative datasets whose files replace what the app would compute; NAME is yours to "
                       "choose: report and provenance call the dataset by it (default: its folder's name)")  # fmt: skip
    group.add_argument("--skip-bids-validation", "--skip_bids_validation", action="store_true",
                       help="do not run the BIDS validator first")  # fmt: skip


def _add_steps(group: argparse._ArgumentGroup) -> None:
    for name, step in configurable_steps().items():
        slot = slot_of(step)
        default = "by the series' metadata" if slot.default == (AUTO,) else " ".join(slot.default)
        noun = "plugins" if slot.several else "plugin"
        group.add_argument(f"--{name}", nargs="+" if slot.several else 1, metavar="NAME",
                           help=f"{noun} for {step.summary} (default: {default})")  # fmt: skip
    group.add_argument("--config-file", type=Path, metavar="FILE",
                       help="YAML that names the plugin and its options for each step; flags win")  # fmt: skip
    group.add_argument("--disable-plugin", nargs="+", metavar="NAME", action="extend", default=[],
                       help="plugins, or distributions of plugins, to leave out")  # fmt: skip
    group.add_argument("--leave-out-uncorrected", action="store_true",
                       help="leave frames out of the fit that motion correction could not place")  # fmt: skip
    group.add_argument("--random-seed", type=count, metavar="N", help="seed of every random draw (default: 0)")


def _add_execution(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--nprocs", "--nthreads", "--n-cpus", type=positive, metavar="N",
                       default=allotted_processors(),
                       help="processes at a time (default: %(default)s, the processors allotted)")  # fmt: skip
    group.add_argument("--omp-nthreads", type=positive, default=1, metavar="N",
                       help="most threads of one process (default: %(default)s)")  # fmt: skip
    group.add_argument("--mem", "--mem-mb", "--mem_mb", type=_gigabytes, metavar="MB", dest="memory_gb",
                       default=allotted_memory_gb(),
                       help="most memory in use, MB (or with a unit: 8G); default: the job's or container's limit, "
                       "else most of the machine's")  # fmt: skip
    group.add_argument("--use-plugin", type=Path, metavar="FILE",
                       help="YAML of a Nipype execution plugin: plugin and plugin_args")  # fmt: skip
    group.add_argument("--gpu", action="store_true", help="let plugins use a GPU where there is one (default: hide it)")
    group.add_argument("-w", "--work-dir", type=Path, default=Path("work"), metavar="DIR",
                       help="folder for intermediate files, re-used by later runs (default: ./work)")  # fmt: skip
    group.add_argument("--drop-work", action="store_true", help="delete a participant's part of it once it is done")
    group.add_argument("--clean-workdir", action="store_true", help="delete the participants' part of it first")
    group.add_argument("--stop-on-first-crash", action="store_true", help="start nothing new after a failure")
    only = group.add_mutually_exclusive_group()
    only.add_argument("--reports-only", action="store_true",
                      help="only write the reports again, of the participants with a selected scan")  # fmt: skip
    only.add_argument("--boilerplate-only", "--boilerplate_only", action="store_true",
                      help="only write logs/CITATION.md")  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="say what would run or be written, and check that it can")
    group.add_argument("-v", "--verbose", action="count", default=0, help="say more: -v steps, -vv options as well")


def _gigabytes(text: str) -> float:
    units = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}
    amount = re.fullmatch(r"(\d*\.?\d+)\s*(?:([KMGT])(?:I?B)?)?", text.strip().upper())
    value = float(amount[1]) * units[amount[2] or "M"] if amount else 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of memory, such as 8G, 8GB or 8000 (MB)")
    return value
