"""qperf-app from Python, as a notebook calls it: :func:`plan`, :func:`run`, :func:`load`.

The command line does the same with the same functions. ``docs/operators.md`` has an example.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from qperf_app.bids.dataset import write_description
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_header
from qperf_app.bids.index import SeriesFile, find_series, list_participants, list_series, sidecar
from qperf_app.bids.sidecars import RAW
from qperf_app.checks.findings import Located
from qperf_app.checks.wording import counted
from qperf_app.plugins import ParticipantResult
from qperf_app.plugins.manager import PluginRegistry, load_plugins
from qperf_app.workflow.configuration import Configuration, configure, resolve
from qperf_app.workflow.execution import Execution
from qperf_app.workflow.occupancy import describe_run, occupy
from qperf_app.workflow.outcomes import one_line
from qperf_app.workflow.plan import ParticipantPlan, Planner
from qperf_app.workflow.preflight import find_findings, with_doubts
from qperf_app.workflow.scans import SeriesInput
from qperf_app.workflow.selection import Selection
from qperf_app.workflow.status import (
    IMAGES,
    RUN,
    ParticipantStatus,
    mark_interrupted,
    not_begun,
    participants_with_status,
    read_status,
    refuse,
    running_status,
    write_status,
)
from qperf_app.workflow.values import InTurn, Known, Progress, first_participants, reading, value_findings

__all__ = ["Execution", "Selection", "StudyPlan", "load", "plan", "run"]


def _silent(done: int, total: int) -> None:
    pass


def _refused(findings: Iterable[Located]) -> list[str]:
    """What keeps anything from running, each line once."""
    return list(dict.fromkeys(str(finding) for _, finding in findings if finding.refused))


@dataclass(frozen=True)
class StudyPlan:
    """What is to run: every step of every selected participant. ``configuration`` names all plugins and options.

    ``known`` are the series whose values :meth:`check` has looked at, None where it was not called; ``without_series``
    are participants that were meant, by name or with all, and have no selected series.
    """

    bids_dir: Path
    out_dir: Path
    datasets: Mapping[str, Path]
    configuration: Configuration
    registry: PluginRegistry
    participants: tuple[ParticipantPlan, ...]
    known: Known | None = None
    without_series: tuple[str, ...] = ()

    @property
    def n_scans(self) -> int:
        """Number of scans."""
        return sum(len(plan.scans) for plan in self.participants)

    @property
    def n_steps(self) -> int:
        """Number of steps; each participant has one more, which writes outputs and report."""
        return sum(len(plan.tasks) + 1 for plan in self.participants)

    @property
    def unread(self) -> int:
        """Participants whose images are read when their turn comes."""
        known = self.known or Known()
        return sum(not known.has(plan) for plan in self.participants)

    def findings(self, threads: int = 1, progress: Progress = _silent) -> list[Located]:
        """All that is wrong or doubtful, as far as it can be known before anything runs. Reads all images."""
        return self._findings(self.participants, Known(), threads, progress)

    def problems(self, threads: int = 1, progress: Progress = _silent) -> list[str]:
        """What keeps it from running, a line each. Reads all images."""
        return _refused(self.findings(threads, progress))

    def check(self, threads: int = 1, progress: Progress = _silent) -> StudyPlan:
        """Check header, metadata and hand-ins of all participants, and the images of the first of them.

        The images of the others are checked when their turn comes (:func:`run`): to read all takes minutes where there
        are many.

        Returns
        -------
        StudyPlan
            The same plan, with what is doubtful among the warnings of its scans.

        Raises
        ------
        DatasetError
            Listing every problem, where there is one.
        """
        known = Known()
        findings = self._findings(first_participants(self.participants), known, threads, progress)
        if problems := _refused(findings):
            lines = [f"{counted(len(problems), 'problem')} in the selected series, nothing was run:", *problems]
            raise DatasetError("\n  ".join(lines))
        participants = tuple(with_doubts(plan, findings) for plan in self.participants)
        return replace(self, participants=participants, known=known)

    def _findings(
        self, read: Sequence[ParticipantPlan], known: Known, threads: int, progress: Progress
    ) -> list[Located]:
        """Of all participants, and of the images of some, participant by participant."""
        with reading(read, threads) as values:
            findings = find_findings(self.participants, self.datasets, self.registry)
            found = values(progress)
        known.add(found)
        findings += [finding for plan in read for finding in value_findings(plan, found, known)]
        places = {plan.participant: place for place, plan in enumerate(self.participants)}
        return sorted(findings, key=lambda located: places[located[0][0]])


def plan(
    bids_dir: Path | str,
    out_dir: Path | str,
    *,
    selection: Selection | None = None,
    configuration: Configuration | Mapping[str, Any] | None = None,
    derivatives: Mapping[str, Path | str] | None = None,
    omp_nthreads: int = 1,
    registry: PluginRegistry | None = None,
) -> StudyPlan:
    """Decide which steps every participant needs. Reads sidecars and image headers.

    Parameters
    ----------
    bids_dir, out_dir : path
        The raw dataset, and where results go.
    selection : Selection, optional
        Participants, sessions and tasks; all where it is not given.
    configuration : Configuration or mapping, optional
        A mapping as in the configuration file, such as ``{"kinetics": ["nlls", "hmc"]}``.
    derivatives : mapping, optional
        Datasets whose files replace what would be computed, by name.
    omp_nthreads : int
        Most threads of one step.
    registry : PluginRegistry, optional
        The installed plugins; loaded where it is not given.

    Raises
    ------
    SelectionError
        When nothing is selected.
    DatasetError
        Naming every file that can't be read.
    ConfigurationError, UnknownPluginError, PluginOptionError
    """
    bids_dir, out_dir = Path(bids_dir).resolve(), Path(out_dir).resolve()
    if not isinstance(configuration, Configuration):
        configuration = configure(configuration or {}, {}, None, ())
    registry = registry or load_plugins(configuration.disable)
    configuration = resolve(configuration, registry)
    datasets = {name: Path(path).resolve() for name, path in (derivatives or {}).items()}
    by_participant: dict[str, list[SeriesInput]] = {}
    for entry in _read_series(bids_dir, selection or Selection()):
        by_participant.setdefault(entry.entities["sub"], []).append(entry)
    planner = Planner(configuration, registry, datasets, omp_nthreads)
    plans = tuple(
        planner.plan(label, by_participant[label], [s.entities for s in list_series(bids_dir, [label])])
        for label in sorted(by_participant)
    )
    named = [label.removeprefix("sub-") for label in (selection.participants if selection else None) or ()]
    meant = dict.fromkeys(named or list_participants(bids_dir))
    without = tuple(label for label in meant if label not in by_participant)
    return StudyPlan(bids_dir, out_dir, datasets, configuration, registry, plans, without_series=without)


def run(
    study: StudyPlan,
    execution: Execution,
    *,
    command: Callable[[str], str] = lambda participant: "",
    notify: Callable[[Any, str], None] = lambda node, status: None,
    say: Callable[[str], None] = print,
) -> dict[str, ParticipantStatus]:
    """Run a plan to its end, whichever steps fail, and publish every participant.

    Parameters
    ----------
    study : StudyPlan
        It is checked first, where :meth:`~StudyPlan.check` was not called. Of participants whose images were not read
        then, they are when their turn comes: who has one that can't be used fails, and the others run.
    execution : Execution
        Where and how to work.
    command : function, optional
        Command that reproduces a participant's run, for its crash files.
    notify : function, optional
        Told of each node that starts, ends or fails.
    say : function
        Told what the user should read.

    Returns
    -------
    dict
        Status by participant.

    Raises
    ------
    DatasetError
        Listing every problem of the selected series that is known before anything runs.
    """
    study = study if study.known is not None else study.check()
    execution = replace(execution, work_dir=execution.work_dir.resolve())
    study.out_dir.mkdir(parents=True, exist_ok=True)
    execution.work_dir.mkdir(parents=True, exist_ok=True)
    labels = [each.participant for each in study.participants]
    holder = describe_run(study.bids_dir, study.out_dir)
    with occupy(execution.work_dir, labels, holder, say):
        return _run(study, execution, command, notify, say)


def _run(
    study: StudyPlan,
    execution: Execution,
    command: Callable[[str], str],
    notify: Callable[[Any, str], None],
    say: Callable[[str], None],
) -> dict[str, ParticipantStatus]:
    # Nipype takes a second to import: not before everything that can be wrong has been looked at.
    from qperf_app.workflow import graph
    from qperf_app.workflow.publish import PublishRequest, request_nodes, request_scan

    write_description(study.out_dir, study.bids_dir, study.datasets, execution.work_dir)
    number = uuid4().hex
    requests: dict[str, PublishRequest] = {}

    def request(each: ParticipantPlan) -> PublishRequest:
        return PublishRequest(
            participant=each.participant,
            run=number,
            bids_dir=str(study.bids_dir),
            out_dir=str(study.out_dir),
            nodes_dir=str(graph.participant_dir(execution.work_dir, each.participant)),
            nodes=request_nodes(each),
            scans=tuple(request_scan(scan, study.bids_dir, study.configuration.haematocrit) for scan in each.scans),
            configuration=study.configuration.to_yaml(),
            seed=study.configuration.random_seed,
            disable=study.configuration.disable,
            command=command(each.participant),
        )

    def begin(each: ParticipantPlan) -> PublishRequest | None:
        findings = values.findings(each)
        if problems := _refused(findings):
            statuses[each.participant] = refuse(study.out_dir, each.participant, IMAGES, problems)
            say(f"sub-{each.participant}: not run: {problems[0]}")
            return None
        for node in graph.discard_damaged(each, execution.work_dir):
            say(f"sub-{each.participant}: files of {node} in the work directory are damaged and are made again")
        write_status(study.out_dir, running_status(study.out_dir, each.participant))
        requests[each.participant] = request(with_doubts(each, findings))
        return requests[each.participant]

    statuses: dict[str, ParticipantStatus] = {}

    def ended(label: str, cause: str = "") -> None:
        statuses[label] = _ended(study.out_dir, requests[label], cause)
        if execution.drop_work and statuses[label].state == "done":
            shutil.rmtree(graph.participant_dir(execution.work_dir, label), ignore_errors=True)

    values = InTurn(study.participants, study.known or Known(), aside=execution.nprocs > 1)
    try:
        cause = graph.run(study.participants, begin, execution, notify, ended, say)
    finally:
        values.close()
    for each in study.participants:
        label = each.participant
        if label in statuses:
            continue
        if label in requests:
            ended(label, cause)
        else:
            # What lies in its work directory may be of other images.
            statuses[label] = refuse(study.out_dir, label, RUN, [not_begun(cause)])
    return {each.participant: statuses[each.participant] for each in study.participants}


def _ended(out_dir: Path, request: Any, cause: str) -> ParticipantStatus:
    """Status of a participant. Where its own last node did not run, since one before it failed, do its work here."""
    from qperf_app.workflow.publish import finish

    status = read_status(out_dir, request.participant)
    if status.state != "running":
        return status
    try:
        return finish(request, cause)
    except Exception as error:
        status = status.failed_in("outputs", one_line(error))
        write_status(out_dir, status)
        return status


def interrupted(study: StudyPlan, execution: Execution) -> None:
    """Tidy up after a run that was stopped: nothing of it is half in OUT_DIR, and its status says that it was.

    No process is started but to cancel jobs of Slurm: a run on this machine may be starting workers at the same moment,
    which would hold the ends of its pipes.
    """
    from qperf_app.bids.dataset import remove_staging
    from qperf_app.workflow import slurm

    labels = [each.participant for each in study.participants]
    for label in labels:
        remove_staging(study.out_dir, f"sub-{label}")
    mark_interrupted(study.out_dir, labels)
    if slurm.is_slurm(execution.plugin):
        slurm.send_cancel({slurm.mark(execution.work_dir.resolve(), label) for label in labels})


def load(
    out_dir: Path | str,
    bids_dir: Path | str | None = None,
    participants: Sequence[str] | None = None,
    disable: Collection[str] = (),
) -> dict[str, ParticipantResult]:
    """Read what is published in OUT_DIR.

    Parameters
    ----------
    out_dir : path
    bids_dir : path, optional
        The raw dataset, for the uncorrected series; they are left out where it is not given.
    participants : sequence of str, optional
        Labels without ``sub-``; all where it is not given.
    disable : collection of str
        Plugins to leave out.

    Returns
    -------
    dict
        Scans with their maps, tables and steps, by participant.

    Raises
    ------
    DatasetError
        When OUT_DIR holds no results, or a file can't be read.
    """
    from qperf_app.workflow.results import load_participant

    out_dir = Path(out_dir).resolve()
    labels = participants_with_status(out_dir) if participants is None else list(participants)
    if not labels:
        raise DatasetError(f"{out_dir}: no participant's results; run the participant level first")
    registry = load_plugins(disable)
    raw = None if bids_dir is None else Path(bids_dir).resolve()
    return {label: load_participant(out_dir, raw, label, registry) for label in labels}


def _read_series(bids_dir: Path, selection: Selection) -> list[SeriesInput]:
    """The selected series with their metadata and shapes."""
    found = find_series(
        bids_dir,
        participants=selection.participants,
        sessions=selection.sessions,
        tasks=selection.tasks,
        filters=selection.filters,
    )
    series: list[SeriesInput] = []
    problems: list[str] = []
    listings: dict[Path, list[str]] = {}
    for file in found:
        try:
            series.append(_read(file, bids_dir, listings))
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        # A file that several series inherit is told once.
        told = list(dict.fromkeys(problems))
        raise DatasetError("\n  ".join([f"{counted(len(told), 'file')} can't be read:", *told]))
    return series


def _read(file: SeriesFile, bids_dir: Path, listings: dict[Path, list[str]]) -> SeriesInput:
    source = f"bids:{RAW}:{file.path.relative_to(bids_dir).as_posix()}"
    return SeriesInput(file.path, file.entities, sidecar(file.path, bids_dir, listings), read_header(file.path), source)
