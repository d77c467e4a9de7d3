"""Participants one after another on one machine: who runs when, and what a run that ends early leaves behind."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from qperf_app.workflow.turns import Capacity, Runner, Turn
from tests.datasets import hand_drawn, small_dataset
from tests.test_ends import left_of, start


class Node:
    """Of a Nipype node what the runner looks at."""

    inputs = None

    def __init__(self, participant: str, name: str, n_procs: int = 1, mem_gb: float = 1.0, here: bool = False) -> None:
        self.participant, self.name, self.n_procs, self.mem_gb = participant, name, n_procs, mem_gb
        self.run_without_submitting = here

    def run(self) -> None:
        """Nothing to do."""


class Desk:
    """Workers that end the node that has run longest each time the runner waits for one."""

    def __init__(self) -> None:
        self.begun: list[Node] = []
        self.at_once = 0
        self.fails: dict[tuple[str, str], list[Exception]] = {}
        self._open: list[tuple[Node, Future[None]]] = []

    def submit(self, node: Any, kind: str) -> Future[None]:
        future: Future[None] = Future()
        self.begun.append(node)
        self._open.append((node, future))
        self.at_once = max(self.at_once, len(self._open))
        return future

    def settle(self) -> None:
        node, future = self._open.pop(0)
        errors = self.fails.get((node.participant, node.name), [])
        if errors:
            future.set_exception(errors.pop(0))
        else:
            future.set_result(None)

    def close(self) -> None:
        assert not self._open


def chain(participant: str, **resources: Any) -> Turn:
    """Two motion corrections, maps that read both, then outcomes put together here, and the report."""
    graph = nx.DiGraph()
    one, two = Node(participant, "motion-1", **resources), Node(participant, "motion-2", **resources)
    maps, merge, report = Node(participant, "maps"), Node(participant, "merge", here=True), Node(participant, "report")
    graph.add_edges_from([(one, maps), (two, maps), (maps, merge), (merge, report)])
    return Turn(participant, graph)


def run(
    monkeypatch: pytest.MonkeyPatch,
    desk: Desk,
    turns: Any,
    processors: int = 2,
    memory: float = 8.0,
    stop: bool = False,
) -> tuple[list[str], list[str], str]:
    """Participants in the order in which they ended, what was notified, and the cause."""
    from concurrent.futures import wait as really

    def wait(futures: Any, return_when: Any) -> Any:
        desk.settle()
        return really(futures, timeout=0, return_when=return_when)

    monkeypatch.setattr("qperf_app.workflow.turns.wait", wait)
    ended: list[str] = []
    told: list[str] = []
    runner = Runner(
        turns, desk, Capacity(processors, memory), lambda n, s: told.append(f"{n.participant} {n.name} {s}"),
        ended.append, stop,
    )  # fmt: skip
    cause = runner.run()
    return ended, told, cause


NAMES = [f"{k:02d}" for k in range(12)]


def test_whoever_is_begun_first_ends_first_and_no_processor_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, made = Desk(), []

    def turns() -> Any:
        for name in NAMES:
            made.append((name, len(desk.begun)))
            yield chain(name)

    ended, told, cause = run(monkeypatch, desk, turns())
    assert ended == NAMES and cause == "" and desk.at_once == 2
    assert len(told) == 12 * 9, "four that start and end each, and one here that ends"
    # A graph is made when its turn comes: with two processors never more than two participants ahead.
    assert all(begun >= 4 * (k - 2) for k, (_, begun) in enumerate(made))
    reports = [k for k, node in enumerate(desk.begun) if node.name == "report"]
    assert all(at <= 4 * (k + 1) + 3 for k, at in enumerate(reports)), "half of the steps are half of the participants"


def test_memory_keeps_the_next_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    ended, _, _ = run(monkeypatch, desk, iter([chain(n, mem_gb=6.0) for n in NAMES[:3]]), processors=4)
    assert ended == NAMES[:3] and desk.at_once == 2
    # More than there is: it runs, alone.
    desk = Desk()
    ended, _, _ = run(monkeypatch, desk, iter([chain("big", mem_gb=60.0, n_procs=99)]))
    assert ended == ["big"]


def test_what_depends_on_a_failure_is_left_out_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.fails[("01", "motion-2")] = [ValueError("no heart")]
    ended, told, cause = run(monkeypatch, desk, iter([chain(n) for n in NAMES[:4]]))
    assert sorted(ended) == NAMES[:4] and cause == ""
    assert "01 motion-2 exception" in told and not any(line.startswith("01 maps") for line in told)


def test_nothing_new_begins_after_a_failure_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.fails[("00", "motion-1")] = [ValueError("no heart")]
    ended, _, cause = run(monkeypatch, desk, iter([chain(n) for n in NAMES]), stop=True)
    assert "motion-1 of 00" in cause and ended == ["00"] and len(desk.begun) == 2


def test_a_step_whose_process_is_killed_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.fails[("00", "maps")] = [BrokenProcessPool()]
    desk.fails[("01", "maps")] = [BrokenProcessPool(), BrokenProcessPool()]
    ended, told, _ = run(monkeypatch, desk, iter([chain("00"), chain("01")]))
    assert sorted(ended) == ["00", "01"] and "00 report end" in told
    assert "01 maps exception" in told and "01 report start" not in told


def test_a_run_that_is_killed_leaves_whole_participants_and_drops_their_work(tmp_path: Path) -> None:
    names = ("01", "02", "03", "04")
    small_dataset(tmp_path / "raw", participants=names)
    for name in names:
        hand_drawn(tmp_path / "drawn", name)
    out = tmp_path / "results" / "out"
    process = start(tmp_path, out, "--nprocs", "2", "--drop-work")
    assert process.stdout is not None
    written = 0
    for line in process.stdout:
        written += "outputs and report" in line
        if written == 2:
            break
    # The work of both may be going just now: that of the first is waited for, no longer than a participant takes.
    first, until = tmp_path / "results" / "work" / "qperf" / "sub_01", time.monotonic() + 1.0
    while first.exists() and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    states = {path.name[4:6]: json.loads(path.read_text())["state"] for path in out.glob("sub-*/sub-*_status.json")}
    assert states["01"] == states["02"] == "done" and (out / "sub-02.html").is_file()
    assert "done" not in {states.get("03"), states.get("04")}
    assert not first.exists()
    assert left_of(process.pid) == []
