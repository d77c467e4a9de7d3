"""The Nipype graph: a workflow for each participant, a node for each task, and its execution."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qperf_app.workflow.execution import Execution
from qperf_app.workflow.interface import StepInterface
from qperf_app.workflow.plan import ParticipantPlan
from qperf_app.workflow.publish import PublishInterface, PublishRequest
from qperf_app.workflow.tasks import Task

WORKFLOW_NAME = "qperf"
PUBLISH_NODE = "publish"
#: What writing a participant's outputs and report takes.
PUBLISH_MEMORY_GB = 1.5


def node_dir(work_dir: Path, participant: str, node: str) -> Path:
    """Folder that a node works in."""
    return work_dir / WORKFLOW_NAME / participant_workflow(participant) / node


def participant_workflow(participant: str) -> str:
    """Name of a participant's workflow."""
    return f"sub_{participant}"


def build(plans: Sequence[ParticipantPlan], requests: Mapping[str, PublishRequest], execution: Execution) -> Any:
    """Build the graph of all participants; ``requests`` say what their last node publishes."""
    from nipype.pipeline import engine

    # A workflow copies Nipype's configuration when it is made.
    _configure(execution)
    whole = engine.Workflow(WORKFLOW_NAME, base_dir=str(execution.work_dir))
    for plan in plans:
        workflow = engine.Workflow(participant_workflow(plan.participant))
        nodes = {task.node: _step_node(engine, task) for task in plan.tasks.values()}
        workflow.add_nodes(list(nodes.values()))
        for task in plan.tasks.values():
            for name, upstream in task.upstream.items():
                workflow.connect(nodes[upstream], "outcome", nodes[task.node], name)
        _add_publishing(engine, workflow, nodes, requests[plan.participant])
        whole.add_nodes([workflow])
    return whole


def run(workflow: Any, execution: Execution, notify: Callable[[Any, str], None]) -> bool:
    """Run the graph; True when every node ended well.

    ``notify`` is told of each node that starts, ends or fails (as far as the execution plugin says so).
    """
    plugin = execution.plugin or ("Linear" if execution.nprocs == 1 else "MultiProc")
    arguments: dict[str, Any] = {**execution.plugin_args, "status_callback": notify}
    if plugin == "MultiProc":
        arguments.setdefault("n_procs", execution.nprocs)
        arguments.setdefault("raise_insufficient", False)
        if execution.memory_gb:
            arguments.setdefault("memory_gb", execution.memory_gb)
    here = Path.cwd()
    try:
        workflow.run(plugin=plugin, plugin_args=arguments)
    # Which node failed and why is read from the nodes' folders; Nipype raises whatever the first one raised.
    except Exception:
        return False
    finally:
        os.chdir(here)
    return True


def _step_node(engine: Any, task: Task) -> Any:
    interface = StepInterface(task=task.identity(), threads=task.threads)
    return engine.Node(interface, name=task.node, n_procs=task.threads, mem_gb=task.memory_gb)


def _add_publishing(engine: Any, workflow: Any, nodes: Mapping[str, Any], request: PublishRequest) -> None:
    from nipype.interfaces.utility import Merge

    merge = engine.Node(Merge(len(nodes)), name="outcomes", run_without_submitting=True)
    publish = engine.Node(PublishInterface(request=request.to_json()), name=PUBLISH_NODE, mem_gb=PUBLISH_MEMORY_GB)
    for number, node in enumerate(nodes.values(), start=1):
        workflow.connect(node, "outcome", merge, f"in{number}")
    workflow.connect(merge, "out", publish, "outcomes")


def _configure(execution: Execution) -> None:
    from nipype import config, logging

    crashes = execution.work_dir / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    config.update_config(
        {
            "execution": {
                "hash_method": "content",
                "crashdump_dir": str(crashes),
                "crashfile_format": "txt",
                "stop_on_first_crash": str(execution.stop_on_first_crash).lower(),
                "remove_unnecessary_outputs": "false",
                "check_version": "false",
                "poll_sleep_duration": "0.05",
            },
            "logging": {"log_to_file": "false", "workflow_level": "CRITICAL", "interface_level": "CRITICAL"},
        }
    )
    logging.update_logging(config)
