"""Blood-pool networks of several sizes, trained alike on the same simulated cases: how small may one be?

After the search of Xue et al. (Magn Reson Med 2020;84:2788, table 1), scaled to two cores: modules and filters, the
two-class network, and the full set of cases beside the small one. The cases are those of a training that was run before
(``qperf train blood-pool``), whose folder is given. ``networks present --weights
WORK/*/blood-pool.npz`` measures them on held-out scans. Run from the root of the repository:
``python -m benchmarks.network_search TRAINED WORK``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import Column, Row, Table, argument_parser, publish

#: Residual modules and filters.
SIZES = ((6, 12), (6, 24), (8, 12), (8, 24), (8, 36))


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("trained", type=Path, help="folder of a training, with its cache of cases")
    parser.add_argument("work", type=Path)
    parser.add_argument("--cases", type=int, default=1500)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    rows: list[Row] = []
    for modules, filters, two_class in (*((m, f, False) for m, f in SIZES), (8, 24, True)):
        card = train(
            args, args.work / f"{modules}x{filters}{'-two-class' if two_class else ''}", modules, filters, two_class
        )
        score = card["figures"]["held-out dice_1"]
        rows.append((modules, filters, 2 if two_class else 3, card["parameters"], score, card["seconds"]))
    columns = (
        *(Column(name, format="d") for name in ("modules", "filters", "classes", "parameters")),
        Column("held-out LV Dice", format=".3f"),
        Column("training", "s", ".0f"),
    )
    title = f"Blood-pool networks of several sizes, {args.cases} cases, {args.epochs} epochs"
    publish([Table("network-search", title, columns, tuple(rows), timed=True)], args, seed=1)


def train(args: argparse.Namespace, folder: Path, modules: int, filters: int, two_class: bool) -> dict[str, Any]:
    """Model card of one training on the given cases."""
    link_cases(args.trained / "cache", folder / "cache", two_class)
    size = ["--modules", str(modules), "--filters", str(filters), *(["--two-class"] if two_class else [])]
    length = ["--epochs", str(args.epochs), "--halve-every", str(max(1, args.epochs // 3))]
    cases = ["--cases", str(args.cases), "--held-out", str(args.held_out), "--seed", "1"]
    program = "import sys; from qperf_app.cli.tools import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "train", "blood-pool", str(folder), *cases, *size, *length]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads((folder / "blood-pool.json").read_text(encoding="utf-8")))


def link_cases(source: Path, target: Path, two_class: bool) -> None:
    """Give a training the cases of another; without right ventricles for two classes."""
    target.mkdir(parents=True, exist_ok=True)
    for given in source.glob("*.raw"):
        path = target / given.name
        path.unlink(missing_ok=True)
        if two_class and path.stem.endswith("classes"):
            classes = np.fromfile(given, np.uint8)
            np.where(classes == 1, classes, 0).astype(np.uint8).tofile(path)
        else:
            path.symlink_to(given.resolve())
    for name in ("train.count", "held.count"):
        (target / name).write_text((source / name).read_text())


if __name__ == "__main__":
    main()
