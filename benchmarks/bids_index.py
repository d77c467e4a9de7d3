"""How long a large dataset takes to list, against libraries that index BIDS datasets: a table of docs/data-format.md.

The dataset has two sessions for each participant, each with four perfusion series and four other images, all with
JSON files; the images are empty. Every way runs in a process of its own. Name with ``--python`` an interpreter that
has the libraries to compare with; one that it has not is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.records import Cell, Column, Table, argument_parser, publish

SERIES = [f"task-{task}{acq}_dce" for task in ("rest", "stress") for acq in ("", "_acq-aif")]
FILES = {"perf": SERIES, "anat": ["T1w", "T2w"], "func": ["task-rest_run-1_bold", "task-rest_run-2_bold"]}
SCHEMA = Path(__file__).parents[1] / "bids_spec" / "schema.json"

#: Each defines ``everything()`` and ``one()``, which list the perfusion series of all participants and of one.
WAYS = {
    "qperf_app.bids.index": """
from qperf_app.bids.index import find_series
everything = lambda: find_series(root)
one = lambda: find_series(root, participants=["0007"])
""",
    "with all metadata": """
from qperf_app.bids.index import find_series, sidecar
def everything():
    listings = {}
    return [(series, sidecar(series.path, root, listings)) for series in find_series(root)]
one = lambda: [(series, sidecar(series.path, root)) for series in find_series(root, participants=["0007"])]
""",
    "bids2table, with our schema": """
import bids2table, pyarrow.compute as pc
def select(subjects):
    table = bids2table.index_dataset(root, subjects, schema=schema)
    return table.filter((pc.field("suffix") == "dce") & (pc.field("ext") == ".nii.gz")).to_pylist()
everything = lambda: select(None)
one = lambda: select(["sub-0007"])
""",
    "ancpbids": """
import ancpbids
def select(**entities):
    return ancpbids.BIDSLayout(root).get(suffix="dce", extension=".nii.gz", return_type="filename", **entities)
everything = select
one = lambda: select(sub="0007")
""",
    "pybids, names only": """
from bids.layout import BIDSLayout, BIDSLayoutIndexer
def select(**entities):
    layout = BIDSLayout(root, validate=False, indexer=BIDSLayoutIndexer(validate=False, index_metadata=False))
    return layout.get(suffix="dce", extension=".nii.gz", **entities)
everything = select
one = lambda: select(subject="0007")
""",
}
MEASURE = """
import json, resource, sys, time
root, schema, code = sys.argv[1:]
start = time.perf_counter()
exec(code)
imported = time.perf_counter()
n_one = len(one())
listed_one = time.perf_counter()
n_all = len(everything())
done = time.perf_counter()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([imported - start, done - listed_one, listed_one - imported, memory, n_all, n_one]))
"""


def make_dataset(root: Path, participants: int) -> None:
    """Write the dataset."""
    (root / "dataset_description.json").write_text('{"Name": "Large", "BIDSVersion": "1.11.2"}')
    for number in range(participants):
        for session in ("A", "B"):
            prefix = f"sub-{number:04d}_ses-{session}"
            for datatype, names in FILES.items():
                folder = root.joinpath(*prefix.split("_"), datatype)
                folder.mkdir(parents=True)
                for name in names:
                    (folder / f"{prefix}_{name}.nii.gz").touch()
                    (folder / f"{prefix}_{name}.json").write_text('{"EchoTime": 0.001}')


def measure(python: str, root: Path, code: str) -> tuple[float, ...] | None:
    """Import, all, one (s), memory (MiB) and the numbers of series found; None where a library is not installed."""
    command = [python, "-c", MEASURE, str(root), str(SCHEMA), code]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode == 0:
        return tuple(json.loads(finished.stdout.splitlines()[-1]))
    if "ModuleNotFoundError" in finished.stderr:
        return None
    raise SystemExit(finished.stderr)


def listing(participants: int, interpreters: list[str]) -> Table:
    """Measure every way for which an interpreter has the library."""
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder), participants)
        for name, code in WAYS.items():
            found = (measure(python, Path(folder), code) for python in interpreters)
            figures = next((row for row in found if row is not None), None)
            if figures is None:
                continue
            *times, memory, n_all, n_one = figures
            if (n_all, n_one) != (participants * 2 * len(SERIES), 2 * len(SERIES)):
                raise SystemExit(f"{name} finds {n_all} and {n_one} series")
            rows.append((name, *times, memory))
    seconds = (Column(name, "s", ".2f") for name in ("import", "list all", "list one"))
    return Table(
        "bids-index",
        f"Listing the perfusion series of {participants} participants with two sessions each",
        (Column("library"), *seconds, Column("memory", "MiB", ".0f")),
        tuple(rows),
        f"{participants} participants, 2 sessions; {32 * participants} files, half of them JSON.",
        timed=True,
    )


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--participants", type=int, default=1000)
    parser.add_argument("--python", type=Path, action="append", default=[], help="interpreter with other libraries")
    args = parser.parse_args()
    publish([listing(args.participants, [sys.executable, *map(str, args.python)])], args)


if __name__ == "__main__":
    main()
