"""Fault campaign: damaged inputs, kills, jobs at once, full disks; every outcome counted.

Run from the root of the repository: ``python -m benchmarks.faults WORK [--parts inputs kills jobs disks]``.

A small phantom dataset runs through the app's own door without the BIDS validator, so that its own checks alone must
find what is wrong. Each damage is drawn from one seed, of every kind alike, and compared with the undamaged run.
Damaged inputs run within the processes of a pool, which keep their work directories: a step whose input is the same is
not done again. WORK keeps the outcomes; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fault_inputs import Damage, damages
from benchmarks.fault_outcomes import (
    CRASH,
    DOUBTFUL,
    OUTCOMES,
    SILENT,
    UNCLEAR,
    judge,
    largest_difference,
    read_flow,
    told,
)
from benchmarks.fault_runs import disks_table, jobs_table, kills_table, undisturbed
from benchmarks.records import Column, Table, argument_parser, publish

PARTS = ("inputs", "kills", "jobs", "disks")
OPTIONS = (
    "--motion-correction", "none", "--spill-over", "none", "--kinetics", "fermi", "--skip-bids-validation",
)  # fmt: skip
PHANTOM = (
    "--participants", "1", "--seed", "1", "--tasks", "rest", "--matrix", "64", "--frames", "36",
    "--proton-density-frames", "2", "--breathing", "none", "--defects", "ischaemia", "--abnormal-bolus", "0",
    "--missed-beats", "0",
)  # fmt: skip
#: Outcomes that the campaign lists one by one.
LISTED = (UNCLEAR, SILENT, CRASH)


def main() -> None:
    """Run the campaign."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--inputs", type=int, default=200, help="damaged inputs (default: 200)")
    parser.add_argument("--kills", type=int, default=100, help="kills (default: 100)")
    parser.add_argument("--jobs", type=int, default=4, help="jobs on one output, and runs at a time (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="of damages and moments")
    args = parser.parse_args()
    publish(tables(args), args, args.seed)


def tables(args: argparse.Namespace) -> Iterator[Table]:
    """The tables of the chosen parts, one after the other."""
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    pristine = make_pristine(work)
    if "inputs" in args.parts:
        yield from inputs_tables(pristine, work, args)
    words = [str(pristine / "both"), "OUT", "participant", "-w", "WORK", "--nprocs", "2", *OPTIONS]
    reference = work / "undisturbed"
    if {"kills", "jobs", "disks"} & set(args.parts):
        shutil.rmtree(reference, ignore_errors=True)
        reference.mkdir()
        own = {"OUT": str(reference / "out"), "WORK": str(reference / "work")}
        seconds = undisturbed([own.get(word, word) for word in words], reference / "log")
    for part in ("kills", "jobs", "disks"):
        if part not in args.parts:
            continue
        shutil.rmtree(work / part, ignore_errors=True)
        if part == "kills":
            yield kills_table(args.kills, args.seed, seconds, reference / "out", work / part, words)
        elif part == "jobs":
            yield jobs_table(args.jobs, reference / "out", work / part, words, ("01", "02"))
        else:
            yield disks_table(reference / "out", work / part, words)


def make_pristine(work: Path) -> Path:
    """The undamaged folder: ``bids``, ``both`` with a second participant, and, of the app's own results, ``drawn``."""
    pristine = work / "pristine"
    if (pristine / "drawn").exists():
        return pristine
    shutil.rmtree(pristine, ignore_errors=True)
    pristine.mkdir()
    made = [sys.executable, "-m", "qperf_app.cli.tools", "phantom", str(pristine / "bids"), *PHANTOM]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(pristine / "bids" / "derivatives")
    shutil.copytree(pristine / "bids", pristine / "both")
    for path in sorted((pristine / "bids" / "sub-01").rglob("*.*")):
        other = pristine / "both" / str(path.relative_to(pristine / "bids")).replace("sub-01", "sub-02")
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other)
    code, text = run_app(pristine, pristine, handed=False)
    if code:
        raise RuntimeError(f"the undamaged run failed: {text[-2000:]}")
    perf = pristine / "out" / "sub-01" / "perf"
    drawn = pristine / "partial" / "sub-01" / "perf"
    drawn.mkdir(parents=True)
    shutil.copy(pristine / "out" / "dataset_description.json", pristine / "partial")
    for kept in ("label-myocardium_mask", "acq-aif_label-LV_mask", "desc-landmarks_points", "desc-aif_timeseries"):
        for path in perf.glob(f"*{kept}.*"):
            shutil.copy(path, drawn)
    (pristine / "partial").rename(pristine / "drawn")
    return pristine


def run_app(folder: Path, place: Path, handed: bool) -> tuple[int, str]:
    """Run the app on a folder within this process; returns the exit code and all that was said."""
    from qperf_app.cli.app import main as app

    shutil.rmtree(place / "out", ignore_errors=True)
    words = [str(folder / "bids"), str(place / "out"), "participant", "-w", str(place / "work"), "--nprocs", "1"]
    words += [*OPTIONS, *(["-d", f"drawn={folder / 'drawn'}"] if handed else [])]
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    log = place / "said.txt"
    with log.open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            code = app(words)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
    return code, log.read_text(encoding="utf-8", errors="replace")


class Bench:
    """One process's own copy of the dataset, its work directory, and what the undamaged run says and gives."""

    def __init__(self, pristine: Path, work: Path) -> None:
        self.pristine, self.place = pristine, work / f"bench-{os.getpid()}"
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        self.undamaged: dict[bool, tuple[set[str], dict[str, float]]] = {}

    def outcome(self, damage: Damage) -> dict[str, Any]:
        """Run on one damaged input."""
        if damage.handed not in self.undamaged:
            self._restore()
            code, text = run_app(self.place, self.place, damage.handed)
            if code:
                raise RuntimeError(f"the undamaged run failed: {text[-2000:]}")
            self.undamaged[damage.handed] = told(text), read_flow(self.place / "out")
        known, reference = self.undamaged[damage.handed]
        self._restore()
        damage.apply(self.place)
        code, text = run_app(self.place, self.place, damage.handed)
        out = self.place / "out"
        written = out.exists() and any(path.is_file() for path in out.rglob("*"))
        difference = largest_difference(read_flow(out), reference)
        field = damage.field if damage.kind in ("sidecar", "input function") else ""
        names = (Path(damage.stem).name, field)
        found = judge(code, text, written, difference, known, names)
        said = sorted(told(text) - known) if code in (0, 1) else text.strip().splitlines()[-3:]
        return {
            "kind": damage.kind, "name": damage.name, "outcome": found, "code": code,
            "difference": difference if np.isfinite(difference) else None,
            "said": [line.replace(str(self.place), "")[:300] for line in said],
        }  # fmt: skip

    def _restore(self) -> None:
        for name in ("bids", "drawn"):
            shutil.rmtree(self.place / name, ignore_errors=True)
            shutil.copytree(self.pristine / name, self.place / name)


_bench: Bench | None = None


def _set_up(pristine: Path, work: Path) -> None:
    global _bench
    _bench = Bench(pristine, work)


def _judged(number: int) -> dict[str, Any]:
    assert _bench is not None
    return _bench.outcome(list(damages(_bench.pristine))[number])


def drawn_order(kinds: Sequence[str], seed: int) -> list[int]:
    """Numbers of damages in the order in which they are tried: shuffled, the kinds by turns."""
    generator = np.random.default_rng(seed)
    order = [int(n) for n in generator.permutation(len(kinds))]
    turn: Counter[str] = Counter()
    turns = {}
    for number in order:
        turns[number] = turn[kinds[number]]
        turn[kinds[number]] += 1
    return sorted(order, key=lambda number: turns[number])


def inputs_tables(pristine: Path, work: Path, args: argparse.Namespace) -> Iterator[Table]:
    """Run on damaged inputs; a table of counts and one of the faults."""
    every = list(damages(pristine))
    chosen = [every[n] for n in drawn_order([d.kind for d in every], args.seed)[: args.inputs]]
    numbers = {damage.name: n for n, damage in enumerate(every)}
    kept = work / "inputs.jsonl"
    done = {}
    if kept.exists():
        done = {(e["kind"], e["name"]): e for e in map(json.loads, kept.read_text().splitlines())}
    left = [damage for damage in chosen if (damage.kind, damage.name) not in done]
    with (
        ProcessPoolExecutor(args.jobs, initializer=_set_up, initargs=(pristine, work)) as pool,
        kept.open("a", encoding="utf-8") as file,
    ):
        for future in [pool.submit(_judged, numbers[damage.name]) for damage in left]:
            entry = future.result()
            print(json.dumps(entry, ensure_ascii=False), file=file, flush=True)
            done[entry["kind"], entry["name"]] = entry
    results = [done[damage.kind, damage.name] for damage in chosen]
    yield counts_table(results, len(every))
    yield listed_table(results)
    yield doubtful_table(results)


def counts_table(results: Sequence[dict[str, Any]], possible: int) -> Table:
    """How many of each kind had which outcome."""
    counts = Counter((entry["kind"], entry["outcome"]) for entry in results)
    kinds = list(dict.fromkeys(entry["kind"] for entry in results))
    rows = [(kind, *(counts[kind, outcome] for outcome in OUTCOMES)) for kind in sorted(kinds)]
    rows.append(("all", *(sum(counts[kind, outcome] for kind in kinds) for outcome in OUTCOMES)))
    columns = (Column("damaged"), *(Column(outcome, format="d") for outcome in OUTCOMES))
    right = "Right: every segment's flow is within 2 % of the undamaged run's."
    note = f"{len(results)} of {possible} possible damages. {right}"
    return Table("faults-inputs", "Damaged inputs by outcome", columns, tuple(rows), note)


def listed_table(results: Sequence[dict[str, Any]]) -> Table:
    """What is to be mended."""
    columns = (Column("damage"), Column("outcome"), Column("largest difference of a segment", "%", ".0f"))
    bad = sorted((e for e in results if e["outcome"] in LISTED), key=lambda e: (e["outcome"], e["name"]))
    rows = tuple(
        (e["name"], e["outcome"], None if e["difference"] is None else 100 * e["difference"]) for e in bad
    )  # fmt: skip
    return Table("faults-listed", "Damages to be mended", columns, rows)


def doubtful_table(results: Sequence[dict[str, Any]]) -> Table:
    """What was said of each wrong result: whether that names the fault is for the reader to judge."""
    columns = (Column("damage"), Column("largest difference of a segment", "%", ".0f"), Column("said"))
    rows = tuple(
        (e["name"], None if e["difference"] is None else 100 * e["difference"], _words(e["said"]))
        for e in sorted(results, key=lambda e: e["name"])
        if e["outcome"] == DOUBTFUL
    )
    return Table("faults-doubtful", "Damages that were doubtful and said", columns, rows)


def _words(said: Sequence[str]) -> str:
    """The last line that was said, without its beginning: a warning where there is one."""
    return said[-1].rpartition("task-rest: ")[2]


if __name__ == "__main__":
    main()
