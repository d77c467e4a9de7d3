"""Resident peak of every step of one participant, each in a process of its own, against what the step declares.

Simulates one participant of each size, runs ``qperf-app`` on it twice: with a process for each step, as a job of a
cluster has it, for the peak of each (``VmHWM``: Python and libraries included); and as it runs on a machine of its own,
for wall time and the largest memory of all its processes together.

Run from the root of the repository: ``python -m benchmarks.node_memory WORK [--options …]``. Linux only.
Exits 1 where a step takes over 1.2 of its declaration.
"""

from __future__ import annotations

import argparse
import json
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
from benchmarks.real_data import table
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


class EachMeasuredPlugin(PluginBase):
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(len(SIZES))), help="which of the sizes")
    parser.add_argument("--nprocs", nargs="*", default=["1", "2"], help="for the wall time of the whole")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="the rest: options of qperf-app")
    args = parser.parse_args()
    plugins.EachMeasuredPlugin = EachMeasuredPlugin
    args.work.mkdir(parents=True, exist_ok=True)
    plugin = args.work / "measured.yaml"
    plugin.write_text("plugin: EachMeasured\n")
    totals, steps = [], []
    for matrix, frames, tasks in (SIZES[k] for k in args.sizes):
        name = f"3 x {matrix} x {matrix} x {frames}, {tasks.replace(' ', ' and ')}"
        folder = args.work / f"{matrix}x{frames}"
        raw = simulate(folder, matrix, frames, tasks)
        common = [str(raw), str(folder / "out"), "participant", "--skip-bids-validation", *args.options]
        EachMeasuredPlugin.measured.clear()
        shutil.rmtree(folder / "steps", ignore_errors=True)
        code = app([*common, "-w", str(folder / "steps"), "--nprocs", "1", "--use-plugin", str(plugin)])
        if code:
            raise SystemExit(f"qperf-app ended with {code}")
        steps += [(name, *each) for each in EachMeasuredPlugin.measured if each[0] != "outcomes"]
        for nprocs in args.nprocs:
            shutil.rmtree(folder / "nodes", ignore_errors=True)
            command = [sys.executable, "-m", "qperf_app.cli.app", *common, "-w", str(folder / "nodes")]
            seconds, memory = watch([*command, "--nprocs", nprocs])
            totals.append((name, nprocs, f"{seconds:.0f}", f"{memory:.2f}"))
    rows = [(name, step, f"{said:.2f}", f"{used:.2f}", f"{used / said:.2f}") for name, step, said, used in steps]
    print("\n".join(table(("participant", "`--nprocs`", "s", "GiB at most"), totals)), "\n")
    print("\n".join(table(("participant", "step", "declared, GiB", "peak, GiB", "ratio"), rows)))
    (args.work / "steps.json").write_text(json.dumps(steps))
    sys.exit(any(used > MOST * said for _, _, said, used in steps))


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
