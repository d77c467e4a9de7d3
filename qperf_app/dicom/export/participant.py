"""One participant's results as DICOM files, whole or not at all."""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qperf_app.bids.dataset import exclusive
from qperf_app.dicom.export.grid import FrameGrid
from qperf_app.dicom.export.maps import chosen_maps, chosen_methods, describe_map, write_map, write_reserves
from qperf_app.dicom.export.objects import ExportObject
from qperf_app.dicom.export.page import find_browser, print_page, write_page
from qperf_app.dicom.export.pictures import write_pictures
from qperf_app.dicom.export.reference import Reference, ReferenceStudyError
from qperf_app.dicom.export.results import Results
from qperf_app.dicom.export.segmentations import write_aha, write_quality, write_structures
from qperf_app.dicom.export.study import FIRST_SERIES, ExportStudy, open_study
from qperf_app.plugins import ScanResult
from qperf_app.report.studies import scan_title


class ExportError(Exception):
    """A participant can't be exported; the message is one line."""


@dataclass(frozen=True)
class ExportOptions:
    """What is exported.

    Parameters
    ----------
    plugins : tuple of str
        Kinetics plugins whose maps are taken; the one that heads the report where empty.
    quantities : tuple of str
        Quantities that are taken of each; the one that heads the report where empty.
    pictures, page : bool
        Whether the report goes along.
    """

    plugins: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    pictures: bool = True
    page: bool = True


@dataclass(frozen=True)
class Exported:
    """Files of an export, and what is to be said of it, a line each."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def planned_maps(results: Results, options: ExportOptions) -> list[str]:
    """Names of the maps that would be written."""
    return [
        describe_map(scan, voxel_map).name
        for study in results.studies
        for scan in study.scans
        for voxel_map in chosen_maps(scan, study, options.plugins, options.quantities)
    ]


def export_results(
    results: Results, folder: Path, reference: Reference | None = None, options: ExportOptions | None = None
) -> Exported:
    """Write a session's results into a new folder.

    Parameters
    ----------
    results : Results
    folder : Path
        Must not exist.
    reference : Reference, optional
        Study that the results join.
    options : ExportOptions, optional

    Raises
    ------
    ExportError
        Where there is nothing to export, the reference has no series that a scan lies on, or the folder is there.
    """
    chosen = options or ExportOptions()
    study = open_study(results, reference)
    notes: list[str] = []
    objects = _objects(study, chosen, notes)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.parent, folder.name):
        if folder.exists():
            raise ExportError(f"{folder} exists; the export replaces nothing")
        try:
            names = _write(objects, folder)
        except (ReferenceStudyError, ValueError) as error:
            raise ExportError(f"{results.name}: {error}") from error
    if not names:
        raise ExportError(f"{results.name}: no maps, masks or segments to export")
    return Exported(tuple(folder / name for name in names), tuple(notes))


def _write(objects: Iterator[ExportObject], folder: Path) -> list[str]:
    """Write the objects into a folder that is there when all of them are; none is made for no objects."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    names = []
    try:
        # The library warns of a patient's name that it finds unusual, and shows it: that belongs into no log.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The string .* is unlikely to represent", category=UserWarning)
            for written in objects:
                names.append(f"{written.name}.dcm")
                written.dataset.save_as(partial / names[-1], enforce_file_format=True)
        if names:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return names


def _objects(study: ExportStudy, options: ExportOptions, notes: list[str]) -> Iterator[ExportObject]:
    numbers = itertools.count(FIRST_SERIES)
    grids = {scan.label: _grids(study, scan, notes) for scan in study.results.scans}
    for pair in study.results.studies:
        for scan in pair.scans:
            tissue, _ = grids[scan.label]
            if tissue is None:
                continue
            for voxel_map in chosen_maps(scan, pair, options.plugins, options.quantities):
                what = describe_map(scan, voxel_map)
                yield write_map(study, what, scan, voxel_map, tissue, numbers)
        stress = grids[pair.stress.label][0] if pair.stress is not None else None
        if stress is not None:
            yield from write_reserves(study, pair, options.plugins, stress, numbers)
    for scan in study.results.scans:
        tissue, pools = grids[scan.label]
        yield from write_structures(study, scan, tissue, pools, numbers)
        if tissue is not None:
            yield from write_aha(study, scan, tissue, numbers)
    for pair in study.results.studies:
        plugins = {plugin for plugin, _ in chosen_methods(pair, options.plugins)}
        for scan in pair.scans:
            tissue, _ = grids[scan.label]
            for quality in scan.qc:
                if tissue is not None and quality.plugin in plugins:
                    yield from write_quality(study, scan, quality, tissue, numbers)
        if options.pictures:
            yield from write_pictures(study, pair, options.plugins, numbers)
    if options.page:
        yield from _page(study, numbers, notes)


def _grids(study: ExportStudy, scan: ScanResult, notes: list[str]) -> tuple[FrameGrid | None, FrameGrid | None]:
    """Frames of the tissue series and of the series that the pools were found in; None where there is no series."""
    found: list[FrameGrid | None] = []
    for series in (scan.corrected, scan.aif_corrected):
        if series is None:
            found.append(None)
            continue
        try:
            grid = study.grid(scan, series)
        except ReferenceStudyError as error:
            raise ReferenceStudyError(f"{scan_title(scan)}: {error}") from None
        if study.reference is not None and not grid.named:
            notes.append(
                f"{study.results.name}: {scan_title(scan)}: several series of the reference have its slices, so "
                "none is named as the source"
            )
        found.append(grid)
    tissue, aif = found
    return tissue, aif if aif is not None else tissue


def _page(study: ExportStudy, numbers: Iterator[int], notes: list[str]) -> Iterator[ExportObject]:
    page, browser = study.results.page, find_browser()
    if page is None:
        notes.append(f"{study.results.name}: no report, so no PDF of it")
    elif browser is None:
        notes.append(f"{study.results.name}: no PDF of the report: that takes a Chromium (chromium, google-chrome)")
    else:
        try:
            yield write_page(study, print_page(page, browser), next(numbers))
        except OSError as error:
            notes.append(f"{study.results.name}: no PDF of the report: {error}")
