"""What the page warns of: every warning of every scan, the gravest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from qperf_app.plugins.records import RELATIVE_UNITS
from qperf_app.plugins.results import ParticipantResult, ScanResult
from qperf_app.plugins.steps import BLOOD_POOL, SEGMENT_VALUES
from qperf_app.plugins.steps.concentration import RELATIVE_ADVICE
from qperf_app.report.scans import lost_ventricle
from qperf_app.report.studies import (
    Study,
    doubts_of,
    is_relative,
    maps_of,
    methods_of,
    primary_quantity,
    scan_title,
    segments_apart,
    segments_in_words,
    segments_of,
    values_of,
)

#: The label of a scan, and what is said of it.
Said = tuple[str, str]


def warnings_of(result: ParticipantResult, studies: Sequence[Study]) -> tuple[str, ...]:
    """Every warning as a line of the page: each once, with the scans that it is about."""
    scans = result.scans
    titles = {scan.label: scan_title(scan) for scan in scans}
    about: dict[str, dict[str, None]] = {}
    for label, text in (*_each(scans, _failures), *_each(scans, _doubtful), *remarks_of(result, studies)):
        about.setdefault(text, {})[titles[label]] = None
    return tuple(
        f"{'All scans' if len(named) == len(scans) > 1 else '; '.join(named)}: {text}" for text, named in about.items()
    )


def remarks_of(result: ParticipantResult, studies: Sequence[Study]) -> list[Said]:
    """Every warning beyond steps that failed and results that can't be right, scan by scan.

    Those that the scans and their steps bring, and what shows only in results that are put side by side.
    """
    found = _each(result.scans, _relative)
    for study in studies:
        of_all = tuple(_of_study(study))
        found += [(scan.label, text) for scan in study.scans for text in of_all]
        found += [(scan.label, text) for scan in study.scans for text in _lost(study, scan)]
    return found + _each(result.scans, _brought)


def _each(scans: Iterable[ScanResult], kind: Callable[[ScanResult], Iterable[str]]) -> list[Said]:
    return [(scan.label, text) for scan in scans for text in kind(scan)]


def _brought(scan: ScanResult) -> Iterator[str]:
    """Warnings of the scan, of its wall and of its steps, as they are."""
    yield from scan.warnings
    yield from scan.myocardium.warnings if scan.myocardium is not None else ()
    for step in scan.steps:
        yield from step.warnings


def _of_study(study: Study) -> Iterator[str]:
    """What makes rest and stress hard to compare."""
    if study.note:
        yield study.note
    if study.rest is not None and study.stress is not None and (apart := segments_apart(study)):
        yield (
            f"Rest and stress have other slices: there is no reserve of {len(apart)} segments, which lie in different "
            "places."
        )


def _lost(study: Study, scan: ScanResult) -> Iterator[str]:
    """Segments of the headline's method that have no value: an absent number is easily overlooked.

    With what most of their voxels lack, and who has a value of all of them where the headline's method has none.
    """
    method = methods_of(study)[0]
    table = segments_of(scan, method)
    values = values_of(table, quantity := primary_quantity(study, method))
    lost = {k for k, value in values.items() if not np.isfinite(value)}
    if not lost:
        return
    why = _why_lost(scan, method, quantity, lost)
    if len(lost) < len(values):
        told = f"could not be estimated in {len(lost)} of {len(values)} segments: {segments_in_words(lost, table)}"
        yield f"{quantity} {told}{f' (mostly: {why})' if why else ''}."
        return
    others = [plugin for plugin, model in methods_of(study)[1:] if _has_flow(scan, (plugin, model), quantity)]
    elsewhere = (
        f" {', '.join(others)} {'gives' if len(others) == 1 else 'give'} a value: look at the fit." if others else ""
    )
    yield f"{quantity} could be estimated in no segment by {method[0]}{f'; mostly: {why}' if why else ''}.{elsewhere}"


def _has_flow(scan: ScanResult, method: tuple[str, str], quantity: str) -> bool:
    return any(np.isfinite(value) for value in values_of(segments_of(scan, method), quantity).values())


def _why_lost(scan: ScanResult, method: tuple[str, str], quantity: str, lost: set[int]) -> str:
    """What the commonest quality code says of the segments' voxels without a value; empty where nothing tells."""
    flow = maps_of(scan, method).get((quantity, None))
    quality = next((each for each in scan.qc if each.plugin == method[0]), None)
    labels = scan.segment_labels
    if flow is None or quality is None or labels is None or not flow.data.shape == quality.data.shape == labels.shape:
        return ""
    codes = quality.data[np.isin(labels, sorted(lost)) & ~np.isfinite(flow.data)]
    return quality.legend.get(int(np.bincount(codes).argmax()), "") if codes.size else ""


def advice(studies: Sequence[Study]) -> str:
    """What to do about doubtful scans; empty where none is."""
    doubtful = [scan_title(s) for study in studies for s in study.scans if doubts_of(s, methods_of(study)[0])]
    if not doubtful:
        return ""
    return (
        f"What to do about {' and '.join(doubtful)}: look at its other warnings first, then at its contours and its "
        "input function below. Correct the contours (qperf review) or the metadata that a warning names, and compute "
        "again; what still can't be right can't be reported."
    )


def _failures(scan: ScanResult) -> Iterator[str]:
    lost = lost_ventricle(scan)
    if lost:
        yield lost
    for step in scan.steps:
        if step.state == "failed" or (step.state == "not-found" and not (lost and step.step == BLOOD_POOL.name)):
            what = "failed" if step.state == "failed" else "found nothing"
            name = f"{step.step} ({step.plugin})" if step.plugin else step.step
            yield f"{name} {what}{': ' if step.reason else '.'}{step.reason}"


def _doubtful(scan: ScanResult) -> Iterator[str]:
    """Each reason once, with the methods whose flow it touches, or the step whose flow nobody estimated."""
    of_flow: dict[str, list[str]] = {}
    for step in scan.steps:
        for text in step.doubts if step.step == SEGMENT_VALUES.name else ():
            of_flow.setdefault(text, []).append(step.plugin)
    for text, plugins in of_flow.items():
        yield f"flow by {', '.join(plugins)} is doubtful and left out of the summary: {text}."
    told = set(of_flow)
    for step in scan.steps:
        for text in step.doubts:
            if text not in told:
                told.add(text)
                yield f"{step.step} ({step.plugin}) is doubtful: {text}."


def _relative(scan: ScanResult) -> Iterator[str]:
    """That flow is not absolute, where no warning of the scan says so with its reason."""
    if scan.maps and is_relative(scan) and not any(text.endswith(RELATIVE_ADVICE) for text in scan.warnings):
        source = "the input function is in relative units" if scan.aif and scan.aif.units == RELATIVE_UNITS else "units"
        yield f"relative units: values of flow are not absolute ({source}). Compare regions, not patients."
