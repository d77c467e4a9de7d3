"""What a step is. Planner, graph, hand-ins, flags, help, configuration, conformance and docs derive from it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.keys import Acquisition

#: Characters that a plugin's name may have; where it becomes a BIDS label, letters and digits only.
NAME, BIDS_LABEL = "[A-Za-z0-9]+(-[A-Za-z0-9]+)*", "[A-Za-z0-9]+"


class RunsOn(Enum):
    """Which series of a scan a step runs on."""

    EACH = "each series of the scan"
    BLOOD = "the input-function or prebolus series, or the tissue series where there is no other"
    SCAN = "the scan: results carry the tissue series' name, or the input-function series' where it is alone"
    TISSUE = "the tissue series"
    ALONE = "the tissue series that has no series of its own for the input function"


class FileKind(Enum):
    """What a file holds, which decides how one that is handed in is checked."""

    SERIES = "series (x, y, z, t) on the grid of the raw one, all its volumes"
    DISPLACEMENT = "displacement (x, y, z, t, 3)"
    CONCENTRATION = "series (x, y, z, t), of any number of volumes"
    MASK = "mask (x, y, z), not empty"
    MAYBE_EMPTY_MASK = "mask (x, y, z)"
    LABELS = "integer labels (x, y, z)"
    FRACTION = "map (x, y, z) of a share of the voxel"
    POINTS = "table of points, mm"
    CURVE = "table of a curve over time"


@dataclass(frozen=True)
class DerivativeFile:
    """A file of the contract: what stands behind the series' prefix in its name, and what it holds."""

    ending: str
    kind: FileKind


@dataclass(frozen=True)
class Read:
    """A result that a step reads.

    Parameters
    ----------
    name : str
        Under which the runner finds it.
    step : str
        Whose result it is. Of a step with several plugins: the result of the same plugin.
    of_blood : bool
        Of a step that runs on each series: the result for the series that the blood pools are found in.
    optional : bool
        The step can do without.
    unless_handed_in : str
        Name of another result; where that one was handed in, this one is not read.
    only : str
        Acquisition whose scans alone need it; empty: all.
    witness : bool
        What is handed in for the step is held against it: it is read then too, and the step can do without.
    """

    name: str
    step: str
    of_blood: bool = False
    optional: bool = False
    unless_handed_in: str = ""
    only: Acquisition | Literal[""] = ""
    witness: bool = False


#: Chooses a plugin for each series from its metadata; returns their names and what the reader must know.
Chooser = Callable[[Sequence[Mapping[str, Any]]], tuple[list[str], tuple[str, ...]]]

#: Name that stands for "chosen by the metadata of the series".
AUTO = "auto"


@dataclass(frozen=True)
class Slot:
    """What a plugin of a step must be.

    Parameters
    ----------
    hook : str
        Hook that returns the class or classes.
    interface : type
        Base class; a plugin need not derive from it.
    method : str
        The one method of the step.
    check : function
        Checks a result against the method's first argument and returns it, or raises
        :class:`~qperf_app.plugins.checks.PluginResultError`.
    default : tuple of str
        Plugins that run where none is named; (:data:`AUTO`,) for :attr:`choose`.
    since : int
        API version in which the interface last changed so that an older plugin no longer fits.
    several : bool
        Several plugins may run beside each other; results are then known by plugin, whose name is a BIDS label.
    attributes : tuple of str
        Text attributes beside those that every plugin has.
    choose : function, optional
        Chooses the plugin by the series' metadata.
    without_fields : str
        What can be said where a plugin misses fields: which one does without, and what is lost.
    phrase : str
        Sentence of the methods paragraph, ``{}`` for the plugin; empty: none.
    """

    hook: str
    interface: type[Plugin]
    method: str
    check: Callable[[Any, Any], Any]
    default: tuple[str, ...] = ()
    since: int = 1
    several: bool = False
    attributes: tuple[str, ...] = ()
    choose: Chooser | None = None
    without_fields: str = ""
    phrase: str = ""

    @property
    def pattern(self) -> str:
        """Regular expression of a plugin's name."""
        return BIDS_LABEL if self.several else NAME


@dataclass(frozen=True)
class StepSpec:
    """One step, declared once.

    Parameters
    ----------
    name : str
        In flags, configuration, status and report.
    summary : str
        What it does, as in "plugin for …" of the help.
    slot : Slot or None
        What a plugin of it must be; None for a step of the host.
    plugin_of : str
        Of a host's step that is run with another step's plugin: that step.
    needs : str
        Method, beyond its own step's, that this plugin must have; with one that lacks it the step is not planned.
    on : RunsOn
    reads : tuple of Read
    files : mapping of str to DerivativeFile
        Files that it leaves, by role, beside parameter maps.
    hand_ins : tuple of str
        Roles of files that a derivative dataset may hold instead.
    only_handed_in : bool
        The app finds nothing of it by itself: without a file that is handed in it is not planned.
    hand_in_maps : bool
        Parameter maps may be handed in, by plugin.
    reads_when_handed_in : bool
        It reads its inputs although a file was handed in, since that may be only a part of its result.
    reads_raw : bool
        It reads the raw series.
    leaves_out_frames : bool
        It can leave out frames that motion correction could not place, for all steps that follow.
    runner : str
        ``module:function`` that reads records, calls the plugin and writes files; empty for a step outside the
        workflow. It takes the task, the outcomes that it reads and a folder, and returns a
        :class:`~qperf_app.workflow.outcomes.StepResult`.
    """

    name: str
    summary: str
    slot: Slot | None = None
    plugin_of: str = ""
    needs: str = ""
    on: RunsOn = RunsOn.TISSUE
    reads: tuple[Read, ...] = ()
    files: Mapping[str, DerivativeFile] = field(default_factory=dict)
    hand_ins: tuple[str, ...] = ()
    only_handed_in: bool = False
    hand_in_maps: bool = False
    reads_when_handed_in: bool = False
    reads_raw: bool = False
    leaves_out_frames: bool = False
    runner: str = ""

    def load_runner(self) -> Callable[..., Any]:
        """Import the runner."""
        module, _, name = self.runner.partition(":")
        runner: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return runner

    def key_series(self, is_aif: bool) -> Literal["", "aif"]:
        """Part of a step's key that says which series it runs on, where that needs saying."""
        return "aif" if is_aif and self.on is RunsOn.EACH else ""


def slot_of(spec: StepSpec) -> Slot:
    """The slot of a step that has one.

    Raises
    ------
    LookupError
        For a step of the host.
    """
    if spec.slot is None:
        raise LookupError(f"{spec.name} is a step of the host: it has no plugins")
    return spec.slot
