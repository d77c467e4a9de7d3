"""Bring a participant's files from the work folder to OUT_DIR, whole or not at all, with status and report."""

from __future__ import annotations

import dataclasses
import json
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, File, InputMultiObject, TraitedSpec, traits

from qperf_app.bids.dataset import exclusive, replace_files, replace_text
from qperf_app.bids.images import read_json, sidecar_path, write_json
from qperf_app.bids.names import folder_of
from qperf_app.plugins import StepOutcome
from qperf_app.workflow.earlier import basis_of, with_earlier_methods
from qperf_app.workflow.tasks import FAILURE_FILE, OUTCOME_FILE, Outcome, load_outcome

#: Suffixes of files that go together with an image or a table.
_COMPANIONS = (".json", ".tsv")


@dataclasses.dataclass(frozen=True)
class PublishRequest:
    """What a participant's last step needs to know. All plain values.

    ``tasks`` lists every node in running order: ``node``, ``step``, ``plugin``, ``version``, ``upstream``;
    ``scans`` lists each scan's ``label``, ``entities``, ``nodes``, ``tissue``, ``aif`` (paths below BIDS_DIR, or
    None) and ``warnings``.
    """

    participant: str
    bids_dir: str
    out_dir: str
    nodes_dir: str
    tasks: list[dict[str, Any]]
    scans: list[dict[str, Any]]
    configuration: str
    seed: int
    disable: list[str]
    command: str

    def to_json(self) -> dict[str, Any]:
        """Plain mapping, see :meth:`from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PublishRequest:
        """Make it from :meth:`to_json`."""
        return cls(**content)


def finish(request: PublishRequest) -> dict[str, Any]:
    """Publish whatever steps of a participant ended well; write status, crash files and report.

    Returns
    -------
    dict
        The status, as in ``sub-X_status.json``.
    """
    with exclusive(Path(request.out_dir), f"sub-{request.participant}"):
        _remove_leftovers(request)
        return _finish(request)


def _remove_leftovers(request: PublishRequest) -> None:
    """Remove what a process that was killed while writing a text file left beside it."""
    participant = f"sub-{request.participant}"
    out_dir = Path(request.out_dir)
    for path in (*out_dir.glob(f".{participant}.html.*"), *(out_dir / participant).glob(f".{participant}_*")):
        path.unlink(missing_ok=True)


def _finish(request: PublishRequest) -> dict[str, Any]:
    from qperf_app.workflow.results import write_report

    outcomes = collect(request)
    out_dir = Path(request.out_dir)
    published = _publish_files(request, outcomes, out_dir)
    _write_crash_files(request, outcomes, out_dir)
    status = summarise(request, outcomes, published, out_dir)
    participant_dir = out_dir / f"sub-{request.participant}"
    participant_dir.mkdir(parents=True, exist_ok=True)
    replace_text(participant_dir / f"sub-{request.participant}_config.yaml", request.configuration)
    # The report is made from the status and what it names; only then is the participant done.
    write_status(out_dir, request.participant, {**status, "state": "running"})
    try:
        write_report(out_dir, Path(request.bids_dir), request.participant, request.disable)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        status = {**status, "state": "failed", "complete": False}
        status["steps_failed"] = [*status["steps_failed"], {"step": "report", "reason": reason}]
        _write_crash_file(request, out_dir, "report", "report", reason, traceback.format_exc())
    write_status(out_dir, request.participant, status)
    return status


def collect(request: PublishRequest) -> dict[str, Outcome]:
    """Outcome of every node, told from the nodes' folders; a node behind a failed one counts as skipped."""
    outcomes: dict[str, Outcome] = {}
    never_run: set[str] = set()
    for task in request.tasks:
        node, step, plugin, version = task["node"], task["step"], task["plugin"], task["version"]
        upstream = task["upstream"].values()
        blocked = [u for u in upstream if outcomes[u].step.state == "failed" or u in never_run]
        directory = Path(request.nodes_dir) / node
        if blocked:
            # What lies in its folder is of an earlier run.
            never_run.add(node)
            first = outcomes[blocked[0]].step
            reason = first.reason if blocked[0] in never_run else f"{first.step} failed"
            outcomes[node] = Outcome(StepOutcome(step, plugin, "skipped", version, reason))
        elif (directory / FAILURE_FILE).is_file():
            reason = str(read_json(directory / FAILURE_FILE)["reason"])
            outcomes[node] = Outcome(StepOutcome(step, plugin, "failed", version, reason))
        elif (directory / OUTCOME_FILE).is_file():
            outcomes[node] = load_outcome(directory / OUTCOME_FILE)
        else:
            reason = "the step ended without a result: killed, out of memory, or stopped after another failed"
            outcomes[node] = Outcome(StepOutcome(step, plugin, "failed", version, reason))
    return outcomes


def _publish_files(
    request: PublishRequest, outcomes: Mapping[str, Outcome], out_dir: Path
) -> dict[str, dict[str, str]]:
    """Copy all files beside their places first, then move each into place: a file is there whole or not at all."""
    published: dict[str, dict[str, str]] = {}
    with replace_files(out_dir, f"sub-{request.participant}") as staging:
        for node, outcome in outcomes.items():
            if not outcome.usable:
                continue
            published[node] = {}
            for role, path in outcome.files.items():
                published[node][role] = f"{folder_of(path.name)}/{path.name}"
                for source in {path, *_companions(path)}:
                    target = staging / folder_of(path.name) / source.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
    return published


def _companions(path: Path) -> list[Path]:
    beside = sidecar_path(path)
    return [p for p in (beside.with_suffix(suffix) for suffix in _COMPANIONS) if p.is_file()]


def summarise(
    request: PublishRequest, outcomes: Mapping[str, Outcome], published: Mapping[str, Mapping[str, str]], out_dir: Path
) -> dict[str, Any]:
    """Make the status of a participant.

    Scans of an earlier run that this one did not touch stay in it, as do results of other kinetics plugins that rest
    on the same input.
    """
    path = status_path(out_dir, request.participant)
    earlier = {scan["label"]: scan for scan in (read_json(path).get("scans", []) if path.is_file() else ())}
    scans = []
    for scan in request.scans:
        status = _scan_status(scan, outcomes, published)
        status["basis"] = basis_of(status["files"], out_dir, request.configuration)
        scans.append(with_earlier_methods(status, earlier.pop(scan["label"], None)))
    scans += earlier.values()
    scans.sort(key=lambda scan: scan["label"])
    steps = [{"scan": scan["label"], "name": name, **step} for scan in scans for name, step in scan["steps"].items()]
    failed = [s for s in steps if s["state"] == "failed"]
    absent = [s for s in steps if s["state"] in ("not-found", "skipped")]
    return {
        "participant": request.participant,
        "state": "failed" if failed else "done",
        "complete": not failed and not absent,
        "steps_done": [_name(s) for s in steps if s["state"] in ("done", "handed-in")],
        "steps_failed": [{"step": _name(s), "reason": s["reason"]} for s in failed],
        "steps_without_result": [{"step": _name(s), "reason": s["reason"]} for s in absent],
        "seed": request.seed,
        "scans": scans,
    }


def _scan_status(
    scan: Mapping[str, Any], outcomes: Mapping[str, Outcome], published: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    nodes: Mapping[str, str] = scan["nodes"]
    # A scan whose input function is found in the tissue series has one motion correction under two names.
    names = {node: name for name, node in sorted(nodes.items(), key=lambda item: item[0] != "aif-motion-correction")}
    ordered = [(name, node) for name, node in nodes.items() if names[node] == name]
    return {
        **{key: scan[key] for key in ("label", "entities", "tissue", "aif", "warnings")},
        "steps": {name: dataclasses.asdict(outcomes[node].step) for name, node in ordered},
        "files": {name: dict(published[node]) for name, node in nodes.items() if node in published},
    }


def _name(step: Mapping[str, Any]) -> str:
    plugin = f" ({step['plugin']})" if step["plugin"] else ""
    # By its name in the scan: the motion correction of the input-function series is a step of its own.
    return f"{step['scan']}: {step['name'].split(':')[0]}{plugin}"


def status_path(out_dir: Path, participant: str) -> Path:
    """Path of a participant's status file."""
    return out_dir / f"sub-{participant}" / f"sub-{participant}_status.json"


def write_status(out_dir: Path, participant: str, status: Mapping[str, Any]) -> None:
    """Write a participant's status file, whole or not at all."""
    path = status_path(out_dir, participant)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(status, indent=2, ensure_ascii=False) + "\n")


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
    request = traits.Dict(mandatory=True, desc="PublishRequest.to_json()")
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
        write_json(Path(runtime.cwd) / "status.json", finish(request))
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {"status": str(Path.cwd() / "status.json")}
