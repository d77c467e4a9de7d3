"""What the last node of a run is told, made for a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qperf_app import api
from qperf_app.workflow.graph import participant_dir
from qperf_app.workflow.publish import PublishRequest, request_nodes, request_scan


def request_of(raw: Path, out: Path, work: Path, drawn: Path, configuration: Mapping[str, Any]) -> PublishRequest:
    """Request of participant 01, without motion correction."""
    study = api.plan(
        raw,
        out,
        selection=api.Selection(participants=("01",)),
        configuration={"motion-correction": "none", **configuration},
        derivatives={"drawn": drawn},
    )
    (plan,) = study.participants
    return PublishRequest(
        participant="01",
        run="a run of its own",
        bids_dir=str(raw),
        out_dir=str(out),
        nodes_dir=str(participant_dir(work, "01")),
        nodes=request_nodes(plan),
        scans=tuple(request_scan(scan, raw, 0.42) for scan in plan.scans),
        configuration=study.configuration.to_yaml(),
        seed=0,
        disable=(),
        command="",
    )
