"""Compare two OUT_DIRs: every image and table bit for bit, every JSON file but for what tells of the run itself.

Left out, since they tell of the run and not of the result: ``seconds`` and ``computed`` in the status file, the links
of ``dataset_description.json`` (relative to OUT_DIR), the HTML pages (only whether they are whole is looked at). A
crash file in one of them is a difference. Nothing is measured here: there is no record.

Run from the root of the repository: ``python -m benchmarks.compare_outputs ONE OTHER``; exits 1 where they differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.masks import read_image

LEFT_OUT = ("seconds", "computed", "SourceDatasets", "DatasetLinks")


def main() -> None:
    """Print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    args = parser.parse_args()
    found = differences(args.one, args.other)
    print("\n".join(found) or f"{len(files(args.one))} files: equal")
    sys.exit(bool(found))


def files(root: Path) -> dict[str, Path]:
    """Files of an OUT_DIR by name, hidden ones and crash files included."""
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}


def differences(one: Path, other: Path) -> list[str]:
    """One line for each file that is missing, left over, half-written or different."""
    first, second = files(one), files(other)
    found = [f"only in one of them: {name}" for name in sorted(first.keys() ^ second.keys())]
    found += [f"left behind: {name}" for name in second if Path(name).name.startswith((".staging", ".lock"))]
    return found + [f"differs: {name}" for name in first.keys() & second.keys() if not same(first[name], second[name])]


def same(one: Path, other: Path) -> bool:
    """Whether two files hold the same result."""
    if one.name.endswith(".nii.gz"):
        a, b = (read_image(path) for path in (one, other))
        equal = np.array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj), equal_nan=True)
        return bool(
            equal and np.array_equal(a.affine, b.affine) and a.header.get_data_dtype() == b.header.get_data_dtype()
        )
    if one.suffix == ".json":
        return bool(plain(json.loads(one.read_text())) == plain(json.loads(other.read_text())))
    if one.suffix == ".html":
        return other.read_text(encoding="utf-8").rstrip().endswith("</html>")
    return one.read_bytes() == other.read_bytes()


def plain(value: Any) -> Any:
    """JSON without what tells of the run."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items() if key not in LEFT_OUT}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
