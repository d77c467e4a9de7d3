"""Parametric Maps: one quantity over the slices of a scan, in float32, NaN where there is no estimate."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.enum import ContentQualificationValues
from highdicom.pm import DerivedPixelContrastValues, ImageFlavorValues, ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from qperf_app.dicom.export.codes import RESERVE, STATES, quantity_code, statistic_code, unit_code
from qperf_app.dicom.export.grid import FrameGrid
from qperf_app.dicom.export.objects import Described, ExportObject, content_of, finish, geometry, identifiers
from qperf_app.dicom.export.results import doubts
from qperf_app.dicom.export.study import ExportStudy
from qperf_app.plugins import ScanResult, VoxelMap
from qperf_app.report.studies import Study, is_relative, methods_of, primary_quantity, reserve_of, segments_of

#: Statistics of a posterior that are exported: what stands for the value, and the bounds of its 90 % interval.
STATISTICS = (None, "q50", "q05", "q95")
Method = tuple[str, str]


def chosen_methods(study: Study, plugins: Collection[str]) -> list[Method]:
    """(plugin, model) of the plugins named; the one that heads the report where none is."""
    methods = methods_of(study)
    return [method for method in methods if method[0] in plugins] if plugins else list(methods[:1])


def chosen_maps(
    scan: ScanResult, study: Study, plugins: Collection[str], quantities: Collection[str]
) -> list[VoxelMap]:
    """Maps of a scan that are exported: by the plugins and of the quantities named, or those that head the report."""
    found = []
    for method in chosen_methods(study, plugins):
        wanted = quantities or (primary_quantity(study, method),)
        found += [
            voxel_map
            for voxel_map in scan.maps
            if (voxel_map.plugin, voxel_map.model) == method
            and voxel_map.quantity in wanted
            and voxel_map.statistic in STATISTICS
        ]
    return found


def describe_map(scan: ScanResult, voxel_map: VoxelMap) -> Described:
    """Names of a map."""
    statistic = f"_stat-{voxel_map.statistic}" if voxel_map.statistic else ""
    label = f"{voxel_map.quantity}{'_' + voxel_map.statistic if voxel_map.statistic else ''}".upper()
    words = {"q05": ", 5th percentile", "q95": ", 95th percentile", "q50": ", median"}
    relative = " (relative)" if is_relative(scan, voxel_map) else ""
    return Described(
        f"{scan.label}_param-{voxel_map.quantity}{statistic}_desc-{voxel_map.plugin}",
        label,
        f"{voxel_map.quantity}{relative}{words.get(voxel_map.statistic or '', '')} {_task(scan)} ({voxel_map.plugin})",
        doubts(scan),
    )


def write_map(
    study: ExportStudy, scan: ScanResult, voxel_map: VoxelMap, grid: FrameGrid, numbers: Iterator[int]
) -> ExportObject:
    """One map as an object.

    Raises
    ------
    ValueError
        Where its unit is no code of UCUM.
    """
    what = describe_map(scan, voxel_map)
    quantity = quantity_code(voxel_map.quantity, is_relative(scan, voxel_map))
    return _parametric_map(
        study, what, voxel_map.data, grid, quantity, voxel_map.units, voxel_map.statistic, scan, numbers
    )


def reserve_map(study: Study, method: Method) -> NDArray[np.float32] | None:
    """Perfusion reserve on the slices of the stress scan: each voxel has that of its AHA segment, NaN elsewhere.

    The two scans are not registered to each other, so the ratio is of segments, as in the report. None without one.
    """
    rest, stress = study.rest, study.stress
    if rest is None or stress is None or stress.segment_labels is None:
        return None
    reserve = reserve_of(segments_of(rest, method), segments_of(stress, method), primary_quantity(study, method))
    if not any(np.isfinite(value) for value in reserve.values()):
        return None
    painted = np.full(stress.segment_labels.shape, np.nan, np.float32)
    for segment, value in reserve.items():
        painted[stress.segment_labels == segment] = value
    return painted


def write_reserves(
    export: ExportStudy, study: Study, plugins: Collection[str], grid: FrameGrid, numbers: Iterator[int]
) -> Iterator[ExportObject]:
    """Perfusion reserve of each method as an object, where rest and stress meet."""
    for method in chosen_methods(study, plugins):
        values = reserve_map(study, method)
        if values is None or study.rest is None or study.stress is None:
            continue
        what = Described(
            f"{study.stress.label}_param-{RESERVE}_desc-{method[0]}",
            "RESERVE",
            f"Perfusion reserve by AHA segment ({method[0]})",
            (*doubts(study.rest), *doubts(study.stress)),
        )
        code = quantity_code(RESERVE, False)
        yield _parametric_map(export, what, values, grid, code, "1", None, study.stress, numbers)


def _parametric_map(
    study: ExportStudy,
    what: Described,
    values: NDArray[np.floating],
    grid: FrameGrid,
    quantity: Code,
    units: str,
    statistic: str | None,
    scan: ScanResult,
    numbers: Iterator[int],
) -> ExportObject:
    frames = np.asarray(grid.frames(values), np.float32)
    finite = frames[np.isfinite(frames)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    mapping = RealWorldValueMapping(
        what.content_label, what.description, unit_code(units), (low, high), 1.0, 0.0, quantity_definition=quantity
    )
    if statistic is not None:
        mapping.QuantityDefinitionSequence.append(_concept(codes.DCM.Derivation, statistic_code(statistic)))
    window = VOILUTTransformation((low + high) / 2, max(high - low, 1e-3))
    dataset = ParametricMap(
        list(grid.sources),
        frames,
        **identifiers(study, what, next(numbers), content_of(frames)),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label=what.content_label,
        content_description=what.description,
        content_qualification=ContentQualificationValues.RESEARCH,
        image_flavor=ImageFlavorValues.VOLUME,
        derived_pixel_contrast=DerivedPixelContrastValues.QUANTITY,
        **geometry(grid),
    )
    # What was not estimated is NaN in the pixels (PS3.5 section 8.1.2 allows it); the padding value says so.
    dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = float("nan")
    dataset.BodyPartExamined = "HEART"
    _add_state(dataset, scan)
    return finish(study, what, dataset, grid.named)


def _add_state(dataset: Dataset, scan: ScanResult) -> None:
    """Rest or stress, as part of the acquisition context."""
    state = STATES.get(scan.entities.get("task", ""))
    if state is not None:
        dataset.AcquisitionContextSequence = [_concept(codes.DCM.FunctionalConditionPresentDuringAcquisition, state)]


def _concept(name: Code, value: Code) -> Dataset:
    """A content item whose value is a code."""
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = [CodedConcept.from_code(name)]
    item.ConceptCodeSequence = [CodedConcept.from_code(value)]
    return item


def _task(scan: ScanResult) -> str:
    run = scan.entities.get("run")
    return scan.entities.get("task", "scan") + (f" run {run}" if run else "")
