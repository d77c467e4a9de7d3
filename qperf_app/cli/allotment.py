"""What of the machine this process was given: by a batch system, by a container's limits, by its processor mask."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

#: Values above this are how a control group says "no limit", bytes.
_NO_LIMIT = 2**60


def allotted_processors(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Processors that may be used.

    Parameters
    ----------
    environment : mapping
        Where Slurm says how many processors a task has (``SLURM_CPUS_PER_TASK``, else ``SLURM_CPUS_ON_NODE``).
    root : Path
        File system in which the control group's quota is looked up.

    Returns
    -------
    int
        The least of the processor mask, the control group's quota and Slurm's word; at least 1.
    """
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits: list[float] = [mask or 1, *_quotas(root)]
    slurm = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE", "")
    if slurm.isdecimal():
        limits.append(int(slurm))
    return max(1, math.floor(min(limits)))


def allotted_memory_gb(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> float | None:
    """Memory limit of the batch job or the container, GiB; None where there is none but the machine's own size."""
    limits = [value / 2**30 for value in _memory_limits(root) if value < _NO_LIMIT]
    slurm = environment.get("SLURM_MEM_PER_NODE", "")
    if slurm.isdecimal() and int(slurm) > 0:
        limits.append(int(slurm) / 1024)
    return min(limits, default=None)


def _quotas(root: Path) -> Iterator[float]:
    for text in _read(root, ("sys/fs/cgroup/cpu.max",)):
        quota, _, period = text.partition(" ")
        if quota.isdecimal() and period.isdecimal():
            yield int(quota) / int(period)
    old = [*_read(root, (f"sys/fs/cgroup/cpu/cpu.cfs_{what}_us" for what in ("quota", "period")))]
    if len(old) == 2 and all(text.isdecimal() for text in old):
        yield int(old[0]) / int(old[1])


def _memory_limits(root: Path) -> Iterator[int]:
    for text in _read(root, ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if text.isdecimal():
            yield int(text)


def _read(root: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            yield (root / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
