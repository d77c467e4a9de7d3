"""Jobs on a real Slurm, and the image in a real container; without the programs these skip and say what is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.app_speed import family
from benchmarks.compare_outputs import differences
from qperf_app.workflow import slurm as jobs
from tests.datasets import small_dataset
from tests.slurm import one_node_slurm, unusable

QUICK = ("--skip-bids-validation", "--motion-correction", "none", "--kinetics", "fermi")
APP = (sys.executable, "-m", "qperf_app.cli.app")
ARRAY = """#!/bin/bash
#SBATCH --array=1-2 --requeue --open-mode=append --cpus-per-task=1 --mem=1500M --output=slurm-%a.out
echo $$ > process-$SLURM_ARRAY_TASK_ID
exec {app} raw out participant -w nodes --participant-label 0$SLURM_ARRAY_TASK_ID {options}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    reason = unusable()
    if reason:
        pytest.skip(f"no Slurm can be started here: {reason}")
    running = one_node_slurm(tmp_path_factory.mktemp("slurm"))
    try:
        running.__enter__()
    except RuntimeError as error:
        pytest.skip(str(error))
    yield
    running.__exit__(None, None, None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants, done on this machine without any cluster."""
    root = tmp_path_factory.mktemp("undisturbed")
    small_dataset(root / "raw", participants=("01", "02"))
    subprocess.run([*APP, "raw", "out", "participant", "-w", "nodes", "--nprocs", "2", *QUICK], cwd=root, check=True)
    return root


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def queue(*arguments: str) -> str:
    command = ["squeue", "--noheader", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_jobs_are_found_and_cancelled(slurm: None, tmp_path: Path) -> None:
    ours, other = (jobs.mark(tmp_path, participant) for participant in ("01", "02"))
    for comment in (ours, other):
        arguments = jobs.job_arguments("--output=/dev/null", comment, 1, 0.1, "").split()
        command = ["sbatch", *arguments, "--output=/dev/null", "--wrap", "sleep 60"]
        subprocess.run(command, check=True, capture_output=True)
    assert len(jobs.jobs({ours, other})) == 2
    said: list[str] = []
    jobs.cancel({ours}, said.append)
    assert not jobs.jobs({ours}) and len(jobs.jobs({other})) == 1 and "1 jobs" in said[0]
    jobs.cancel({other}, said.append)
    jobs.wait({ours, other}, said.append)


def test_a_killed_task_of_an_array_goes_on_when_requeued(slurm: None, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "raw", tmp_path / "raw")
    (tmp_path / "array.sh").write_text(ARRAY.format(app=" ".join(APP), options=" ".join(QUICK)))
    command = ["sbatch", "--parsable", "array.sh"]
    number = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()
    nodes = tmp_path / "nodes" / "qperf" / "sub_01"
    until(lambda: len(list(nodes.glob("*/outcome.json"))) >= 2 and list(nodes.glob("*/_0x*_unfinished.json")))
    for process in family(int((tmp_path / "process-1").read_text())):
        os.kill(process, signal.SIGKILL)
    until(lambda: "RUNNING" not in queue("--jobs", f"{number}_1", "--states=all", "--format=%T"))
    status = json.loads((tmp_path / "out" / "sub-01" / "sub-01_status.json").read_text())
    assert status["state"] == "running"
    done = [path for path in nodes.glob("*/outcome.json") if not list(path.parent.glob("_0x*_unfinished.json"))]
    first = {path: path.stat().st_mtime_ns for path in done}
    subprocess.run(["scontrol", "requeue", f"{number}_1"], check=True)
    until(lambda: not queue("--jobs", number, "--format=%T"))
    assert not differences(undisturbed / "out", tmp_path / "out")
    # What was done before the kill was not done again.
    assert first and first == {path: path.stat().st_mtime_ns for path in first}


@pytest.mark.parametrize("name", ["SLURM", "SLURMGraph"])
def test_a_job_for_each_step(slurm: None, undisturbed: Path, tmp_path: Path, name: str) -> None:
    plugin = tmp_path / "plugin.yaml"
    plugin.write_text(f"plugin: {name}\nplugin_args: {{sbatch_args: --partition=all}}\n")
    shutil.copytree(undisturbed / "raw", tmp_path / "raw")
    command = [*APP, "raw", "out", "participant", "-w", "nodes", "--use-plugin", str(plugin), *QUICK]
    subprocess.run([*command, "--participant-label", "01"], cwd=tmp_path, check=True)
    found = [line for line in differences(undisturbed / "out", tmp_path / "out") if "sub-02" not in line]
    assert not found
    # What the jobs say goes to the work directory, and none of it to where the app was started.
    assert {path.name for path in tmp_path.iterdir()} == {"plugin.yaml", "raw", "out", "nodes"}
    assert list((tmp_path / "nodes").rglob("slurm-*.out"))


def test_jobs_of_a_killed_run_do_not_disturb_one_on_this_machine(
    slurm: None, undisturbed: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.yaml"
    plugin.write_text("plugin: SLURMGraph\n")
    shutil.copytree(undisturbed / "raw", tmp_path / "raw")
    command = [*APP, "raw", "out", "participant", "-w", "nodes", *QUICK, "--participant-label", "01"]
    killed = subprocess.Popen([*command, "--use-plugin", str(plugin)], cwd=tmp_path)
    until(lambda: len(queue().splitlines()) > 2)
    killed.kill()
    killed.wait()
    ended = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "of a run before this one" in ended.stderr and not queue()
    assert not [line for line in differences(undisturbed / "out", tmp_path / "out") if "sub-02" not in line]


def test_a_job_that_slurm_does_not_take_is_refused(slurm: None, undisturbed: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.yaml"
    plugin.write_text("plugin: SLURM\nplugin_args: {sbatch_args: --partition=nowhere}\n")
    command = [*APP, str(undisturbed / "raw"), "out", "participant", *QUICK, "--use-plugin", str(plugin)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "sbatch takes no such job: invalid partition specified: nowhere" in ended.stderr
    assert [*tmp_path.iterdir()] == [plugin]
    # A job may wait for a node that is down.
    plugin.write_text("plugin: SLURM\nplugin_args: {sbatch_args: --partition=all}\n")
    subprocess.run(["scontrol", "update", "nodename=one", "state=drain", "reason=test"], check=True)
    try:
        subprocess.run([*command, "--dry-run"], cwd=tmp_path, check=True)
    finally:
        subprocess.run(["scontrol", "update", "nodename=one", "state=resume"], check=True)
    assert not queue()


def test_the_image_does_what_the_app_does(undisturbed: Path, tmp_path: Path) -> None:
    engine = next((name for name in ("podman", "docker") if shutil.which(name)), None)
    image = os.environ.get("QPERF_TEST_IMAGE", "qperf-app")
    if engine is None:
        pytest.skip("no podman and no docker here")
    if subprocess.run([engine, "image", "inspect", image], capture_output=True, check=False).returncode:
        pytest.skip(f"{engine} has no image {image!r} (the head of the Dockerfile says how to build it)")
    for name in ("out", "nodes"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    volumes = [f"{undisturbed / 'raw'}:/raw:ro", f"{tmp_path / 'out'}:/out", f"{tmp_path / 'nodes'}:/nodes"]
    command = [engine, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", "--user", "1234:1234"]
    command += [word for volume in volumes for word in ("--volume", volume)]
    subprocess.run([*command, image, "/raw", "/out", "participant", "-w", "/nodes", *QUICK], check=True)
    assert not differences(undisturbed / "out", tmp_path / "out"), "was the image built from this code?"
