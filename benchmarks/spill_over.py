"""What taking blood out of the voxels of the wall changes: flow of the whole app against the phantom's truth.

Makes a phantom dataset, runs ``qperf-app`` with each spill-over plugin on the true masks (``--hand-in masks``) or on
those that it finds (``none``), and compares flow with the true map: voxel by voxel in each third of the true wall,
segment by segment, in the ratio of the inner to the outer half of a segment, and by how well defects are told.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.detection import detection
from benchmarks.masks import read_image
from benchmarks.phantom_runs import (
    HAND_INS,
    make_phantom,
    run_app,
    segment_column,
    true_layers,
    true_means,
)
from benchmarks.phantom_segments import SCORES, paired, read_segments, scores
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import covered
from qperf_app.bids.names import LAYERS, ROLES, folder_of, map_name, parse_entities, segments_name
from qperf_app.bids.records import read_mask
from qperf_app.geometry import wall_depth
from qperf_app.plugins import MapKey
from qperf_app.plugins.manager import load_plugins
from qperf_app.plugins.records import VALUE
from qperf_app.plugins.results import INTERVAL
from qperf_app.report.agreement import agreement

Array = NDArray[np.float64]
#: Thirds of the wall from the cavity outwards, and how deep each ends.
THIRDS = {"inner": 1 / 3, "middle": 2 / 3, "outer": 1.0}
#: What the 2CXM's posterior is of.
QUANTITIES = ("MBF", "Fp", "PS", "vp", "ve", "Ta")
#: Estimates of voxels, bounds of its 90 % interval and truth, (n, 4), by task, plugin of kinetics and third.
Voxels = dict[tuple[str, str, str], Array]


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder for the dataset and the outputs; re-used")
    parser.add_argument("--participants", type=int, default=6)
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument(
        "--matrix", type=int, default=128, help="voxels along an edge: 128 are 2.7 to 2.9 mm, 180 are 2"
    )
    parser.add_argument("--hand-in", nargs="+", choices=HAND_INS, default=["masks", "none"])
    parser.add_argument("--spill-over", nargs="+", default=["none", "two-pool"], help="plugins to compare")
    parser.add_argument("--kinetics", nargs="+", default=["nlls"])
    parser.add_argument(
        "--prior", choices=("spatial", "voxel"), default="spatial", help="whether neighbours have a say"
    )
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    raw = make_phantom(args.work / "raw", args.participants, args.seed, args.nprocs, ["--matrix", str(args.matrix)])
    outs = dict(runs(args, raw))
    publish(list(tables(raw / "derivatives" / "truth", raw, outs, args.kinetics)), args)


def runs(args: argparse.Namespace, raw: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    """Outputs by what was handed in and spill-over plugin."""
    for kind, plugin in itertools.product(args.hand_in, args.spill_over):
        out = args.work / f"out-{kind}-{plugin}-{args.prior}"
        if not out.is_dir():
            chosen = ["--spill-over", plugin, "--nprocs", str(args.nprocs), "--config-file", str(configuration(args))]
            run_app(raw, args.work, kind, out, chosen)
        yield (kind, plugin), out


def configuration(args: argparse.Namespace) -> Path:
    """Write the configuration file of the kinetics plugins."""
    path: Path = args.work / f"kinetics-{args.prior}.yaml"
    chosen = [{"plugin": plugin, "options": {"prior": args.prior}} for plugin in args.kinetics]
    path.write_text(yaml.safe_dump({"kinetics": chosen}), "utf-8")
    return path


def tables(truth: Path, raw: Path, outs: Mapping[tuple[str, str], Path], plugins: Sequence[str]) -> Iterator[Table]:
    """Voxels by third of the wall, and segments."""
    weights = ("kinetics",) if "cnn" in plugins else ()
    labels = (Column("handed in"), Column("spill-over"), Column("task"), Column("kinetics"))
    rows = [
        (*key, task, plugin, third, *third_scores(values))
        for key, out in outs.items()
        for (task, plugin, third), values in sorted(read_voxels(truth, out, plugins).items(), key=_in_order)
    ]
    columns = (
        *labels,
        Column("third"),
        Column("voxels with a flow", "%", ".0f"),
        Column("error, median", "%", "+.0f"),
        Column("mean", "%", "+.0f"),
        Column("size of the error, median", "%", ".0f"),
        Column("90th percentile", "%", ".0f"),
        Column("90 % intervals cover", "%", ".0f"),
    )
    title = "Flow of voxels against the phantom's truth, by third of the true wall"
    yield Table("spill-over-thirds", title, columns, tuple(rows), weights=weights)
    rows = []
    for key, out in outs.items():
        ratios = layer_ratios(truth, out)
        for of_pair, pairs in paired(*read_segments(raw, out)).items():
            rows.append((*key, *of_pair, *scores(pairs), *ratios.get(of_pair, (None, None))))
    ratio = Column("endo over epi, error, median", "%", "+.0f"), Column("its size, median", "%", ".0f")
    title = "Flow of AHA segments and ratio of their layers against the phantom's truth"
    yield Table("spill-over-segments", title, (*labels, *SCORES, *ratio), tuple(rows), weights=weights)
    yield tissue_table(truth, outs, weights)
    yield quantities_table(truth, outs, plugins, weights)
    yield detection(truth, outs, plugins, weights)


def quantities_table(
    truth: Path, outs: Mapping[tuple[str, str], Path], plugins: Sequence[str], weights: tuple[str, ...]
) -> Table:
    """How often 90 % intervals of every quantity hold the truth, in tissue that the 2CXM made."""
    rows: list[Row] = []
    for key, out in outs.items():
        found = {q: read_voxels(truth, out, plugins, q, "2CXM") for q in QUANTITIES}
        for of_voxels in sorted(found[QUANTITIES[0]], key=lambda of: (*of[:2], list(THIRDS).index(of[2]))):
            shares = [_covered(found[q].get(of_voxels)) for q in QUANTITIES]
            if any(share is not None for share in shares):
                rows.append((*key, *of_voxels, *shares))
    labels = [Column(name) for name in ("handed in", "spill-over", "task", "kinetics", "third")]
    columns = (*labels, *(Column(f"90 % intervals of {q} cover", "%", ".0f") for q in QUANTITIES))
    title = "Intervals of voxels against the truth of tissue that the 2CXM made"
    return Table("spill-over-quantities", title, columns, tuple(rows), weights=weights)


def _covered(voxels: Array | None) -> float | None:
    """Share of the intervals that hold the truth, %; None where there are none."""
    if voxels is None or not np.isfinite(voxels[:, 1]).any():
        return None
    _, low, high, true = voxels.T
    return covered(low, high, true)


def tissue_table(truth: Path, outs: Mapping[tuple[str, str], Path], weights: tuple[str, ...]) -> Table:
    """Segments by the model that made their tissue: what the kinetic model costs, apart from everything else."""
    rows: list[Row] = []
    for key, out in outs.items():
        for of_tissue, segments in sorted(by_tissue(truth, out).items()):
            true, value, low, high = np.array(segments).T
            found = agreement(true, value)
            width = float(np.nanmedian((high - low) / value)) if np.isfinite(low).any() else None
            cover = covered(low, high, true) if np.isfinite(low).any() else None
            scan = 100 * found.relative_bias, found.icc, cover, None if width is None else 100 * width
            rows.append((*key, *of_tissue, found.n, *scan))
    columns = (
        *(Column(name) for name in ("handed in", "spill-over", "task", "kinetics", "tissue made by")),
        Column("segments", format="d"),
        Column("bias", "%", "+.1f"),
        Column("ICC", format=".3f"),
        Column("90 % intervals cover the truth", "%", ".0f"),
        Column("width of the intervals, median", "% of the flow", ".0f"),
    )
    return Table("spill-over-tissue", "Flow of AHA segments by kind of tissue", columns, tuple(rows), weights=weights)


def by_tissue(truth: Path, out: Path) -> dict[tuple[str, str, str], list[tuple[float, ...]]]:
    """True flow of segments, estimate and bounds of its 90 % interval, by task, plugin and the tissue's true model."""
    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = {}
    for table in sorted(out.rglob(f"*_seg-{LAYERS['transmural']}_desc-*_segments.tsv")):
        entities, prefix = parse_entities(table.name), table.name.split("_seg-")[0]
        true_map = next((truth / folder_of(prefix)).glob(f"{prefix}_model-*_param-MBF_desc-truth_dcemap.nii.gz"))
        key = entities["task"], entities["desc"], parse_entities(true_map.name)["model"]
        columns = [segment_column(table, name) for name in ("MBF", *(f"MBF_{s}" for s in INTERVAL))]
        for segment, flow in true_means(truth, prefix).items():
            found.setdefault(key, []).append((flow, *(column.get(segment, np.nan) for column in columns)))
    return found


def _in_order(item: tuple[tuple[str, str, str], object]) -> tuple[str, str, int]:
    task, plugin, third = item[0]
    return task, plugin, list(THIRDS).index(third)


def third_scores(voxels: Array) -> Row:
    """Share of voxels with a flow, errors and coverage, %, of estimate, bounds and truth (n, 4).

    Errors: median and mean; median and 90th percentile of the size.
    """
    estimate, low, high, truth = voxels.T
    error = 100.0 * (estimate / truth - 1.0)
    size = np.abs(error)
    return (
        100.0 * float(np.isfinite(estimate).mean()),
        float(np.nanmedian(error)),
        float(np.nanmean(error)),
        float(np.nanmedian(size)),
        float(np.nanpercentile(size, 90)),
        covered(low, high, truth) if np.isfinite(low).any() else None,
    )


def read_voxels(truth: Path, out: Path, plugins: Sequence[str], quantity: str = "MBF", made_by: str = "*") -> Voxels:
    """A quantity in the voxels of the true wall, NaN where the app gives none or did not see the wall.

    ``made_by``: the model of the scans' true tissue; by default all scans count.
    """
    models = {p.name: str(p.cls.model) for p in load_plugins().of_step("kinetics")}  # type: ignore[attr-defined]
    found: dict[tuple[str, str, str], list[Array]] = {}
    for path in sorted(truth.rglob(f"*_{ROLES['myocardium']}")):
        prefix = path.name.removesuffix(f"_{ROLES['myocardium']}")
        wall, task = read_mask(path), parse_entities(path.name)["task"]
        true_maps = list(path.parent.glob(f"{prefix}_model-{made_by}_param-{quantity}_desc-truth_dcemap.nii.gz"))
        if not true_maps:
            continue
        true = np.asarray(read_image(true_maps[0]).get_fdata())
        depth = wall_depth(wall, read_image(path).affine)
        for plugin in plugins:
            names = {
                s: map_name(prefix, MapKey(models[plugin], quantity, s or ""), plugin) for s in (*VALUE, *INTERVAL)
            }
            there = {s: out / folder_of(prefix) / name for s, name in names.items()}
            maps = {s: read_image(path).get_fdata() for s, path in there.items() if path.exists()}
            if not maps:
                continue
            value, none = next(maps[s] for s in VALUE if s in maps), np.full(true.shape, np.nan)
            together = np.stack([value, *(maps.get(s, none) for s in INTERVAL), true], axis=-1)
            start = -1.0
            for third, end in THIRDS.items():
                inside = wall & np.isfinite(true) & (depth > start) & (depth <= end)
                start = end
                found.setdefault((task, plugin, third), []).append(together[inside])
    return {key: np.concatenate(parts) for key, parts in found.items()}


def layer_ratios(truth: Path, out: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Error of the ratio of the inner to the outer layer of segments, %: median, and median of its size."""
    errors: dict[tuple[str, str], list[float]] = {}
    for table in sorted(out.rglob(f"*_seg-{LAYERS['transmural']}_desc-*_segments.tsv")):
        entities, prefix = parse_entities(table.name), table.name.split("_seg-")[0]
        plugin, task = entities["desc"], entities["task"]
        layers = [table.with_name(segments_name(prefix, plugin, layer)) for layer in ("endo", "epi")]
        if not all(path.exists() for path in layers):
            continue
        measured = [segment_column(path) for path in layers]
        for segment, (inner, outer) in true_layers(truth, prefix).items():
            values = [m.get(segment, np.nan) for m in measured]
            for group in (task, "both"):
                errors.setdefault((group, plugin), []).append(100.0 * (values[0] / values[1] * outer / inner - 1.0))
    return {key: (float(np.nanmedian(v)), float(np.nanmedian(np.abs(v)))) for key, v in errors.items()}


if __name__ == "__main__":
    main()
