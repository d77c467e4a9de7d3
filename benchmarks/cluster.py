"""Participants on a Slurm, some of them killed in mid-run, against the same participants undisturbed.

1. Phantom participants as ``sbatch --array``, one a task, onto one OUT_DIR and one work directory. Three tasks are
   killed with SIGKILL, in the first step, in a fit and while the outputs are written, and requeued.
2. One participant with a job for every step, by Nipype's ``SLURM``: the app is killed with SIGKILL and started again,
   then a job that runs is requeued. Another by ``SLURMGraph``, undisturbed.

Every OUT_DIR is compared with that of an undisturbed run, hidden files included. With ``--image COMMAND``, as
``"apptainer run --cleanenv qperf-app.sif"``, the array's tasks run in the image, the undisturbed run natively, and 2 is
left out.

Run on a node of the Slurm, from the root of the repository: ``python -m benchmarks.cluster WORK``. Where no Slurm
answers, root gets one of this machine alone. Exits 1 where anything differs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from benchmarks.app_speed import family
from benchmarks.compare_outputs import differences, files
from benchmarks.records import Cell, Column, Table, argument_parser, publish
from tests.slurm import answers, one_node_slurm, unusable

ARRAY = """#!/bin/bash
#SBATCH --requeue --open-mode=append --cpus-per-task=1 --mem=1500M --output=slurm-%a.out
label=$(printf %02d "$SLURM_ARRAY_TASK_ID")
echo $$ > "process-$label"
exec {app} raw out participant -w nodes --participant-label "$label" --skip-bids-validation --nprocs 1
"""
#: Smallest scans that the default plugins find a heart in.
PHANTOM = "--seed 3 --tasks rest --matrix 64 --frames 40 --abnormal-bolus 0 --nprocs 2"
APP = [sys.executable, "-m", "qperf_app.cli.app"]


def main() -> None:
    """Publish the table; exit 1 where anything differs."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--participants", type=int, default=12)
    parser.add_argument("--image", default="", help="command that runs the app in its image; from WORK")
    args = parser.parse_args()
    work: Path = args.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if not answers() and unusable():
        raise SystemExit(f"no Slurm answers, and none can be started: {unusable()}")
    labels = [f"{number:02d}" for number in range(1, args.participants + 1)]
    tool = [sys.executable, "-m", "qperf_app.cli.tools", "phantom", "raw", "--participants", str(len(labels))]
    subprocess.run([*tool, *PHANTOM.split()], cwd=work, check=True, stderr=subprocess.DEVNULL)
    with nullcontext() if answers() else one_node_slurm(work / "slurm"):
        rows = {"out": array(work, labels, args.image or " ".join(APP))}
        if not args.image:
            rows["steps"] = step_jobs(work)
    results, found = [], []
    for out, row in rows.items():
        some = labels if out == "out" else labels[:2]
        # The second only publishes: its steps are in the work directory.
        run(work, f"undisturbed-{out}", "undisturbed-nodes", some, "--nprocs", "2")
        different = compared(work, f"undisturbed-{out}", out, some)
        found += different
        results.append((*row, len(some), len(files(work / out)), len(different)))
    head = (Column("run"), Column("killed"), Column("wall", "s", ".0f"))
    counts = (Column(name, format="d") for name in ("participants", "files", "different from the undisturbed run"))
    title = f"Jobs of a Slurm killed in mid-run{', in the image' if args.image else ''}"
    publish([Table("cluster", title, (*head, *counts), tuple(results), timed=True)], args)
    sys.exit(bool(found))


def array(work: Path, labels: Sequence[str], app: str) -> tuple[Cell, ...]:
    """All participants as one array, three of them killed and requeued: what it was, what was killed, seconds."""
    started = time.monotonic()
    (work / "array.sh").write_text(ARRAY.format(app=app))
    command = ["sbatch", "--parsable", f"--array=1-{len(labels)}", "array.sh"]
    number = subprocess.run(command, cwd=work, check=True, capture_output=True, text=True).stdout.strip()
    killed = []
    for label, when in zip(labels, ("first step", "fit", "outputs"), strict=False):
        nodes = work / "nodes" / "qperf" / f"sub_{label}"
        until(lambda nodes=nodes, label=label, when=when: begun(work / "out", nodes, label, when))  # type: ignore[misc]
        done = len(list(nodes.glob("*/outcome.json")))
        kill(int((work / f"process-{label}").read_text()))
        task = f"{number}_{int(label)}"
        until(lambda task=task: "RUNNING" not in queue("--jobs", task, "--states=all", "--format=%T"))  # type: ignore[misc]
        left = [name for name in files(work / "out") if f".staging-sub-{label}" in name]
        killed.append(f"sub-{label}, {when}: {done} steps done, {len(left)} files not yet in their place")
        subprocess.run(["scontrol", "requeue", task], check=True)
    until(lambda: not queue("--jobs", number, "--format=%T"))
    return "array, one `OUT_DIR` and work directory", "; ".join(killed), time.monotonic() - started


def begun(out: Path, nodes: Path, label: str, when: str) -> bool:
    """Whether a participant is at the moment asked for."""
    if when == "outputs":
        return len(list((out / f".staging-sub-{label}").rglob("*.nii.gz"))) > 2
    # Nipype's mark of a node that runs.
    return bool(list(nodes.glob(f"{'*kinetics*' if when == 'fit' else '*'}/_0x*_unfinished.json")))


def step_jobs(work: Path) -> tuple[Cell, ...]:
    """A job for every step: one participant killed and gone on with, another by ``SLURMGraph`` undisturbed."""
    for plugin in ("SLURM", "SLURMGraph"):
        (work / f"{plugin}.yaml").write_text(f"plugin: {plugin}\nplugin_args: {{sbatch_args: --requeue}}\n")
    nodes = work / "steps-nodes" / "qperf" / "sub_01"
    options = ("--use-plugin", "SLURM.yaml")
    started = time.monotonic()
    app = start(work, "steps", "steps-nodes", ["01"], *options)
    until(lambda: len(list(nodes.glob("*/outcome.json"))) >= 2 and running())
    kill(app.pid)
    app.wait()
    killed = f"the app after {len(list(nodes.glob('*/outcome.json')))} steps, with {len(running())} jobs running"
    app = start(work, "steps", "steps-nodes", ["01"], *options)
    until(lambda: len(list(nodes.glob("*/outcome.json"))) >= 6 and running())
    subprocess.run(["scontrol", "requeue", running()[0]], check=True)
    if app.wait():
        raise SystemExit(f"qperf-app ended with {app.returncode}: look at {work / 'steps'}.log")
    run(work, "steps", "steps-nodes", ["02"], "--use-plugin", "SLURMGraph.yaml")
    what = "a job for each step: `SLURM`, then `SLURMGraph`"
    return what, f"{killed}, and started again; then a running job requeued", time.monotonic() - started


def start(work: Path, out: str, nodes: str, labels: Sequence[str], *options: str) -> subprocess.Popen[bytes]:
    """Start the app; its words go to a file beside OUT_DIR."""
    command = [*APP, "raw", out, "participant", "-w", nodes, "--skip-bids-validation", "--participant-label", *labels]
    with (work / f"{out}.log").open("ab") as log:
        return subprocess.Popen([*command, *options], cwd=work, stdout=log, stderr=log)


def run(work: Path, out: str, nodes: str, labels: Sequence[str], *options: str) -> None:
    """Run the app to its end."""
    code = start(work, out, nodes, labels, *options).wait()
    if code:
        raise SystemExit(f"qperf-app ended with {code}: look at {work / out}.log")


def kill(process: int) -> None:
    """SIGKILL for a process and all that it started."""
    for each in family(process):
        os.kill(each, signal.SIGKILL)


def queue(*arguments: str) -> list[str]:
    """Lines of Slurm's queue."""
    command = ["squeue", "--noheader", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def running() -> list[str]:
    """Numbers of the user's jobs that run."""
    return queue("--me", "--states=R", "--format=%A")


def until(condition: Callable[[], object], seconds: float = 3600.0) -> None:
    """Wait for something, looking often: what is waited for may be short."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited too long: look at the logs")
        time.sleep(0.02)


def compared(work: Path, one: str, other: str, labels: Sequence[str]) -> list[str]:
    """Differences of two OUT_DIRs, and participants that are not done; says which."""
    found = differences(work / one, work / other)
    for label in labels:
        path = work / other / f"sub-{label}" / f"sub-{label}_status.json"
        state = json.loads(path.read_text())["state"] if path.is_file() else "absent"
        found += [] if state == "done" else [f"sub-{label}: {state}"]
    for line in found:
        print(line, flush=True)
    return found


if __name__ == "__main__":
    main()
