"""``qperf phantom OUT``: write a dataset from the digital perfusion phantom."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from qperf_app.cli.errors import DONE, USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    from qperf_app.phantom.config import ACQUISITIONS, BREATHING, DEFECTS, INPUTS, MODELS, TASKS, PhantomConfig

    default = PhantomConfig()
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; must not exist, or be empty")

    dataset = parser.add_argument_group("dataset")
    dataset.add_argument("--participants", type=int, default=2, metavar="N", help="how many people")
    dataset.add_argument("--seed", type=int, default=0, metavar="S", help="of all draws; the same seed, the same bytes")
    dataset.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="scans of each participant")
    dataset.add_argument("--nprocs", type=int, default=1, metavar="N", help="processes; changes nothing but the time")

    scan = parser.add_argument_group("scan")
    scan.add_argument(
        "--acquisition", choices=ACQUISITIONS, default=default.acquisition, help="dual sequence or single bolus"
    )
    scan.add_argument(
        "--field", type=float, choices=(1.5, 3.0), default=default.field_strength, help="field strength, T"
    )
    scan.add_argument("--matrix", type=int, default=default.matrix, metavar="N", help="voxels along a slice's edge")
    scan.add_argument(
        "--frames", type=int, default=default.frames, metavar="N", help="volumes, proton density included"
    )
    scan.add_argument(
        "--proton-density-frames",
        type=int,
        default=default.proton_density_frames,
        metavar="N",
        help="leading volumes without saturation",
    )
    scan.add_argument(
        "--phase-resolution",
        type=float,
        default=default.phase_resolution,
        metavar="X",
        help="acquired part of k-space, 0.5 to 1",
    )
    scan.add_argument(
        "--cnr",
        type=float,
        default=default.cnr,
        metavar="X",
        help="enhancement of the myocardium over noise; inf: no noise",
    )
    scan.add_argument(
        "--aif-cnr",
        type=float,
        default=default.aif_cnr,
        metavar="X",
        help="the same of blood in the input-function series",
    )

    person = parser.add_argument_group("person")
    person.add_argument(
        "--breathing", choices=BREATHING, default=default.breathing, help="motion; none: nothing moves at all"
    )
    person.add_argument(
        "--through-plane",
        type=float,
        default=default.through_plane,
        metavar="X",
        help="part of the shift through the slices that is kept",
    )
    person.add_argument(
        "--defects", choices=DEFECTS, default=default.defects, help="mixed: each participant has one of the others"
    )
    person.add_argument(
        "--model", choices=MODELS, default=default.model, help="tissue model; mixed: one or the other for each scan"
    )
    person.add_argument(
        "--input-function", choices=INPUTS, default=default.input_function, help="each scan's own, or the population's"
    )
    person.add_argument(
        "--abnormal-bolus",
        type=float,
        default=default.abnormal_bolus,
        metavar="P",
        help="probability of a very late or incomplete bolus",
    )
    person.add_argument(
        "--missed-beats",
        type=float,
        default=default.missed_beats,
        metavar="P",
        help="probability that a beat's trigger is missed",
    )


def run(args: argparse.Namespace) -> int:
    """Write the dataset; return 0, or 2 where an option or the output folder is refused."""
    from qperf_app.phantom.dataset import OutputError, write_dataset

    try:
        plan = _plan(args)
        if args.nprocs < 1:
            raise ValueError(f"nprocs is {args.nprocs}; it must be at least 1")
        write_dataset(args.out, plan, args.nprocs, _progress(plan.participants))
    except (ValueError, OutputError) as error:
        print(f"qperf phantom: {error}", file=sys.stderr)
        return USAGE
    print(f"{args.out}: {plan.participants} participants, truth in {args.out / 'derivatives' / 'truth'}")
    return DONE


def _plan(args: argparse.Namespace) -> Any:
    from qperf_app.phantom import DatasetPlan, PhantomConfig

    options = (
        "acquisition", "matrix", "frames", "proton_density_frames", "phase_resolution", "cnr", "aif_cnr", "breathing",
        "through_plane", "defects", "model", "input_function", "abnormal_bolus", "missed_beats",
    )  # fmt: skip
    config = PhantomConfig(field_strength=args.field, **{name: getattr(args, name) for name in options})
    return DatasetPlan(args.participants, args.seed, tuple(args.tasks), config)


def _progress(total: int) -> Any:
    """A bar on a terminal, a line for every participant elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, unit="participant", file=sys.stderr)

        def advance(label: str) -> None:
            bar.set_postfix_str(f"sub-{label}")
            bar.update(1)
            if bar.n == total:
                bar.close()

        return advance

    started, count = time.monotonic(), 0

    def say(label: str) -> None:
        nonlocal count
        count += 1
        print(f"[{count}/{total}] sub-{label} ({time.monotonic() - started:.1f} s)", file=sys.stderr, flush=True)

    return say
