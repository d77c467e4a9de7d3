"""Parameter maps of the whole app on phantom participants against the truth, voxel by voxel, for every kinetics plugin.

Makes a phantom dataset that nothing was trained or chosen on, hands in the truth's masks and displacement, runs
``qperf-app`` with the plugins, and compares each map with the true one in the voxels of the true mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.masks import read_image
from benchmarks.phantom_runs import HAND_INS, make_phantom, run_app
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import correlation, covered, nmse
from qperf_app.bids.names import ROLES, folder_of, map_name, parse_entities, qc_name
from qperf_app.bids.records import read_mask
from qperf_app.plugins import MapKey

Array = NDArray[np.float64]
#: Quantities whose errors are told, flow first.
QUANTITIES = ("Fp", "PS", "vp", "ve")
#: Code by which ``cnn`` marks a curve unlike those of its training.
OUT_OF_SCOPE = 21
#: Maps of a plugin by quantity and statistic, and the true ones by quantity and no statistic; and its qc codes.
Maps = dict[tuple[str, str | None], Array]


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder for the dataset and the outputs; re-used")
    parser.add_argument("--participants", type=int, default=4)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--kinetics", nargs="+", default=["hmc", "cnn", "nlls"], help="the first is the reference")
    parser.add_argument("--hand-in", choices=HAND_INS, default="masks+motion")
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    raw = make_phantom(args.work / "raw", args.participants, args.seed, args.nprocs)
    out = args.work / f"out-{args.hand_in}"
    if not out.is_dir():
        run_app(raw, args.work, args.hand_in, out, ["--kinetics", *args.kinetics, "--nprocs", str(args.nprocs)])
    publish([comparison(raw / "derivatives" / "truth", out, args.kinetics)], args)


def comparison(truth: Path, out: Path, plugins: Sequence[str]) -> Table:
    """Errors of every plugin, for each task and for both, and in those voxels to which all give a flow."""
    true, codes, found = read_maps(truth, out, plugins)
    tasks = sorted(true)
    rows: list[Row] = []
    groups = [*((task, [task], False) for task in tasks), ("both", tasks, False), ("both, common voxels", tasks, True)]
    for named, members, common in groups:
        flows = {plugin: np.concatenate([_estimate(found[t, plugin], "Fp") for t in members]) for plugin in plugins}
        taken = np.asarray(np.isfinite(list(flows.values())).all(axis=0) | (not common))
        truth_of = {q: np.concatenate([true[t][q, None] for t in members])[taken] for q in QUANTITIES}
        reference = flows[plugins[0]][taken]
        for plugin in plugins:
            estimate = {q: np.concatenate([_estimate(found[t, plugin], q) for t in members])[taken] for q in QUANTITIES}
            flags = np.concatenate([codes[t, plugin] for t in members])[taken] == OUT_OF_SCOPE
            rows.append(
                (
                    named,
                    f"`{plugin}`",
                    *_errors(estimate, truth_of),
                    correlation(estimate["Fp"], reference),
                    _coverage([found[t, plugin] for t in members], truth_of["Fp"], taken),
                    100 * float(flags.mean()),
                )
            )
    columns = (
        Column("task"),
        Column("plugin"),
        Column("voxels with a flow", "%", ".1f"),
        *(Column(f"NMSE {q}", format=".3f") for q in QUANTITIES),
        Column("bias of Fp, mean", "%", "+.1f"),
        Column("flow error, median", "%", ".1f"),
        Column("90th percentile", "%", ".1f"),
        Column(f"r of Fp with `{plugins[0]}`", format=".3f"),
        Column("90 % intervals of Fp cover", "%", ".1f"),
        Column("out of scope", "%", ".1f"),
    )
    count = sum(len(values["Fp", None]) for values in true.values())
    title = "Parameter maps of the whole app on phantom participants, voxel by voxel"
    note = f"{count} voxels of {len(list(truth.glob('sub-*')))} participants."
    weights = ("kinetics",) if "cnn" in plugins else ()
    return Table("voxels", title, columns, tuple(rows), note, weights)


def _errors(estimate: dict[str, Array], truth: dict[str, Array]) -> Row:
    """Percentage of voxels with a flow, NMSE of each quantity where it is given, bias and size of the flow error."""
    known = {q: np.isfinite(estimate[q]) for q in QUANTITIES}
    error = 100 * (estimate["Fp"] / truth["Fp"] - 1.0)
    size = abs(error)
    return (
        100 * float(known["Fp"].mean()),
        *(nmse(estimate[q][known[q]], truth[q][known[q]]) for q in QUANTITIES),
        float(np.nanmean(error)),
        float(np.nanmedian(size)),
        float(np.nanpercentile(size, 90)),
    )


def read_maps(
    truth: Path, out: Path, plugins: Sequence[str]
) -> tuple[dict[str, Maps], dict[tuple[str, str], NDArray[np.uint8]], dict[tuple[str, str], Maps]]:
    """True maps by task, qc codes and maps by task and plugin, in the voxels of the true masks whose truth is known."""
    true: dict[str, list[Maps]] = {}
    codes: dict[tuple[str, str], list[NDArray[np.uint8]]] = {}
    found: dict[tuple[str, str], list[Maps]] = {}
    for path in sorted(truth.rglob(f"*_{ROLES['myocardium']}")):
        prefix = path.name.removesuffix(f"_{ROLES['myocardium']}")
        folder = out / folder_of(path.name)
        if not all((folder / qc_name(prefix, plugin)).exists() for plugin in plugins):
            continue
        task, inside = parse_entities(path.name)["task"], read_mask(path)
        flow = next(path.parent.glob(f"{prefix}_model-*_param-Fp_desc-truth_dcemap.nii.gz"))
        inside &= np.isfinite(read_image(flow).get_fdata())
        true.setdefault(task, []).append(
            {
                (q, None): read_image(flow.parent / flow.name.replace("-Fp_", f"-{q}_")).get_fdata()[inside]
                for q in QUANTITIES
            }
        )
        for plugin in plugins:
            qc = np.asarray(read_image(folder / qc_name(prefix, plugin)).dataobj)[inside]
            codes.setdefault((task, plugin), []).append(qc.astype(np.uint8))
            maps: Maps = {}
            for quantity in QUANTITIES:
                for statistic in (None, "q50", "q05", "q95"):
                    name = folder / map_name(prefix, MapKey("2CXM", quantity, statistic or ""), plugin)
                    if name.exists():
                        maps[quantity, statistic] = read_image(name).get_fdata()[inside]
            found.setdefault((task, plugin), []).append(maps)
    return (
        {task: _joined(parts) for task, parts in true.items()},
        {key: np.concatenate(parts) for key, parts in codes.items()},
        {key: _joined(parts) for key, parts in found.items()},
    )


def _joined(parts: Sequence[Maps]) -> Maps:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _estimate(maps: Maps, quantity: str) -> Array:
    return maps[quantity, "q50"] if (quantity, "q50") in maps else maps[quantity, None]


def _coverage(parts: Sequence[Maps], truth: Array, taken: NDArray[np.bool_]) -> float | None:
    """Percentage of the intervals of flow that hold the truth; None of a plugin without intervals."""
    if ("Fp", "q05") not in parts[0]:
        return None
    low, high = (np.concatenate([part["Fp", s] for part in parts])[taken] for s in ("q05", "q95"))
    return covered(low, high, truth)


if __name__ == "__main__":
    main()
