"""``qperf phantom OUT``: write a dataset from the digital perfusion phantom."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qperf_app.checks.wording import counted
from qperf_app.cli.errors import DONE, USAGE

#: Options of :class:`~qperf_app.phantom.PhantomConfig` by their group in the help: name, metavar (of numbers), help.
_OPTIONS = {
    "scan": (
        ("acquisition", "", "dual sequence, single bolus or dual bolus"),
        ("readout", "", "of the tissue series; steady-state: no saturation"),
        ("aif_readout", "", "of the input-function series"),
        ("aif_echoes", "N", "echoes of the input-function series, 1 or 2"),
        ("dose", "X", "mmol/kg"),
        ("prebolus_dose", "X", "of a dual bolus' first injection, over the second one's"),
        ("beats_per_image", "N", "heart beats from volume to volume, 1 to 3"),
        ("slice_order", "", "slices of a volume at one time, or one after another"),
        ("interval", "S", "s between ungated volumes; 0: triggered"),
        ("field_strength", "", "field strength, T"),
        ("matrix", "N", "voxels along a slice's edge"),
        ("frames", "N", "volumes, proton density included"),
        ("proton_density_frames", "N", "leading volumes without saturation"),
        ("phase_resolution", "X", "acquired part of k-space, 0.5 to 1"),
        ("saturation_efficiency", "X", "1: no magnetisation is left"),
        ("b1_variation", "X", "standard deviation of the flip angle over the chest, relative"),
        ("t2star", "", "signals decay until their echo"),
        ("noise_amplification", "X", "largest g-factor of parallel imaging"),
        ("cnr", "X", "enhancement of the myocardium over noise; inf: no noise"),
        ("aif_cnr", "X", "the same of blood in the input-function series"),
    ),
    "person": (
        ("breathing", "", "motion; none: nothing moves at all"),
        ("wall_motion", "X", "shift of the chest wall for each mm of the diaphragm"),
        ("fat_brightness", "X", "factor of the signal of fat"),
        ("through_plane", "X", "part of the shift through the slices that is kept"),
        ("defects", "", "mixed: each participant has one of the others"),
        ("model", "", "tissue model; mixed: one or the other for each scan"),
        ("input_function", "", "each scan's own, or the population's"),
        ("abnormal_bolus", "P", "probability of a very late or incomplete bolus"),
        ("missed_beats", "P", "probability that a beat's trigger is missed"),
    ),
}
#: Flags that are not the option's own name, and values that only the command line is so strict about.
_FLAGS = {"field_strength": "--field"}
_FIELDS = (1.5, 3.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    from qperf_app.dicom.scanner import MANNERS
    from qperf_app.phantom.config import CHOICES, TASKS, PhantomConfig

    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; must not exist, or be empty")

    dataset = parser.add_argument_group("dataset")
    dataset.add_argument("--participants", type=int, default=2, metavar="N", help="how many people")
    dataset.add_argument("--seed", type=int, default=0, metavar="S", help="of all draws; the same seed, the same bytes")
    dataset.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="scans of each participant")
    dataset.add_argument(
        "--rescan", action="store_true", help="every scan twice (run-1, run-2): other breathing, beats, bolus and noise"
    )
    dataset.add_argument("--nprocs", type=int, default=1, metavar="N", help="processes; changes nothing but the time")

    choices: dict[str, Sequence[object]] = {**CHOICES, "field_strength": _FIELDS}
    for title, options in _OPTIONS.items():
        group = parser.add_argument_group(title)
        for name, metavar, text in options:
            default = getattr(PhantomConfig(), name)
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            if isinstance(default, bool):
                group.add_argument(flag, dest=name, action="store_true", help=text)
                continue
            group.add_argument(
                flag, dest=name, type=type(default), choices=choices.get(name), default=default,
                metavar=metavar or None, help=text,
            )  # fmt: skip

    scanner = parser.add_argument_group("scanner")
    scanner.add_argument(
        "--dicom",
        nargs="+",
        choices=(*MANNERS, "all"),
        default=[],
        metavar="MANNER",
        help="write the series also as DICOM, in sourcedata/MANNER of the dataset, as the scanner of a vendor stores "
        f"them: {', '.join(MANNERS)}, or all",
    )


def run(args: argparse.Namespace) -> int:
    """Write the dataset; return 0, or 2 where an option or the output folder is refused."""
    from qperf_app.phantom.dataset import OutputError, write_dataset

    try:
        plan = _plan(args)
        if args.nprocs < 1:
            raise ValueError(f"nprocs is {args.nprocs}; it must be at least 1")
        if args.dicom and (args.aif_echoes > 1 or args.slice_order != "together"):
            raise ValueError("dicom: only series of one echo, whose slices are read together, are written as DICOM")
        write_dataset(args.out, plan, args.nprocs, _progress(plan.participants), _dicom_writer(args.dicom, plan))
    except (ValueError, OutputError) as error:
        print(f"qperf phantom: {error}", file=sys.stderr)
        return USAGE
    print(f"{args.out}: {counted(plan.participants, 'participant')}, truth in derivatives/truth")
    return DONE


def _plan(args: argparse.Namespace) -> Any:
    from qperf_app.phantom import DatasetPlan, PhantomConfig

    config = PhantomConfig(**{name: getattr(args, name) for options in _OPTIONS.values() for name, _, _ in options})
    return DatasetPlan(args.participants, args.seed, tuple(args.tasks), config, args.rescan)


def _dicom_writer(manners: list[str], plan: Any) -> Any:
    """What puts the manners asked for into the dataset."""
    from qperf_app.dicom.scanner import MANNERS, write_dataset_as_dicom

    def write(dataset: Path) -> None:
        for manner in MANNERS if "all" in manners else dict.fromkeys(manners):
            write_dataset_as_dicom(dataset, dataset / "sourcedata" / manner, manner, f"{plan.seed}|{plan.config}")

    return write if manners else None


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
