"""Bring a participant's files from the work folder to OUT_DIR, whole or not at all, with status and report."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, File, InputMultiObject, TraitedSpec, traits

from qperf_app.bids.dataset import exclusive, replace_files
from qperf_app.bids.images import read_json, sidecar_path, write_json
from qperf_app.bids.names import folder_of
from qperf_app.bids.whole import replace_text
from qperf_app.plugins import StepKey, StepOutcome
from qperf_app.plugins.steps import KINETICS
from qperf_app.workflow.earlier import basis_of, with_earlier_methods
from qperf_app.workflow.flow import judged, led, with_reserve
from qperf_app.workflow.outcomes import (
    FAILURE_FILE,
    OUTCOME_FILE,
    STARTED_FILE,
    FileRecord,
    Outcome,
    adapter,
    basis,
    is_made_from,
    load_outcome,
    one_line,
    to_json,
)
from qperf_app.workflow.plan import ParticipantPlan, ScanPlan, haematocrit_of
from qperf_app.workflow.results import write_report
from qperf_app.workflow.status import (
    ParticipantStatus,
    ScanRecord,
    StepRecord,
    earlier_status,
    not_begun,
    summarise,
    write_status,
)
from qperf_app.workflow.steps import ended

#: Suffixes of files that go together with an image or a table.
_COMPANIONS = (".json", ".tsv")


@dataclass(frozen=True)
class NodeRequest:
    """A node of the participant's workflow, what its step is known by, the digest of its task, and what it reads."""

    node: str
    step: StepOutcome
    task: str
    files: tuple[str, ...]
    upstream: Mapping[str, str]


@dataclass(frozen=True)
class ScanRequest:
    """A scan: its record without steps, and the node of each step."""

    record: ScanRecord
    nodes: tuple[tuple[StepKey, str], ...]


@dataclass(frozen=True)
class PublishRequest:
    """What a participant's last step needs to know.

    ``nodes`` are in an order in which they can run; ``run`` tells this run from earlier ones in the work directory.
    """

    run: str
    participant: str
    bids_dir: str
    out_dir: str
    nodes_dir: str
    nodes: tuple[NodeRequest, ...]
    scans: tuple[ScanRequest, ...]
    configuration: str
    seed: int
    disable: tuple[str, ...]
    command: str

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PublishRequest:
        """Make it from :func:`~qperf_app.workflow.outcomes.to_json`."""
        read: PublishRequest = adapter(cls).validate_python(dict(content))
        return read


def request_nodes(plan: ParticipantPlan) -> tuple[NodeRequest, ...]:
    """Nodes of a participant's plan."""
    return tuple(
        NodeRequest(t.node, ended(t, "skipped"), t.digest, t.files, dict(t.upstream)) for t in plan.tasks.values()
    )


def request_scan(plan: ScanPlan, bids_dir: Path, configured: float) -> ScanRequest:
    """A scan of a participant's plan; ``configured`` is the haematocrit of one whose sidecar gives none."""
    tissue, aif = (
        None if series is None else series.path.relative_to(bids_dir).as_posix()
        for series in (plan.scan.tissue, plan.scan.aif)
    )
    series = plan.scan.tissue or plan.scan.aif
    assert series is not None
    record = ScanRecord(
        plan.scan.label,
        plan.entities,
        tissue,
        aif,
        plan.warnings,
        (),
        acquisition=plan.scan.acquisition,
        haematocrit=haematocrit_of(series, configured),
    )
    return ScanRequest(record, tuple(plan.nodes.items()))


def finish(request: PublishRequest, cause: str = "") -> ParticipantStatus:
    """Publish whatever steps of a participant ended well; write status, crash files and report.

    ``cause`` says what ended the run of the graph before its end, where anything did.
    """
    with exclusive(Path(request.out_dir), f"sub-{request.participant}"):
        _remove_leftovers(request)
        return _finish(request, cause)


def _remove_leftovers(request: PublishRequest) -> None:
    """Remove what a process that was killed while writing a text file left beside it."""
    participant = f"sub-{request.participant}"
    out_dir = Path(request.out_dir)
    for path in (*out_dir.glob(f".{participant}.html.*"), *(out_dir / participant).glob(f".{participant}_*")):
        path.unlink(missing_ok=True)


def _finish(request: PublishRequest, cause: str) -> ParticipantStatus:
    outcomes = collect(request, cause)
    out_dir = Path(request.out_dir)
    before = earlier_status(out_dir, request.participant)
    published = _publish_files(request, outcomes, out_dir)
    _write_crash_files(request, outcomes, out_dir)
    scans = _scans(request, outcomes, published, out_dir)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status = replace(summarise(request.participant, request.seed, scans), computed=now)
    participant_dir = out_dir / f"sub-{request.participant}"
    participant_dir.mkdir(parents=True, exist_ok=True)
    replace_text(participant_dir / f"sub-{request.participant}_config.yaml", request.configuration)
    # The report is made from the status and what it names; only then is the participant done.
    write_status(out_dir, replace(status, state="running", complete=False))
    _remove_outdated(out_dir, before, status)
    try:
        _, remarks = write_report(out_dir, Path(request.bids_dir), request.participant, request.disable)
        status = status.with_remarks(remarks)
    except Exception as error:
        reason = one_line(error)
        status = status.failed_in("report", reason)
        _write_crash_file(request, out_dir, "report", "report", reason, traceback.format_exc())
    write_status(out_dir, status)
    return status


def _remove_outdated(out_dir: Path, before: ParticipantStatus | None, now: ParticipantStatus) -> None:
    """Remove the files of steps that gave a result before and give none now: nothing beside them would say so."""
    old, new = (
        {name for scan in s.scans for r in scan.steps for name in r.paths.values()} for s in (before or now, now)
    )
    for name in old - new:
        path = out_dir / name
        for file in (path, *_companions(path)):
            file.unlink(missing_ok=True)


def collect(request: PublishRequest, cause: str = "") -> dict[str, Outcome]:
    """Outcome of every node, told from the nodes' folders; a node behind a failed one counts as skipped."""
    outcomes: dict[str, Outcome] = {}
    never_run: set[str] = set()
    nodes = Path(request.nodes_dir)
    for wanted in request.nodes:
        blocked = [u for u in wanted.upstream.values() if outcomes[u].step.state == "failed" or u in never_run]
        directory = nodes / wanted.node
        read = {name: nodes / node / OUTCOME_FILE for name, node in wanted.upstream.items()}
        made_from = basis(wanted.task, wanted.files, read)
        if blocked:
            # What lies in its folder is of an earlier run.
            never_run.add(wanted.node)
            first = outcomes[blocked[0]].step
            reason = first.reason if blocked[0] in never_run else f"{first.step} failed"
            outcomes[wanted.node] = Outcome(replace(wanted.step, state="skipped", reason=reason))
        elif is_made_from(directory, made_from):
            outcomes[wanted.node] = load_outcome(directory / OUTCOME_FILE)
        else:
            reason = _why_without_outcome(directory, request.run, cause)
            outcomes[wanted.node] = Outcome(replace(wanted.step, state="failed", reason=reason))
    return outcomes


#: Free space below which a disk counts as full, bytes: less than the files of a step.
_FULL = 16 * 2**20


def _why_without_outcome(directory: Path, run: str, cause: str) -> str:
    """Why a node has left no outcome in this run."""
    begun = (directory / STARTED_FILE).is_file() and read_json(directory / STARTED_FILE)["run"] == run
    if begun and (directory / FAILURE_FILE).is_file():
        return str(read_json(directory / FAILURE_FILE)["reason"])
    there = next(folder for folder in directory.parents if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < _FULL:
        return f"the disk of the work directory is full: {free / 2**20:.1f} MiB are free"
    if begun:
        return "its process ended without a word: it was killed, or memory ran out"
    return not_begun(cause)


def _publish_files(
    request: PublishRequest, outcomes: Mapping[str, Outcome], out_dir: Path
) -> dict[str, tuple[FileRecord, ...]]:
    """Copy all files beside their places first, then move each into place: a file is there whole or not at all."""
    published: dict[str, tuple[FileRecord, ...]] = {}
    with replace_files(out_dir, f"sub-{request.participant}") as staging:
        for node, outcome in outcomes.items():
            if not outcome.usable:
                continue
            for path in outcome.files.values():
                for source in {path, *_companions(path)}:
                    target = staging / folder_of(path.name) / source.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
            published[node] = tuple(
                FileRecord(role, f"{folder_of(path.name)}/{path.name}") for role, path in outcome.files.items()
            )
    return published


def _companions(path: Path) -> list[Path]:
    beside = sidecar_path(path)
    return [p for p in (beside.with_suffix(suffix) for suffix in _COMPANIONS) if p.is_file()]


def _scans(
    request: PublishRequest,
    outcomes: Mapping[str, Outcome],
    published: Mapping[str, tuple[FileRecord, ...]],
    out_dir: Path,
) -> tuple[ScanRecord, ...]:
    """Records of all scans of the participant, in order of label.

    Scans of an earlier run that this one did not touch stay, as do results of other kinetics plugins that rest on the
    same input.
    """
    before = earlier_status(out_dir, request.participant)
    earlier = {scan.label: scan for scan in (before.scans if before else ())}
    scans = []
    for wanted in request.scans:
        steps = tuple(StepRecord(key, outcomes[node].step, published.get(node, ())) for key, node in wanted.nodes)
        scan = replace(wanted.record, steps=steps)
        scan = replace(scan, basis=basis_of(scan, out_dir, request.configuration))
        scans.append(with_earlier_methods(scan, earlier.pop(scan.label, None)))
    asked = [key.plugin for wanted in request.scans for key, _ in wanted.nodes if key.step == KINETICS.name]
    ordered = led(sorted([*scans, *earlier.values()], key=lambda scan: scan.label), asked, out_dir)
    return with_reserve([judged(scan, out_dir) for scan in ordered], out_dir)


def _write_crash_files(request: PublishRequest, outcomes: Mapping[str, Outcome], out_dir: Path) -> None:
    logs = out_dir / "logs" / f"sub-{request.participant}"
    if logs.is_dir():
        shutil.rmtree(logs)
    for node, outcome in outcomes.items():
        if outcome.step.state == "failed":
            failure = Path(request.nodes_dir) / node / FAILURE_FILE
            trace = read_json(failure)["traceback"] if failure.is_file() else ""
            step = f"{outcome.step.step} ({outcome.step.plugin} {outcome.step.version})"
            _write_crash_file(request, out_dir, node, step, outcome.step.reason, trace)


def _write_crash_file(request: PublishRequest, out_dir: Path, name: str, step: str, reason: str, trace: str) -> None:
    logs = out_dir / "logs" / f"sub-{request.participant}"
    logs.mkdir(parents=True, exist_ok=True)
    text = f"step:      {step}\nreason:    {reason}\nreproduce: {request.command}\n\n{trace}\n"
    replace_text(logs / f"crash-{name}.txt", text)


class _Inputs(BaseInterfaceInputSpec):
    request = traits.Dict(mandatory=True, desc="PublishRequest as plain values")
    outcomes = InputMultiObject(File(exists=True), desc="all nodes of the participant must have ended")


class _Outputs(TraitedSpec):
    status = File(exists=True)


class PublishInterface(BaseInterface):
    """The last node of a participant. It always runs: what it writes may have been deleted meanwhile."""

    input_spec = _Inputs
    output_spec = _Outputs
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        request = PublishRequest.from_json(self.inputs.request)
        write_json(Path(runtime.cwd) / "status.json", to_json(finish(request)))
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {"status": str(Path.cwd() / "status.json")}
