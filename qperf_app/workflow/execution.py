"""How a graph is run: by which Nipype execution plugin, with what resources."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qperf_app.methods.yaml_files import load_yaml
from qperf_app.workflow import slurm
from qperf_app.workflow.configuration import ConfigurationError
from qperf_app.workflow.workers import Workers

#: Nipype's plugin that submits the whole graph and returns at once; :mod:`qperf_app.workflow.slurm` waits for it.
SLURM_GRAPH = "SLURMGraph"
_SLURM = ("sbatch", "squeue", "scancel")
#: What Nipype's plugins for Slurm read of ``plugin_args``; they pass over anything else without a word.
_SLURM_ARGUMENTS = {
    "sbatch_args", "template", "max_jobs", "max_tries", "retry_timeout", "jobid_re", "dont_resubmit_completed_jobs",
}  # fmt: skip
#: Characters that a shell takes apart: Nipype hands paths to one without quotes.
_SHELL = set(" \t\n'\"\\$`&|;<>()*?[]{}#!")
#: Commands by which jobs are submitted, and looked after where the app does so itself.
_COMMANDS = {
    "SLURM": _SLURM,
    SLURM_GRAPH: _SLURM,
    "SGE": ("qsub",),
    "PBS": ("qsub",),
    "LSF": ("bsub",),
    "OAR": ("oarsub",),
    "Condor": ("condor_qsub",),
}


@dataclass(frozen=True)
class Execution:
    """How a graph is run, and where it works.

    ``plugin`` is a Nipype execution plugin with its arguments; None, ``Linear`` and ``MultiProc`` are this machine.
    ``drop_work`` deletes a participant's part of the work directory as soon as it is done. ``workers`` are
    :class:`~qperf_app.workflow.workers.StayingProcesses` that serve the next run too; else a run starts its own.
    """

    work_dir: Path
    nprocs: int = 1
    memory_gb: float | None = None
    plugin: str | None = None
    plugin_args: Mapping[str, Any] = field(default_factory=dict)
    stop_on_first_crash: bool = False
    drop_work: bool = False
    workers: Workers | None = None


def read_plugin_file(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the file of ``--use-plugin``: a mapping with ``plugin`` and, if need be, ``plugin_args``.

    Raises
    ------
    ConfigurationError
        Naming the file and the key.
    """
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"--use-plugin {path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("plugin"), str):
        raise ConfigurationError(f"--use-plugin {path}: key 'plugin' must name a Nipype execution plugin")
    if unknown := [key for key in content if key not in ("plugin", "plugin_args")]:
        raise ConfigurationError(f"--use-plugin {path}: unknown key {unknown[0]!r} (known: plugin, plugin_args)")
    arguments = content.get("plugin_args") or {}
    if not isinstance(arguments, dict):
        raise ConfigurationError(f"--use-plugin {path}: key 'plugin_args' must be a mapping")
    plugin = content["plugin"]
    if plugin in ("SLURM", SLURM_GRAPH):
        _check_slurm_arguments(path, arguments)
    if plugin == "CondorDAGMan" or (plugin.endswith("Graph") and plugin != SLURM_GRAPH):
        raise ConfigurationError(f"--use-plugin {path}: {plugin} returns before its jobs are done; take one that waits")
    for command in _COMMANDS.get(plugin, ()):
        if not shutil.which(command):
            raise ConfigurationError(f"--use-plugin {path}: {plugin} needs the command {command}, which is not here")
    return plugin, arguments


def _check_slurm_arguments(path: Path, arguments: Mapping[str, Any]) -> None:
    if unknown := [key for key in arguments if key not in _SLURM_ARGUMENTS]:
        known = ", ".join(sorted(_SLURM_ARGUMENTS))
        raise ConfigurationError(f"--use-plugin {path}: plugin_args: unknown key {unknown[0]!r} (known: {known})")
    given = arguments.get("sbatch_args", "")
    try:
        if not isinstance(given, str):
            raise ValueError("must be a text, as on a command line")
        shlex.split(given)
    except ValueError as error:
        raise ConfigurationError(f"--use-plugin {path}: plugin_args: sbatch_args: {error}") from None


def check_plugin(path: Path, plugin: str, arguments: Mapping[str, Any], work_dir: Path) -> None:
    """Refuse what can't run: no such plugin, a Slurm that doesn't answer or takes no such job. Imports Nipype.

    Raises
    ------
    ConfigurationError
    QueueError
    """
    from nipype.pipeline import plugins

    if not hasattr(plugins, f"{plugin}Plugin"):
        raise ConfigurationError(f"--use-plugin {path}: Nipype has no execution plugin {plugin!r}")
    if plugin in _COMMANDS and _SHELL & set(str(work_dir)):
        raise ConfigurationError(
            f"--work-dir {work_dir}: jobs of {plugin} can't have blanks, quotes or other signs of a shell in its path"
        )
    if slurm.is_slurm(plugin):
        slurm.jobs(())
        if reason := slurm.refusal(str(arguments.get("sbatch_args", ""))):
            raise ConfigurationError(f"--use-plugin {path}: sbatch takes no such job: {reason}")
