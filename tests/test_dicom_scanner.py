"""The phantom as DICOM: do the headers hold what each vendor's hold, and the pixels what the dataset has?"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from qperf_app.bids.records import read_series
from qperf_app.bids.validate import validate
from qperf_app.cli.tools import main
from qperf_app.dicom.geometry import slice_plane
from qperf_app.dicom.scanner import MANNERS, Acquisition, StudyOptions, write_dataset_as_dicom, write_study
from qperf_app.plugins import Series

FLAGS = ["--participants", "1", "--matrix", "32", "--frames", "12", "--tasks", "rest", "--missed-beats", "0"]
#: What a real header has and the standard says it should not: these fields are for other sequences there.
KNOWN_DEVIATIONS = ("Element=<InversionTime>", "Element=<TriggerTime>")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scanner") / "data"
    assert main(["phantom", str(out), *FLAGS, "--dicom", "all"]) == 0
    return out


def studies(dataset: Path, manner: str) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted((dataset / "sourcedata" / manner).rglob("*.dcm"))]


def raw(dataset: Path, name: str = "") -> Series:
    return read_series(dataset / "sub-01" / "perf" / f"sub-01_task-rest{name}_dce.nii.gz")


def images(datasets: list[Dataset], description: str) -> Iterator[tuple[float, np.ndarray, np.ndarray, float]]:
    """Time, position, pixels and step of the pixels of each image, by the clock and the scale of its maker."""
    for ds in datasets:
        if ds.SeriesDescription != description:
            continue
        if "PerFrameFunctionalGroupsSequence" in ds:
            pixels = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
            for values, group in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
                time = group.FrameContentSequence[0].FrameReferenceDateTime[8:]
                slope = float(group.PixelValueTransformationSequence[0].RescaleSlope)
                position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
                yield seconds(time), position, values * slope, slope
            continue
        time = seconds(ds.get("AcquisitionTime") or ds.ContentTime)
        slope = 1.0
        if ds.Manufacturer.startswith(("GE", "Philips")):
            time = float(ds.TriggerTime) / 1e3
        if ds.Manufacturer.startswith("Philips"):
            slope = 1.0 / ds[0x2005, 0x100E].value
        yield time, np.array(ds.ImagePositionPatient, float), ds.pixel_array * slope, slope


def seconds(text: str) -> float:
    return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])


@pytest.mark.parametrize("manner", [name for name, manner in MANNERS.items() if manner.described])
@pytest.mark.parametrize(("name", "description"), [("", "perfusion rest"), ("_acq-aif", "perfusion AIF rest")])
def test_times_places_and_values_are_those_of_the_dataset(dataset, manner, name, description):
    series = raw(dataset, name)
    found = sorted(images(studies(dataset, manner), description), key=lambda image: image[0])
    slices, frames = series.data.shape[2:]
    assert len(found) == slices * frames
    for k in range(slices):
        position, _ = slice_plane(series.affine, k)
        mine = [image for image in found if np.allclose(image[1], position, atol=1e-3)]
        times = np.array([image[0] for image in mine])
        np.testing.assert_allclose(times - times[0], series.times - series.times[0], atol=1e-3)
        values = np.stack([image[2] for image in mine], axis=-1)
        step = mine[0][3]
        np.testing.assert_allclose(values.transpose(1, 0, 2), series.data[:, :, k], atol=0.5 * step + 1e-3)


def test_without_a_vendor_volumes_are_numbered_and_nothing_is_named(dataset):
    found = studies(dataset, "vendor-neutral")
    assert all("SeriesDescription" not in ds and "ProtocolName" not in ds and not ds.Manufacturer for ds in found)
    largest = max(found, key=lambda ds: ds.TemporalPositionIdentifier)
    assert largest.TemporalPositionIdentifier == largest.NumberOfTemporalPositions == 12


def test_each_vendor_has_its_own_quirks(dataset):
    ge, siemens, philips = (studies(dataset, name) for name in ("ge", "siemens", "philips"))
    assert {int(ds.MagneticFieldStrength) for ds in ge} == {15000}
    made = [seconds(ds.AcquisitionTime) for ds in ge if ds.SeriesDescription == "perfusion rest"]
    assert max(made) - min(made) <= 2
    assert {float(ds.TriggerTime) for ds in siemens if ds.SeriesDescription == "perfusion AIF rest"} == {20.0}
    assert {float(ds.RepetitionTime) for ds in siemens if "AIF" not in ds.SeriesDescription} == {155.6}
    assert len({ds.AcquisitionTime for ds in philips}) == 1
    assert all(float(ds.RescaleSlope) * ds[0x2005, 0x100E].value == pytest.approx(0.37, rel=1e-3) for ds in philips)
    assert all(ds.SOPClassUID.name == "Enhanced MR Image Storage" for ds in studies(dataset, "siemens-xa"))


def test_the_dataset_stays_valid_and_two_runs_give_the_same_bytes(dataset, tmp_path):
    assert not [issue for issue in validate(dataset) if issue.severity == "error"]
    again = tmp_path / "again"
    assert main(["phantom", str(again), *FLAGS, "--dicom", "siemens", "philips-enhanced"]) == 0
    for manner in ("siemens", "philips-enhanced"):
        assert digests(again / "sourcedata" / manner) == digests(dataset / "sourcedata" / manner)
    assert {path.name for path in (again / "sourcedata").iterdir()} == {"siemens", "philips-enhanced"}
    every = [ds.SOPInstanceUID for manner in MANNERS for ds in studies(dataset, manner)]
    assert len(set(every)) == len(every)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("proton_density", ["inside", "apart"])
def test_dciodvfy_finds_no_error_that_real_headers_do_not_have(dataset, tmp_path, manner, proton_density):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    options = StudyOptions(proton_density=proton_density)
    files = write_dataset_as_dicom(dataset, tmp_path, manner, options=options)
    folders = {path.parent: path for path in files}
    assert len(folders) == (2 if proton_density == "inside" else 4)
    for path in folders.values():
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr.splitlines()
        errors = [line for line in said if line.startswith("Error") and not any(d in line for d in KNOWN_DEVIATIONS)]
        assert errors == []


def test_proton_density_apart_is_a_series_without_agent(dataset, tmp_path):
    options = StudyOptions(proton_density="apart")
    found = [pydicom.dcmread(p) for p in write_dataset_as_dicom(dataset, tmp_path, "siemens", options=options)]
    apart = [ds for ds in found if ds.SeriesDescription == "perfusion PD rest" and ds.Rows == 32]
    assert len(apart) == 3 * 3
    assert {float(ds.FlipAngle) for ds in apart} == {5.0} and not any("ContrastBolusAgent" in ds for ds in apart)
    rest = [ds for ds in found if ds.SeriesDescription == "perfusion rest"]
    assert len(rest) == 9 * 3 and {float(ds.FlipAngle) for ds in rest} == {12.0}


def test_slices_may_be_interleaved_over_beats_and_differ_in_orientation(dataset, tmp_path):
    series = raw(dataset)
    options = StudyOptions(beats_per_volume=3, tilt=20.0)
    files = write_study(tmp_path, [Acquisition(series, "rest")], "siemens", options=options)
    found = [pydicom.dcmread(path) for path in files]
    by_place = {tuple(ds.ImagePositionPatient): tuple(ds.ImageOrientationPatient) for ds in found}
    assert len(by_place) == 3 and len(set(by_place.values())) == 3
    normals = [np.cross(o[:3], o[3:]) for o in by_place.values()]
    assert np.degrees(np.arccos(normals[0] @ normals[1])) == pytest.approx(20.0, abs=1e-3)
    times = sorted(seconds(ds.AcquisitionTime) for ds in found)
    assert np.diff(times[:4]) == pytest.approx((series.times[1] - series.times[0]) / 3, abs=1e-5)


def test_a_prebolus_is_a_series_before_its_scan_with_its_own_dose(dataset, tmp_path):
    main_bolus = raw(dataset)
    dose = {"ContrastBolusVolume": 14.0, "ContrastBolusIngredientConcentration": 78.6}
    small = replace(main_bolus, metadata={**main_bolus.metadata, **dose, "ContrastBolusVolume": 1.4})
    large = replace(main_bolus, metadata={**main_bolus.metadata, **dose})
    measured = [Acquisition(large, "rest"), Acquisition(small, "rest", "prebolus")]
    for manner in MANNERS:
        found = [pydicom.dcmread(path) for path in write_study(tmp_path / manner, measured, manner)]
        doses = {}
        for ds in found:
            agent = ds.ContrastBolusAgentSequence[0] if "ContrastBolusAgentSequence" in ds else ds
            doses.setdefault(ds.SeriesNumber, float(agent.ContrastBolusVolume))
        assert doses == {10: 1.4, 20: 14.0}
        times = {int(ds.SeriesNumber): ds.SeriesTime for ds in found}
        assert times[10] < times[20]


def test_rescale_and_identity_are_what_was_asked_for(dataset, tmp_path):
    series = raw(dataset)
    options = StudyOptions(rescale=(0.25, -10.0), identity={"PatientName": "Made^Up", "InstitutionName": "Nowhere"})
    files = write_study(tmp_path, [Acquisition(series, "rest")], "united-imaging", options=options)
    ds = pydicom.dcmread(files[0])
    assert (ds.PatientName, ds.InstitutionName) == ("Made^Up", "Nowhere")
    values = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    np.testing.assert_allclose(values.T, series.data[:, :, 0, 0], atol=0.125)


@pytest.mark.parametrize(
    ("wrong", "option"),
    [({"proton_density": "elsewhere"}, "proton_density"), ({"beats_per_volume": 0}, "beats_per_volume"),
     ({"rescale": (0.0, 0.0)}, "rescale")],
)  # fmt: skip
def test_an_option_out_of_range_is_named(wrong, option):
    with pytest.raises(ValueError, match=option):
        StudyOptions(**wrong)
