"""The host's own last steps: divide the myocardium into AHA segments, and summarise the maps over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.images import read_image, read_json, sidecar_path, write_image
from qperf_app.bids.names import derivative_name, parse_entities
from qperf_app.bids.segment_tables import write_segments
from qperf_app.bids.sidecars import describe_image, own_uri
from qperf_app.bids.tables import write_table
from qperf_app.plugins import SegmentRow, SegmentTable
from qperf_app.workflow.tasks import Outcome, Task

Upstream = Mapping[str, Outcome]
Result = tuple[str, dict[str, Path], dict[str, Any]]


def divide(task: Task, upstream: Upstream, out: Path) -> Result:
    """Label the myocardium's voxels with their AHA segments."""
    from qperf_app.geometry.segments import SEGMENT_NAMES, label_segments

    warnings: tuple[str, ...] = ()
    if "dseg" in task.handed_in:
        labels, affine = read_image(Path(task.handed_in["dseg"]), np.uint8)
        state, sources = "handed-in", task.sources
    else:
        files = upstream["myocardium"].files
        mask, (_, affine) = records.read_mask(files["myocardium"]), read_image(files["myocardium"])
        landmarks = records.read_landmarks(files["landmarks"]) if "landmarks" in files else ()
        found = label_segments(mask, affine, landmarks)
        labels, warnings, state = found.labels, found.warnings, "done"
        sources = tuple(own_uri(path.name) for path in files.values())
    if not labels.any():
        return "not-found", {}, {"reason": "; ".join(warnings) or "no voxel lies in a segment"}
    path = out / derivative_name(task.prefix, "dseg")
    write_image(path, labels.astype(np.uint8), affine, describe_image("AHA segments", "1", sources))
    present = [int(k) for k in np.unique(labels) if k]
    write_table(path.with_name(path.name.replace(".nii.gz", ".tsv")), ("index", "name"),
                [(k, SEGMENT_NAMES[k]) for k in present], {})  # fmt: skip
    sentences = tuple(f"{w[0].upper()}{w[1:]}." for w in warnings)
    return state, {"dseg": path}, {"warnings": sentences, "summary": f"{len(present)} segments"}


def summarise(task: Task, upstream: Upstream, out: Path) -> Result:
    """Summarise every map of one kinetics plugin over the segments and their layers."""
    labels, affine = read_image(upstream["segments"].files["dseg"], np.uint8)
    maps, units, model = _read_maps(upstream["kinetics"].files)
    table = segment_medians(task.plugin, model, maps, units, labels, affine)
    sources = [own_uri(path.name) for outcome in upstream.values() for path in outcome.files.values()]
    files = write_segments(out, task.prefix, table, sorted(sources))
    return "done", dict(files), {"summary": f"{len({row.segment for row in table.rows})} segments"}


def segment_medians(
    plugin: str,
    model: str,
    maps: Mapping[str, NDArray[np.floating]],
    units: Mapping[str, str],
    labels: NDArray[np.integer],
    affine: NDArray[np.float64],
) -> SegmentTable:
    """Median of every quantity over each segment, transmural and by layer; voxels without an estimate are left out.

    The median, since voxels at the wall's borders share their volume with blood, whose concentration is ten times that
    of muscle: few of them, with flows far too high, would decide a mean.

    Parameters
    ----------
    maps, units
        (x, y, z) values and their unit by quantity.
    labels : (x, y, z) integer array
        AHA segment of each voxel, 0 for none.

    Returns
    -------
    SegmentTable
        ``n_estimated`` counts the voxels that have the first quantity.
    """
    from qperf_app.geometry.segments import SEGMENT_NAMES, label_layers

    layers = label_layers(labels > 0, affine)
    first = next(iter(maps))
    rows = []
    for layer, where in (("transmural", labels > 0), ("endo", layers == 1), ("epi", layers == 2)):
        for segment in np.unique(labels[labels > 0]).tolist():
            inside = where & (labels == segment)
            values = {quantity: _median(data[inside]) for quantity, data in maps.items()}
            estimated = int(np.isfinite(maps[first][inside]).sum())
            name = SEGMENT_NAMES[segment]
            rows.append(SegmentRow(segment, name, layer, int(inside.sum()), estimated, values))
    return SegmentTable(plugin, model, tuple(rows), dict(units))


def _read_maps(files: Mapping[str, Path]) -> tuple[dict[str, NDArray[np.floating]], dict[str, str], str]:
    """Point estimates or posterior means by quantity, MBF first."""
    chosen: dict[str, Path] = {}
    model = ""
    for path in files.values():
        entities = parse_entities(path.name)
        if "param" in entities and entities.get("stat", "mean") == "mean":
            chosen[entities["param"]] = path
            model = entities["model"]
    quantities = sorted(chosen, key=lambda q: (q != "MBF", q))
    maps = {q: read_image(chosen[q])[0] for q in quantities}
    units = {q: str(read_json(sidecar_path(chosen[q])).get("Units", "")) for q in quantities}
    return maps, units, model


def _median(values: NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.median(finite)) if finite.size else float("nan")
