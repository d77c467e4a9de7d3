"""What the voxel values of series say: of the first participants before anything runs, of the others in their turn.

A study of a thousand participants has thousands of series, which take minutes to unpack. A mistake of an export shows
in the first of them; what is damaged by itself fails its own participant and no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_image
from qperf_app.checks.findings import Finding, Located, refusal
from qperf_app.checks.images import voxel_findings
from qperf_app.checks.study import digest, same_voxels_finding
from qperf_app.workflow.plan import ParticipantPlan
from qperf_app.workflow.scans import SeriesInput
from qperf_app.workflow.workers import process_context, start_worker

#: Told how many of how many are done.
Progress = Callable[[int, int], None]
#: Series whose values are looked at before anything runs: a few seconds.
READ_BEFORE = 100
#: Images that a process is handed at a time.
_CHUNK = 8


@dataclass(frozen=True)
class Values:
    """What the values of a series say, and their digest, empty where they can't be read."""

    findings: tuple[Finding, ...] = ()
    digest: str = ""


def first_participants(plans: Sequence[ParticipantPlan]) -> list[ParticipantPlan]:
    """Those whose values are looked at before anything runs: one, and as many more as have few series together."""
    chosen: list[ParticipantPlan] = []
    count = 0
    for plan in plans:
        count += len(plan.series)
        if chosen and count > READ_BEFORE:
            break
        chosen.append(plan)
    return chosen


@contextmanager
def reading(plans: Iterable[ParticipantPlan], processes: int) -> Iterator[Callable[[Progress], dict[str, Values]]]:
    """Read the series of participants while something else is done.

    Parameters
    ----------
    plans : iterable of ParticipantPlan
    processes : int
        Images that are read at the same time, in processes of their own where there are many.

    Yields
    ------
    function
        Waits for what the values say, by path; tells the function that it is given of each series that has been read.
    """
    series = {str(s.path): s for plan in plans for s in plan.series}
    with _readers(processes, len(series)) as pool:
        read = pool.map(_of_series, series.values(), chunksize=_CHUNK)

        def found(progress: Progress) -> dict[str, Values]:
            all_values: dict[str, Values] = {}
            for path, values in zip(series, read, strict=True):
                all_values[path] = values
                progress(len(all_values), len(series))
            return all_values

        yield found


def value_findings(plan: ParticipantPlan, found: Mapping[str, Values], known: Known) -> list[Located]:
    """What the values of a participant's series say, of each of its scans.

    Parameters
    ----------
    plan : ParticipantPlan
    found : mapping
        Of :func:`reading`, with this participant's series.
    known : Known
        All series that have been read so far, these among them: another with the same values is told of.
    """
    return [
        ((plan.participant, scan.scan.label), finding)
        for scan in plan.scans
        for series in scan.scan.series
        for each in (series, series.second_echo)
        if each is not None
        for finding in (*found[str(each.path)].findings, *known.copies(str(each.path), found[str(each.path)].digest))
    ]


class Known:
    """Series that have been read, by the digest of their values."""

    def __init__(self) -> None:
        self._paths: dict[str, list[str]] = {}
        self._read: set[str] = set()

    def copy(self) -> Known:
        """The same, to go on with: a plan that is run again has read what it had read before the first run."""
        other = Known()
        other._paths = {values: list(paths) for values, paths in self._paths.items()}
        other._read = set(self._read)
        return other

    def add(self, found: Mapping[str, Values]) -> None:
        """Take note of series that have been read."""
        self._read.update(found)
        for path, values in found.items():
            if values.digest:
                self._paths.setdefault(values.digest, []).append(path)

    def has(self, plan: ParticipantPlan) -> bool:
        """Whether a participant's series have been read."""
        return all(str(series.path) in self._read for series in plan.series)

    def copies(self, path: str, values: str) -> list[Finding]:
        """Tell of others with the same digest."""
        others = [other for other in self._paths.get(values, ()) if other != path]
        return [same_voxels_finding(path, [Path(other).name for other in others])] if others else []


class InTurn:
    """Reads the series of participants whose values were not looked at before the run, one participant ahead of it.

    Parameters
    ----------
    plans : sequence of ParticipantPlan
        In the order in which :meth:`findings` is called for them.
    known : Known
        Series that were read before.
    aside : bool
        Read in a process of its own while steps run, not when it is asked for.
    """

    def __init__(self, plans: Sequence[ParticipantPlan], known: Known, aside: bool) -> None:
        self._known = known.copy()
        self._waiting = {plan.participant: plan for plan in plans if not known.has(plan)}
        self._pool = _process() if aside and self._waiting else None
        self._ahead: tuple[str, Future[dict[str, Values]] | None] = ("", None)
        self._read_ahead()

    def findings(self, plan: ParticipantPlan) -> list[Located]:
        """What the values of a participant's series say; nothing where it was told before the run."""
        if self._waiting.pop(plan.participant, None) is None:
            return []
        found = self._found(plan)
        self._read_ahead()
        self._known.add(found)
        return value_findings(plan, found, self._known)

    def close(self) -> None:
        """Let the process end."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _found(self, plan: ParticipantPlan) -> dict[str, Values]:
        label, ahead = self._ahead
        if self._pool is None or ahead is None or label != plan.participant:
            return _of_participant(plan)
        with suppress(BrokenProcessPool):
            return ahead.result()
        # As a step's, a process that is killed is tried once more.
        with suppress(BrokenProcessPool):
            return self._submitted(plan).result()
        killed = "the process that read it was killed; did memory run out?"
        return {str(series.path): Values((refusal(str(series.path), "", killed),)) for series in plan.series}

    def _read_ahead(self) -> None:
        if self._pool is not None and self._waiting:
            following = next(iter(self._waiting.values()))
            self._ahead = following.participant, self._submitted(following)

    def _submitted(self, plan: ParticipantPlan) -> Future[dict[str, Values]]:
        if self._pool is not None:
            with suppress(BrokenProcessPool):
                return self._pool.submit(_of_participant, plan)
        self._pool = _process()
        return self._pool.submit(_of_participant, plan)


def _of_participant(plan: ParticipantPlan) -> dict[str, Values]:
    return {str(series.path): _of_series(series) for series in plan.series}


def _of_series(series: SeriesInput) -> Values:
    if len(series.shape) != 4 or not series.header.is_magnitude:
        return Values()
    try:
        data, _ = read_image(series.path)
    except DatasetError as error:
        file, _, text = str(error).partition(": ")
        return Values((refusal(file, "", text),))
    if data.shape != series.shape:
        changed = f"has changed since the run began: its shape is {data.shape} and was {series.shape}"
        return Values((refusal(str(series.path), "", changed),))
    return Values(tuple(voxel_findings(str(series.path), data, series.metadata, series.header)), digest(data))


def _readers(count: int, images: int) -> Executor:
    """Processes that read images side by side, where there are enough of them; threads hold each other up."""
    return ThreadPoolExecutor(count) if count == 1 or images < 4 * _CHUNK else _process(count)


def _process(count: int = 1) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, process_context(), start_worker, (os.getcwd(),))
