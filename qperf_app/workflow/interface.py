"""The one Nipype interface that runs any step."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path
from typing import Any

# Nipype asks a server for its newest version when it is imported, unless told otherwise: no telemetry, no network.
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

from nipype.interfaces.base import BaseInterface, DynamicTraitedSpec, File, TraitedSpec, traits

from qperf_app.bids.images import write_json
from qperf_app.plugins.steps import workflow_steps
from qperf_app.workflow.outcomes import (
    FAILURE_FILE,
    OUTCOME_FILE,
    STARTED_FILE,
    basis,
    load_outcome,
    one_line,
    save_outcome,
)
from qperf_app.workflow.quiet import quiet_libraries
from qperf_app.workflow.tasks import Task

quiet_libraries()

#: Names under which a step may read from others; each is an input of the interface.
UPSTREAM_NAMES = tuple(dict.fromkeys(read.name for step in workflow_steps().values() for read in step.reads))


class _Inputs(DynamicTraitedSpec):
    """Beside these, the outcome of each step that is read, under the name that the reading step has for it."""

    task = traits.Dict(mandatory=True, desc="Task.identity()")
    digest = traits.Str(mandatory=True, desc="Task.digest: Nipype takes a path in the task for what the file holds")
    threads = traits.Int(1, usedefault=True, nohash=True, desc="threads the step may use")
    run = traits.Str("", usedefault=True, nohash=True, desc="which run this is")


class _Outputs(TraitedSpec):
    outcome = File(exists=True, desc="outcome.json")


class StepInterface(BaseInterface):
    """Run the step that a :class:`~qperf_app.workflow.tasks.Task` describes, in the node's own folder.

    A step that raises leaves ``failure.json`` and raises again, so that Nipype runs nothing that depends on it and
    tries the step anew next time.
    """

    input_spec = _Inputs
    output_spec = _Outputs

    def __init__(self, **inputs: Any) -> None:
        super().__init__()
        for name in UPSTREAM_NAMES:
            self.inputs.add_trait(name, File(exists=True))
        self.inputs.trait_set(trait_change_notify=False, **inputs)

    def _run_interface(self, runtime: Any) -> Any:
        from qperf_app.workflow.steps import run_step

        out = Path(runtime.cwd)
        task = Task.from_identity(self.inputs.task, self.inputs.threads)
        read = {name: Path(getattr(self.inputs, name)) for name in task.upstream}
        try:
            write_json(out / STARTED_FILE, {"run": self.inputs.run})
            upstream = {name: load_outcome(path) for name, path in read.items()}
            save_outcome(run_step(task, upstream, out), out, basis(self.inputs.digest, task.files, read))
        except Exception as error:
            # Where the disk is full this can't be written either; what has no trace is told from the disk.
            with contextlib.suppress(OSError):
                write_json(out / FAILURE_FILE, {"reason": one_line(error), "traceback": traceback.format_exc()})
            raise
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {"outcome": str(Path.cwd() / OUTCOME_FILE)}
