"""Processors and memory as a batch system or a container allots them; locks and whole files in OUT_DIR."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import pytest

from qperf_app.bids.dataset import exclusive
from qperf_app.cli.allotment import allotted_memory_gb, allotted_processors
from qperf_app.workflow.workers import process_context


def test_the_least_limit_counts(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")
    assert allotted_memory_gb({}, tmp_path) is None
    assert allotted_processors({"SLURM_CPUS_PER_TASK": "1"}, tmp_path) == 1
    (group / "cpu.max").write_text("150000 100000\n")
    (group / "memory.max").write_text(str(3 * 2**30))
    assert allotted_processors({"SLURM_CPUS_PER_TASK": "64"}, tmp_path) == 1
    assert allotted_memory_gb({"SLURM_MEM_PER_NODE": "2048"}, tmp_path) == 2.0
    assert allotted_memory_gb({"SLURM_MEM_PER_NODE": "8192"}, tmp_path) == 3.0


def test_memory_that_slurm_gives_for_each_processor(tmp_path: Path) -> None:
    """``sbatch --mem-per-cpu``, the rule of many clusters, sets no ``SLURM_MEM_PER_NODE``."""
    job = {"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "2"}
    assert allotted_memory_gb(job, tmp_path) == 4.0
    assert allotted_processors(job, tmp_path) <= 2
    assert allotted_memory_gb({"SLURM_MEM_PER_CPU": "1024"}, tmp_path) == 1.0


@pytest.mark.parametrize(
    ("own", "folder", "name"),
    [
        ("9:name=systemd:/\n0::/system.slice/job_7/step_batch/task_0\n", "", "memory.max"),
        ("5:cpu,cpuacct:/\n4:memory:/slurm/job_7/step_batch\n0::/\n", "memory", "memory.limit_in_bytes"),
    ],
)
def test_limits_of_the_groups_that_hold_the_process(tmp_path: Path, own: str, folder: str, name: str) -> None:
    """A batch system gives a job a group below the machine's, whose own files say nothing of it."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(own)
    parent = "slurm" if folder else "system.slice"
    job = tmp_path / "sys/fs/cgroup" / folder / parent / "job_7"
    (job / "step_batch").mkdir(parents=True)
    (job / "step_batch" / name).write_text("max" if not folder else str(2**63 - 4096))
    (job / name).write_text(str(2 * 2**30))
    assert allotted_memory_gb({}, tmp_path) == 2.0
    # A container sees its own group at the top, under a path that the machine knows.
    (job / name).unlink()
    (tmp_path / "sys/fs/cgroup" / folder / name).write_text(str(3 * 2**30))
    assert allotted_memory_gb({}, tmp_path) == 3.0


def _count(out: Path) -> None:
    for _ in range(25):
        with exclusive(out, "count"):
            path = out / "count"
            path.write_text(str(int(path.read_text()) + 1))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count, args=(tmp_path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "count").read_text() == "100"
    assert not list(tmp_path.glob(".lock*"))


def test_beside_tensorflow_processes_start_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork of its threads' locks would wait for ever."""
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    assert process_context().get_start_method() == "spawn"
    assert process_context("forkserver").get_start_method() == "forkserver"
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert process_context().get_start_method() == multiprocessing.get_context().get_start_method()
