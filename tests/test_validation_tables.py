"""Tables of the documentation are what the records of the benchmarks say, of the weights that are shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import bids_index, records, tables
from benchmarks.records import RESULTS, Column, Machine, Record, Table

PAGES = tables.pages()
VALIDATION = [page for page in PAGES if page.stem.startswith("validation")]
#: Most words of the validation pages, their tables left out.
MOST_WORDS = 10_000
RECORD = Record(
    Table("example", "An example", (Column("method"), Column("error", "%", "{:.1f} ({:.1f})")), (("a", (1.25, None)),)),
    command="python -m benchmarks.example",
    commit="0123456789",
    measured="2026-01-02",
    machine=Machine("a processor", 2, "Linux", "3.12.1", {"numpy": "2.0"}),
    settings={"count": 3},
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_its_records_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.rendered(text) == text, f"{page.name} is not what its records say: make validation-tables"


def test_records_are_of_the_shipped_weights() -> None:
    shipped, named = records.shipped_weights(), set()
    for path in sorted(RESULTS.glob("*.json")):
        for name, digest in Record.read(path).weights.items():
            assert digest == shipped.get(name), (
                f"{path.name} is of other weights {name!r} than the shipped: measure it anew"
            )
            named.add(name)
    assert named == set(shipped)


def test_every_record_names_its_benchmark_and_nothing_of_a_machine() -> None:
    paths = sorted(RESULTS.glob("*.json"))
    assert paths
    for path in paths:
        record = Record.read(path)
        module = re.fullmatch(r"(?:\w+=\S+ )*python -m (benchmarks\.\w+)( .*)?", record.command)
        assert module and find_spec(module[1]), f"{path.name}: {record.command}"
        assert not re.search(r"(?<!\w)/\w+/", path.read_text().replace("docs/results/", "")), path.name


def test_every_record_was_measured_at_a_commit_of_this_history() -> None:
    git = ["git", "-C", str(records.ROOT)]
    shallow = subprocess.run(
        [*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True, check=False
    )
    if shallow.stdout.strip() != "false":
        pytest.skip("no git history to look into")
    for path in sorted(RESULTS.glob("*.json")):
        commit = Record.read(path).commit
        ancestor = subprocess.run(
            [*git, "merge-base", "--is-ancestor", commit, "HEAD"], capture_output=True, check=False
        )
        assert ancestor.returncode == 0, f"{path.name}: {commit}"


def test_no_validation_page_has_a_table_of_figures_that_no_benchmark_made() -> None:
    by_hand = [(page.name, row) for page in VALIDATION for row in figures_by_hand(page.read_text(encoding="utf-8"))]
    assert not by_hand


def test_figures_written_by_hand_are_found() -> None:
    recorded = "<!-- table: example -->\n| a | 1.0 |\n<!-- end -->\n"
    words = "| step | plugin |\n| --- | ---: |\n| 1 | `nlls` of 2 |\n"
    assert list(figures_by_hand(f"{words}{recorded}| b | **+0.5** |\n")) == ["| b | **+0.5** |"]


def figures_by_hand(text: str) -> Iterator[str]:
    """Rows of tables outside the markers with a cell, beside the first, that begins with a number."""
    for line in tables.BLOCK.sub("", text).splitlines():
        cells = [cell.strip(" *") for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and any(re.match(r"[-+~<>]?\d", cell) for cell in cells[1:]):
            yield line


def test_the_validation_pages_stay_short() -> None:
    texts = (tables.BLOCK.sub("", page.read_text(encoding="utf-8")) for page in VALIDATION)
    assert sum(len(text.split()) for text in texts) <= MOST_WORDS


def test_no_table_is_shown_twice() -> None:
    shown = [name for page in PAGES for name, _ in tables.BLOCK.findall(page.read_text(encoding="utf-8"))]
    assert shown and len(set(shown)) == len(shown)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Record.read(RECORD.write(tmp_path)) == RECORD


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda content: content.pop("machine"), "machine"),
        (lambda content: content.update(extra=1), "extra"),
        (lambda content: content["table"]["rows"].append(["one cell"]), "row 1"),
        (lambda content: content.update(weights={"kinetics": "0"}), "weights"),
        (lambda content: content["table"].update(name="another"), "another"),
    ],
)
def test_a_broken_record_is_named(tmp_path: Path, change: object, named: str) -> None:
    path = RECORD.write(tmp_path)
    content = json.loads(path.read_text())
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"example.json.*{named}"):
        Record.read(path)


def test_markdown_shows_figures_units_and_what_is_missing() -> None:
    columns = (Column("method"), Column("error", "%", "+.1f"), Column("ratio", format="{:.2f} ({:.2f} to {:.2f})"))
    table = Table("example", "", columns, (("a", 1.25, (1, 0.5, 2)), ("b", None, (None, None, None))), "Two methods.")
    assert tables.markdown(table).splitlines() == [
        "| method | error, % | ratio |",
        "| --- | ---: | ---: |",
        "| a | +1.2 | 1.00 (0.50 to 2.00) |",
        "| b |  |  |",
        "",
        "Two methods.",
    ]


def test_a_page_with_a_broken_marker_or_no_record_is_refused(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    page = "Before.\n\n<!-- table: example -->\nold\n<!-- end -->\n\nAfter.\n"
    shown = tables.rendered(page, tmp_path)
    assert shown == tables.rendered(shown, tmp_path) and "old" not in shown and "1.2 (nan)" in shown
    with pytest.raises(ValueError, match="no end"):
        tables.rendered(page.replace("<!-- end -->", ""), tmp_path)
    with pytest.raises(ValueError, match=r"other\.json"):
        tables.rendered(page.replace("example", "other"), tmp_path)


def test_times_say_what_ran_beside_them() -> None:
    timed = replace(RECORD, beside="nothing else")
    assert "timed beside: nothing else" in tables.block(timed) and "beside" not in tables.block(RECORD)


def test_a_benchmark_writes_a_record_that_a_page_can_show(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.bids_index", "--participants", "8", "--variant", "small"]
    # Threads that are set for the run are part of its command.
    free = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    command += ["--record", "--results", str(tmp_path)]
    subprocess.run(command, cwd=records.ROOT, check=True, capture_output=True, env=free)
    record = Record.read(tmp_path / "bids-index-small.json")
    assert record.command == "python -m benchmarks.bids_index --participants 8"
    assert record.settings == {"participants": 8, "python": []} and record.beside.startswith("load ")
    assert record.machine.packages["numpy"] and record.table.rows[0][0] == next(iter(bids_index.WAYS))
    page = f"<!-- table: {record.table.name} -->\n<!-- end -->\n"
    assert "| qperf_app.bids.index |" in tables.rendered(page, tmp_path)


def test_paths_of_a_command_are_told_by_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = records.argument_parser("")
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, nargs="*")
    words = [
        str(tmp_path),
        "--weights",
        str(tmp_path / "a.npz"),
        "--record",
        "--results",
        str(tmp_path),
        "--beside",
        "b c",
    ]
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    records.publish([RECORD.table], parser.parse_args(words), seed=5)
    record = Record.read(tmp_path / "example.json")
    assert record.command.endswith(" DATA --weights WEIGHTS/a.npz") and record.seed == 5
    assert record.settings == {"data": "DATA", "weights": ["WEIGHTS/a.npz"]}
