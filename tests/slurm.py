"""A Slurm of one node for as long as a block lasts; all it writes lies in one folder, no other Slurm is touched.

Takes Debian's packages ``slurm-wlm`` and ``munge``, needs neither systemd nor control groups nor a database.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is requeued may start again once its credential has expired.
AuthInfo=socket={root}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
KillWait=2
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes=one Default=YES MaxTime=INFINITE State=UP
"""


def unusable() -> str:
    """Why no Slurm can be started here; empty where it can."""
    missing = [name for name in PROGRAMS if not find(name)]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "a node of Slurm starts jobs as root only"


def find(program: str) -> str | None:
    """Path of a program; those for administrators need not be on a user's PATH."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


@contextmanager
def one_node_slurm(root: Path, cpus: int = 2, memory_mb: int = 6000) -> Iterator[None]:
    """Run a Slurm; within the block the Slurm commands of this process and its children speak to it.

    Raises
    ------
    RuntimeError
        When a daemon doesn't start, with what it said.
    """
    root = root.resolve()
    for name in ("state", "spool"):
        (root / name).mkdir(parents=True, exist_ok=True)
    # munged trusts a folder only that nobody else may write to.
    root.chmod(0o755)
    configuration = root / "slurm.conf"
    host, user = socket.gethostname().split(".")[0], "root"
    configuration.write_text(
        CONFIGURATION.format(host=host, user=user, root=root, ports=_free_ports(2), cpus=cpus, memory=memory_mb)
    )
    (root / "munge.key").write_bytes(os.urandom(128))
    (root / "munge.key").chmod(0o400)
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log",
             "seed-file": "munge.seed"}  # fmt: skip
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        munged = ["munged", "--foreground", "--force", *(f"--{name}={root / file}" for name, file in files.items())]
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "one"]):
            with (root / f"{command[0]}.out").open("wb") as out:
                daemons.append(subprocess.Popen([find(command[0]) or "", *command[1:]], stdout=out, stderr=out))
            if command is munged:
                _until(lambda: (root / files["socket"]).exists(), root)
        _until(lambda: answers() == "idle", root)
        yield
    finally:
        subprocess.run(["scancel", "--me"], check=False, capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before


def answers() -> str:
    """State of the nodes of whatever Slurm is there; empty where none answers."""
    if not shutil.which("sinfo"):
        return ""
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _until(condition: object, root: Path, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            said = [path.read_text(errors="replace")[-500:] for path in sorted(root.glob("*.out"))]
            raise RuntimeError("Slurm does not start:\n" + "\n".join(said))
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
