"""Decide, before anything runs, which steps every participant needs, with which plugin, input and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qperf_app.bids.handins import find_handed_in, find_handed_in_maps, source_uri
from qperf_app.bids.names import folder, identifier, label, prefix
from qperf_app.plugins import CONCENTRATION_UNITS, SIGNAL_UNITS
from qperf_app.plugins.manager import PluginRegistry, make
from qperf_app.workflow.configuration import AUTO, KINETICS, Choice, Configuration
from qperf_app.workflow.tasks import INPUT_FUNCTION, SEGMENT_VALUES, SEGMENTS, Task, derive_seed

#: Fields that say a series was made to be quantified; with one of them, the others are asked for as well.
QUANTITATIVE_FIELDS = ("SaturationDelayTime", "ExcitationsToKSpaceCenter", "ProtonDensityVolumeCount")
#: Roles that a step can be replaced with, by step.
HAND_IN_ROLES: Mapping[str, tuple[str, ...]] = {
    "motion-correction": ("preproc", "xfm"),
    "blood-pool": ("lv", "rv", "aif-voxels"),
    INPUT_FUNCTION: ("aif",),
    "concentration": ("conc",),
    "myocardium": ("myocardium", "landmarks"),
    SEGMENTS: ("dseg",),
}


#: Steps that can leave single frames out, for all that follow them.
_FRAME_BY_FRAME = ("concentration", INPUT_FUNCTION)


@dataclasses.dataclass(frozen=True)
class SeriesInput:
    """A raw series: where it is, its metadata with inheritance, its shape from the header."""

    path: Path
    entities: Mapping[str, str]
    metadata: Mapping[str, Any]
    shape: tuple[int, ...]
    source: str

    @property
    def prefix(self) -> str:
        """Start of the names of all that is made of it."""
        return prefix(self.entities)


@dataclasses.dataclass(frozen=True)
class ScanPlan:
    """One tissue series with its input-function series, or a lone input-function series.

    ``nodes`` maps each step (kinetics and segment means with their plugin, ``kinetics:nlls``) to its node.
    """

    label: str
    entities: Mapping[str, str]
    tissue: SeriesInput | None
    aif: SeriesInput | None
    nodes: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def pool_series(self) -> SeriesInput:
        """The series that the blood pools are found in."""
        series = self.aif or self.tissue
        assert series is not None
        return series

    @property
    def main(self) -> SeriesInput:
        """The series whose prefix the scan's results carry."""
        series = self.tissue or self.aif
        assert series is not None
        return series


@dataclasses.dataclass(frozen=True)
class ParticipantPlan:
    """All steps of one participant, in an order in which they can run."""

    participant: str
    scans: tuple[ScanPlan, ...]
    tasks: Mapping[str, Task]


def pair_series(series: Sequence[SeriesInput]) -> list[tuple[SeriesInput | None, SeriesInput | None]]:
    """Pair each tissue series with the input-function series of the same session, task, contrast agent and run."""

    def key(s: SeriesInput) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((k, v) for k, v in s.entities.items() if k != "acq"))

    aifs = {key(s): s for s in series if s.entities.get("acq") == "aif"}
    tissues = [s for s in series if s.entities.get("acq") != "aif"]
    lone = [aif for k, aif in aifs.items() if k not in {key(t) for t in tissues}]
    return [(t, aifs.get(key(t))) for t in tissues] + [(None, aif) for aif in lone]


def choose_concentration(
    tissue: SeriesInput | None, aif: SeriesInput | None, choice: Choice
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Choose the concentration plugin for each series' prefix, and say what the reader must know.

    A series in mmol/L is taken as it is. One whose metadata has a field of :data:`QUANTITATIVE_FIELDS` was made to be
    quantified: ``sr-flash``, which asks for all it needs. Without any of them only relative enhancement is left:
    ``linear``, with a warning.
    """
    series = [s for s in (tissue, aif) if s is not None]
    if choice.plugin != AUTO:
        return {s.prefix: choice.plugin for s in series}, ()
    signals = [s for s in series if s.metadata.get("Units", SIGNAL_UNITS) != CONCENTRATION_UNITS]
    quantitative = any(field in s.metadata for s in signals for field in QUANTITATIVE_FIELDS)
    chosen = {s.prefix: "identity" for s in series} | {
        s.prefix: "sr-flash" if quantitative else "linear" for s in signals
    }
    if quantitative or not signals:
        return chosen, ()
    fields = ", ".join(QUANTITATIVE_FIELDS)
    return chosen, (
        f"None of {fields} is given: concentration is relative (linear in the signal), flow is not absolute.",
    )


class Planner:
    """Makes the tasks of one participant, scan by scan; steps that scans share are made once."""

    def __init__(
        self, configuration: Configuration, registry: PluginRegistry, datasets: Mapping[str, Path], omp_nthreads: int
    ) -> None:
        self._configuration = configuration
        self._registry = registry
        self._datasets = datasets
        self._threads = omp_nthreads
        self._tasks: dict[str, Task] = {}

    def plan(self, participant: str, series: Sequence[SeriesInput]) -> ParticipantPlan:
        """Plan one participant."""
        self._tasks = {}
        scans = tuple(self._scan(tissue, aif) for tissue, aif in pair_series(series))
        return ParticipantPlan(participant, scans, self._tasks)

    def _scan(self, tissue: SeriesInput | None, aif: SeriesInput | None) -> ScanPlan:
        concentration, warnings = choose_concentration(tissue, aif, self._configuration.steps["concentration"][0])
        single = aif is None and tissue is not None
        main = tissue or aif
        assert main is not None
        nodes: dict[str, str] = {}
        pool_series = aif or main
        aif_file = find_handed_in(self._datasets, main.prefix, "aif") or find_handed_in(
            self._datasets, pool_series.prefix, "aif"
        )
        nodes["aif-motion-correction"] = self._motion(pool_series)
        nodes["blood-pool"] = self._plugin_task("blood-pool", pool_series, {"series": nodes["aif-motion-correction"]})
        nodes[INPUT_FUNCTION] = self._input_function(
            main, pool_series, concentration[pool_series.prefix], nodes, str(aif_file or "")
        )
        if tissue is not None:
            self._tissue_steps(tissue, concentration[tissue.prefix], nodes)
        if single and not aif_file:
            warnings += (
                "No input-function series (acq-aif): the input function comes from the tissue series, whose blood "
                "signal may saturate; flow is then too high.",
            )
        entities = {k: v for k, v in main.entities.items() if k != "sub"}
        return ScanPlan(label(main.entities), entities, tissue, aif, nodes, warnings)

    def _tissue_steps(self, tissue: SeriesInput, concentration: str, nodes: dict[str, str]) -> None:
        nodes["motion-correction"] = self._motion(tissue)
        read = {"series": nodes["motion-correction"]}
        nodes["concentration"] = self._plugin_task("concentration", tissue, read, Choice(concentration))
        nodes["myocardium"] = self._plugin_task(
            "myocardium", tissue, {**read, "pools": nodes["blood-pool"], "aif": nodes[INPUT_FUNCTION]}
        )
        nodes[SEGMENTS] = self._host_task(SEGMENTS, tissue, {"myocardium": nodes["myocardium"]})
        for choice in self._configuration.steps[KINETICS]:
            fitted = self._kinetics(tissue, nodes, choice)
            nodes[f"{KINETICS}:{choice.plugin}"] = fitted
            nodes[f"{SEGMENT_VALUES}:{choice.plugin}"] = self._segment_values(tissue, nodes, self._tasks[fitted])

    def _motion(self, series: SeriesInput) -> str:
        return self._plugin_task("motion-correction", series, {}, path=str(series.path))

    def _kinetics(self, tissue: SeriesInput, nodes: Mapping[str, str], choice: Choice) -> str:
        read = {name: nodes[name] for name in ("concentration", "myocardium")} | {"aif": nodes[INPUT_FUNCTION]}
        handed_in = find_handed_in_maps(self._datasets, tissue.prefix, choice.plugin)
        return self._plugin_task(KINETICS, tissue, read, choice, handed_in=handed_in)

    def _segment_values(self, tissue: SeriesInput, nodes: Mapping[str, str], fitted: Task) -> str:
        """The plugin fits the segments' curves with the options it fitted the voxels with; not where maps came in."""
        read = {"segments": nodes[SEGMENTS], "kinetics": fitted.node}
        if not fitted.handed_in:
            read |= {"concentration": nodes["concentration"], "aif": nodes[INPUT_FUNCTION]}
        task = self._task(SEGMENT_VALUES, tissue, read, plugin=fitted.plugin)
        return self._add(
            dataclasses.replace(
                task,
                version=fitted.version,
                options=fitted.options,
                threads=fitted.threads,
                memory_gb=fitted.memory_gb,
            )
        )

    def _input_function(
        self, main: SeriesInput, pool_series: SeriesInput, concentration: str, nodes: Mapping[str, str], handed_in: str
    ) -> str:
        read = {"series": nodes["aif-motion-correction"], "pools": nodes["blood-pool"]}
        choice = Choice(concentration)
        if handed_in:
            return self._host_task(INPUT_FUNCTION, main, {}, handed_in={"aif": handed_in})
        configured = self._configuration.steps["concentration"][0]
        options = configured.options if configured.plugin == concentration else choice.options
        return self._add(
            dataclasses.replace(
                self._task(INPUT_FUNCTION, main, read, plugin=concentration),
                metadata=dict(pool_series.metadata),
                options=self._options("concentration", Choice(concentration, options)),
                version=self._registry.get("concentration", concentration).version,
            )
        )

    def _plugin_task(
        self,
        step: str,
        series: SeriesInput,
        upstream: Mapping[str, str],
        choice: Choice | None = None,
        handed_in: Mapping[str, str] | None = None,
        path: str = "",
    ) -> str:
        configured = {c.plugin: c for c in self._configuration.steps[step]}
        choice = choice or self._configuration.steps[step][0]
        choice = configured.get(choice.plugin, choice)
        plugin = self._registry.get(step, choice.plugin)
        shape = tuple(series.shape) if len(series.shape) == 4 else (1, 1, 1, 1)
        resources = make(plugin, choice.options).resources(shape)
        task = self._task(step, series, upstream, plugin=choice.plugin, handed_in=handed_in)
        return self._add(
            dataclasses.replace(
                task,
                series=path,
                version=plugin.version,
                options=self._options(step, choice),
                threads=max(1, min(resources.threads, self._threads)),
                memory_gb=float(resources.memory_gb),
            )
        )

    def _host_task(
        self,
        step: str,
        series: SeriesInput,
        upstream: Mapping[str, str],
        plugin: str = "",
        handed_in: Mapping[str, str] | None = None,
    ) -> str:
        return self._add(self._task(step, series, upstream, plugin=plugin, handed_in=handed_in))

    def _task(
        self,
        step: str,
        series: SeriesInput,
        upstream: Mapping[str, str],
        plugin: str = "",
        handed_in: Mapping[str, str] | None = None,
    ) -> Task:
        node = identifier("_".join(part for part in (label(series.entities), step, plugin) if part))
        if handed_in is None:
            found = {r: find_handed_in(self._datasets, series.prefix, r) for r in HAND_IN_ROLES.get(step, ())}
            handed_in = {role: str(path) for role, path in found.items() if path is not None}
        handed = tuple(dict.fromkeys(source_uri(self._datasets, Path(path)) for path in handed_in.values()))
        raw = () if handed and step != "motion-correction" else (series.source,)
        return Task(
            node=node,
            step=step,
            prefix=series.prefix,
            plugin=plugin,
            disable=self._configuration.disable,
            seed=derive_seed(self._configuration.random_seed, series.prefix, step, plugin),
            metadata=dict(series.metadata),
            sources=(*handed, *raw),
            handed_in=dict(handed_in),
            upstream=dict(upstream),
            haematocrit=float(series.metadata.get("Haematocrit", self._configuration.haematocrit)),
            tissue_density=self._configuration.tissue_density,
            leave_out_uncorrected=self._configuration.leave_out_uncorrected and step in _FRAME_BY_FRAME,
        )

    def _options(self, step: str, choice: Choice) -> dict[str, Any]:
        from qperf_app.plugins.manager import resolve_options
        from qperf_app.workflow.configuration import plain_options

        return plain_options(resolve_options(self._registry.get(step, choice.plugin), choice.options))

    def _add(self, task: Task) -> str:
        self._tasks.setdefault(task.node, task)
        return task.node


def output_folder(plan: ScanPlan) -> str:
    """Folder of a scan's results below OUT_DIR."""
    return folder(plan.main.entities)
