"""What a benchmark measured, and everything that the figures depend on: written as JSON, read back, shown as a table.

A benchmark computes :class:`Table` objects and hands them to :func:`publish`, which prints them and, with ``--record``,
writes each with its commit, weights, machine and command as a :class:`Record` into ``docs/results/NAME.json``.
:mod:`benchmarks.tables` puts records into the pages of the documentation.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qperf_app.plugins.interface import Plugin

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
#: Packages whose versions a record keeps.
PACKAGES = ("numpy", "scipy", "tensorflow", "keras", "tensorflow-probability", "nipype", "nibabel", "scikit-image")
#: Options that say what becomes of the figures, and not how they are measured.
_OUTPUT = ("record", "results", "variant", "beside")
#: Variables of the environment that a command's line keeps where they are set: threads decide over times.
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")

Figure = str | int | float | None
#: A figure, or several that a column shows together, such as a median with its quartiles; None where there is none.
Cell = Figure | tuple[Figure, ...]
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes
    ----------
    name : str
    unit : str
        "" for text and for numbers without one.
    format : str
        Format specification of one figure (``.2f``), or a template for several (``{:.2f} ({:.2f} to {:.2f})``);
        "" for text.
    shown : bool
        Whether the documentation shows it; a record has it in any case.
    """

    name: str
    unit: str = ""
    format: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Table:
    """Figures that a benchmark computed.

    Attributes
    ----------
    name : str
        Of the record and its file.
    title : str
    columns : tuple of Column
    rows : tuple of tuple
        A cell for each column.
    note : str
        What the table counts, in a sentence.
    weights : tuple of str
        Shipped weights that the figures depend on, by the names of their files without the suffix. Times and memory
        depend on a network's architecture, not on its weights.
    timed : bool
        Whether it has times, which depend on what else the machine did.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    weights: tuple[str, ...] = ()
    timed: bool = False


@dataclass(frozen=True)
class Machine:
    """What the figures were computed on; nothing that identifies it."""

    processor: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Record:
    """A table with what it depends on.

    Attributes
    ----------
    command : str
        With folders by what they hold (``DATA``, ``WORK``).
    commit : str
        Abbreviated; ends in ``-dirty`` where the working tree differed from it.
    measured : str
        Date, ISO 8601.
    weights : dict
        SHA-256 of each shipped file of weights that the figures depend on.
    beside : str
        What else the machine did meanwhile; "" for a table without times.
    seed : int or None
    settings : dict
        Options of the command, defaults included.
    """

    table: Table
    command: str
    commit: str
    measured: str
    machine: Machine
    weights: dict[str, str] = field(default_factory=dict)
    beside: str = ""
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write ``folder/NAME.json``, a line for each column and row."""
        content = dataclasses.asdict(self)
        table = content["table"]
        parts = {key: table.pop(key) for key in ("columns", "rows")}
        parts["columns"] = [{k: v for k, v in each.items() if k != "shown" or not v} for each in parts["columns"]]
        lists = ",\n".join(
            f'  "{key}": [\n' + ",\n".join(f"   {json.dumps(each, ensure_ascii=False)}" for each in part) + "\n  ]"
            for key, part in parts.items()
        )
        head, brace, tail = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).partition('"table": {\n')
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.table.name}.json"
        path.write_text(f"{head}{brace}{lists},\n{tail}\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record.

        Raises
        ------
        ValueError
            If a field is missing or unknown, a row does not fit the columns, or the file has another record's name.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            table = content.pop("table")
            columns = tuple(Column(**column) for column in table.pop("columns"))
            rows = tuple(tuple(tuple(c) if isinstance(c, list) else c for c in row) for row in table.pop("rows"))
            weights = tuple(table.pop("weights"))
            made = Table(columns=columns, rows=rows, weights=weights, **table)
            record = cls(table=made, machine=Machine(**content.pop("machine")), **content)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path.name}: no record of a benchmark: {error}") from error
        if made.name != path.stem:
            raise ValueError(f"{path.name}: holds the record {made.name!r}")
        if bad := [number for number, row in enumerate(rows) if len(row) != len(columns)]:
            raise ValueError(f"{path.name}: row {bad[0]} has not one cell for each of {len(columns)} columns")
        if set(record.weights) != set(weights):
            raise ValueError(f"{path.name}: weights that took part and digests differ")
        return record


def weights_of(*plugins: Plugin) -> tuple[str, ...]:
    """Shipped weights that plugins read, as a :class:`Table` names them."""
    return tuple(sorted({Path(name).stem for plugin in plugins for name in plugin.loaded_files()}))


def shipped_weights() -> dict[str, str]:
    """SHA-256 of every file of weights that the plugins ship, by name without the suffix."""
    paths = sorted((ROOT / "plugins").glob("*/weights/*.npz"))
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    processor = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = (line.partition(":") for line in cpu.read_text().splitlines())
        processor = next((value.strip() for key, _, value in lines if key.strip() == "model name"), processor)
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(processor, os.cpu_count() or 1, platform.system(), platform.python_version(), packages)


def commit() -> str:
    """Abbreviated commit of the working tree; ``-dirty`` where code differs from it, "unknown" outside a repository."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    code = [*git, "status", "--porcelain", "--", ".", ":!docs"]
    changed = subprocess.run(code, capture_output=True, text=True, check=False).stdout.strip()
    return head.stdout.strip() + ("-dirty" if changed else "")


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Parser of a benchmark, with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group("what becomes of the figures")
    group.add_argument("--record", action="store_true", help="write records, as docs/results/NAME.json")
    group.add_argument("--results", type=Path, default=RESULTS, help="another folder for the records")
    group.add_argument("--variant", default="", help="appended to the records' names: the same with other options")
    group.add_argument("--beside", default="", help="what else the machine does meanwhile (default: its load)")
    return parser


def publish(tables: Iterable[Table], args: argparse.Namespace, seed: int | None = None) -> None:
    """Print tables as they come; with ``--record`` write each as a record.

    Parameters
    ----------
    tables : iterable of Table
    args : argparse.Namespace
        From :func:`argument_parser`.
    seed : int, optional
        Where the command has no ``--seed``.
    """
    from benchmarks.tables import markdown

    beside = args.beside or f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the start"
    given = {key: value for key, value in vars(args).items() if key not in _OUTPUT}
    for computed in tables:
        table = dataclasses.replace(
            computed,
            name="-".join(filter(None, (computed.name, args.variant))),
            rows=tuple(tuple(_plain(cell) for cell in row) for row in computed.rows),
        )
        print(f"{table.title}\n\n{markdown(table)}\n", flush=True)
        if not args.record:
            continue
        digests = shipped_weights()
        Record(
            table=table,
            command=_command(given),
            commit=commit(),
            measured=date.today().isoformat(),
            machine=this_machine(),
            weights={name: digests[name] for name in table.weights},
            beside=beside if table.timed else "",
            seed=given.get("seed", seed),
            settings={key: _setting(key, value) for key, value in given.items()},
        ).write(args.results)


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: six significant digits, None for what is no number."""
    if isinstance(cell, tuple | list):
        return tuple(_plain(each) for each in cell)
    if cell is None or isinstance(cell, str):
        return cell
    if float(cell).is_integer() and not isinstance(cell, float):
        return int(cell)
    return float(f"{float(cell):.6g}") if math.isfinite(float(cell)) else None


def _command(given: Mapping[str, Any]) -> str:
    """The command line, folders and files by what they are for."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    words, skip = [], False
    paths = {str(each): _setting(key, each) for key, value in given.items() for each in _listed(value)}
    for word in sys.argv[1:]:
        if skip or word == "--record":
            skip = False
        elif word in (f"--{name}" for name in _OUTPUT):
            skip = True
        else:
            words.append(str(paths.get(word, word)))
    threads = (f"{name}={os.environ[name]}" for name in _THREADS if name in os.environ)
    return " ".join([*threads, "python", "-m", spec.name if spec else "benchmarks", *words])


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _setting(key: str, value: Any) -> Any:
    """An option's value, without a path of this machine."""
    if isinstance(value, Path):
        return f"{key.upper()}/{value.name}" if value.suffix else key.upper()
    return [_setting(key, each) for each in value] if isinstance(value, list | tuple) else value
