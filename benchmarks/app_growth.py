"""What planning a large study takes, how reports come while it runs, and what a report takes.

``planning`` makes a dry run of participants of two scans, links to full-sized series of a few, and runs them until the
first step is done; ``turns`` runs participants without motion correction and takes the time of each report; ``disk``
runs participants with all defaults until a dozen have their reports, and looks at the disk all the while; ``size`` runs
one scan of more and fewer slices, frames and voxels; ``throughput`` runs participants with all defaults on one process
and on more; ``again`` runs a study several times in one process, anew each time; ``report`` writes the report of a
participant in OUT_DIR again, as ``--reports-only`` does. Seconds of a processor are those of children as well. Run from
the root of the repository.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.app_speed import watch
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.bids.images import read_image, read_json, write_image

APP = (sys.executable, "-m", "qperf_app.cli.app")
#: Participants that have their reports when the disk has been looked at for long enough.
DOZEN = 12
#: Slices, voxels along an edge and frames, one of them changed at a time.
SIZES = (
    *((n, 128, 60) for n in (1, 3, 6, 12)),
    *((3, 128, n) for n in (30, 120, 240)),
    *((3, n, 60) for n in (96, 192, 256)),
)


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("what", choices=tuple(TABLES))
    parser.add_argument("work", type=Path, help="folder for datasets and outputs")
    parser.add_argument("--participants", type=int, nargs="+", default=(1, 12, 1000), help="all but report")
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    publish([TABLES[args.what](args.work, args.participants, args.nprocs)], args)


def planning(work: Path, counts: list[int], nprocs: int) -> Table:
    """Dry runs, and how long the first step of a run is waited for."""
    rows: list[Row] = []
    for count in counts:
        raw = linked(work, count)
        words = [str(raw), str(work / "none"), "participant", "--nprocs", str(nprocs)]
        started = time.monotonic()
        seconds, memory, _ = run([*words, "--dry-run"])
        wall = time.monotonic() - started
        rows.append((count, 4 * count, seconds, wall, memory, *first_step([*words, "-w", str(work / "nodes-none")])))
        for folder in ("none", "nodes-none"):
            shutil.rmtree(work / folder, ignore_errors=True)
    columns = (
        Column("participants", format="d"),
        Column("series", format="d"),
        Column("dry run", "s of processor", ".1f"),
        Column("dry run", "s", ".1f"),
        Column("largest memory of a process", "MiB", ".0f"),
        Column("first step done after", "s", ".1f"),
        Column("memory of the main process then", "MiB", ".0f"),
    )
    return Table("app-planning", "Planning and checking participants of two scans", columns, tuple(rows), timed=True)


def turns(work: Path, counts: list[int], nprocs: int) -> Table:
    """When the reports came, as shares of the whole run."""
    rows: list[Row] = []
    for count in counts:
        raw, out = phantom(work, count), work / f"out-{count}"
        shutil.rmtree(out, ignore_errors=True)
        words = [
            str(raw),
            str(out),
            "participant",
            "--nprocs",
            str(nprocs),
            "--drop-work",
            "--motion-correction",
            "none",
        ]
        _, _, reports = run([*words, "--kinetics", "fermi", "-w", str(work / f"nodes-{count}")])
        shares = [100 * at / reports[-1] for at in reports]
        rows.append((count, shares[0], shares[(len(shares) - 1) // 2], reports[-1]))
    columns = (
        Column("participants", format="d"),
        Column("first report", "% of the run", ".0f"),
        Column("report of the middle one", "% of the run", ".0f"),
        Column("last report", "s", ".0f"),
    )
    return Table("app-turns", "When reports come", columns, tuple(rows), timed=True)


def disk(work: Path, counts: list[int], nprocs: int) -> Table:
    """Disk that results and work folder take, and when the first report is there."""
    rows: list[Row] = []
    for count in counts:
        raw, found = linked(work, count), {}
        for name, options in (("kept", []), ("dropped", ["--drop-work"])):
            out, nodes = work / "out-disk", work / "nodes-disk"
            words = [str(raw), str(out), "participant", "--nprocs", str(nprocs), "-w", str(nodes), *options]
            found[name] = until_reports(words, nodes, min(count, DOZEN))
            results = folder_size(out) / len(list(out.glob("sub-*.html")))
            for folder in (out, nodes):
                shutil.rmtree(folder)
        first, reports, kept_size = found["kept"]
        rows.append((count, first, reports, results, kept_size / reports, found["dropped"][2]))
    columns = (
        Column("participants", format="d"),
        Column("first report", "s", ".0f"),
        Column("participants looked at", format="d"),
        Column("results of one", "MB", ".0f"),
        Column("work folder kept, of one", "MB", ".0f"),
        Column("largest work folder with `--drop-work`", "MB", ".0f"),
    )
    return Table("app-disk", "Disk that participants take", columns, tuple(rows), timed=True)


def until_reports(words: list[str], nodes: Path, wanted: int) -> tuple[float, int, float]:
    """Run the app until so many reports are there: s to the first, how many came, MB of the work folder at most."""
    started, reports, largest, done = time.monotonic(), [], 0.0, threading.Event()

    def look() -> None:
        nonlocal largest
        while not done.wait(0.5):
            largest = max(largest, folder_size(nodes))

    watcher = threading.Thread(target=look)
    command = [*APP, *words, "--skip-bids-validation"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        watcher.start()
        for line in process.stderr:
            if re.search("outputs and report: .* s$", line):
                reports.append(time.monotonic() - started)
                if len(reports) == wanted:
                    break
        if len(reports) < wanted:
            raise SystemExit(f"qperf-app ended after {len(reports)} of {wanted} reports")
        largest = max(largest, folder_size(nodes))
        process.terminate()
        process.stderr.read()
    done.set()
    watcher.join()
    return reports[0], len(reports), largest


def folder_size(folder: Path) -> float:
    """MB of the files in a folder that may be changing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total / 1e6


def size(work: Path, counts: list[int], nprocs: int) -> Table:
    """One resting scan of more and fewer slices, frames and voxels."""
    del counts
    rows: list[Row] = []
    for slices, matrix, frames in SIZES:
        raw, out, nodes = one_scan(work, slices, matrix, frames), work / "out-size", work / "nodes-size"
        words = [str(raw), str(out), "participant", "--nprocs", str(nprocs), "-w", str(nodes), "--skip-bids-validation"]
        used = watch([*APP, *words], work / "log.txt")
        rows.append((slices, matrix, frames, *used, folder_size(out), (out / "sub-01.html").stat().st_size / 1e6))
        for folder in (out, nodes):
            shutil.rmtree(folder)
    columns = (
        *(Column(name, format="d") for name in ("slices", "voxels along an edge", "frames")),
        Column("processor", "s", ".0f"),
        Column("wall", "s", ".0f"),
        Column("largest memory", "GiB", ".2f"),
        Column("results", "MB", ".0f"),
        Column("report", "MB", ".1f"),
    )
    return Table("app-size", "One scan of more and fewer slices, frames and voxels", columns, tuple(rows), timed=True)


def throughput(work: Path, counts: list[int], nprocs: int) -> Table:
    """How much faster participants are done on more processes."""
    rows: list[Row] = []
    for count in counts:
        alone = 0.0
        for n in range(1, nprocs + 1):
            out, nodes = work / f"out-{count}-{n}", work / f"nodes-{count}-{n}"
            raw = phantom(work, count, small=False)
            started = time.monotonic()
            run([str(raw), str(out), "participant", "--nprocs", str(n), "-w", str(nodes)])
            wall = time.monotonic() - started
            alone = alone or wall
            rows.append((count, n, wall, 3600 * count / wall, alone / wall))
            for folder in (out, nodes):
                shutil.rmtree(folder)
    columns = (
        Column("participants", format="d"),
        Column("`--nprocs`", format="d"),
        Column("time", "s", ".0f"),
        Column("participants an hour", format=".0f"),
        Column("times one process", format=".2f"),
    )
    return Table("app-throughput", "Participants done on one process and on more", columns, tuple(rows), timed=True)


def again(work: Path, counts: list[int], nprocs: int) -> Table:
    """The same study three times, each computed anew, by one process that stays."""
    rows: list[Row] = []
    for count in counts:
        words = [str(phantom(work, count, small=False)), "OUT", "participant", "--nprocs", str(nprocs), "-w", "NODES"]
        made = subprocess.run([sys.executable, "-c", _AGAIN, str(work), *words], check=True, capture_output=True)
        rows += [(count, n, *times) for n, times in enumerate(json.loads(made.stdout.splitlines()[-1]), start=1)]
    columns = (
        Column("participants", format="d"),
        Column("run in the process", format="d"),
        Column("time", "s", ".1f"),
        Column("processor, children included", "s", ".0f"),
    )
    return Table("app-again", "A study again in the same process", columns, tuple(rows), timed=True)


#: Runs the app on its words three times with folders of their own, and prints the seconds of each.
_AGAIN = """
import json, os, sys, tempfile, time
from qperf_app.cli.app import main
times = []
for _ in range(3):
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
        words = [w.replace("OUT", f"{folder}/out").replace("NODES", f"{folder}/nodes") for w in sys.argv[2:]]
        start, used = time.monotonic(), sum(os.times()[:4])
        assert main(words) == 0
        times.append((time.monotonic() - start, sum(os.times()[:4]) - used))
print(json.dumps(times))
"""


def report(work: Path, counts: list[int], nprocs: int) -> Table:
    """The report of a participant of the phantom, rest and stress, all default methods."""
    raw, out = phantom(work, 1, small=False), work / "out"
    if not (out / "sub-01.html").is_file():
        run([str(raw), str(out), "participant", "--nprocs", str(nprocs), "-w", str(work / "nodes")])
    seconds, memory, _ = run([str(raw), str(out), "participant", "--reports-only"])
    start, _, _ = run(["--version"])
    size = (out / "sub-01.html").stat().st_size / 1e6
    columns = (
        Column("report, reading included", "s of processor", ".1f"),
        Column("page", "MB", ".1f"),
        Column("largest memory", "MiB", ".0f"),
        Column("`--version`", "s of processor", ".2f"),
    )
    return Table(
        "app-report", "The report of a rest and stress study", columns, ((seconds, size, memory, start),), timed=True
    )


def run(words: list[str]) -> tuple[float, float, list[float]]:
    """Run the app: s of its processors, MiB of its largest process, and s after which each report was there."""
    started = time.monotonic()
    command = [*APP, *words, *([] if words == ["--version"] else ["--skip-bids-validation"])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    reports = [time.monotonic() - started for line in process.stderr if re.search("outputs and report: .* s$", line)]
    _, code, used = os.wait4(process.pid, 0)
    if code:
        raise SystemExit(f"qperf-app ended with {os.waitstatus_to_exitcode(code)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, reports


def first_step(words: list[str]) -> tuple[float, float]:
    """Run the app until its first step is done: s that it took, and MiB of the main process at its largest."""
    started = time.monotonic()
    command = [*APP, *words, "--skip-bids-validation"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        if not any(re.match(r"\[1/\d+\]", line) for line in process.stderr):
            raise SystemExit("qperf-app ended before its first step")
        seconds = time.monotonic() - started
        largest = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text("ascii"))
        assert largest is not None
        process.terminate()
        process.stderr.read()
    return seconds, int(largest[1]) / 1024


def phantom(work: Path, count: int, small: bool = True) -> Path:
    """A phantom dataset, made once."""
    raw = work / f"phantom-{count}{'-small' if small else ''}"
    if not raw.exists():
        size = ["--matrix", "64", "--frames", "36"] if small else []
        tool = [sys.executable, "-m", "qperf_app.cli.tools", "phantom", str(raw), "--participants", str(count)]
        subprocess.run([*tool, "--seed", "1", *size], check=True)
    return raw


def linked(work: Path, count: int) -> Path:
    """Participants whose files are links to those of a few of the phantom's, made once."""
    raw, source = work / f"linked-{count}", phantom(work, 4, small=False)
    if raw.exists():
        return raw
    raw.mkdir()
    shutil.copy(source / "dataset_description.json", raw)
    for number in range(count):
        of = f"sub-{1 + number % 4:02d}"
        for path in sorted((source / of / "perf").iterdir()):
            target = raw / f"sub-{number:04d}" / "perf" / path.name.replace(of, f"sub-{number:04d}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.resolve())
    return raw


def one_scan(work: Path, slices: int, matrix: int, frames: int) -> Path:
    """A resting scan of the phantom whose three slices are repeated, or whose middle one stands alone; made once."""
    raw = work / f"scan-{slices}-{matrix}-{frames}"
    if raw.exists():
        return raw
    tool = [sys.executable, "-m", "qperf_app.cli.tools", "phantom", str(raw), "--participants", "1", "--seed", "7"]
    size = ["--tasks", "rest", "--matrix", str(matrix), "--frames", str(frames), "--abnormal-bolus", "0"]
    subprocess.run([*tool, *size], check=True)
    for path in sorted((raw / "sub-01" / "perf").glob("*.nii.gz")):
        data, affine = read_image(path)
        present = data.shape[2]
        if present == 1:
            continue  # that of the input function
        taken = np.arange(slices) * present // slices if slices > 1 else np.array([present // 2])
        sidecar = read_json(path.with_name(path.name.replace(".nii.gz", ".json")))
        # Repeated slices lie the closer to each other, so that the stack is as long as before.
        closer = affine @ np.diag([1.0, 1.0, present / max(slices, present), 1.0])
        write_image(path, data[:, :, taken], closer, sidecar)
    return raw


TABLES = {
    "planning": planning,
    "turns": turns,
    "disk": disk,
    "size": size,
    "throughput": throughput,
    "again": again,
    "report": report,
}

if __name__ == "__main__":
    main()
