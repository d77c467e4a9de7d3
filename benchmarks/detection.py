"""How well measured flow tells ischaemic segments of the phantom from others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.phantom_runs import segment_column, true_layers, true_means
from benchmarks.records import Column, Row, Table
from qperf_app.bids.names import LAYERS, parse_entities, segments_name

Array = NDArray[np.float64]
#: True flow under stress below which a segment, or its inner half, is ischaemic, mL/min/g: defects of the phantom have
#: 0.3 to 1.6.
ISCHAEMIC = 1.75
#: What may tell it, in the order of :func:`_segments`.
TOLD_BY = ("stress MBF", "reserve", "stress MBF of the inner half", "endo over epi under stress")


def detection(
    truth: Path, outs: Mapping[tuple[str, str], Path], plugins: Sequence[str], weights: Sequence[str]
) -> Table:
    """Area under the ROC curve for ischaemic segments, and for those whose inner half alone is ischaemic.

    ``outs`` are OUT_DIRs by what was handed in and spill-over plugin.
    """
    rows: list[Row] = []
    for key, out in outs.items():
        for plugin in plugins:
            found = np.array(list(_segments(truth, out, plugin)), dtype=np.float64)
            whole, inner = (found[:, k] < ISCHAEMIC for k in (0, 1))
            for kind, ill, others in (("whole wall", whole, ~whole & ~inner), ("inner half", inner & ~whole, ~inner)):
                for k, name in enumerate(TOLD_BY, start=2):
                    known = np.isfinite(found[:, k]) & (ill | others)
                    counts = int((ill & known).sum()), int((others & known).sum())
                    rows.append((*key, f"`{plugin}`", kind, name, *counts, area_under_roc(found[known, k], ill[known])))
    columns = (
        Column("handed in"),
        Column("spill-over"),
        Column("kinetics"),
        Column("ischaemic"),
        Column("told by"),
        Column("ischaemic segments", format="d"),
        Column("others", format="d"),
        Column("area under the ROC curve", format=".3f"),
    )
    note = f"Ischaemic: true flow under stress below {ISCHAEMIC} mL/min/g."
    return Table("detection", "Ischaemic segments told from others", columns, tuple(rows), note, tuple(weights))


def _segments(truth: Path, out: Path, plugin: str) -> Iterator[tuple[float, ...]]:
    """Of every segment under stress: true flow of the whole wall and its inner half, and what TOLD_BY names."""
    for path in sorted(out.rglob(f"*_seg-{LAYERS['transmural']}_desc-{plugin}_segments.tsv")):
        if parse_entities(path.name)["task"] != "stress":
            continue
        prefix = path.name.split("_seg-")[0]
        stress, endo, epi = (segment_column(path.with_name(segments_name(prefix, plugin, layer))) for layer in LAYERS)
        at_rest = path.with_name(segments_name(prefix.replace("task-stress", "task-rest"), plugin, "transmural"))
        rest = segment_column(at_rest) if at_rest.exists() else {}
        layers = true_layers(truth, prefix)
        for segment, true in true_means(truth, prefix).items():
            flow, inner, outer, before = (values.get(segment, np.nan) for values in (stress, endo, epi, rest))
            yield true, layers[segment][0], flow, flow / before, inner, inner / outer


def area_under_roc(values: Array, ill: NDArray[np.bool_]) -> float | None:
    """Probability that one of the ill has the lower value (Mann-Whitney); None where there are none."""
    from scipy.stats import mannwhitneyu

    if not ill.any() or ill.all():
        return None
    count = float(ill.sum()) * float((~ill).sum())
    return 1.0 - float(mannwhitneyu(values[ill], values[~ill]).statistic) / count
