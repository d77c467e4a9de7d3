"""What was found, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from qperf_app.checks.wording import counted
from qperf_app.dicom.study import PlannedSeries, PlannedStudy

_COLUMNS = ("series", "kind", "task", "slices", "frames", "clock", "missing")
_KINDS = {"aif": "input function", "prebolus": "pre-bolus", "tissue": "tissue"}


def study_lines(study: PlannedStudy) -> Iterator[str]:
    """Lines of the table of one study: series that are taken, remarks on them, and what is left out."""
    rows = [_row(series) for series in study.series]
    if rows:
        widths = [max(len(row[i]) for row in [_COLUMNS, *rows]) for i in range(len(_COLUMNS))]
        for row in (_COLUMNS, *rows):
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for series in study.series:
        for remark in series.remarks:
            yield f"series {_numbers(series.role.stack.series_numbers)}: {remark}"
        if "derived" in series.role.task_origin or "assumed" in series.role.task_origin:
            yield f"series {_numbers(series.role.stack.series_numbers)}: {series.role.task}, {series.role.task_origin}"
    for left in study.left_out:
        images = counted(left.images, "image")
        yield f"series {_numbers(left.series)}: left out, {images}: {left.reason}"


def _row(series: PlannedSeries) -> tuple[str, ...]:
    role, timed = series.role, series.timed
    n = len(timed.volumes)
    weighted = series.sidecar.fields.get("ProtonDensityVolumeCount", 0)
    apart = " in a series of its own" if timed.apart else ""
    frames = f"{n} ({weighted} proton density{apart})" if weighted else str(n)
    step = float(np.median(np.diff(timed.volumes)))
    clock = (
        f"{series.sidecar.origins['VolumeTiming']}, {timed.volumes[-1] - timed.volumes[0]:.1f} s, every {step:.2f} s"
    )
    run = f" run {role.run}" if role.run else ""
    numbers = role.stack.series_numbers
    if role.proton_density is not None:
        numbers = tuple(sorted({*numbers, *role.proton_density.series_numbers}))
    return (
        _numbers(numbers), _KINDS[role.kind], role.task + run, str(len(timed.frames)), frames, clock,
        ", ".join(series.protocol.missing) or "nothing",
    )  # fmt: skip


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "?"
