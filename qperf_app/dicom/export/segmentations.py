"""Segmentations: the wall, the blood pools, the AHA segments, and why voxels have no estimate."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from qperf_app import __version__
from qperf_app.dicom.export.codes import MYOCARDIUM, SCHEME, segment_code
from qperf_app.dicom.export.grid import FrameGrid
from qperf_app.dicom.export.objects import Described, ExportObject, content_of, finish, geometry, identifiers
from qperf_app.dicom.export.results import doubts, words_of
from qperf_app.dicom.export.study import ExportStudy
from qperf_app.plugins import QualityCode, QualityMap, ScanResult, steps
from qperf_app.plugins.steps import BLOOD_POOL, KINETICS

_STRUCTURE = codes.SCT.AnatomicalStructure


@dataclass(frozen=True)
class _Segment:
    """A mask (x, y, z) with its label, category, type, the region that it lies in, and the step that found it."""

    mask: NDArray[np.bool_]
    label: str
    category: Code
    kind: Code
    region: Code
    step: str


def write_structures(
    study: ExportStudy, scan: ScanResult, tissue: FrameGrid | None, pools: FrameGrid | None, numbers: Iterator[int]
) -> Iterator[ExportObject]:
    """Myocardium and blood pools: in one object where they lie on the same slices, in two where the pools were found in
    the input-function series."""
    wall = []
    if scan.myocardium is not None:
        region = codes.SCT.LeftVentricle
        mask = np.asarray(scan.myocardium.mask, bool)
        wall = [_Segment(mask, "Myocardium", _STRUCTURE, MYOCARDIUM, region, steps.MYOCARDIUM.name)]
    blood = [] if scan.pools is None else [
        _Segment(np.asarray(mask, bool), label, codes.SCT.BodySubstance, codes.SCT.Blood, region, BLOOD_POOL.name)
        for mask, label, region in (
            (scan.pools.lv, "Left ventricular blood pool", codes.SCT.LeftVentricle),
            (scan.pools.rv, "Right ventricular blood pool", codes.SCT.RightVentricle),
        )
        if mask is not None
    ]  # fmt: skip
    same = tissue is pools
    for name, label, grid, segments in (
        ("heart", "HEART", tissue, wall + blood if same else wall),
        ("pools", "BLOOD_POOLS", pools, [] if same else blood),
    ):
        if grid is not None and any(segment.mask.any() for segment in segments):
            text = f"{'Myocardium and blood pools' if same else name.capitalize()} {words_of(scan)}"
            what = Described(f"{scan.label}_seg-{name}", label, text, doubts(scan))
            yield _segmentation(study, what, scan, segments, grid, numbers)


def write_aha(study: ExportStudy, scan: ScanResult, grid: FrameGrid, numbers: Iterator[int]) -> Iterator[ExportObject]:
    """AHA segments; nothing where there are none."""
    if scan.segment_labels is None:
        return
    present = [int(k) for k in np.unique(scan.segment_labels) if k > 0]
    segments = [
        _Segment(scan.segment_labels == k, f"AHA {k}", _STRUCTURE, segment_code(k), codes.SCT.LeftVentricle, "segments")
        for k in present
    ]
    if segments:
        text = f"AHA segments {words_of(scan)}"
        what = Described(f"{scan.label}_seg-AHA17", "AHA17", text, doubts(scan))
        yield _segmentation(study, what, scan, segments, grid, numbers)


def write_quality(
    study: ExportStudy, scan: ScanResult, quality: QualityMap, grid: FrameGrid, numbers: Iterator[int]
) -> Iterator[ExportObject]:
    """Voxels of the wall without a full estimate, a segment for each reason."""
    present = [int(code) for code in np.unique(quality.data) if code not in (QualityCode.FULL, QualityCode.OUTSIDE)]
    segments = [
        _Segment(
            quality.data == code,
            quality.legend.get(code, f"code {code}")[:64],
            _STRUCTURE,
            Code(f"QC{code}", SCHEME, quality.legend.get(code, f"code {code}")[:64]),
            codes.SCT.LeftVentricle,
            KINETICS.name,
        )
        for code in present
    ]
    if segments:
        text = f"Not or not fully estimated {words_of(scan)} ({quality.plugin})"
        what = Described(f"{scan.label}_desc-{quality.plugin}_qc", "QUALITY", text, doubts(scan))
        yield _segmentation(study, what, scan, segments, grid, numbers)


def _segmentation(
    study: ExportStudy,
    what: Described,
    scan: ScanResult,
    segments: Sequence[_Segment],
    grid: FrameGrid,
    numbers: Iterator[int],
) -> ExportObject:
    filled = [segment for segment in segments if segment.mask.any()]
    frames = np.stack([grid.frames(segment.mask) for segment in filled], axis=-1).astype(np.uint8)
    dataset = Segmentation(
        list(grid.sources),
        frames,
        SegmentationTypeValues.BINARY,
        [_description(index, segment, scan) for index, segment in enumerate(filled, start=1)],
        **identifiers(study, what, next(numbers), content_of(frames)),
        content_label=what.content_label,
        content_description=what.description,
        **geometry(grid),
    )
    return finish(study, what, dataset, grid.named)


def _description(number: int, segment: _Segment, scan: ScanResult) -> SegmentDescription:
    outcome = next((step for step in scan.steps if step.step == segment.step), None)
    handed_in = outcome is not None and outcome.state == "handed-in"
    plugin = outcome.plugin if outcome is not None and outcome.plugin else "qperf-app"
    algorithm = AlgorithmIdentificationSequence(
        "handed in" if handed_in else plugin, codes.DCM.ImageProcessing, (outcome and outcome.version) or __version__
    )
    kind = SegmentAlgorithmTypeValues.SEMIAUTOMATIC if handed_in else SegmentAlgorithmTypeValues.AUTOMATIC
    return SegmentDescription(
        number,
        segment.label,
        CodedConcept.from_code(segment.category),
        CodedConcept.from_code(segment.kind),
        kind,
        algorithm,
        anatomic_regions=[CodedConcept.from_code(segment.region)],
        display_color=_colour(number),
    )


def _colour(number: int) -> CIELabColor:
    """A colour for a viewer: neighbours in number lie far apart on the wheel, by the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.381966 % 1.0, 0.65, 0.9)
    return CIELabColor.from_rgb(255 * red, 255 * green, 255 * blue)
