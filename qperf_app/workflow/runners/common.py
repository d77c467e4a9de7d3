"""What several runners do."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.sidecars import own_uri
from qperf_app.plugins import Series, TissueConstants, TissueCurves
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.plugins.steps import STEPS
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.workflow.outcomes import Outcome
from qperf_app.workflow.saying import context_of
from qperf_app.workflow.tasks import Task, derive_seed, fingerprint

Upstream = Mapping[str, Outcome]

#: Share of blood above which a voxel gives no flow. Blood is then most of its signal, more so at the bolus' peak, and
#: what is left for the muscle has more than twice the noise.
MOST_BLOOD = 0.5


def call_plugin(task: Task, *arguments: Any) -> Any:
    """Call the one method of the task's plugin, with the run's context as last argument; check what it returns."""
    slot, plugin = slot_of(STEPS[_plugin_step(task)]), plugin_of(task)
    subject = arguments[0]
    curves = subject.concentration if isinstance(subject, TissueCurves) else subject.data
    seed = derive_seed(task.seed, fingerprint(curves))
    result = getattr(plugin, slot.method)(*map(_lent, arguments), context_of(task, seed))
    return slot.check(result, subject)


def _lent(argument: Any) -> Any:
    """An argument as a plugin gets it: arrays that it can't write to, metadata of its own.

    What it changed in place would else be taken for what was measured.
    """
    if isinstance(argument, np.ndarray):
        view = argument.view()
        view.flags.writeable = False
        return view
    if isinstance(argument, dict | list):
        return copy.deepcopy(argument)
    if dataclasses.is_dataclass(argument) and not isinstance(argument, type):
        fields = {f.name: _lent(getattr(argument, f.name)) for f in dataclasses.fields(argument)}
        return dataclasses.replace(argument, **fields)
    return argument


def plugin_of(task: Task) -> Plugin:
    """The task's plugin with its options."""
    plugin: Plugin = make(load_plugins(task.disable).get(_plugin_step(task), task.plugin), task.options)
    return plugin


def _plugin_step(task: Task) -> str:
    return task.spec.plugin_of or task.step


def constants_of(task: Task) -> TissueConstants:
    """Haematocrit and density that a task computes with."""
    return TissueConstants(task.haematocrit, task.tissue_density)


def corrected_series(upstream: Upstream) -> Series:
    """The motion-corrected series that a step reads."""
    return records.read_series(upstream["series"].files["preproc"])


def uris(paths: Iterable[Path]) -> tuple[str, ...]:
    """BIDS URIs of files of this dataset, in order."""
    return tuple(sorted(own_uri(path.name) for path in paths))


def sources(task: Task, upstream: Upstream) -> tuple[str, ...]:
    """BIDS URIs of what a step read: what was handed in, the files of the steps before it, or else the raw series."""
    read = uris(path for outcome in upstream.values() for path in outcome.files.values())
    reader = () if task.left_out is None else (task.left_out.source,)
    return (*(task.sources if task.handed_in or not read else ()), *reader, *read)


def frames_left_out(task: Task, upstream: Upstream, series: Series) -> NDArray[np.bool_]:
    """Dynamic frames (z, t) that a reader left out, and that motion correction could not place, where so configured.

    Of the latter none of a slice in which it placed no frame at all: there its frames are as good as one another.
    """
    files, first = upstream["series"].files, series.n_proton_density
    out = np.zeros((series.data.shape[2], series.data.shape[3] - first), bool)
    if task.leave_out_uncorrected and "xfm" in files:
        lost = ~records.read_motion(files["xfm"]).corrected[:, first:]
        out |= lost & ~lost.all(axis=1, keepdims=True)
    if task.left_out is not None:
        out[:, [frame - first for frame in task.left_out.frames if frame >= first]] = True
    return out


def why_left_out(task: Task) -> str:
    """What is said of frames of :func:`frames_left_out`."""
    words = ["could not be corrected"] if task.leave_out_uncorrected or task.left_out is None else []
    return " or ".join([*words, *(["a reader left out"] if task.left_out is not None else [])])
