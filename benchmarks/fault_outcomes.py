"""What became of a run on damaged input: whether flow is right, and whether something was said where it is not."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

#: Outcomes in the order of the table; the last two are the faults.
RIGHT, REFUSED, DOUBTFUL, FAILED = "right", "refused in one line", "doubtful and said", "failed in a step and said"
UNCLEAR, SILENT, CRASH = "refused, not clearly", "wrong and silent", "crash"
OUTCOMES = (RIGHT, REFUSED, DOUBTFUL, FAILED, UNCLEAR, SILENT, CRASH)
#: Exit codes of a refusal, and those of a run that came to its end.
_REFUSALS, _ENDS = (2, 16, 18), (0, 1)
#: Largest relative difference of a segment's flow that counts as none.
TOLERANCE = 0.02
#: What begins or marks a line that tells the reader something.
_MARKS = ("warning:", "doubtful:", "no result:", "not complete:", "failed:")

Flow = Mapping[str, float]


def read_flow(out: Path) -> dict[str, float]:
    """Flow by segment of all participants in OUT_DIR, mL/min/g; NaN where a segment has none."""
    flow = {}
    for path in sorted(out.glob("sub-*/perf/*_seg-AHA17_desc-*_segments.tsv")):
        with path.open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                flow[f"{path.name} {row['index']}"] = math.nan if row["MBF"] == "n/a" else float(row["MBF"])
    return flow


def largest_difference(flow: Flow, reference: Flow) -> float:
    """Largest relative difference of a segment; infinite where one has a value in one of them only."""
    if flow.keys() != reference.keys():
        return math.inf
    worst = 0.0
    for name, expected in reference.items():
        if math.isnan(expected) != math.isnan(flow[name]):
            return math.inf
        if not math.isnan(expected):
            worst = max(worst, abs(flow[name] - expected) / max(abs(expected), 1e-9))
    return worst


def told(text: str) -> set[str]:
    """Lines that tell the reader something."""
    return {line.strip() for line in text.splitlines() if any(mark in line for mark in _MARKS)}


def judge(code: int, text: str, written: bool, difference: float, known: set[str], names: tuple[str, ...]) -> str:
    """The outcome of a run.

    Parameters
    ----------
    code : int
        Exit code.
    text : str
        All that was said.
    written : bool
        Whether OUT_DIR holds a file.
    difference : float
        From :func:`largest_difference`.
    known : set of str
        Lines that the undamaged run has too, from :func:`told`.
    names : tuple of str
        A refusal names each of them, in small letters or capitals: the file, and the field of metadata or the column.
    """
    if "Traceback" in text or code not in (*_REFUSALS, *_ENDS):
        return CRASH
    if code in _REFUSALS:
        return REFUSED if not written and all(name.lower() in text.lower() for name in names) else UNCLEAR
    if code == 1:
        return FAILED if told(text) - known else SILENT
    if difference <= TOLERANCE:
        return RIGHT
    return DOUBTFUL if told(text) - known else SILENT
