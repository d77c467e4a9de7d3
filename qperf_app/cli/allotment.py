"""What of the machine this process was given: by a batch system, by a container's limits, by its processor mask."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
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
        File system in which the control groups' quotas are looked up.

    Returns
    -------
    int
        The least of the processor mask, the control groups' quotas and Slurm's word; at least 1.
    """
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits: list[float] = [mask or 1, *_quotas(root)]
    if slurm := _number(environment, "SLURM_CPUS_PER_TASK") or _number(environment, "SLURM_CPUS_ON_NODE"):
        limits.append(slurm)
    return max(1, math.floor(min(limits)))


def allotted_memory_gb(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> float | None:
    """Memory limit of the batch job or the container, GiB; None where there is none but the machine's own size."""
    limits = [value / 2**30 for value in _memory_limits(root) if value < _NO_LIMIT]
    if per_node := _number(environment, "SLURM_MEM_PER_NODE"):
        limits.append(per_node / 1024)
    if per_processor := _number(environment, "SLURM_MEM_PER_CPU"):
        limits.append(per_processor * (_number(environment, "SLURM_CPUS_ON_NODE") or 1) / 1024)
    return min(limits, default=None)


def _number(environment: Mapping[str, str], name: str) -> int:
    """What Slurm says; 0 where it says nothing."""
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 0


def _quotas(root: Path) -> Iterator[float]:
    for text in _read(_groups(root), ("cpu.max",)):
        quota, _, period = text.partition(" ")
        if quota.isdecimal() and period.isdecimal():
            yield int(quota) / int(period)
    for group in _groups(root, "cpu"):
        old = [*_read([group], (f"cpu.cfs_{what}_us" for what in ("quota", "period")))]
        if len(old) == 2 and all(text.isdecimal() for text in old):
            yield int(old[0]) / int(old[1])


def _memory_limits(root: Path) -> Iterator[int]:
    for text in (*_read(_groups(root), ("memory.max",)), *_read(_groups(root, "memory"), ("memory.limit_in_bytes",))):
        if text.isdecimal():
            yield int(text)


def _groups(root: Path, controller: str = "") -> list[Path]:
    """Folders of the control group of this process and of all above it, whose limits hold too.

    Within a container the top is the container's own; a batch system puts a job some levels below the machine's.
    ``controller`` names one of version 1; version 2 has all in one.
    """
    top = root / "sys/fs/cgroup" / controller
    for line in "\n".join(_read([root], ("proc/self/cgroup",))).splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            own = top / path.lstrip("/")
            return [own, *(folder for folder in own.parents if folder.is_relative_to(top))]
    return [top]


def _read(folders: Iterable[Path], names: Iterable[str]) -> Iterator[str]:
    for folder, name in product(folders, names):
        try:
            yield (folder / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
