"""The participant level: plan, check, run, say where the results are."""

from __future__ import annotations

import argparse
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qperf_app.bids.dataset import write_description
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json
from qperf_app.cli import inputs
from qperf_app.cli.errors import DONE, PARTICIPANT_FAILED
from qperf_app.cli.progress import StepProgress, counter, say
from qperf_app.plugins import StepOutcome
from qperf_app.plugins.manager import PluginRegistry, load_plugins
from qperf_app.workflow.boilerplate import citation_page
from qperf_app.workflow.configuration import Configuration
from qperf_app.workflow.plan import ParticipantPlan
from qperf_app.workflow.preflight import find_problems

_LABEL = ("--participant-label", "--participant_label")


def without_option(argv: Sequence[str], *names: str) -> list[str]:
    """Command line without an option and its values: labels given again would add to those that it has."""
    kept: list[str] = []
    dropping = False
    for word in argv:
        if word.startswith("-"):
            dropping = word in names
        if not dropping and not word.startswith(tuple(f"{name}=" for name in names)):
            kept.append(word)
    return kept


def run_participants(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Run the participant level; returns the exit code."""
    inputs.check_folders(args)
    content, disable = inputs.disabled(args)
    registry = load_plugins(disable)
    for broken in registry.broken:
        say(f"warning: left out: {broken}")
    configuration = inputs.make_configuration(args, content, registry)
    datasets = inputs.read_derivatives(args.derivatives)
    if args.reports_only:
        return _write_reports(args, configuration)
    series = inputs.read_series(args)
    plans = inputs.make_plans(series, configuration, registry, datasets, args.omp_nthreads)
    say(_announcement(args, plans))
    if args.boilerplate_only:
        return _write_boilerplate(args, plans, registry)
    _refuse_problems(find_problems(plans, registry, args.nprocs, counter("checking series")))
    if not args.skip_bids_validation:
        _validate(args, plans)
    _tell_warnings(plans)
    if args.dry_run:
        say(_listing(plans))
        return DONE
    return _execute(args, argv, plans, configuration, datasets)


def _execute(
    args: argparse.Namespace,
    argv: Sequence[str],
    plans: list[ParticipantPlan],
    configuration: Configuration,
    datasets: dict[str, Path],
) -> int:
    execution = _execution(args)
    inputs.make_folder("OUT_DIR", args.out_dir)
    inputs.make_folder("--work-dir", args.work_dir)
    # Nipype takes a second to import: not before everything that can be wrong has been looked at.
    from qperf_app.workflow import graph

    started = time.monotonic()
    out_dir = args.out_dir.resolve()
    write_description(out_dir, args.bids_dir.resolve(), datasets)
    if args.clean_workdir:
        for plan in plans:
            folder = graph.node_dir(execution.work_dir, plan.participant, "x").parent
            shutil.rmtree(folder, ignore_errors=True)
    requests = {plan.participant: _request(args, argv, plan, configuration) for plan in plans}
    for plan in plans:
        _mark_running(out_dir, plan.participant)
    progress = StepProgress(plans, args.verbose)
    try:
        graph.run(graph.build(plans, requests, execution), execution, list(requests), progress.notify, say)
    finally:
        progress.close()
    statuses = {plan.participant: _finished(out_dir, requests[plan.participant]) for plan in plans}
    registry = load_plugins(configuration.disable)
    _write_citations(out_dir, plans, registry)
    return _conclude(args, statuses, time.monotonic() - started)


def _execution(args: argparse.Namespace) -> Any:
    from qperf_app.workflow.execution import Execution, check_plugin, read_plugin_file

    plugin: str | None = None
    arguments: dict[str, Any] = {}
    if args.use_plugin:
        plugin, arguments = read_plugin_file(args.use_plugin)
        check_plugin(args.use_plugin, plugin)
    return Execution(
        work_dir=args.work_dir.resolve(),
        nprocs=args.nprocs,
        memory_gb=args.memory_gb,
        plugin=plugin,
        plugin_args=arguments,
        stop_on_first_crash=args.stop_on_first_crash,
    )


def _request(args: argparse.Namespace, argv: Sequence[str], plan: ParticipantPlan, configuration: Configuration) -> Any:
    from qperf_app.workflow import graph
    from qperf_app.workflow.publish import PublishRequest

    bids_dir = args.bids_dir.resolve()
    scans = [
        {
            "label": scan.label,
            "entities": dict(scan.entities),
            "nodes": dict(scan.nodes),
            "warnings": list(scan.warnings),
            "tissue": scan.tissue and scan.tissue.path.relative_to(bids_dir).as_posix(),
            "aif": scan.aif and scan.aif.path.relative_to(bids_dir).as_posix(),
        }
        for scan in plan.scans
    ]
    tasks = [
        {"node": t.node, "step": t.step, "plugin": t.plugin, "version": t.version, "upstream": dict(t.upstream)}
        for t in plan.tasks.values()
    ]
    command = shlex.join(["qperf-app", *without_option(argv, *_LABEL), "--participant-label", plan.participant])
    return PublishRequest(
        participant=plan.participant,
        bids_dir=str(bids_dir),
        out_dir=str(args.out_dir.resolve()),
        nodes_dir=str(graph.node_dir(args.work_dir.resolve(), plan.participant, "x").parent),
        tasks=tasks,
        scans=scans,
        configuration=configuration.to_yaml(),
        seed=configuration.random_seed,
        disable=list(configuration.disable),
        command=command,
    )


def _mark_running(out_dir: Path, participant: str) -> None:
    from qperf_app.workflow.publish import status_path, write_status

    path = status_path(out_dir, participant)
    earlier = read_json(path) if path.is_file() else {}
    running = {"participant": participant, "state": "running", "steps_done": [], "steps_failed": []}
    write_status(out_dir, participant, {**earlier, **running})


def _finished(out_dir: Path, request: Any) -> dict[str, Any]:
    """Status of a participant. Where its own last node did not run, since one before it failed, do its work here."""
    from qperf_app.workflow.publish import finish, status_path, write_status

    status = read_json(status_path(out_dir, request.participant))
    if status["state"] != "running":
        return status
    try:
        return finish(request)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        failed = [{"step": "outputs", "reason": reason}]
        status |= {"state": "failed", "complete": False, "steps_failed": failed, "steps_without_result": []}
        write_status(out_dir, request.participant, status)
        return status


def _announcement(args: argparse.Namespace, plans: Sequence[ParticipantPlan]) -> str:
    scans = sum(len(plan.scans) for plan in plans)
    # Beside its tasks every participant has one step that writes outputs and report.
    steps = sum(len(plan.tasks) + 1 for plan in plans)
    noun = "participant" if len(plans) == 1 else "participants"
    return f"{len(plans)} {noun}, {scans} scans, {steps} steps; results go to {args.out_dir}, work to {args.work_dir}"


def _refuse_problems(problems: Sequence[str]) -> None:
    if problems:
        noun = "problem" if len(problems) == 1 else "problems"
        raise DatasetError("\n  ".join([f"{len(problems)} {noun} in the selected series, nothing was run:", *problems]))


def _tell_warnings(plans: Sequence[ParticipantPlan]) -> None:
    told: dict[str, list[str]] = {}
    for plan in plans:
        for scan in plan.scans:
            for warning in scan.warnings:
                told.setdefault(warning, []).append(f"sub-{plan.participant} {scan.label}")
    for warning, scans in told.items():
        more = f" and {len(scans) - 1} more" if len(scans) > 1 else ""
        say(f"warning: {scans[0]}{more}: {warning}")


def _validate(args: argparse.Namespace, plans: Sequence[ParticipantPlan]) -> None:
    """Run the official validator; only what concerns the selected series, or the dataset as a whole, refuses it."""
    from qperf_app.bids.validate import validate

    say("validating the dataset (--skip-bids-validation leaves this out)")
    selected = {
        series.path.relative_to(args.bids_dir.resolve()).as_posix().split(".")[0]
        for plan in plans
        for scan in plan.scans
        for series in (scan.tissue, scan.aif)
        if series is not None
    }
    errors = [issue for issue in validate(args.bids_dir) if issue.severity == "error"]
    ours = [issue for issue in errors if "/" not in issue.location or issue.location.split(".")[0] in selected]
    if len(errors) > len(ours):
        say(f"warning: {len(errors) - len(ours)} BIDS errors in files not used here (qperf validate lists them)")
    if ours:
        raise DatasetError("\n  ".join([f"{args.bids_dir} is not a valid BIDS dataset:", *map(str, ours)]))


def _listing(plans: Sequence[ParticipantPlan]) -> str:
    lines = ["would run:"]
    for plan in plans:
        for task in plan.tasks.values():
            plugin = f" ({task.plugin} {task.version})" if task.version else f" ({task.plugin})" if task.plugin else ""
            handed = "".join(f", {role} handed in: {path}" for role, path in task.handed_in.items())
            lines.append(f"  {task.prefix}: {task.step}{plugin}{handed}")
        lines.append(f"  sub-{plan.participant}: outputs and report")
    return "\n".join(lines)


def _write_boilerplate(args: argparse.Namespace, plans: list[ParticipantPlan], registry: PluginRegistry) -> int:
    if args.dry_run:
        say(f"would write: {citations_path(args.out_dir)}")
        return DONE
    inputs.make_folder("OUT_DIR", args.out_dir)
    path = _write_citations(args.out_dir.resolve(), plans, registry)
    say(f"methods and references: {path}")
    return DONE


def citations_path(out_dir: Path) -> Path:
    """Where methods and references of a run are written."""
    return out_dir / "logs" / "CITATION.md"


def _write_citations(out_dir: Path, plans: Sequence[ParticipantPlan], registry: PluginRegistry) -> Path:
    from qperf_app.bids.dataset import replace_text

    tasks = [task for plan in plans for task in plan.tasks.values()]
    steps = [StepOutcome(t.step, t.plugin, "handed-in" if t.handed_in else "done") for t in tasks]
    path = citations_path(out_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, citation_page(steps, registry))
    return path


def _write_reports(args: argparse.Namespace, configuration: Configuration) -> int:
    """Write the reports again of all who have a selected scan. A report always shows all scans of its participant."""
    from qperf_app.workflow.selection import published_scans

    chosen = published_scans(args.out_dir.resolve(), inputs.read_selection(args))
    if args.dry_run:
        for label in chosen:
            say(f"would write: {args.out_dir / f'sub-{label}.html'}")
        return DONE
    from qperf_app.workflow.results import write_report

    for label in chosen:
        say(f"report: {write_report(args.out_dir.resolve(), args.bids_dir.resolve(), label, configuration.disable)}")
    return DONE


def _conclude(args: argparse.Namespace, statuses: dict[str, dict[str, Any]], seconds: float) -> int:
    failed = {label: status for label, status in statuses.items() if status["state"] == "failed"}
    for label, status in statuses.items():
        for step in status["steps_failed"]:
            say(f"sub-{label}: failed: {step['step']}: {step['reason']}")
        for step in status["steps_without_result"] if args.verbose else ():
            say(f"sub-{label}: no result: {step['step']}: {step['reason']}")
        if status["state"] == "done" and not status["complete"]:
            first = status["steps_without_result"][0]
            say(f"sub-{label}: done, not complete: {first['step']}: {first['reason']}")
    reports = [args.out_dir / f"sub-{label}.html" for label in statuses]
    for report in reports:
        if report.is_file():
            say(f"report: {report}")
    good = len(statuses) - len(failed)
    say(f"{good} of {len(statuses)} participants done in {seconds:.0f} s; results: {args.out_dir}")
    if failed:
        say(f"crash files, with the command that reproduces each: {args.out_dir / 'logs'}")
    return PARTICIPANT_FAILED if failed else DONE
