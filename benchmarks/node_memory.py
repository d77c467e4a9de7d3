"""Resident peak of every step of one participant, each in a process of its own, against what the step declares.

Simulates one participant of each size, runs ``qperf-app`` on it twice: with a process for each step, as a job of a
cluster has it, for the peak of each (``VmHWM``: Python and libraries included); and as it runs on a machine of its own,
for wall time and the largest memory of all its processes together.

Run from the root of the repository: ``python -m benchmarks.node_memory WORK [--options …]``. Linux only.
Exits 1 where a step takes over 1.2 of its declaration.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from nipype.pipeline import plugins
from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.base import PluginBase
from nipype.pipeline.plugins.tools import create_pyscript

from benchmarks.app_speed import watch
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.cli.app import main as app

#: Voxels along the edge, volumes, tasks.
SIZES = (("64", "40", "rest"), ("128", "60", "rest stress"), ("192", "80", "rest stress"))
#: Of a declaration; more than this and a step could be killed for it.
MOST = 1.2
STEP = """
import pathlib, runpy, sys
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
finally:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    print("VmHWM", next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


class EachMeasuredPlugin(PluginBase):  # type: ignore[misc]
    """Nipype execution plugin: step after step, each in a new Python."""

    measured: ClassVar[list[tuple[str, float, float]]] = []

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run the graph and keep (step, declared, used), GiB."""
        for node in topological_sort(graph)[0]:
            command = [sys.executable, "-c", STEP, create_pyscript(node, updatehash, store_exception=False)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            used = int(result.stdout.split("VmHWM")[-1]) / 2**20
            self.measured.append((node.name, float(node.mem_gb), used))


def main() -> None:
    """Publish the tables; exit 1 where a step takes more than it may."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(len(SIZES))), help="which of the sizes")
    parser.add_argument("--nprocs", nargs="*", default=["1", "2"], help="for the wall time of the whole")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="the rest: options of qperf-app")
    args = parser.parse_args()
    plugins.EachMeasuredPlugin = EachMeasuredPlugin
    args.work.mkdir(parents=True, exist_ok=True)
    plugin = args.work / "measured.yaml"
    plugin.write_text("plugin: EachMeasured\n")
    over = False
    totals: list[Row] = []
    steps: list[Row] = []
    for matrix, frames, tasks in (SIZES[k] for k in args.sizes):
        name = f"3 x {matrix} x {matrix} x {frames}, {tasks.replace(' ', ' and ')}"
        folder = args.work / f"{matrix}x{frames}"
        raw = simulate(folder, matrix, frames, tasks)
        common = [str(raw), str(folder / "out"), "participant", "--skip-bids-validation", *args.options]
        found = each_step(common, folder / "steps", plugin)
        steps += [(name, *each) for each in found]
        over = over or any(used > MOST * declared for _, declared, used in found)
        for nprocs in args.nprocs:
            shutil.rmtree(folder / "nodes", ignore_errors=True)
            command = [sys.executable, "-m", "qperf_app.cli.app", *common, "-w", str(folder / "nodes")]
            totals.append((name, int(nprocs), *watch([*command, "--nprocs", nprocs], folder / "log.txt")[1:]))
    whole = (Column("`--nprocs`", format="d"), Column("wall", "s", ".0f"), Column("largest memory", "GiB", ".2f"))
    sizes = (Column("declared", "GiB", ".2f"), Column("peak", "GiB", ".2f"))
    head = Column("participant")
    publish(
        [
            Table("memory-run", "Time and memory of a participant", (head, *whole), tuple(totals), timed=True),
            Table("memory-steps", "Peak of each step", (head, Column("step"), *sizes), tuple(steps)),
        ],
        args,
        seed=7,
    )
    sys.exit(over)


def each_step(common: list[str], work: Path, plugin: Path) -> list[tuple[str, float, float]]:
    """Run the app, each step in a process of its own: step, declared and used memory, GiB."""
    EachMeasuredPlugin.measured.clear()
    shutil.rmtree(work, ignore_errors=True)
    code = app([*common, "-w", str(work), "--nprocs", "1", "--use-plugin", str(plugin)])
    if code:
        raise SystemExit(f"qperf-app ended with {code}")
    return [each for each in EachMeasuredPlugin.measured if each[0] != "outcomes"]


def simulate(folder: Path, matrix: str, frames: str, tasks: str) -> Path:
    """One phantom participant."""
    raw = folder / "raw"
    if not raw.exists():
        tool = [sys.executable, "-m", "qperf_app.cli.tools", "phantom", str(raw), "--participants", "1", "--seed", "7"]
        size = ["--matrix", matrix, "--frames", frames, "--tasks", *tasks.split(), "--abnormal-bolus", "0"]
        subprocess.run([*tool, *size], check=True)
    return raw


if __name__ == "__main__":
    main()
