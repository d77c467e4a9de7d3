"""Run the official BIDS validator, with the schema of ``bids_spec/``, on a dataset.

The validator is a program of its own (``bids-validator-deno``). It needs no network: the schema is a local file.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qperf_bids_spec import SCHEMA

#: The validator by its Python door, so that it is found in this environment whatever PATH says.
_VALIDATOR = (sys.executable, "-P", "-c", "import sys, bids_validator_deno; sys.exit(bids_validator_deno.cli())")

#: What the validator's engine has compiled of it, by name of the file: in the same process it does so once, which is
#: more than half of its time.
_COMPILED = "*_cache_v2*"
_compiled: dict[str, bytes] = {}


class ValidatorError(RuntimeError):
    """The validator itself could not run."""


@dataclass(frozen=True)
class Issue:
    """One finding.

    Attributes
    ----------
    severity : "error" or "warning"
    code : the validator's name for this kind of finding
    field : metadata field or column that it is about; empty where it is about none
    location : path within the dataset, without a leading slash; empty where it is about the whole
    message : one line
    """

    severity: Literal["error", "warning"]
    code: str
    field: str
    location: str
    message: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.location or "dataset", self.field) if part)
        return f"{self.severity}: {place}: {self.message} [{self.code}]"


def validate(dataset: str | os.PathLike[str]) -> list[Issue]:
    """Check a raw or derivative dataset against the specification.

    Parameters
    ----------
    dataset
        Folder of the dataset.

    Returns
    -------
    list of Issue
        Errors first, each kind in order of location. No error means that the dataset is valid.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    ValidatorError
        If the validator itself can't run.
    """
    folder = Path(dataset)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    with tempfile.TemporaryDirectory(prefix="qperf-validate-") as scratch:
        # The report goes through a file: what the program prints besides can't spoil it.
        report = Path(scratch, "report.json")
        options = ("--schema", SCHEMA.resolve().as_uri(), "--format", "json", "--outfile", str(report))
        command = [*_VALIDATOR, *options, str(folder.resolve())]
        for name, content in _compiled.items():
            Path(scratch, name).write_bytes(content)
        finished = subprocess.run(command, env=_environment(scratch), capture_output=True, text=True, check=False)
        if not report.is_file():
            raise ValidatorError(_why_not(finished))
        found = json.loads(report.read_text(encoding="utf-8"))["issues"]
        if not _compiled:
            _compiled.update((path.name, path.read_bytes()) for path in Path(scratch).glob(_COMPILED))
    reasons: Mapping[str, str] = found["codeMessages"]
    issues = {_issue(entry, reasons) for entry in found["issues"] if entry.get("severity") != "ignore"}
    return sorted(issues, key=lambda issue: (issue.severity, issue.code, issue.field, issue.location))


def _why_not(finished: subprocess.CompletedProcess[str]) -> str:
    """Why the validator has made no report, in one line."""
    output = [line for line in (finished.stderr.strip() or finished.stdout.strip()).splitlines() if line.strip()]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        why = f"it needs more virtual memory than the limit of {limit / 2**30:.0f} GiB allows (ulimit -v)"
    else:
        why = output[-1].strip() if output else "it gave no reason"
    return f"the BIDS validator could not run (exit code {finished.returncode}): {why}"


def _environment(scratch: str) -> dict[str, str]:
    """Environment of the validator: it writes to the scratch folder alone, so HOME may be missing or read-only."""
    own = {"DENO_DIR": scratch, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1", "HOME": scratch}
    # A schema named by this variable would silently replace ours.
    return {**{key: value for key, value in os.environ.items() if key != "BIDS_SCHEMA"}, **own}


def _issue(entry: Mapping[str, Any], reasons: Mapping[str, str]) -> Issue:
    """Turn an entry of the validator's report into a finding with a message of one line."""
    code = entry["code"]
    detail = (entry.get("issueMessage") or "").strip().split("\n\n")[0]
    reason = _REASONS.get(code) or reasons.get(code) or ""
    # A field's description tells what the field is, not what is wrong with it.
    parts = [reason] if detail.startswith("Field description:") else [reason, detail]
    message = " ".join(" ".join(part.split()) for part in parts if part)
    line = f"line {entry['line']}: " if entry.get("line") else ""
    return Issue(
        severity="warning" if entry.get("severity") == "warning" else "error",
        code=code,
        field=entry.get("subCode") or "",
        location=(entry.get("location") or "").lstrip("/"),
        message=line + (message or "no explanation"),
    )


#: Shorter than the validator's own words, which explain BIDS at length.
_REASONS = {
    "SIDECAR_KEY_REQUIRED": "required field is missing from the metadata",
    "SIDECAR_KEY_RECOMMENDED": "recommended field is missing from the metadata",
    "JSON_KEY_REQUIRED": "required field is missing",
    "JSON_KEY_RECOMMENDED": "recommended field is missing",
    "JSON_SCHEMA_VALIDATION_ERROR": "invalid value:",
    "NOT_INCLUDED": "no file of a BIDS dataset has this name",
    "TSV_COLUMN_MISSING": "required column is missing",
}
