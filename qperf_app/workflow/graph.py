"""The Nipype graphs: a workflow for each participant, a node for each task, and their execution."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from qperf_app.bids.names import identifier
from qperf_app.workflow import slurm
from qperf_app.workflow.execution import SLURM_GRAPH, Execution
from qperf_app.workflow.interface import StepInterface
from qperf_app.workflow.outcomes import is_damaged, one_line, to_json
from qperf_app.workflow.plan import ParticipantPlan
from qperf_app.workflow.publish import PublishInterface, PublishRequest
from qperf_app.workflow.tasks import Task
from qperf_app.workflow.turns import Capacity, Runner, Turn
from qperf_app.workflow.workers import OwnProcesses, ThisProcess, load_libraries

WORKFLOW_NAME = "qperf"
#: Level of Nipype's own messages: above all of them.
SILENT = 100
PUBLISH_NODE = "publish"
#: What writing a participant's outputs and report takes.
PUBLISH_MEMORY_GB = 1.5
# How often a user who waits for jobs to be submitted is told how far it is, s.
_TELL_EVERY = 5.0


def participant_dir(work_dir: Path, participant: str) -> Path:
    """Folder that a participant's nodes work in, each in one of its own."""
    return work_dir / WORKFLOW_NAME / participant_workflow(participant)


def participant_workflow(participant: str) -> str:
    """Name of a participant's workflow; Nipype takes letters, digits and underscores."""
    return identifier(f"sub_{participant}")


def discard_damaged(plan: ParticipantPlan, work_dir: Path) -> list[str]:
    """Remove what an earlier run left of nodes whose files are not those that it wrote; returns their names."""
    folders = {node: participant_dir(work_dir, plan.participant) / node for node in plan.tasks}
    damaged = [node for node, folder in folders.items() if is_damaged(folder)]
    for node in damaged:
        shutil.rmtree(folders[node])
    return damaged


def run(
    plans: Sequence[ParticipantPlan],
    begin: Callable[[ParticipantPlan], PublishRequest | None],
    execution: Execution,
    notify: Callable[[Any, str], None],
    ended: Callable[[str], None],
    say: Callable[[str], None],
) -> str:
    """Run the graphs of all participants to their end, whichever nodes fail: which and why is read from their folders.

    Parameters
    ----------
    plans : sequence of ParticipantPlan
    begin : function
        Called before a participant's first node; says what its last node publishes, None where nothing of it can run.
    execution : Execution
    notify : function
        Told of each node that starts, ends or fails (as far as the execution plugin says so).
    ended : function
        Told of each participant that has no node left, as soon as that is known.
    say : function
        Told of what an execution plugin that was asked for complains of.

    Returns
    -------
    str
        What ended the run before its end, where anything did.
    """
    # A workflow copies Nipype's configuration when it is made.
    configure(execution)
    if execution.plugin in (None, "Linear", "MultiProc"):
        _cancel_left_behind(execution, [plan.participant for plan in plans], say)
        return _run_here(plans, begin, execution, notify, ended)
    begun = _begun(_told(plans, say), begin, execution.stop_on_first_crash)
    return _submit(_build(begun, execution), execution, [plan.participant for plan in plans], notify, say)


def _batch_dir(execution: Execution) -> Path:
    """Where Nipype writes the scripts of jobs."""
    return execution.work_dir / WORKFLOW_NAME / "batch"


def _cancel_left_behind(execution: Execution, participants: Sequence[str], say: Callable[[str], None]) -> None:
    """Cancel jobs of a killed run with an execution plugin: they would write into the folders of this one."""
    if not _batch_dir(execution).is_dir() or not slurm.is_slurm("SLURM"):
        return
    try:
        slurm.cancel({slurm.mark(execution.work_dir, participant) for participant in participants}, say)
    except slurm.QueueError as error:
        say(f"warning: {error}; where a killed run left jobs behind, they may disturb this one")


def _run_here(
    plans: Sequence[ParticipantPlan],
    begin: Callable[[ParticipantPlan], PublishRequest | None],
    execution: Execution,
    notify: Callable[[Any, str], None],
    ended: Callable[[str], None],
) -> str:
    """Run on this machine, one participant after another; each graph is made when its turn comes."""
    arguments = execution.plugin_args
    processors = 1 if execution.plugin == "Linear" else int(arguments.get("n_procs", execution.nprocs))
    memory = arguments.get("memory_gb", execution.memory_gb) or 0.9 * _machine_memory_gb()
    begun = _begun(plans, begin, execution.stop_on_first_crash)
    turns = (Turn(plan.participant, _expanded(_build([(plan, request)], execution))) for plan, request in begun)
    workers = execution.workers
    if workers is None and processors > 1:
        # What this process has, those that it forks have too.
        load_libraries()
    workers = workers or (ThisProcess() if processors == 1 else OwnProcesses(processors, arguments.get("mp_context")))
    here = Path.cwd()
    try:
        capacity = Capacity(processors, float(memory))
        return Runner(turns, workers, capacity, notify, ended, execution.stop_on_first_crash).run()
    finally:
        os.chdir(here)


def _machine_memory_gb() -> float:
    from nipype.utils.profiler import get_system_total_memory_gb

    return float(get_system_total_memory_gb())


def _expanded(workflow: Any) -> Any:
    """Nipype's graph of nodes that are ready to run: what it would hand to an execution plugin."""

    class KeepPlugin:
        plugin_args: ClassVar[dict[str, Any]] = {}
        graph: Any = None

        def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
            self.graph = graph

    kept = KeepPlugin()
    workflow.run(plugin=kept)
    return kept.graph


def _begun(
    plans: Iterable[ParticipantPlan], begin: Callable[[ParticipantPlan], PublishRequest | None], stop: bool
) -> Iterator[tuple[ParticipantPlan, PublishRequest]]:
    """Participants that can run, each begun when it is asked for; ``stop`` at the first that can't."""
    for plan in plans:
        request = begin(plan)
        if request is not None:
            yield plan, request
        elif stop:
            return


def _told(plans: Sequence[ParticipantPlan], say: Callable[[str], None]) -> Iterator[ParticipantPlan]:
    """The same, telling now and then how many have been asked for: their images are read before jobs are submitted."""
    last = time.monotonic()
    for done, plan in enumerate(plans):
        if (now := time.monotonic()) - last > _TELL_EVERY:
            last = now
            say(f"participants made ready to submit: {done} of {len(plans)}")
        yield plan


def _build(begun: Iterable[tuple[ParticipantPlan, PublishRequest]], execution: Execution) -> Any:
    """Build the graph of participants."""
    from nipype.pipeline import engine

    whole = engine.Workflow(WORKFLOW_NAME, base_dir=str(execution.work_dir))
    for plan, request in begun:
        workflow = engine.Workflow(participant_workflow(plan.participant))
        nodes = {t.node: _step_node(engine, t, plan.participant, request.run, execution) for t in plan.tasks.values()}
        workflow.add_nodes(list(nodes.values()))
        for task in plan.tasks.values():
            for name, upstream in task.upstream.items():
                workflow.connect(nodes[upstream], "outcome", nodes[task.node], name)
        _add_publishing(engine, workflow, nodes, request, execution)
        whole.add_nodes([workflow])
    return whole


def _submit(
    workflow: Any,
    execution: Execution,
    participants: Sequence[str],
    notify: Callable[[Any, str], None],
    say: Callable[[str], None],
) -> str:
    """Hand the graph to an execution plugin of Nipype that was asked for, such as a cluster's."""
    plugin = str(execution.plugin)
    arguments: dict[str, Any] = {**execution.plugin_args, "status_callback": notify}
    comments = {slurm.mark(execution.work_dir, participant) for participant in participants}
    here = Path.cwd()
    if slurm.is_slurm(plugin):
        slurm.cancel(comments, say)
    try:
        workflow.run(plugin=plugin, plugin_args=arguments)
        if plugin == SLURM_GRAPH:
            slurm.wait(comments, say)
    except KeyboardInterrupt:
        if slurm.is_slurm(plugin):
            with suppress(slurm.QueueError):
                slurm.cancel(comments, say)
        raise
    # Nipype raises whatever the first failing node raised.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        say(f"{plugin}: {lines[-1].strip()}")
        return one_line(error)
    finally:
        os.chdir(here)
    return ""


def _step_node(engine: Any, task: Task, participant: str, run: str, execution: Execution) -> Any:
    interface = StepInterface(task=task.identity(), digest=task.digest, threads=task.threads, run=run)
    node = engine.Node(interface, name=task.node, n_procs=task.threads, mem_gb=task.memory_gb)
    return _for_batch(node, participant, execution, task.threads, task.memory_gb)


def _for_batch(node: Any, participant: str, execution: Execution, threads: int, memory_gb: float) -> Any:
    if slurm.is_slurm(execution.plugin):
        comment = slurm.mark(execution.work_dir, participant)
        node.plugin_args = slurm.node_arguments(
            execution.plugin_args, comment, threads, memory_gb, _batch_dir(execution)
        )
    return node


def _add_publishing(
    engine: Any, workflow: Any, nodes: Mapping[str, Any], request: PublishRequest, execution: Execution
) -> None:
    from nipype.interfaces.utility import Merge

    merge = engine.Node(Merge(len(nodes)), name="outcomes", run_without_submitting=True)
    publish = engine.Node(PublishInterface(request=to_json(request)), name=PUBLISH_NODE, mem_gb=PUBLISH_MEMORY_GB)
    # The plugin that submits the whole graph submits the small node between as well.
    _for_batch(merge, request.participant, execution, 1, 0.5)
    _for_batch(publish, request.participant, execution, 1, PUBLISH_MEMORY_GB)
    for number, node in enumerate(nodes.values(), start=1):
        workflow.connect(node, "outcome", merge, f"in{number}")
    workflow.connect(merge, "out", publish, "outcomes")


def configure(execution: Execution) -> None:
    """Set what Nipype does in this process: it says nothing, and tells nodes apart by the content of what they read."""
    from nipype import config, logging

    crashes = execution.work_dir / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    config.update_config(
        {
            "execution": {
                "hash_method": "content",
                # A per cent sign would begin the name of another setting.
                "crashdump_dir": str(crashes).replace("%", "%%"),
                "crashfile_format": "txt",
                "stop_on_first_crash": str(execution.stop_on_first_crash).lower(),
                "remove_unnecessary_outputs": "false",
                "check_version": "false",
                # A batch system's queue must not be asked twenty times a second.
                "poll_sleep_duration": "2",
                # A shared file system may show a job's result some time after the queue says that it has ended.
                "job_finished_timeout": "20",
                # It writes into a folder that all participants share: jobs that start together stumble over it.
                "create_report": "false",
            },
            "logging": {"log_to_file": "false", "workflow_level": "CRITICAL", "interface_level": "CRITICAL"},
        }
    )
    logging.update_logging(config)
    # What it calls critical comes with a traceback, and is told by us from the nodes' folders.
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel(SILENT)
