"""Decide, before anything runs, which steps every participant needs, with which plugin, input and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.handins import find_handed_in, find_handed_in_maps, find_left_out, source_uri
from qperf_app.bids.names import identifier, label
from qperf_app.bids.tables import read_left_out
from qperf_app.checks.ranges import is_number
from qperf_app.checks.timing import dynamic_times
from qperf_app.methods.kinetic_inputs import MIN_FRAMES, frames_kept
from qperf_app.plugins import CONCENTRATION_UNITS, RELATIVE_UNITS, SIGNAL_UNITS
from qperf_app.plugins.answers import loaded_files_of, resources_of
from qperf_app.plugins.keys import Role, StepKey
from qperf_app.plugins.manager import PluginRegistry, made, plain_options, resolve_options
from qperf_app.plugins.results import Haematocrit
from qperf_app.plugins.steps import INPUT_FUNCTION, JOINT_INPUT_FUNCTION, SEGMENTS, STEPS, StepSpec, workflow_steps
from qperf_app.plugins.steps.concentration import RELATIVE_CONVERTER
from qperf_app.plugins.steps.spec import AUTO, Read, RunsOn, slot_of
from qperf_app.workflow.configuration import Choice, Configuration
from qperf_app.workflow.levels import Levels, shared_levels
from qperf_app.workflow.outcomes import FileRecord
from qperf_app.workflow.scans import Scan, SeriesInput, pair_series
from qperf_app.workflow.tasks import LeftOut, SecondEcho, Task, derive_seed


@dataclasses.dataclass(frozen=True)
class ScanPlan:
    """A scan and the node of each of its steps."""

    scan: Scan
    nodes: Mapping[StepKey, str]
    warnings: tuple[str, ...] = ()

    @property
    def entities(self) -> dict[str, str]:
        """Entities of the scan's results without the participant."""
        return {k: v for k, v in self.scan.main.entities.items() if k != "sub"}


@dataclasses.dataclass(frozen=True)
class ParticipantPlan:
    """All steps of one participant, in an order in which they can run."""

    participant: str
    scans: tuple[ScanPlan, ...]
    tasks: Mapping[str, Task]

    @property
    def series(self) -> tuple[SeriesInput, ...]:
        """All series, each once, second echoes among them."""
        first = {s.path: s for plan in self.scans for s in plan.scan.series}
        return tuple(e for s in first.values() for e in (s, s.second_echo) if e is not None)


class Planner:
    """Makes the tasks of one participant, scan by scan; steps that scans share are made once."""

    def __init__(
        self, configuration: Configuration, registry: PluginRegistry, datasets: Mapping[str, Path], omp_nthreads: int
    ) -> None:
        self._configuration = configuration
        self._registry = registry
        self._datasets = datasets
        self._threads = omp_nthreads
        self._instances: dict[tuple[str, str], _Instance] = {}

    def plan(
        self, participant: str, series: Sequence[SeriesInput], present: Iterable[Mapping[str, str]] = ()
    ) -> ParticipantPlan:
        """Plan one participant. ``present``: entities of all series that the participant has, selected or not."""
        tasks: dict[str, Task] = {}
        found = pair_series(series, present)
        shared = shared_levels(found)
        scans = tuple(self._scan(scan, tasks, *shared.get(scan.main.prefix, ((), ""))) for scan in found)
        return ParticipantPlan(participant, scans, tasks)

    def _scan(self, scan: Scan, tasks: dict[str, Task], levels: Levels, note: str) -> ScanPlan:
        choices, warnings = self._choose(scan)
        warnings += (*scan.notes, *((note,) if note else ()))
        nodes: dict[StepKey, str] = {}
        for spec in workflow_steps().values():
            for series in scan.series_for(spec.on):
                subject = scan.blood if spec.on is RunsOn.SCAN else series
                for choice in choices.get((spec.plugin_of or spec.name, subject.prefix), (None,)):
                    if spec.needs and not self._has(spec, choice):
                        continue
                    task = self._task(spec, scan, series, subject, choice, nodes, tasks)
                    if spec.only_handed_in and not task.handed_in:
                        continue
                    if spec.name == SEGMENTS.name:
                        task = dataclasses.replace(task, levels=levels)
                    if spec.name == INPUT_FUNCTION.name and not task.handed_in:
                        task = dataclasses.replace(task, second_echo=_second_echo(subject))
                    nodes[_key(spec, choice, series.is_aif)] = task.node
                    tasks.setdefault(task.node, task)
        source = tasks[nodes[StepKey(INPUT_FUNCTION.name)]]
        if scan.aif is None and not source.handed_in:
            estimated = StepKey(JOINT_INPUT_FUNCTION.name) in nodes
            warnings += _of_single_bolus(source.metadata, source.plugin, bool(scan.notes), estimated)
        return ScanPlan(scan, nodes, warnings)

    def _choose(self, scan: Scan) -> tuple[dict[tuple[str, str], tuple[Choice, ...]], tuple[str, ...]]:
        """Plugins of each step for each series' prefix, and what the reader must know of the choice."""
        chosen: dict[tuple[str, str], tuple[Choice, ...]] = {}
        warnings: tuple[str, ...] = ()
        for step, choices in self._configuration.steps.items():
            choose = slot_of(STEPS[step]).choose
            if choose is not None and choices[0].plugin == AUTO:
                names, told = choose([s.metadata for s in scan.series])
                chosen |= {(step, s.prefix): (Choice(n),) for s, n in zip(scan.series, names, strict=True)}
                warnings += told
            else:
                chosen |= {(step, s.prefix): choices for s in scan.series}
        return chosen, warnings

    def _task(
        self,
        spec: StepSpec,
        scan: Scan,
        series: SeriesInput,
        subject: SeriesInput,
        choice: Choice | None,
        nodes: Mapping[StepKey, str],
        tasks: Mapping[str, Task],
    ) -> Task:
        prefixes = list(dict.fromkeys([series.prefix, subject.prefix]))
        given = self._handed_in(spec, prefixes, choice)
        if given and spec.plugin_of:
            # The plugin was to make what is there already.
            choice = None
        plugin = "" if choice is None else choice.plugin
        instance = None if choice is None else self._instance(spec.plugin_of or spec.name, choice)
        handed = tuple(dict.fromkeys(source_uri(self._datasets, path) for path in given.values()))
        task = Task(
            node=identifier("_".join(part for part in (label(series.entities), spec.name, plugin) if part)),
            step=spec.name,
            prefix=series.prefix,
            disable=self._configuration.disable,
            seed=derive_seed(self._configuration.random_seed, spec.name, plugin),
            series=str(series.path) if spec.reads_raw else "",
            metadata=dict(subject.metadata),
            subject=subject.prefix,
            sources=(*handed, *(() if handed and not spec.reads_raw else (series.source,))),
            handed_in=tuple(FileRecord(role, str(path)) for role, path in given.items()),
            upstream=_upstream(spec, scan, series, plugin, bool(given), nodes, tasks),
            haematocrit=haematocrit_of(series, self._configuration.haematocrit).value,
            tissue_density=self._configuration.tissue_density,
            leave_out_uncorrected=self._configuration.leave_out_uncorrected and spec.leaves_out_frames,
            grid=series.grid if given else None,
            left_out=self._left_out(subject) if spec.leaves_out_frames else None,
        )
        return task if instance is None else instance.described(task, subject.shape, self._threads)

    def _left_out(self, series: SeriesInput) -> LeftOut | None:
        path = find_left_out(self._datasets, series.prefix)
        if path is None:
            return None
        frames = read_left_out(path, series.shape[3])
        first = series.shape[3] - len(times) if (times := dynamic_times(series.metadata)) is not None else 0
        kept = frames_kept(series.shape[3], first, frames)
        if kept < MIN_FRAMES:
            raise DatasetError(f"{path}: {kept} dynamic volumes are not left out; flow needs at least {MIN_FRAMES}")
        return LeftOut(frames, source_uri(self._datasets, path)) if frames else None

    def _has(self, spec: StepSpec, choice: Choice | None) -> bool:
        """Whether the plugin that a step is run with has the method that the step needs."""
        return choice is not None and hasattr(self._instance(spec.plugin_of, choice).plugin, spec.needs)

    def _handed_in(self, spec: StepSpec, prefixes: Iterable[str], choice: Choice | None) -> dict[Role, Path]:
        given: dict[Role, Path] = {}
        for role in spec.hand_ins:
            found = (find_handed_in(self._datasets, prefix, role) for prefix in prefixes)
            path = next((path for path in found if path is not None), None)
            if path is not None:
                given[role] = path
        if spec.hand_in_maps and choice is not None:
            for prefix in prefixes:
                given |= find_handed_in_maps(self._datasets, prefix, choice.plugin)
        return given

    def _instance(self, step: str, choice: Choice) -> _Instance:
        """A plugin with the options that the configuration has for it, made once."""
        key = (step, choice.plugin)
        if key not in self._instances:
            configured = {c.plugin: c for c in self._configuration.steps[step]}
            installed = self._registry.get(step, choice.plugin)
            options = resolve_options(installed, configured.get(choice.plugin, choice).options)
            plugin: Any = made(installed, options)
            where = f"{step} plugin {choice.plugin!r}"
            self._instances[key] = _Instance(
                plugin,
                choice.plugin,
                str(plugin.version),
                plain_options(options),
                loaded_files_of(where, plugin),
                where,
            )
        return self._instances[key]


def _of_single_bolus(metadata: Mapping[str, Any], plugin: str, noted: bool, estimated: bool) -> tuple[str, ...]:
    """What an input function from the tissue series means for flow; nothing where that is relative anyway."""
    units = metadata.get("Units", SIGNAL_UNITS)
    if units == RELATIVE_UNITS or plugin == RELATIVE_CONVERTER:
        return ()
    without = "Without an input-function series" if noted else "No input-function series (acq-aif)"
    if units == CONCENTRATION_UNITS:
        so = "whose concentration is taken as it is; if it comes from signal that saturates in blood, flow is too high"
    else:
        so = f"whose blood signal may saturate{'' if estimated else '; flow is then too high'}"
    return (f"{without}: the input function comes from the tissue series, {so}.",)


@dataclasses.dataclass(frozen=True)
class _Instance:
    """A plugin made with its options, and what it says of itself."""

    plugin: Any
    name: str
    version: str
    options: Mapping[str, Any]
    loaded_files: Mapping[str, str]
    where: str

    def described(self, task: Task, shape: tuple[int, ...], most_threads: int) -> Task:
        """The task with the plugin's version, options, files and needs."""
        resources = resources_of(self.where, self.plugin, shape if len(shape) == 4 else (1, 1, 1, 1))
        return dataclasses.replace(
            task,
            plugin=self.name,
            version=self.version,
            options=self.options,
            loaded_files=self.loaded_files,
            threads=max(1, min(resources.threads, most_threads)),
            memory_gb=float(resources.memory_gb),
        )


def _second_echo(series: SeriesInput) -> SecondEcho | None:
    """The other echo of a series; None where it has one, or where its time is not known, which is refused."""
    echo = series.second_echo
    time = None if echo is None else echo.metadata.get("EchoTime")
    return None if echo is None or not is_number(time) else SecondEcho(str(echo.path), float(time), echo.source)


def haematocrit_of(series: SeriesInput, configured: float) -> Haematocrit:
    """Haematocrit of the series, or the configured one. What is no number is refused before anything runs."""
    own = series.metadata.get("Haematocrit")
    return Haematocrit(float(own), "sidecar") if is_number(own) else Haematocrit(configured, "configuration")


def _several(spec: StepSpec) -> bool:
    """Whether several plugins run the step beside each other."""
    owner = STEPS[spec.plugin_of] if spec.plugin_of else spec
    return owner.slot is not None and owner.slot.several


def _key(spec: StepSpec, choice: Choice | None, is_aif: bool) -> StepKey:
    plugin = choice.plugin if choice is not None and _several(spec) else ""
    return StepKey(spec.name, plugin, spec.key_series(is_aif))


def _upstream(
    spec: StepSpec,
    scan: Scan,
    series: SeriesInput,
    plugin: str,
    handed_in: bool,
    nodes: Mapping[StepKey, str],
    tasks: Mapping[str, Task],
) -> dict[str, str]:
    """Nodes that a step reads from."""
    upstream: dict[str, str] = {}
    for read in spec.reads:
        if handed_in and not (spec.reads_when_handed_in or read.witness):
            continue
        if read.only and read.only != scan.acquisition:
            continue
        if read.unless_handed_in and tasks[upstream[read.unless_handed_in]].handed_in:
            continue
        key = _read_key(read, scan, series, plugin)
        if key in nodes or not read.optional:
            upstream[read.name] = nodes[key]
    return upstream


def _read_key(read: Read, scan: Scan, series: SeriesInput, plugin: str) -> StepKey:
    source = STEPS[read.step]
    is_aif = (scan.blood if read.of_blood else series).is_aif
    return StepKey(source.name, plugin if _several(source) else "", source.key_series(is_aif))
