"""Parametric Maps: one quantity over the slices of a scan, in float32, NaN where there is no estimate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.enum import ContentQualificationValues, VOILUTFunctionValues
from highdicom.pm import DerivedPixelContrastValues, ImageFlavorValues, ParametricMap, RealWorldValueMapping
from highdicom.sr import CodeContentItem, CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from qperf_app.dicom.export.codes import RESERVE, STATES, quantity_code, statistic_code, unit_code
from qperf_app.dicom.export.grid import FrameGrid
from qperf_app.dicom.export.objects import Described, ExportObject, content_of, finish, geometry, identifiers
from qperf_app.dicom.export.results import words_of
from qperf_app.dicom.export.study import ExportStudy
from qperf_app.plugins import ScanResult, SegmentTable, VoxelMap
from qperf_app.report.fits import drawn_reserves
from qperf_app.report.marks import marks_of, marks_of_reserve
from qperf_app.report.scales import scale_for
from qperf_app.report.studies import (
    Study,
    doubts_of,
    is_relative,
    methods_of,
    primary_quantity,
    reserve_of,
    reserve_tables,
    segments_of,
)

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
    relative = " (relative)" if is_relative(scan, voxel_map) else ""
    words = {"q05": ", 5th percentile", "q95": ", 95th percentile", "q50": ", median"}.get(
        voxel_map.statistic or "", ""
    )
    nothing = "" if np.isfinite(voxel_map.data).any() else ", nothing estimated"
    return Described(
        f"{scan.label}_param-{voxel_map.quantity}{statistic}_desc-{voxel_map.plugin}",
        label,
        f"{voxel_map.quantity}{relative}{words} {words_of(scan)} ({voxel_map.plugin}){nothing}",
        doubts_of(scan, (voxel_map.plugin, voxel_map.model)),
        (*scan.warnings, *_marked(marks_of(_table(scan, voxel_map), voxel_map.quantity))),
    )


def write_map(
    study: ExportStudy,
    what: Described,
    scan: ScanResult,
    voxel_map: VoxelMap,
    grid: FrameGrid,
    numbers: Iterator[int],
) -> ExportObject:
    """One map of a scan as an object.

    Raises
    ------
    ValueError
        Where its unit is no code of UCUM.
    """
    frames = np.asarray(grid.frames(voxel_map.data), np.float32)
    scale = scale_for(voxel_map.quantity, voxel_map.units, None, [voxel_map.data])
    dataset = ParametricMap(
        list(grid.sources),
        frames,
        **identifiers(study, what, next(numbers), content_of(frames)),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(what, scan, voxel_map)],
        # The scale of the report, so that rest and stress look alike in a viewer too.
        voi_lut_transformations=[
            VOILUTTransformation(
                (scale.low + scale.high) / 2, scale.high - scale.low, voi_lut_function=VOILUTFunctionValues.LINEAR_EXACT
            )
        ],
        content_label=what.content_label,
        content_description=what.description,
        content_qualification=ContentQualificationValues.RESEARCH,
        image_flavor=ImageFlavorValues.VOLUME,
        derived_pixel_contrast=DerivedPixelContrastValues.QUANTITY,
        **geometry(grid),
    )
    _order_frames(dataset, frames.shape)
    # What was not estimated is NaN in the pixels (PS3.5 section 8.1.2 allows it); the padding value says so.
    dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = float("nan")
    dataset.BodyPartExamined = "HEART"
    # Optional in the standard; dcmqi ends without a word where it is missing.
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_heart()]
    state = STATES.get(scan.entities.get("task", ""))
    if state is not None:
        named = CodeContentItem(codes.DCM.FunctionalConditionPresentDuringAcquisition, state)
        dataset.AcquisitionContextSequence = [named]
    return finish(study, what, dataset, grid.named)


def _mapping(what: Described, scan: ScanResult, voxel_map: VoxelMap) -> RealWorldValueMapping:
    """What the values are: quantity, statistic, unit, and the range of those that there are."""
    finite = voxel_map.data[np.isfinite(voxel_map.data)]
    limits = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    quantity = quantity_code(voxel_map.quantity, is_relative(scan, voxel_map))
    unit = unit_code(voxel_map.units)
    mapping = RealWorldValueMapping(
        what.content_label, what.description, unit, limits, 1.0, 0.0, quantity_definition=quantity
    )
    if voxel_map.statistic is not None:
        statistic = CodeContentItem(codes.DCM.Derivation, statistic_code(voxel_map.statistic))
        mapping.QuantityDefinitionSequence.append(statistic)
    return mapping


def reserve_map(study: Study, method: Method) -> NDArray[np.float32] | None:
    """Perfusion reserve on the slices of the stress scan: each voxel has that of its AHA segment, NaN elsewhere.

    The two scans are not registered to each other, so the ratio is of segments, as in the report. None without one.
    """
    rest, stress = study.rest, study.stress
    if rest is None or stress is None or stress.segment_labels is None:
        return None
    reserve = reserve_of(*reserve_tables(study, method), primary_quantity(study, method))
    painted = np.full(stress.segment_labels.shape, np.nan, np.float32)
    for segment, value in reserve.items():
        painted[stress.segment_labels == segment] = value
    return painted if np.isfinite(painted).any() else None


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
            (*doubts_of(study.rest, method), *doubts_of(study.stress, method)),
            _marked(_marks_of_reserve(study, method)),
        )
        yield write_map(export, what, study.stress, VoxelMap(*method, RESERVE, "", values), grid, numbers)


def _table(scan: ScanResult, voxel_map: VoxelMap) -> SegmentTable | None:
    return segments_of(scan, (voxel_map.plugin, voxel_map.model))


def _marks_of_reserve(study: Study, method: Method) -> dict[int, str]:
    drawn = drawn_reserves(study.rest, study.stress, method)
    return marks_of_reserve(*reserve_tables(study, method), primary_quantity(study, method), drawn)


def _marked(marks: Mapping[int, str]) -> tuple[str, ...]:
    """What the report marks, in words."""
    numbers = ", ".join(map(str, sorted(marks)))
    return (f"90 % interval wider than the value itself in AHA segment {numbers}",) if numbers else ()


def _order_frames(dataset: Dataset, shape: tuple[int, ...]) -> None:
    """Put the frames in order along the normal of the slices: dcmqi, and 3D Slicer with it, takes them to be so."""
    orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(np.array(orientation[:3], float), np.array(orientation[3:], float))
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if "PlanePositionSequence" in shared:
        return
    along = [np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) @ normal for group in groups]
    order = np.argsort(along)
    stored = np.frombuffer(dataset.FloatPixelData, np.float32).reshape(shape)
    dataset.FloatPixelData = stored[order].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [groups[k] for k in order]


def _heart() -> Dataset:
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [CodedConcept.from_code(codes.SCT.Heart)]
    return anatomy
