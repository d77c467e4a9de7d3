"""The participant level: plan, check, run, say where the results are."""

from __future__ import annotations

import argparse
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qperf_app import api
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.whole import replace_text
from qperf_app.checks.wording import counted
from qperf_app.cli import inputs
from qperf_app.cli.errors import DONE, PARTICIPANT_FAILED
from qperf_app.cli.progress import StepProgress, counter, named, say
from qperf_app.plugins.keys import Role, StepKey
from qperf_app.plugins.manager import load_plugins
from qperf_app.plugins.steps import INPUT_FUNCTION
from qperf_app.workflow.boilerplate import citation_page
from qperf_app.workflow.configuration import Configuration
from qperf_app.workflow.execution import Execution, check_plugin, read_plugin_file
from qperf_app.workflow.plan import ParticipantPlan
from qperf_app.workflow.status import ParticipantStatus
from qperf_app.workflow.steps import ended
from qperf_app.workflow.workers import load_libraries

if TYPE_CHECKING:
    from qperf_app.bids.validate import Issue

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


def run_participants(args: argparse.Namespace, argv: Sequence[str], at_stop: list[Callable[[], None]]) -> int:
    """Run the participant level; returns the exit code. ``at_stop`` takes what to do where a signal ends it."""
    inputs.check_folders(args)
    content, disable = inputs.disabled(args)
    registry = load_plugins(disable)
    inputs.check_disabled(registry)
    for broken in registry.broken:
        say(f"warning: left out: {broken}")
    configuration = inputs.make_configuration(args, content, registry)
    datasets = inputs.read_derivatives(args.derivatives)
    if args.reports_only:
        return _write_reports(args, configuration)
    datasets = inputs.with_corrections(args.out_dir, datasets)
    study = api.plan(
        args.bids_dir,
        args.out_dir,
        selection=inputs.read_selection(args),
        configuration=configuration,
        derivatives=datasets,
        omp_nthreads=args.omp_nthreads,
        registry=registry,
    )
    say(_announcement(args, study))
    if study.without_series:
        say(_left_out(study.without_series))
    if short := _short_of_memory(args.memory_gb, study):
        say(f"warning: {short}")
    inputs.check_writable("OUT_DIR", args.out_dir)
    if args.boilerplate_only:
        return _write_boilerplate(args, study)
    inputs.check_writable("--work-dir", args.work_dir)
    execution = _execution(args)
    with ThreadPoolExecutor(1) as aside:
        # Another program, which has a processor of its own.
        validation = None if args.skip_bids_validation else aside.submit(_validate, args, study.participants)
        study = study.check(args.nprocs, counter("checking images"))
        if not args.dry_run and not args.use_plugin:
            load_libraries()
        if validation is not None:
            validation.result()
    _tell_warnings(_of_plans(study.participants))
    if study.unread:
        say(f"the images of {counted(study.unread, 'more participant')} are checked when their turn comes")
    if args.dry_run:
        say(_listing(study.participants))
        return DONE
    at_stop.append(lambda: api.interrupted(study, execution))
    return _execute(args, argv, study, execution)


def _execute(args: argparse.Namespace, argv: Sequence[str], study: api.StudyPlan, execution: Execution) -> int:
    inputs.make_folder("OUT_DIR", args.out_dir)
    inputs.make_folder("--work-dir", args.work_dir)
    started = time.monotonic()
    if args.clean_workdir:
        from qperf_app.workflow.graph import participant_dir

        for plan in study.participants:
            shutil.rmtree(participant_dir(execution.work_dir, plan.participant), ignore_errors=True)
    progress = StepProgress(study.participants, args.verbose)

    def command(participant: str) -> str:
        return shlex.join(["qperf-app", *without_option(argv, *_LABEL), "--participant-label", participant])

    try:
        statuses = api.run(study, execution, command=command, notify=progress.notify, say=say)
    finally:
        progress.close()
    _write_citations(study)
    before = set(_of_plans(study.participants))
    ran = {(plan.participant, scan.scan.label) for plan in study.participants for scan in plan.scans}
    _tell_warnings((each for each in _of_results(statuses, ran) if each not in before), _MOST_WARNINGS)
    return _conclude(args, statuses, ran, time.monotonic() - started)


def _execution(args: argparse.Namespace) -> Execution:
    plugin: str | None = None
    arguments: dict[str, Any] = {}
    work_dir = args.work_dir.resolve()
    if args.use_plugin:
        plugin, arguments = read_plugin_file(args.use_plugin)
        check_plugin(args.use_plugin, plugin, arguments, work_dir)
    return Execution(
        work_dir=work_dir,
        nprocs=args.nprocs,
        memory_gb=args.memory_gb,
        plugin=plugin,
        plugin_args=arguments,
        stop_on_first_crash=args.stop_on_first_crash,
        drop_work=args.drop_work,
    )


def _left_out(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return f"warning: sub-{labels[0]}: no series of it is selected"
    some = named([f"sub-{label}" for label in labels], _MOST_WARNINGS)
    return f"warning: {len(labels)} participants of whom no series is selected: {some}"


def _announcement(args: argparse.Namespace, study: api.StudyPlan) -> str:
    counts = {"participant": len(study.participants), "scan": study.n_scans, "step": study.n_steps}
    what = ", ".join(counted(count, noun) for noun, count in counts.items())
    return f"{what}; results go to {args.out_dir}, work to {args.work_dir}"


#: Warnings that are told each after a run; the others are counted.
_MOST_WARNINGS = 20


def _short_of_memory(memory_gb: float | None, study: api.StudyPlan) -> str:
    """Say which step declares the most memory, where that is more than may be in use."""
    tasks = (task for plan in study.participants for task in plan.tasks.values())
    largest = max(tasks, key=lambda task: task.memory_gb, default=None)
    if largest is None or memory_gb is None or largest.memory_gb <= memory_gb:
        return ""
    what = f"{largest.step} ({largest.plugin})" if largest.plugin else largest.step
    return (
        f"{memory_gb:.2g} GB may be in use (--mem); {largest.prefix}: {what} declares {largest.memory_gb:.2g} GB: it "
        "runs alone and may take more"
    )


def _tell_warnings(warnings: Iterable[tuple[str, str]], most: int | None = None) -> None:
    """Tell each warning once, with the scans that it is about: pairs of scan and warning; ``most`` of them."""
    told: dict[str, list[str]] = {}
    for scan, warning in warnings:
        told.setdefault(warning, []).append(scan)
    for warning, scans in [*told.items()][:most]:
        more = f" and {len(scans) - 1} more" if len(scans) > 1 else ""
        say(f"warning: {scans[0]}{more}: {warning}")
    left = len(told) - most if most is not None else 0
    if left > 0:
        say(f"warning: {left} more: they stand on top of each participant's report")


def _of_plans(plans: Iterable[ParticipantPlan]) -> list[tuple[str, str]]:
    """Warnings before the run."""
    return [
        (f"sub-{plan.participant} {scan.scan.label}", warning)
        for plan in plans
        for scan in plan.scans
        for warning in scan.warnings
    ]


def _of_results(statuses: Mapping[str, ParticipantStatus], ran: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Warnings after it, of the scans that ran: those of the report, and of steps where there is none."""
    return [
        (f"sub-{label} {scan.label}", warning)
        for label, status in statuses.items()
        if status.was_begun
        for scan in status.scans
        if (label, scan.label) in ran
        for warning in scan.remarks
        or (*scan.warnings, *(line for step in scan.steps for line in step.outcome.warnings))
    ]


def _validate(args: argparse.Namespace, plans: Sequence[ParticipantPlan]) -> None:
    """Run the official validator; only what concerns the selected series, or the dataset as a whole, refuses it."""
    from qperf_app.bids.validate import ValidatorError, validate

    say("validating the dataset (--skip-bids-validation leaves this out)")
    selected = {
        series.path.relative_to(args.bids_dir.resolve()).as_posix().split(".")[0]
        for plan in plans
        for series in plan.series
    }
    try:
        issues = validate(args.bids_dir)
    except ValidatorError as error:
        say(f"warning: {error}; going on with the app's own checks (--skip-bids-validation leaves the validator out)")
        return
    errors = [issue for issue in issues if issue.severity == "error"]
    # The table of participants decides about no flow: one who is not in it yet keeps nobody from being computed.
    named = [(issue, issue.location.split(".")[0]) for issue in errors]
    ours = [issue for issue, name in named if name in selected or ("/" not in name and name != "participants")]
    if len(errors) > len(ours):
        say(f"warning: {len(errors) - len(ours)} BIDS errors in files not used here (qperf validate lists them)")
    if ours:
        raise DatasetError("\n  ".join([f"{args.bids_dir} is not a valid BIDS dataset:", *map(str, ours)]))
    hints = [issue for issue in issues if issue.severity == "warning" and issue.location.split(".")[0] in selected]
    _tell_hints(hints)


#: Kinds of hints of the validator that are told each; the others are counted.
_MOST_HINTS = 5


def _tell_hints(hints: Sequence[Issue]) -> None:
    """Pass on the validator's warnings about the selected series, a line for each kind, a count of all others."""
    recommended = [hint for hint in hints if hint.code.endswith("_RECOMMENDED")]
    kinds: dict[tuple[str, str], list[Issue]] = {}
    for hint in hints:
        if hint not in recommended:
            kinds.setdefault((hint.code, hint.field), []).append(hint)
    for group in [*kinds.values()][:_MOST_HINTS]:
        more = f" (and {len(group) - 1} more files)" if len(group) > 1 else ""
        say(f"warning: BIDS: {group[0].location}: {group[0].message} [{group[0].code}]{more}")
    left = sum(len(group) for group in [*kinds.values()][_MOST_HINTS:]) + len(recommended)
    if left:
        say(
            f"BIDS: {left} more hints about the selected series, such as recommended fields (qperf validate lists them)"
        )


def _listing(plans: Sequence[ParticipantPlan]) -> str:
    lines = ["would run:"]
    for plan in plans:
        for task in plan.tasks.values():
            plugin = f" ({task.plugin} {task.version})" if task.version else f" ({task.plugin})" if task.plugin else ""
            handed = "".join(f", {_role(entry.role)} handed in: {entry.path}" for entry in task.handed_in)
            lines.append(f"  {task.prefix}: {task.step}{plugin}{handed}")
        lines.append(f"  sub-{plan.participant}: outputs and report")
    return "\n".join(lines)


def _role(role: Role) -> str:
    if isinstance(role, str):
        return role
    return " ".join(part for part in (role.model, role.quantity, role.statistic) if part)


def _write_boilerplate(args: argparse.Namespace, study: api.StudyPlan) -> int:
    if args.dry_run:
        say(f"would write: {citations_path(args.out_dir)}")
        return DONE
    inputs.make_folder("OUT_DIR", args.out_dir)
    say(f"methods and references: {_write_citations(study)}")
    return DONE


def citations_path(out_dir: Path) -> Path:
    """Where methods and references of a run are written."""
    return out_dir / "logs" / "CITATION.md"


def _write_citations(study: api.StudyPlan) -> Path:
    """Methods and references of what was to run, whether or not every step found what it looked for."""
    tasks = [task for plan in study.participants for task in plan.tasks.values()]
    steps = [ended(task, "handed-in" if task.handed_in else "done") for task in tasks]
    measured = [
        scan.scan.acquisition
        for plan in study.participants
        for scan in plan.scans
        if not plan.tasks[scan.nodes[StepKey(INPUT_FUNCTION.name)]].handed_in
    ]
    path = citations_path(study.out_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, citation_page(steps, study.registry, measured))
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
        path, _ = write_report(args.out_dir.resolve(), args.bids_dir.resolve(), label, configuration.disable)
        say(f"report: {path}")
    return DONE


def _conclude(
    args: argparse.Namespace,
    statuses: Mapping[str, ParticipantStatus],
    ran: Collection[tuple[str, str]],
    seconds: float,
) -> int:
    failed = {label: status for label, status in statuses.items() if status.state == "failed"}
    for label, status in statuses.items():
        for step in status.steps_failed:
            say(f"sub-{label}: failed: {step.step}: {step.reason}")
        for step in status.steps_without_result if args.verbose else ():
            say(f"sub-{label}: no result: {step.step}: {step.reason}")
        # What is doubtful stays so in all that is made of it: told of the step that says so first.
        doubts = {(step.step.partition(":")[0], step.reason): step for step in reversed(status.steps_doubtful)}
        # A status has all scans of its participant, also those that this run left out.
        for step in (step for (scan, _), step in reversed(doubts.items()) if (label, scan) in ran):
            say(f"sub-{label}: doubtful: {step.step}: {step.reason}")
        if status.state == "done" and not status.complete and status.steps_without_result:
            first = status.steps_without_result[0]
            say(f"sub-{label}: done, not complete: {first.step}: {first.reason}")
    reports = [args.out_dir / f"sub-{label}.html" for label, status in statuses.items() if status.was_begun]
    for report in reports:
        if report.is_file():
            say(f"report: {report}")
    good = len(statuses) - len(failed)
    say(f"{good} of {len(statuses)} participants done in {seconds:.0f} s; results: {args.out_dir}")
    if any(status.was_begun for status in failed.values()) and (args.out_dir / "logs").is_dir():
        say(f"crash files, with the command that reproduces each: {args.out_dir / 'logs'}")
    return PARTICIPANT_FAILED if failed else DONE
