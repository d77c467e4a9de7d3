"""Participants as a Slurm array onto one OUT_DIR; some tasks are stopped in mid-run by a requeue.

Makes small datasets, runs them as ``sbatch --array``, one participant a task, relative paths; requeues the first tasks
once they have begun (Slurm kills them), waits, runs all undisturbed and compares both OUT_DIRs.

Run where Slurm is, from the root of the repository: ``python -m benchmarks.cluster WORK``; exits 1 where they differ.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.compare_outputs import differences
from tests.datasets import small_dataset

SCRIPT = """#!/bin/bash
#SBATCH --requeue --open-mode=append --cpus-per-task=1 --mem=1500M --output=slurm-%a.out
label=$(printf %02d "$SLURM_ARRAY_TASK_ID")
exec {python} -m qperf_app.cli.app raw {out} participant -w {work} --participant-label "$label" {options}
"""
OPTIONS = "--skip-bids-validation --motion-correction none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--participants", type=int, default=12)
    parser.add_argument("--kill", type=int, default=3, help="tasks to stop and requeue")
    args = parser.parse_args()
    if not shutil.which("sbatch"):
        raise SystemExit("sbatch is not here: this needs Slurm")
    labels = [f"{number:02d}" for number in range(1, args.participants + 1)]
    shutil.rmtree(args.work, ignore_errors=True)
    small_dataset(args.work / "raw", participants=tuple(labels))
    array = submit(args.work, args.participants)
    killed = [kill(args.work, array, labels[task - 1], task) for task in range(1, args.kill + 1)]
    print("\n".join(killed), flush=True)
    while queued(array):
        time.sleep(2)
    app = [sys.executable, "-m", "qperf_app.cli.app", "raw", "undisturbed", "participant", "-w", "w", *OPTIONS.split()]
    subprocess.run([*app, "--nprocs", "2"], cwd=args.work, check=True, stderr=subprocess.DEVNULL)
    found = differences(args.work / "undisturbed", args.work / "out")
    states = [status(args.work / "out", label) for label in labels]
    found += [f"sub-{label}: {state}" for label, state in zip(labels, states, strict=True) if state != "done"]
    print("\n".join(found) or f"{len(labels)} participants complete, outputs equal those of the undisturbed run")
    sys.exit(bool(found))


def submit(work: Path, participants: int) -> str:
    """Submit the array; returns its job number."""
    script = SCRIPT.format(python=sys.executable, out="out", work="nodes", options=OPTIONS)
    (work / "array.sh").write_text(script)
    command = ["sbatch", "--parsable", f"--array=1-{participants}", "array.sh"]
    return subprocess.run(command, cwd=work, check=True, capture_output=True, text=True).stdout.strip()


def queued(array: str) -> str:
    """What the queue says of the array; empty when it has ended."""
    command = ["squeue", "--noheader", "--jobs", array]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def kill(work: Path, array: str, label: str, task: int) -> str:
    """Requeue a task once a step of its participant has ended; Slurm stops it."""
    nodes = work / "nodes" / "qperf" / f"sub_{label}"
    while not list(nodes.glob("*/outcome.json")):
        if not queued(array):
            raise SystemExit(f"the array ended before sub-{label} began: look at {work}/slurm-{task}.out")
        time.sleep(0.1)
    done = len(list(nodes.glob("*/outcome.json")))
    before = status(work / "out", label)
    subprocess.run(["scontrol", "requeuehold", f"{array}_{task}"], check=False)
    time.sleep(6)
    subprocess.run(["scontrol", "release", f"{array}_{task}"], check=False)
    return f"sub-{label}: stopped while {before!r}, after {done} steps; requeued"


def status(out: Path, label: str) -> str:
    """State in a participant's status file."""
    path = out / f"sub-{label}" / f"sub-{label}_status.json"
    return str(json.loads(path.read_text())["state"]) if path.is_file() else "absent"


if __name__ == "__main__":
    main()
