"""The process that computes again. It stays, so that libraries are imported once, while the reader still looks.

It reads a request from each line of its standard input, JSON, and answers with lines of JSON on its standard output.
It ends when its input does.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qperf_app import api
from qperf_app.bids.dataset import CORRECTIONS
from qperf_app.bids.errors import DatasetError, SelectionError
from qperf_app.bids.names import parse_entities
from qperf_app.plugins.manager import PluginOptionError, UnknownPluginError, load_plugins
from qperf_app.review.study import Study
from qperf_app.workflow.configuration import ConfigurationError, configure, read_configuration
from qperf_app.workflow.execution import Execution
from qperf_app.workflow.outcomes import one_line
from qperf_app.workflow.quiet import quiet_libraries
from qperf_app.workflow.selection import Selection
from qperf_app.workflow.status import read_status
from qperf_app.workflow.workers import StayingProcesses, Workers, load_libraries

Tell = Callable[[Mapping[str, Any]], None]


def planned(study: Study, participant: str, nprocs: int) -> api.StudyPlan:
    """Plan a participant's scans as they were run last, with the corrections in place of what they correct.

    Raises
    ------
    DatasetError
        Naming what the corrections hold that can't be right.
    """
    content = read_configuration(configuration_path(study, participant))
    configuration = configure(content, {}, None, ())
    scans = read_status(study.out_dir, participant).scans
    sessions = {scan.entities["ses"] for scan in scans if "ses" in scan.entities}
    tasks = {scan.entities["task"] for scan in scans if "task" in scan.entities}
    filters = {"dce": _reconstructions(scan.tissue for scan in scans), "aif": _reconstructions(s.aif for s in scans)}
    corrections = {CORRECTIONS: study.corrections} if study.corrections.is_dir() else {}
    return api.plan(
        study.bids_dir,
        study.out_dir,
        selection=Selection((participant,), tuple(sorted(sessions)) or None, tuple(sorted(tasks)) or None, filters),
        configuration=configuration,
        # The first dataset that has a file gives it.
        derivatives={**corrections, **study.handed_in(participant)},
        omp_nthreads=nprocs,
        registry=load_plugins(configuration.disable),
    ).check(nprocs)


def _reconstructions(series: Iterable[str | None]) -> Mapping[str, Any]:
    """Filter of the reconstructions that series were run in, where any of them is one."""
    labels = {parse_entities(Path(one).name).get("rec") for one in series if one}
    return {"reconstruction": sorted(labels, key=str)} if labels - {None} else {}


def compute(study: Study, participant: str, nprocs: int, tell: Tell, workers: Workers | None = None) -> None:
    """Run a participant again and tell of every step. What the corrections don't touch is in the work folder."""
    started = time.monotonic()
    plan = planned(study, participant, nprocs)
    names = {
        f"sub_{each.participant}.{task.node}": f"{task.prefix.partition('_')[2]}: {task.step}"
        + (f" ({task.plugin})" if task.plugin else "")
        for each in plan.participants
        for task in each.tasks.values()
    } | {f"sub_{each.participant}.publish": "outputs and report" for each in plan.participants}
    done = 0

    def notify(node: Any, status: str) -> None:
        nonlocal done
        name = names.get(".".join(str(node.fullname).split(".")[-2:]))
        if name is None:
            return
        done += status != "start"
        tell({"state": "running", "step": name, "done": done, "total": len(names)})

    execution = Execution(study.work_dir, nprocs=nprocs, workers=workers)
    try:
        statuses = api.run(
            plan,
            execution,
            command=lambda label: command_line(study, label),
            notify=notify,
            say=lambda text: tell({"state": "running", "step": text}),
        )
    except SystemExit:
        api.interrupted(plan, execution)
        raise
    failed = [f"{problem.step}: {problem.reason}" for problem in statuses[participant].steps_failed]
    state = "failed" if failed else "done"
    tell({"state": state, "reason": "; ".join(failed), "seconds": round(time.monotonic() - started, 2)})


def configuration_path(study: Study, participant: str) -> Path:
    """The configuration that a participant was run with last."""
    return study.out_dir / f"sub-{participant}" / f"sub-{participant}_config.yaml"


def command_line(study: Study, participant: str) -> str:
    """The command that computes the same."""
    words = ["qperf-app", str(study.bids_dir), str(study.out_dir), "participant", "--participant-label", participant]
    words += ["--config-file", str(configuration_path(study, participant)), "--work-dir", str(study.work_dir)]
    datasets = {CORRECTIONS: study.corrections, **study.handed_in(participant)}
    return shlex.join([*words, "-d", *(f"{name}={path}" for name, path in datasets.items())])


@dataclass(frozen=True)
class _WarmUp:
    """Imports what a computation will need, which takes as long as the computation does, and settles Nipype."""

    work_dir: Path

    def run(self) -> None:
        """Import it."""
        quiet_libraries()
        load_libraries()
        from qperf_app.report import render_report  # noqa: F401
        from qperf_app.workflow import graph

        graph.configure(Execution(self.work_dir))


def main() -> None:
    """Answer requests until there are no more, or the server ends."""
    # Ctrl-C goes to all processes of a terminal; the server ends this one, which then says that it was interrupted.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Whatever a library prints must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    folders, nprocs = json.loads(sys.argv[1]), int(sys.argv[2])
    study = Study(**{name: Path(path) for name, path in folders.items()})

    def answer(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    workers = StayingProcesses(nprocs)
    warm_up = _WarmUp(study.work_dir)
    # Processes that are forked then have the libraries.
    warm_up.run()
    workers.prepare(warm_up)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for line in sys.stdin:
        request = json.loads(line)

        def tell(content: Mapping[str, Any], request: Mapping[str, Any] = request) -> None:
            answer({**request, **content})

        try:
            compute(study, str(request["participant"]), nprocs, tell, workers)
        except (DatasetError, SelectionError, ConfigurationError, UnknownPluginError, PluginOptionError) as error:
            tell({"state": "failed", "reason": str(error)})
        except Exception as error:
            tell({"state": "failed", "reason": one_line(error)})


if __name__ == "__main__":
    main()
