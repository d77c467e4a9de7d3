"""Time and peak memory of the default chain on three slices x 60 frames x 128 x 128, rest and stress.

Makes one phantom participant, runs ``qperf-app`` on it in a fresh work folder, prints the seconds of every step, the
wall time, the processor time and the largest memory of all its processes together; then fits the very same
concentration curves with the exchange model, all voxels by ``nlls`` and a sample of them by SciPy's ``curve_fit`` voxel
by voxel, in this process. With ``--before`` it runs another version of the code first, and publishes runs and steps of
the two alone.

Run from the root of the repository: ``python -m benchmarks.app_speed WORK``. Memory is read from ``/proc`` (Linux).
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.kinetics_accuracy import CurveSet, fit_plugin, fit_scipy
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.bids import records
from qperf_app.bids.names import derivative_name
from qperf_app.plugins.keys import StepKey
from qperf_kinetics import ExchangeLeastSquares


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder for the dataset and the outputs")
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scipy-voxels", type=int, default=40, help="voxels that SciPy fits; its time is scaled up")
    parser.add_argument("--before", type=Path, help="root of another version of this repository, which is run first")
    args = parser.parse_args()
    raw, out, work = args.work / "raw", args.work / "out", args.work / "nodes"
    if not raw.exists():
        tool = [sys.executable, "-m", "qperf_app.cli.tools", "phantom", str(raw)]
        subprocess.run([*tool, "--participants", "1", "--seed", str(args.seed), "--abnormal-bolus", "0"], check=True)
    runs, steps = [], {}
    for version, root in (("before", args.before), ("this one", Path.cwd())):
        if root is None:
            continue
        for folder in (out, work):
            shutil.rmtree(folder, ignore_errors=True)
        app = [sys.executable, "-P", "-m", "qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(work)]
        path = f"{root.resolve()}{os.pathsep}{root.resolve() / 'plugins'}"
        log = args.work / "log.txt"
        runs.append((version, args.nprocs, *watch([*app, "--nprocs", str(args.nprocs)], log, {"PYTHONPATH": path})))
        steps[version] = step_seconds(out, log)
    columns = (
        Column("version"),
        Column("`--nprocs`", format="d"),
        Column("processor", "s", ".0f"),
        Column("wall", "s", ".0f"),
        Column("largest memory", "GiB", ".2f"),
    )
    title = "Three slices of 128 x 128 and 60 frames, rest and stress, default plugins"
    whole = Table("app-run", title, columns, tuple(runs), timed=True)
    publish([whole, steps_table(steps), *(() if args.before else (fit_seconds(out, args.scipy_voxels),))], args)


def watch(
    command: list[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> tuple[float, float, float]:
    """Run a command; processor and wall seconds, and the largest sum of its processes' resident memory, GiB.

    What it says on the way goes into ``log``.
    """
    before = processor_seconds()
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=stream)
    largest = 0.0
    done = threading.Event()

    def look() -> None:
        nonlocal largest
        while not done.wait(0.1):
            largest = max(largest, sum(resident(pid) for pid in family(process.pid)))

    watcher = threading.Thread(target=look)
    started = time.perf_counter()
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"qperf-app ended with {code}")
    return processor_seconds() - before, seconds, largest


def processor_seconds() -> float:
    """Of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in family(child))]


def resident(pid: int) -> float:
    """Resident memory of a process, GiB; shared pages count once for each."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmRSS:")), 0.0)


#: Seconds of steps by scan and step; of what is done once for a participant, the scan is "".
Seconds = dict[tuple[str, str], float]


def step_seconds(out: Path, log: Path) -> Seconds:
    """Seconds of each step inside its node, from the status file, and of the report, from what the app said."""
    status = json.loads((out / "sub-01" / "sub-01_status.json").read_text())
    found = {
        (scan["label"].removeprefix("task-"), f"{StepKey(**step['key'])} {step['key']['plugin']}".strip()): seconds
        for scan in status["scans"]
        for step in scan["steps"]
        if (seconds := step["outcome"].get("seconds")) is not None
    }
    report = re.search(r"outputs and report: ([\d.]+) s$", log.read_text("utf-8"), re.MULTILINE)
    if report:
        found["", "outputs and report"] = float(report[1])
    return found


def steps_table(versions: Mapping[str, Seconds]) -> Table:
    """Seconds of each step by scan, of each version of the code."""
    scans = list(dict.fromkeys(scan for found in versions.values() for scan, _ in found if scan))
    steps = dict.fromkeys(step for found in versions.values() for _, step in found)
    # What is done once for a participant stands under the last scan, after which it is done.
    rows: list[Row] = [
        (
            step,
            *(
                v.get((s, step), v.get(("", step)) if s == scans[-1] else None)
                for v in versions.values()
                for s in scans
            ),
        )
        for step in steps
    ]
    of = [f", {version}" if len(versions) > 1 else "" for version in versions]
    columns = (Column("step"), *(Column(f"{scan}{which}", "s", ".1f") for which in of for scan in scans))
    return Table("app-steps", "Time of each step", columns, tuple(rows), timed=True)


def fit_seconds(out: Path, sample: int) -> Table:
    """Time of both fits on the resting and the stress scan's curves."""
    folder = out / "sub-01" / "perf"
    times, curves = {"nlls": 0.0, "scipy": 0.0}, 0
    for task in ("rest", "stress"):
        prefix = f"sub-01_task-{task}"
        series = records.read_series(folder / derivative_name(prefix, "conc"))
        aif = records.read_aif(folder / derivative_name(prefix, "aif"))
        tissue = series.data[records.read_mask(folder / derivative_name(prefix, "myocardium"))].astype(np.float64)
        tissue = tissue[np.isfinite(tissue).all(axis=1)]
        blood = np.interp(series.times, aif.times, aif.concentration)
        chosen = np.random.default_rng(0).choice(len(tissue), min(sample, len(tissue)), replace=False)

        started = time.process_time()
        fit_plugin(ExchangeLeastSquares(), CurveSet(series.times, tissue, blood, {}))
        times["nlls"] += time.process_time() - started
        started = time.process_time()
        fit_scipy(CurveSet(series.times, tissue[chosen], blood, {}), starts=8, seed=0)
        times["scipy"] += (time.process_time() - started) * len(tissue) / len(chosen)
        curves += len(tissue)
    names = {"nlls": "`nlls`, all at once", "scipy": f"SciPy `curve_fit`, 8 starts, scaled up from 2 x {sample}"}
    return Table(
        "app-fit",
        "Fits of the same curves",
        (
            Column("fit"),
            Column("voxels", format="d"),
            Column("time", "s", ".1f"),
            Column("per voxel", "ms", ".2f"),
            Column("times `nlls`", format=".0f"),
        ),
        tuple((names[k], curves, s, 1e3 * s / curves, s / times["nlls"]) for k, s in times.items()),
        timed=True,
    )


if __name__ == "__main__":
    main()
