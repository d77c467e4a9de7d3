"""Results as DICOM: do other programs read what was computed, where it lies, and no more than may be told?"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from qperf_app.bids.images import write_image
from qperf_app.bids.names import map_name
from qperf_app.bids.records import write_corrected, write_pools
from qperf_app.bids.sidecars import describe_image
from qperf_app.cli.tools import main
from qperf_app.dicom.export.codes import quantity_code, segment_code, unit_code
from qperf_app.dicom.export.page import find_browser
from qperf_app.dicom.export.participant import ExportError, ExportOptions, export_results
from qperf_app.dicom.export.reference import ReferenceStudyError, read_reference
from qperf_app.dicom.export.results import Results
from qperf_app.dicom.export.send import Archive
from qperf_app.dicom.scanner import Acquisition, StudyOptions, write_study
from qperf_app.plugins import QualityMap, ScanResult, Series, StepOutcome, VoxelMap
from qperf_app.plugins.keys import MapKey, StepKey
from qperf_app.workflow.outcomes import FileRecord
from qperf_app.workflow.status import ScanRecord, StepRecord, summarise, write_status
from tests import report_examples
from tests.report_examples import AFFINE, TWO_SLICES, regions

#: A patient as a scanner's operator types him in; made up.
IDENTITY = {"PatientName": "Mustermann^Max", "PatientID": "MRN-0815", "PatientBirthDate": "19500102",
            "AccessionNumber": "ACC-42", "InstitutionName": "Nowhere Hospital"}  # fmt: skip
BARE = ExportOptions(pictures=False, page=False)
#: Voxel to world: turned about two axes, oblong voxels.
GRID = np.eye(4)
GRID[:3, :3] = Rotation.from_euler("xz", [25.0, -40.0], degrees=True).as_matrix() * [1.9, 1.7, 8.0]
GRID[:3, 3] = -38.0, -42.0, -4.0


def scan(task: str = "stress", affine: np.ndarray = GRID, **other: object) -> ScanResult:
    """A scan of two slices with flow that differs from voxel to voxel, an interval, and voxels without an estimate."""
    base = report_examples.scan(task, AFFINE, TWO_SLICES)
    wall = regions(AFFINE, TWO_SLICES)["myocardium"]
    rng = np.random.default_rng(len(task))
    flow = np.where(wall, rng.gamma(9.0, 0.3 if task == "stress" else 0.1, TWO_SLICES), np.nan).astype(np.float32)
    codes = np.where(wall, 0, 255).astype(np.uint8)
    empty = tuple(np.argwhere(wall)[3])
    flow[empty], codes[empty] = np.nan, 16
    maps = tuple(
        VoxelMap("cnn", "2CXM", "MBF", "mL/min/g", (flow * np.float32(factor)).astype(np.float32), statistic)
        for statistic, factor in (("q50", 1.0), ("q05", 0.7), ("q95", 1.4))
    )
    assert base.corrected is not None
    corrected = replace(base.corrected, affine=affine, metadata={"SliceThickness": 6.0})
    tables = tuple(replace(table, plugin="cnn", model="2CXM") for table in base.segments)
    quality = (QualityMap("cnn", codes, {0: "full estimate", 16: "flow not identifiable", 255: "outside"}),)
    changed = {"corrected": corrected, "maps": maps, "qc": quality, "segments": tables, "segment_curves": ()}
    return replace(base, **{**changed, **other})


def results(*scans: ScanResult, participant: str = "01", page: Path | None = None) -> Results:
    return Results(participant, "", scans or (scan("rest"), scan("stress")), page)


def exported(
    folder: Path, what: Results, reference: Path | None = None, options: ExportOptions = BARE
) -> list[Dataset]:
    study = None if reference is None else read_reference(reference)
    files = export_results(what, folder, study, options).files
    return [pydicom.dcmread(path) for path in files]


def scanned(folder: Path, *scans: ScanResult, manner: str = "siemens", options: StudyOptions | None = None) -> Path:
    """The study that the scans were made from, as a scanner stores it."""
    acquisitions = [Acquisition(as_scanned(each), each.entities["task"]) for each in scans]
    write_study(folder, acquisitions, manner, options=options or StudyOptions(identity=IDENTITY))
    return folder


def as_scanned(each: ScanResult) -> Series:
    assert each.corrected is not None
    fields = {"FlipAngle": 12.0, "SliceThickness": 6.0, "MagneticFieldStrength": 1.5, "EchoTime": 0.001}
    return replace(each.corrected, metadata={**fields, "RepetitionTimeExcitation": 0.002})


def test_maps_read_back_bit_for_bit_where_they_lie_in_the_world(tmp_path):
    what = results()
    found = {ds.SeriesDescription: ds for ds in exported(tmp_path / "out", what)}
    for each in what.scans:
        for voxel_map in each.maps:
            words = {"q50": "median", "q05": "5th percentile", "q95": "95th percentile"}[voxel_map.statistic or ""]
            ds = found[f"MBF, {words} {each.entities['task']} (cnn)"]
            np.testing.assert_array_equal(volume_of(ds), voxel_map.data)
            assert ds.pixel_array.dtype == np.float32
            volume = highdicom.pm.ParametricMap.from_dataset(ds).get_volume()
            seen, ours = (np.argwhere(np.isfinite(values)) for values in (volume.array, voxel_map.data))
            there = (world(volume.affine, seen) * [-1, -1, 1], volume.array[tuple(seen.T)])
            here = (world(GRID, ours), voxel_map.data[tuple(ours.T)])
            # highdicom's volume has its own order of axes; the world says what is what.
            nearest = KDTree(there[0]).query(here[0])
            assert len(seen) == len(ours) and nearest[0].max() < 0.01
            np.testing.assert_array_equal(there[1][nearest[1]], here[1])


def world(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return index @ affine[:3, :3].T + affine[:3, 3]


def test_a_map_says_what_it_is_in_standard_codes(tmp_path):
    found = {ds.get("ContentLabel"): ds for ds in exported(tmp_path / "out", results(scan("stress")))}
    value = found["MBF_Q05"]
    mapping = value.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    unit = mapping.MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("mL/min/g", "UCUM")
    said = [item.ConceptCodeSequence[0].CodeValue for item in mapping.QuantityDefinitionSequence]
    assert said == ["126390", "Q05"]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert np.isnan(value.FloatPixelPaddingValue) and value.ContentQualification == "RESEARCH"
    state = value.AcquisitionContextSequence[0].ConceptCodeSequence[0]
    assert state.CodeMeaning == "Cardiac Stress State"


def test_codes_are_those_of_the_dictionaries():
    from pydicom.sr.codedict import Collection

    context_group = {code.value for code in Collection("CID3717").concepts.values()}
    assert {segment_code(k).value for k in range(1, 18)} == context_group
    assert quantity_code("MBF", relative=True).value == "126397"
    assert quantity_code("PS", relative=False).scheme_designator.startswith("99")
    assert unit_code("1").value == "1"
    with pytest.raises(ValueError, match="UCUM"):
        unit_code("per minute")


def test_reserve_is_that_of_the_segments_on_the_stress_slices(tmp_path):
    rest, stress = scan("rest"), scan("stress")
    found = {ds.get("ContentLabel"): ds for ds in exported(tmp_path / "out", results(rest, stress))}
    reserve = volume_of(found["RESERVE"])
    expected = {row.segment: row.values["MBF"] for row in stress.segments[0].rows if row.layer == "transmural"}
    resting = {row.segment: row.values["MBF"] for row in rest.segments[0].rows if row.layer == "transmural"}
    assert stress.segment_labels is not None
    for segment in (4, 10):
        inside = reserve[stress.segment_labels == segment]
        np.testing.assert_allclose(inside, expected[segment] / resting[segment], rtol=1e-6)
    assert np.isnan(reserve[stress.segment_labels == 0]).all()


def test_where_the_report_has_no_reserve_there_is_none(tmp_path):
    rest, stress = scan("rest"), scan("stress")
    lifted = replace(stress.corrected, affine=GRID + np.outer([0, 0, 30.0, 0], [0, 0, 0, 1]))
    relative = replace(stress.aif, units="1")
    for name, other in (("apart", replace(stress, corrected=lifted)), ("relative", replace(stress, aif=relative))):
        found = exported(tmp_path / name, results(rest, other))
        assert found and "RESERVE" not in {ds.get("ContentLabel") for ds in found}


def test_masks_are_segments_with_codes(tmp_path):
    each = scan("stress")
    found = {ds.get("ContentLabel"): ds for ds in exported(tmp_path / "out", results(each))}
    heart = highdicom.seg.Segmentation.from_dataset(found["HEART"])
    assert [s.SegmentLabel for s in heart.SegmentSequence] == [
        "Myocardium", "Left ventricular blood pool", "Right ventricular blood pool"
    ]  # fmt: skip
    assert each.pools is not None and each.myocardium is not None
    masks = (each.myocardium.mask, each.pools.lv, each.pools.rv)
    for number, mask in enumerate(masks, start=1):
        assert mask is not None
        np.testing.assert_array_equal(volume_of(found["HEART"], segment=number) > 0, mask)
    aha = found["AHA17"]
    assert [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in aha.SegmentSequence] == ["264846001", "264847005"]
    quality = found["QUALITY"]
    assert [s.SegmentLabel for s in quality.SegmentSequence] == ["flow not identifiable"]
    assert volume_of(quality, segment=1).sum() == 1


def volume_of(ds: Dataset, affine: np.ndarray = GRID, segment: int | None = None) -> np.ndarray:
    """Values (x, y, z) of the frames, or of those of a segment, by their positions: their order is the library's."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    missing = np.nan if segment is None else 0
    volume = np.full((ds.Columns, ds.Rows, TWO_SLICES[2]), missing, np.float32)
    pixels = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    for frame, group in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
        number = (group.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence") or [None])[
            0
        ]
        if segment is None or (number is not None and number.ReferencedSegmentNumber == segment):
            place = group.get("PlanePositionSequence") or shared.PlanePositionSequence
            position = np.array(place[0].ImagePositionPatient, float) * [-1, -1, 1]
            k = (position - affine[:3, 3]) @ affine[:3, 2] / (affine[:3, 2] @ affine[:3, 2])
            assert k == pytest.approx(round(k), abs=1e-4)
            volume[:, :, round(k)] = frame.T
    return volume


def test_without_a_reference_only_the_label_is_told_and_no_image_is_named(tmp_path):
    found = exported(tmp_path / "out", results())
    for ds in found:
        assert (ds.PatientID, str(ds.PatientName)) == ("sub-01", "sub-01^")
        assert not ds.StudyDate and not ds.PatientBirthDate and not ds.AccessionNumber
        text = str(ds)
        assert "Referenced Series" not in text and "Referenced SOP Instance UID" not in text
        assert ds.ContentDate == "19000101" and "InstanceCreationDate" not in ds
    assert len({ds.StudyInstanceUID for ds in found}) == 1
    assert len({ds.SOPInstanceUID for ds in found}) == len(found) == len({ds.SeriesNumber for ds in found})


def test_two_runs_give_the_same_bytes_and_other_results_other_identifiers(tmp_path):
    def digests(folder: Path) -> dict[str, str]:
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}

    first = exported(tmp_path / "a", results(), options=ExportOptions(page=False))
    time.sleep(1.1)
    exported(tmp_path / "b", results(), options=ExportOptions(page=False))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    changed = scan("stress")
    changed = replace(changed, maps=tuple(replace(m, data=m.data * np.float32(1.01)) for m in changed.maps))
    other = exported(tmp_path / "c", results(scan("rest"), changed))
    assert first[0].StudyInstanceUID == other[0].StudyInstanceUID
    both = {ds.SOPInstanceUID for ds in first} & {ds.SOPInstanceUID for ds in other}
    assert both and not any(
        ds.SOPInstanceUID in both for ds in other if ds.SeriesDescription.startswith("MBF, median s")
    )


@pytest.mark.parametrize("manner", ["siemens", "siemens-xa", "philips-enhanced", "ge"])
def test_with_a_reference_results_join_the_patients_study(tmp_path, manner):
    other_place = GRID.copy()
    other_place[:3, 3] += [4.0, 0.0, 3.0]
    rest, stress = scan("rest", affine=other_place), scan("stress")
    original = scanned(tmp_path / "scanner", rest, stress, manner=manner)
    source = pydicom.dcmread(next(original.rglob("*.dcm")), stop_before_pixels=True)
    every = {pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in original.rglob("*.dcm")}
    found = exported(tmp_path / "out", results(rest, stress), original)
    for ds in found:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
            assert ds[keyword].value == source[keyword].value
        assert ds.FrameOfReferenceUID == source.FrameOfReferenceUID
        named = {
            image.ReferencedSOPInstanceUID
            for series in ds.ReferencedSeriesSequence
            for image in series.ReferencedInstanceSequence
        }
        assert named and named <= every
    flow = next(ds for ds in found if ds.SeriesDescription == "MBF, median rest (cnn)")
    np.testing.assert_array_equal(volume_of(flow, other_place), rest.maps[0].data)


def test_a_map_with_its_axes_turned_is_laid_out_as_the_reference_is(tmp_path):
    """A converter may store rows from bottom to top, or the axes swapped."""
    straight = scan("rest")
    original = scanned(tmp_path / "scanner", straight)
    assert straight.corrected is not None
    affine = GRID.copy()
    affine[:3, 3] += affine[:3, 1] * (TWO_SLICES[1] - 1)
    affine[:3, 1] *= -1
    affine = affine[:, [1, 0, 2, 3]]

    def turned(volume: np.ndarray) -> np.ndarray:
        return np.swapaxes(volume[:, ::-1], 0, 1)

    series = replace(straight.corrected, data=turned(straight.corrected.data), affine=affine)
    maps = tuple(replace(m, data=turned(m.data)) for m in straight.maps)
    no_masks = {"pools": None, "myocardium": None, "segment_labels": None, "qc": ()}
    found = exported(tmp_path / "out", results(replace(straight, corrected=series, maps=maps, **no_masks)), original)
    np.testing.assert_array_equal(volume_of(found[0]), straight.maps[0].data)


def test_what_lies_elsewhere_is_refused_and_nothing_is_written(tmp_path):
    original = scanned(tmp_path / "scanner", scan("rest"))
    moved = GRID.copy()
    moved[2, 3] += 2.0
    with pytest.raises(ExportError, match=r"sub-01: Stress: no series of the reference has its slices"):
        exported(tmp_path / "out", results(scan("rest"), scan("stress", affine=moved)), original)
    assert not list(tmp_path.glob("*out*"))


def test_of_series_on_the_same_slices_none_is_named(tmp_path):
    rest, stress = scan("rest"), scan("stress")
    original = scanned(tmp_path / "scanner", rest, stress)
    written = export_results(results(rest, stress), tmp_path / "out", read_reference(original), BARE)
    assert any("several series" in note for note in written.notes)
    for path in written.files:
        assert "Referenced SOP Instance UID" not in str(pydicom.dcmread(path, stop_before_pixels=True))


def test_a_reference_of_two_patients_or_without_images_is_refused_without_a_name(tmp_path):
    original = scanned(tmp_path / "scanner", scan("rest"))
    scanned(tmp_path / "scanner" / "b", scan("rest"), options=StudyOptions(identity={"PatientID": "SECRET-2"}))
    with pytest.raises(ReferenceStudyError, match="more than one PatientID") as refused:
        read_reference(original)
    assert "SECRET" not in str(refused.value) and "MRN" not in str(refused.value)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(ReferenceStudyError, match="no MR images"):
        read_reference(tmp_path / "empty")


def test_doubtful_and_missing_values_stay_so(tmp_path):
    flow = scan("stress").maps[0]
    outcome = StepOutcome("kinetics", flow.plugin, "done", doubts=("the peak is cut off",))
    doubtful = scan("stress", steps=(outcome,))
    nothing = tuple(replace(m, data=np.full_like(m.data, np.nan)) for m in doubtful.maps)
    found = exported(tmp_path / "out", results(replace(doubtful, maps=nothing)))
    flow = found[0]
    assert flow.ContentLabel == "MBF_Q50_DOUBTFUL" and flow.SeriesDescription.startswith("DOUBTFUL: MBF")
    assert "the peak is cut off" in flow.ImageComments and flow.SeriesDescription.endswith("nothing estimated")
    assert np.isnan(flow.pixel_array).all()


def test_wide_intervals_and_warnings_are_told(tmp_path):
    each = scan("stress", warnings=("the input function is of the tissue series",))
    rows = tuple(
        replace(row, values={**row.values, "MBF_q05": 0.1, "MBF_q95": 9.0}) if row.segment == 3 else row
        for row in each.segments[0].rows
    )
    table = replace(each.segments[0], rows=rows, units={**each.segments[0].units, "MBF_q05": "mL/min/g"})
    flow = exported(tmp_path / "out", results(replace(each, segments=(table,))))[0]
    assert flow.ContentLabel == "MBF_Q50"
    assert flow.ImageComments.startswith("the input function is of the tissue series; ")
    assert flow.ImageComments.endswith("wider than the value itself in AHA segment 3")


def test_pictures_are_those_of_the_report(tmp_path):
    found = exported(tmp_path / "out", results(), options=ExportOptions(page=False))
    captures = [ds for ds in found if ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"]
    assert [ds.SeriesDescription for ds in captures] == ["MBF maps by cnn (2CXM)", "MBF of AHA segments by cnn (2CXM)"]
    for ds in captures:
        assert ds.pixel_array.shape[2] == 3 and ds.pixel_array.std() > 20 and ds.BurnedInAnnotation == "NO"


def test_low_segments_are_outlined_in_the_picture_as_in_the_report(tmp_path):
    """Of the same heart with one segment low: what differs is its fill, the line about it and the words below."""
    stress = scan("stress")
    even = tuple(replace(row, values={**row.values, "MBF": 2.6}) for row in stress.segments[0].rows)
    low = tuple(replace(row, values={**row.values, "MBF": 1.0}) if row.segment == 8 else row for row in even)
    pictures = {}
    for name, rows in (("even", even), ("low", low)):
        each = replace(stress, segments=(replace(stress.segments[0], rows=rows),))
        found = exported(tmp_path / name, results(each), options=ExportOptions(page=False))
        (pictures[name],) = [ds.pixel_array for ds in found if ds.SeriesDescription.startswith("MBF of AHA segments")]
    assert pictures["low"].shape[0] > pictures["even"].shape[0]
    # The line lies on the border with the segment outwards, 2, and with the one beside it, 9, as well.
    top, height = 16 + 34 + 34, 640
    shared = [pictures[name][top : top + height, 16 : 16 + height].astype(int) for name in ("even", "low")]
    changed = np.argwhere((np.abs(shared[0] - shared[1]) > 60).any(axis=-1)) - 320
    radius = np.hypot(*changed.T) / 285
    assert 0.44 < radius.min() < 0.47 and 0.72 < radius.max() < 0.75
    assert (shared[1][np.abs(shared[0] - shared[1]).max(axis=-1) > 60] > 230).all(axis=-1).any()


def test_the_page_goes_along_as_pdf_where_a_browser_is(tmp_path, monkeypatch):
    page = tmp_path / "sub-01.html"
    page.write_text("<!doctype html><title>Report</title><h1>Flow</h1>")
    monkeypatch.setattr("qperf_app.dicom.export.participant.find_browser", lambda: None)
    without = export_results(results(page=page), tmp_path / "without", None, ExportOptions(pictures=False))
    assert any("Chromium" in note for note in without.notes)
    monkeypatch.undo()
    if find_browser() is None:
        pytest.skip("no Chromium here")
    options = ExportOptions(pictures=False)
    first, second = (exported(tmp_path / name, results(page=page), options=options)[-1] for name in ("a", "b"))
    assert first.EncapsulatedDocument.startswith(b"%PDF") and first.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert first.EncapsulatedDocument == second.EncapsulatedDocument and first.PatientID == "sub-01"
    assert_valid([tmp_path / "a" / "sub-01_report.dcm"])


def assert_valid(files: list[Path]) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    for path in files:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr.splitlines()
        assert [line for line in said if line.startswith("Error")] == [], path.name


@pytest.mark.parametrize("joined", [False, True])
def test_dciodvfy_finds_no_error(tmp_path, joined):
    rest, stress = scan("rest"), scan("stress")
    reference = read_reference(scanned(tmp_path / "scanner", rest, stress)) if joined else None
    written = export_results(results(rest, stress), tmp_path / "out", reference, ExportOptions(page=False))
    kinds = {pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID.name for path in written.files}
    assert kinds == {"Parametric Map Storage", "Segmentation Storage", "Secondary Capture Image Storage"}
    assert_valid(list(written.files))


@pytest.mark.parametrize("upwards", [True, False])
def test_dcmqi_reads_the_same_voxels_at_the_same_place(tmp_path, upwards):
    # Beside this Python, where pip puts them, or anywhere else.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    programs = [shutil.which(name, path=places) for name in ("paramap2itkimage", "segimage2itkimage")]
    if None in programs:
        pytest.skip("dcmqi is not installed (pip install dcmqi)")
    affine = GRID.copy()
    affine[:3, 2] *= 1 if upwards else -1
    each = scan("stress", affine=affine)
    export_results(results(each), tmp_path / "out", None, BARE)
    common = ["--outputType", "nii", "--outputDirectory", str(tmp_path)]
    source = tmp_path / "out" / "task-stress_param-MBF_stat-q05_desc-cnn.dcm"
    subprocess.run([programs[0], "--inputDICOM", source, "--prefix", "map", *common], check=True, capture_output=True)
    source = tmp_path / "out" / "task-stress_seg-heart.dcm"
    command = [programs[1], "--inputDICOM", source, "--prefix", "seg", "--mergeSegments", *common]
    subprocess.run(command, check=True, capture_output=True)
    assert each.myocardium is not None
    flow = same_axes(nib.load(tmp_path / "map-pmap.nii.gz"), affine)
    np.testing.assert_array_equal(flow, each.maps[1].data)
    labels = same_axes(nib.load(tmp_path / "seg-1.nii.gz"), affine)
    np.testing.assert_array_equal(labels == 1, each.myocardium.mask)


def same_axes(image: nib.Nifti1Image, affine: np.ndarray) -> np.ndarray:
    """Voxels of an image in the order of an affine that differs from its own in the direction of the slices at most."""
    voxels, own = np.asarray(image.dataobj), image.affine
    if own[:3, 2] @ affine[:3, 2] < 0:
        voxels = voxels[:, :, ::-1]
        own = own @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, voxels.shape[2] - 1], [0, 0, 0, 1]])
    np.testing.assert_allclose(own, affine, atol=1e-3)
    return voxels


@contextmanager
def archive(folder: Path) -> Iterator[int]:
    """DCMTK's storescp on a free port of this machine, for as long as the block lasts."""
    program = shutil.which("storescp")
    if program is None:
        pytest.skip("storescp is not installed (Debian: dcmtk)")
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([program, "--output-directory", str(folder), str(port)])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """An OUT_DIR with a rest and a stress scan of one participant."""
    out = tmp_path / "derivatives"
    place = out / "sub-01" / "perf"
    place.mkdir(parents=True)
    records = []
    for each in (scan("rest"), scan("stress")):
        prefix = f"sub-01_{each.label}"
        assert each.corrected is not None and each.pools is not None
        steps = {StepKey("motion-correction"): {"preproc": write_corrected(place, prefix, each.corrected, [])}}
        steps[StepKey("blood-pool")] = write_pools(place, prefix, each.pools, [])
        flows = {}
        for voxel_map in each.maps:
            key = MapKey(voxel_map.model, voxel_map.quantity, voxel_map.statistic or "")
            flows[key] = place / map_name(prefix, key, voxel_map.plugin)
            write_image(flows[key], voxel_map.data, GRID, describe_image("Flow", voxel_map.units, []))
        steps[StepKey("kinetics", "cnn")] = flows
        done = tuple(
            StepRecord(
                key,
                StepOutcome(key.step, key.plugin, "done"),
                tuple(FileRecord(role, str(path.relative_to(out))) for role, path in files.items()),
            )
            for key, files in steps.items()
        )
        records.append(ScanRecord(each.label, each.entities, f"sub-01/perf/{prefix}_dce.nii.gz", None, (), done))
    write_status(out, summarise("01", 0, tuple(records)))
    return out


def test_an_archive_stores_every_object(published, tmp_path, capsys):
    with archive(tmp_path / "archive") as port:
        arguments = ["export", str(published), str(tmp_path / "dicom"), "--no-page", "--send", f"127.0.0.1:{port}"]
        assert main(arguments) == 0
    sent = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "dicom" / "sub-01").iterdir()}
    stored = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "archive").iterdir()}
    assert sent == stored and len(sent) > 4
    assert f"{len(sent)} objects stored" in capsys.readouterr().out


def test_an_archive_that_is_not_there_fails_the_participant(published, tmp_path, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["export", str(published), str(tmp_path / "dicom"), "--no-page", "--no-pictures"]
    assert main([*arguments, "--send", f"127.0.0.1:{port}"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"qperf export: 127.0.0.1:{port}: no association with ANY-SCP"


def test_a_dry_run_lists_the_maps_and_writes_nothing(published, tmp_path, capsys):
    assert main(["export", str(published), str(tmp_path / "dicom"), "--dry-run"]) == 0
    assert "sub-01: task-stress_param-MBF_stat-q05_desc-cnn" in capsys.readouterr().out
    assert not (tmp_path / "dicom").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--participant-label", "02"], 18, "no results of participant 02"),
        (["--session-label", "B"], 18, "no results of session B"),
        (["--quantity", "ZZ"], 18, "no map of ZZ"),
        (["--send", "archive"], 2, "is not HOST:PORT"),
        (["--reference", "nowhere"], 2, "no such file or folder"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(published, tmp_path, capsys, arguments, code, words):
    assert main(["export", str(published), str(tmp_path / "dicom"), *arguments]) == code
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and words in said[0]
    assert not (tmp_path / "dicom").exists()


def test_a_map_that_is_gone_is_said(published, tmp_path, capsys):
    shutil.copytree(published, tmp_path / "out")
    gone = next((tmp_path / "out").rglob("*param-MBF_*dcemap.nii.gz"))
    gone.unlink()
    assert main(["export", str(tmp_path / "out"), str(tmp_path / "dicom"), "--dry-run"]) == 0
    path = gone.relative_to(tmp_path / "out")
    assert f"warning: left out, since they are no longer there: {path}\n" in capsys.readouterr().err


def test_a_disk_that_is_full_is_a_line_and_leaves_nothing(published, tmp_path, capsys, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise OSError(f"With tag (7FE0,0008) got exception: {error}\nTraceback (most recent call last):") from error

    monkeypatch.setattr(pydicom.Dataset, "save_as", fail)
    folder = tmp_path / "dicom"
    assert main(["export", str(published), str(folder), "--no-page", "--no-pictures"]) == 1
    assert capsys.readouterr().err == f"qperf export: {folder}: can't be written: No space left on device\n"
    assert not folder.exists()


def test_a_folder_without_results_and_a_standing_export_are_refused(published, tmp_path, capsys):
    assert main(["export", str(tmp_path / "nothing"), str(tmp_path / "dicom")]) == 16
    (tmp_path / "dicom" / "sub-01").mkdir(parents=True)
    assert main(["export", str(published), str(tmp_path / "dicom")]) == 2
    assert "replaces nothing" in capsys.readouterr().err


def test_dicom_files_lie_in_no_bids_dataset(published, tmp_path, capsys):
    (tmp_path / "raw" / "sub-01").mkdir(parents=True)
    (tmp_path / "raw" / "dataset_description.json").write_text("{}")
    for folder in (published, published / "dicom", tmp_path / "raw", tmp_path / "raw" / "sub-01" / "new"):
        assert main(["export", str(published), str(folder)]) == 2
        assert "choose a folder beside it" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["host", ":104", "host:0", "host:70000", "host:dicom"])
def test_an_address_is_a_host_and_a_port(text):
    with pytest.raises(ValueError, match="HOST:PORT"):
        Archive.parse(text)
