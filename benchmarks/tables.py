"""Tables of the documentation, from the records of the benchmarks.

A page has ``<!-- table: NAME -->`` where the table of ``docs/results/NAME.json`` stands, and ``<!-- end -->`` after it.
``python -m benchmarks.tables`` (``make validation-tables``) writes all that lies between anew; with ``--check`` it only
says which pages differ, and exits 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.records import RESULTS, ROOT, Cell, Column, Record, Table

BLOCK = re.compile(r"<!-- table: (?P<name>\S+) -->\n(?P<shown>.*?)<!-- end -->", re.DOTALL)


def pages() -> list[Path]:
    """Pages that may have tables."""
    return sorted((ROOT / "docs").glob("*.md"))


def markdown(table: Table) -> str:
    """A table in Markdown, its note below."""
    columns = [column for column in table.columns if column.shown]
    head = [_line(f"{column.name}, {column.unit}" if column.unit else column.name for column in columns)]
    rule = [_line("---:" if column.format else "---" for column in columns)]
    rows = [
        _line(shown(column, cell) for column, cell in zip(table.columns, row, strict=True) if column.shown)
        for row in table.rows
    ]
    return "\n".join([*head, *rule, *rows, *(("", table.note) if table.note else ())])


def shown(column: Column, cell: Cell) -> str:
    """A cell as the column shows it; nothing where there is no figure."""
    if cell is None or (isinstance(cell, tuple) and set(cell) <= {None}):
        return ""
    if isinstance(cell, str) or not column.format:
        return str(cell)
    if isinstance(cell, tuple):
        return column.format.format(*(float("nan") if part is None else part for part in cell))
    return format(cell, column.format)


def block(record: Record) -> str:
    """What stands between the markers: the table, and where its figures come from."""
    source = f"`{record.command}`, {record.measured}, {record.commit}"
    beside = f"; timed beside: {record.beside}" if record.beside else ""
    return f"\n{markdown(record.table)}\n\n({source}{beside})\n\n"


def rendered(text: str, results: Path = RESULTS) -> str:
    """A page with all its tables as the records have them.

    Raises
    ------
    ValueError
        If a record is missing or broken, or a marker has no end.
    """

    def replace(found: re.Match[str]) -> str:
        path = results / f"{found['name']}.json"
        if not path.is_file():
            raise ValueError(f"{path.name}: no such record")
        return f"<!-- table: {found['name']} -->\n{block(Record.read(path))}<!-- end -->"

    if text.count("<!-- table:") != len(BLOCK.findall(text)) or text.count("<!-- end -->") != text.count("<!-- table:"):
        raise ValueError("a table's marker has no end, or an end no table")
    return BLOCK.sub(replace, text)


def _line(cells: Iterator[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    changed = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            changed.append(page.name)
            if not args.check:
                page.write_text(new, encoding="utf-8")
    done = "differs from the records" if args.check else "written"
    print("\n".join(f"{done}: {name}" for name in changed) or "every table is shown as recorded")
    sys.exit(bool(changed) and args.check)


if __name__ == "__main__":
    main()
