"""What the stacks of a study are to each other: tissue, input function, pre-bolus; rest or stress; which run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from qperf_app.dicom.doses import smaller
from qperf_app.dicom.hints import says
from qperf_app.dicom.selection import LeftOut, Scan, coarser
from qperf_app.dicom.stacks import Stack

Kind = Literal["tissue", "aif", "prebolus"]
#: Where words and codes for rest and stress are looked for.
_TASK_FIELDS = "SeriesDescription, ProtocolName, InterventionDrugName or AcquisitionContextSequence"
#: A matrix of at most so many pixels may be a lone input-function series.
_SMALL_MATRIX = 100 * 100
#: An input-function series' inversion, echo and repetition times are at most this part of its tissue series'.
_SHORTER = 0.8
#: Beats of stress are shorter than those of rest at least by this factor where nothing else tells them apart.
_FASTER = 1.1


@dataclass(frozen=True)
class Role:
    """A stack with its place in the study.

    Parameters
    ----------
    scan : int
        Stacks with the same number were acquired together.
    stack : Stack
    kind : {"tissue", "aif", "prebolus"}
    kind_origin, task, task_origin : str
        The task is ``rest`` or ``stress``.
    proton_density : Stack or None
        Proton-density images that were stored apart.
    run : int
        From 1; 0 where the task has one scan only.
    part : int
        From 1, of tissue stacks that no single grid holds; 0 where there is one.
    """

    scan: int
    stack: Stack
    kind: Kind
    kind_origin: str
    proton_density: Stack | None = None
    task: str = ""
    task_origin: str = ""
    run: int = 0
    part: int = 0


def assign_roles(scans: Sequence[Scan], task: str | None = None) -> tuple[list[Role], list[LeftOut]]:
    """Roles of all stacks of a study's scans (in order of time), and what is left over.

    Parameters
    ----------
    scans : sequence of Scan
    task : {"rest", "stress"}, optional
        Of every scan, where the user says so.
    """
    roles: list[Role] = []
    left: list[LeftOut] = []
    for number, scan in enumerate(scans):
        found, unused = _kinds(number, scan)
        roles += found
        left += unused
    roles, unused = _with_prebolus(roles)
    roles = _with_tasks(roles, task)
    return _numbered(roles), left + unused


def _kinds(number: int, scan: Scan) -> tuple[list[Role], list[LeftOut]]:
    """Which stacks of one scan are input functions."""
    tissue = _reference(scan.stacks)
    named = [says("aif", stack.words) for stack in scan.stacks]
    roles: list[Role] = []
    for index, stack in enumerate(scan.stacks):
        origin = ""
        small = stack.header.rows * stack.header.columns <= _SMALL_MATRIX
        if any(named) and not all(named):
            origin = "SeriesDescription or ProtocolName" if named[index] else ""
        elif stack is not tissue and _shorter(stack, tissue):
            origin = "a shorter read-out than that of the series acquired with it"
        elif stack is not tissue and coarser(stack, tissue):
            origin = "coarser than the series acquired with it"
        elif len(scan.stacks) == 1 and named[index] and small:
            origin = "SeriesDescription or ProtocolName, and its small matrix"
        kind: Kind = "aif" if origin else "tissue"
        roles.append(Role(number, stack, kind, origin or "the only one", scan.proton_density.get(index)))
    aifs = [role for role in roles if role.kind == "aif"]
    if len(aifs) < 2:
        return roles, []
    best = max(aifs, key=lambda role: (role.stack.n_frames, -len(role.stack.slices)))
    others = [role for role in aifs if role is not best]
    left = [LeftOut(r.stack.series_numbers, len(r.stack.frames), "a second input-function series") for r in others]
    return [role for role in roles if role not in others], left


def _reference(stacks: Sequence[Stack]) -> Stack:
    """The stack with most slices, of these the one with the smallest pixels and the longest echo time."""

    def rank(stack: Stack) -> tuple[int, float, float]:
        echo = stack.slices[0][-1].echo_time or 0.0
        return len(stack.slices), -round(float(np.prod(stack.header.spacing)), 1), echo

    return max(stacks, key=rank)


def _shorter(one: Stack, other: Stack) -> bool:
    """Whether a stack is saturated and read out for a clearly shorter time than another."""
    a, b = one.slices[0][-1], other.slices[0][-1]
    pairs = [(a.inversion_time, b.inversion_time), (a.echo_time, b.echo_time)]
    pairs.append((one.header.values.get("RepetitionTime"), other.header.values.get("RepetitionTime")))
    known = [x / y for x, y in pairs if x and y]
    return bool(known) and max(known) < _SHORTER


def _with_prebolus(roles: Sequence[Role]) -> tuple[list[Role], list[LeftOut]]:
    """Mark scans of a small dose before another scan; one stack stands for each."""
    result: list[Role] = []
    left: list[LeftOut] = []
    for number in sorted({role.scan for role in roles}):
        own = [role for role in roles if role.scan == number]
        later = [role for role in roles if role.scan > number and role.kind == "tissue"]
        origin = _prebolus_origin(own[0].stack, later)
        if not origin or not later:
            result += own
            continue
        tissue = [role for role in own if role.kind == "tissue"] or own
        main = max(tissue, key=lambda role: len(role.stack.slices))
        result.append(replace(main, kind="prebolus", kind_origin=origin))
        left += [
            LeftOut(r.stack.series_numbers, len(r.stack.frames), "acquired with a pre-bolus series that is taken")
            for r in own if r is not main
        ]  # fmt: skip
    return result, left


def _prebolus_origin(stack: Stack, later: Sequence[Role]) -> str:
    if says("prebolus", stack.words):
        return "SeriesDescription or ProtocolName"
    if later and smaller(stack, later[0].stack):
        return "at most half of the next scan's dose"
    return ""


def _with_tasks(roles: Sequence[Role], given: str | None) -> list[Role]:
    """Rest or stress: as the user says, as the header says, or as the heart rates tell."""
    main = sorted({role.scan for role in roles if role.kind != "prebolus"})
    told: dict[int, tuple[str, str]] = {}
    for number in main:
        words = " ".join(role.stack.words for role in roles if role.scan == number)
        stress, rest = says("stress", words), says("rest", words)
        if given:
            told[number] = given, "--task"
        elif stress != rest:
            told[number] = (
                "stress" if stress else "rest",
                _TASK_FIELDS,
            )
    beats = {number: _beat([role for role in roles if role.scan == number]) for number in main}
    for number in main:
        if number not in told:
            told[number] = _deduced(number, {n: told[n][0] for n in told if "assumed" not in told[n][1]}, beats)
    return [_with_task(role, main, told) for role in roles]


def _deduced(number: int, told: dict[int, str], beats: dict[int, float]) -> tuple[str, str]:
    """Task of a scan that nothing names."""
    others = {n: beat for n, beat in beats.items() if n != number}
    if others and max(others.values()) >= _FASTER * beats[number] and "stress" not in told.values():
        return "stress", "derived: its beats are the shorter ones"
    if "stress" in told.values():
        return "rest", "derived: another scan is the one under stress"
    if others and beats[number] >= _FASTER * min(others.values()):
        return "rest", "derived: its beats are the longer ones"
    return "rest", "assumed: no field tells of stress"


def _with_task(role: Role, main: Sequence[int], told: dict[int, tuple[str, str]]) -> Role:
    if role.kind != "prebolus":
        return replace(role, task=told[role.scan][0], task_origin=told[role.scan][1])
    stress, rest = says("stress", role.stack.words), says("rest", role.stack.words)
    named = ("stress" if stress else "rest") if stress != rest else ""
    later = [number for number in main if number > role.scan]
    same = [number for number in later if told[number][0] == named]
    belongs = (same or later)[0]
    return replace(role, task=told[belongs][0], task_origin="that of the scan it belongs to", scan=belongs)


def _beat(roles: Sequence[Role]) -> float:
    """Time from frame to frame, s."""
    return min(float(np.median(np.diff(role.stack.times[0]))) for role in roles)


def _numbered(roles: Sequence[Role]) -> list[Role]:
    """Number repeated scans of a task, and tissue stacks of one scan."""
    scans: dict[str, list[int]] = {}
    for role in roles:
        if role.scan not in scans.setdefault(role.task, []):
            scans[role.task].append(role.scan)
    for of_task in scans.values():
        of_task.sort()
    result = []
    for role in roles:
        of_task = scans[role.task]
        run = of_task.index(role.scan) + 1 if len(of_task) > 1 else 0
        tissue = [other for other in roles if other.scan == role.scan and other.kind == "tissue"]
        several = role.kind == "tissue" and len(tissue) > 1
        result.append(replace(role, run=run, part=tissue.index(role) + 1 if several else 0))
    return result
