"""Participants one after another on this machine: the one that was begun first goes first, and no processor waits.

Nipype's own plugins for one machine go through all graphs breadth first: of many participants none would be done before
nearly all are, and all graphs would have to be there before the first node runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from qperf_app.workflow.workers import Workers


@dataclass(frozen=True)
class Capacity:
    """What nodes that run at a time may take together."""

    processors: int
    memory_gb: float


class Turn:
    """The nodes of one participant, each of which waits for those that it reads from.

    Parameters
    ----------
    participant : str
    graph : networkx.DiGraph
        Nipype's nodes, ready to run.
    """

    def __init__(self, participant: str, graph: Any) -> None:
        import networkx

        self.participant = participant
        self._graph = graph
        self._waiting = {node: graph.in_degree(node) for node in networkx.topological_sort(graph)}

    @property
    def left(self) -> int:
        """Nodes that have not begun."""
        return len(self._waiting)

    def ready(self) -> list[Any]:
        """Nodes that may run now, in an order in which all can."""
        return [node for node, count in self._waiting.items() if not count]

    def take(self, node: Any) -> None:
        """A node has begun."""
        del self._waiting[node]

    def done(self, node: Any) -> None:
        """A node has ended well."""
        for after in self._graph.successors(node):
            if after in self._waiting:
                self._waiting[after] -= 1

    def failed(self, node: Any) -> None:
        """A node has failed: what depends on it will not run."""
        import networkx

        for after in networkx.descendants(self._graph, node):
            self._waiting.pop(after, None)


class Runner:
    """Runs participants in turn.

    Parameters
    ----------
    turns : iterator of Turn
        Made one at a time, when there is a processor for it.
    workers : Workers
    capacity : Capacity
    notify : function
        Told of each node that starts (``start``), ends (``end``) or fails (``exception``).
    ended : function
        Told of each participant that has no node left.
    stop_on_failure : bool
        Begin nothing new once a node has failed.
    """

    def __init__(
        self,
        turns: Iterator[Turn],
        workers: Workers,
        capacity: Capacity,
        notify: Callable[[Any, str], None],
        ended: Callable[[str], None],
        stop_on_failure: bool = False,
    ) -> None:
        self._turns, self._workers, self._capacity = turns, workers, capacity
        self._notify, self._ended, self._stop = notify, ended, stop_on_failure
        self._active: list[Turn] = []
        self._running: dict[Future[None], tuple[Turn, Any]] = {}
        self._tried_again: set[Any] = set()
        self._failure = ""

    def run(self) -> str:
        """Run all to the end; returns what ended the run before it, empty where nothing did.

        A node whose process is killed is tried once more.
        """
        try:
            while True:
                self._fill()
                if not self._running:
                    return self._failure
                for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                    turn, node = self._running.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool) and node not in self._tried_again:
                        self._tried_again.add(node)
                        self._running[self._workers.submit(node, _kind(node))] = (turn, node)
                    else:
                        self._settle(turn, node, error)
        finally:
            self._workers.close()

    def _fill(self) -> None:
        """Begin what there is room for: nodes of those who were begun first, then further participants."""
        if self._failure:
            return
        for turn in list(self._active):
            self._begin_nodes(turn)
        while self._free()[0] > 0:
            following = next(self._turns, None)
            if following is None:
                return
            self._active.append(following)
            if not self._begin_nodes(following) and following in self._active:
                return

    def _begin_nodes(self, turn: Turn) -> bool:
        """Begin the nodes of a participant that fit; whether any did."""
        begun = False
        again = True
        while again:
            again = False
            for node in turn.ready():
                if self._failure or not self._fits(node):
                    continue
                turn.take(node)
                begun = True
                if node.run_without_submitting:
                    again = True
                    self._run_here(turn, node)
                    continue
                self._notify(node, "start")
                self._running[self._workers.submit(node, _kind(node))] = (turn, node)
        return begun

    def _run_here(self, turn: Turn, node: Any) -> None:
        try:
            node.run()
        except Exception as error:
            self._settle(turn, node, error)
        else:
            self._settle(turn, node, None)

    def _settle(self, turn: Turn, node: Any, error: BaseException | None) -> None:
        self._notify(node, "end" if error is None else "exception")
        if error is None:
            turn.done(node)
        else:
            turn.failed(node)
            if self._stop:
                self._failure = f"the run was stopped after the first failure, {node.name} of {turn.participant}"
        if not turn.left and not any(other is turn for other, _ in self._running.values()):
            self._active.remove(turn)
            self._ended(turn.participant)

    def _free(self) -> tuple[int, float]:
        taken = [self._need(node) for _, node in self._running.values()]
        processors = self._capacity.processors - sum(processors for processors, _ in taken)
        return processors, self._capacity.memory_gb - sum(memory for _, memory in taken)

    def _need(self, node: Any) -> tuple[int, float]:
        """What a node takes; one that asks for more than there is gets all of it."""
        return min(node.n_procs, self._capacity.processors), min(node.mem_gb, self._capacity.memory_gb)

    def _fits(self, node: Any) -> bool:
        if node.run_without_submitting:
            return True
        return all(need <= free + 1e-9 for need, free in zip(self._need(node), self._free(), strict=True))


def _kind(node: Any) -> str:
    """What nodes have in common that load the same libraries: their step's plugin."""
    task = getattr(node.inputs, "task", None)
    return f"{task['step']}:{task['plugin']}" if task else str(node.name)
