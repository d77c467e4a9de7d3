"""What a scanner stores comes back as the dataset that it was made from."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from qperf_app.bids.images import read_image, read_json
from qperf_app.bids.records import read_series
from qperf_app.bids.validate import validate
from qperf_app.cli.tools import main
from qperf_app.dicom.scanner import MANNERS, Acquisition, StudyOptions, write_study
from qperf_app.plugins import Series

FLAGS = ["--participants", "1", "--matrix", "32", "--frames", "12", "--missed-beats", "0", "--breathing", "none"]
#: The largest step of the stored values where a vendor scales them for the display.
SCALED = {"philips", "philips-enhanced"}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "data"
    assert main(["phantom", str(out), "--t2star", *FLAGS]) == 0
    return out


@pytest.fixture(scope="module")
def rest(phantom: Path) -> tuple[Acquisition, Acquisition]:
    """Tissue and input-function series at rest."""
    return acquisition(phantom, "rest"), acquisition(phantom, "rest", "aif")


def acquisition(phantom: Path, task: str, kind: Any = "tissue") -> Acquisition:
    acq = "_acq-aif" if kind == "aif" else ""
    series = read_series(phantom / "sub-01" / "perf" / f"sub-01_task-{task}{acq}_dce.nii.gz")
    return Acquisition(series, task, kind)


def run(*arguments: Any) -> int:
    return main(["import", *map(str, arguments)])


def imported(dataset: Path, name: str) -> Series:
    return read_series(next(dataset.glob(f"sub-01/**/perf/sub-01_{name}_dce.nii.gz")))


def assert_same(found: Series, expected: Series, step: float = 0.0) -> None:
    np.testing.assert_allclose(found.times - found.times[0], expected.times - expected.times[0], atol=1e-3)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-3)
    np.testing.assert_allclose(found.data, expected.data, atol=step / 2 + 1e-3)


def no_errors(dataset: Path) -> None:
    assert [str(issue) for issue in validate(dataset) if issue.severity == "error"] == []


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("proton_density", ["inside", "apart"])
def test_round_trip(rest, tmp_path, manner, proton_density):
    options = StudyOptions(proton_density=proton_density)
    write_study(tmp_path / "dicom", rest, manner, options=options)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    for original, name in zip(rest, ("task-rest", "task-rest_acq-aif"), strict=True):
        step = float(original.series.data.max()) / 2000 if manner in SCALED else 0.0
        found = imported(tmp_path / "bids", name)
        assert_same(found, original.series, step)
        assert found.n_proton_density == original.series.n_proton_density == 3
        flips = [found.metadata["FlipAngle"][n] for n in (0, -1)]
        assert flips == [original.series.metadata["FlipAngle"][n] for n in (0, -1)]
        assert found.metadata["MagneticFieldStrength"] == original.series.metadata["MagneticFieldStrength"]
        assert found.metadata["EchoTime"] == pytest.approx(original.series.metadata["EchoTime"])
        spacing = found.metadata.get("RepetitionTimeExcitation")
        assert spacing in (None, pytest.approx(original.series.metadata["RepetitionTimeExcitation"]))
    no_errors(tmp_path / "bids")


def test_rest_and_stress_of_one_study(phantom, tmp_path):
    both = [acquisition(phantom, task, kind) for task in ("rest", "stress") for kind in ("tissue", "aif")]
    write_study(tmp_path / "dicom", both, "siemens")
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    for original in both:
        name = f"task-{original.task}" + ("_acq-aif" if original.kind == "aif" else "")
        assert_same(imported(tmp_path / "bids", name), original.series)


@pytest.mark.parametrize("manner", ["siemens", "ge", "philips", "siemens-xa"])
def test_constant_beats(rest, tmp_path, manner):
    series = rest[0].series
    even = replace(series, times=series.times[0] + 0.8 * np.arange(len(series.times)))
    write_study(tmp_path / "dicom", [Acquisition(even, "rest")], manner)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    np.testing.assert_allclose(np.diff(imported(tmp_path / "bids", "task-rest").times), 0.8, atol=1e-3)


@pytest.mark.parametrize("manner", MANNERS)
def test_slices_interleaved_over_beats(rest, tmp_path, manner):
    write_study(tmp_path / "dicom", rest[:1], manner, options=StudyOptions(beats_per_volume=3))
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    found = imported(tmp_path / "bids", "task-rest")
    expected = rest[0].series
    np.testing.assert_allclose(found.times, expected.times - expected.times[0], atol=1e-3)
    third = np.median(np.diff(expected.times)) / 3
    np.testing.assert_allclose(found.metadata["SliceTiming"], [0, third, 2 * third], atol=0.02)


@pytest.mark.parametrize("manner", ["siemens", "philips-enhanced", "ge"])
@pytest.mark.parametrize("proton_density", ["inside", "apart"])
def test_slices_of_different_orientation_become_series_of_one_scan(rest, tmp_path, manner, proton_density):
    options = StudyOptions(tilt=15.0, proton_density=proton_density)
    write_study(tmp_path / "dicom", rest, manner, options=options)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    expected = rest[0].series
    for k in range(3):
        found = imported(tmp_path / "bids", f"task-rest_acq-slice{k + 1}")
        step = float(expected.data.max()) / 2000 if manner in SCALED else 0.0
        np.testing.assert_allclose(found.data[:, :, 0], expected.data[:, :, k], atol=step / 2 + 1e-3)
        np.testing.assert_allclose(found.times, expected.times - expected.times[0], atol=1.001e-3)
        assert found.n_proton_density == 3
    no_errors(tmp_path / "bids")


@pytest.mark.parametrize("manner", MANNERS)
def test_prebolus_by_its_dose(rest, tmp_path, manner):
    dose = {"ContrastBolusVolume": 14.0, "ContrastBolusIngredientConcentration": 78.6}
    series = rest[0].series
    large = replace(series, metadata={**series.metadata, **dose})
    small = replace(series, metadata={**series.metadata, **dose, "ContrastBolusVolume": 1.4})
    write_study(tmp_path / "dicom", [Acquisition(large, "rest"), Acquisition(small, "rest", "prebolus")], manner)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    first = imported(tmp_path / "bids", "task-rest_acq-prebolus").metadata
    second = imported(tmp_path / "bids", "task-rest").metadata
    assert (first["ContrastBolusVolume"], second["ContrastBolusVolume"]) == (1.4, 14.0)
    assert first["ContrastBolusIngredientConcentration"] == 78.6
    assert first["ContrastBolusIngredient"] == "GADOLINIUM"


def test_values_follow_the_rescale_slope_of_each_image(rest, tmp_path):
    files = write_study(tmp_path / "dicom", rest[:1], "united-imaging", options=StudyOptions(rescale=(0.25, -10.0)))
    for path in files[::2]:
        ds = pydicom.dcmread(path)
        ds.RescaleSlope, ds.RescaleIntercept = 0.5, 0.0
        ds.PixelData = np.rint((ds.pixel_array * 0.25 - 10) / 0.5).clip(0).astype(np.uint16).tobytes()
        ds.save_as(path)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert_same(imported(tmp_path / "bids", "task-rest"), rest[0].series, 0.8)


def test_a_copy_of_an_image_is_left_out_and_said(rest, tmp_path, capsys):
    """An export that ran twice leaves some images again, under other identifiers."""
    folder = tmp_path / "dicom"
    write_study(folder, rest, "siemens")
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))[10:40:3]):
        image = pydicom.dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        image.InstanceNumber = int(image.InstanceNumber) + 1000
        image.save_as(path.with_name(f"again{number}.dcm"))
    assert run(folder, tmp_path / "bids") == 0
    said = capsys.readouterr()
    assert "copies of other images: the same place, time and pixels" in said.out + said.err
    for original, name in zip(rest, ("task-rest", "task-rest_acq-aif"), strict=True):
        assert_same(imported(tmp_path / "bids", name), original.series)


def test_a_series_for_each_slice_is_one_series(rest, tmp_path):
    for path in write_study(tmp_path / "dicom", rest[:1], "siemens"):
        ds = pydicom.dcmread(path)
        place = f"{float(ds.ImagePositionPatient[2]):.3f}"
        ds.SeriesInstanceUID = ds.SeriesInstanceUID[:-4] + str(abs(hash(place)) % 9000 + 1000)
        ds.SeriesNumber = 100 + sorted_places(rest[0].series).index(place)
        ds.save_as(path)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert_same(imported(tmp_path / "bids", "task-rest"), rest[0].series)


def sorted_places(series: Series) -> list[str]:
    from qperf_app.dicom.geometry import slice_plane

    return [f"{slice_plane(series.affine, k)[0][2]:.3f}" for k in range(series.data.shape[2])]


def test_zip_archives_and_order_of_files_make_no_difference(rest, tmp_path):
    files = write_study(tmp_path / "dicom", rest, "siemens-xa")
    files += write_study(tmp_path / "more", [], "siemens-xa")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(reversed(files)):
            archive.write(path, f"../../{number}")
    assert run(tmp_path / "dicom", tmp_path / "a") == 0
    assert run(tmp_path / "study.zip", tmp_path / "b") == 0
    assert run(tmp_path / "study.zip", tmp_path / "dicom", tmp_path / "c") == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b") == digests(tmp_path / "c")


def test_a_second_study_becomes_a_session_and_the_first_stays(phantom, tmp_path, capsys):
    first = [acquisition(phantom, "rest")]
    second = [acquisition(phantom, "stress")]
    write_study(tmp_path / "first", first, "siemens", name="first")
    write_study(tmp_path / "second", second, "siemens", name="second")
    assert run(tmp_path / "first", tmp_path / "bids") == 0
    before = digests(tmp_path / "bids" / "sub-01")
    assert run(tmp_path / "second", tmp_path / "bids") == 2
    assert "say --participant 01, or another label" in capsys.readouterr().err
    assert digests(tmp_path / "bids" / "sub-01") == before
    assert run(tmp_path / "second", tmp_path / "bids", "--participant", "01") == 0
    after = digests(tmp_path / "bids" / "sub-01")
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        f"ses-02/perf/sub-01_ses-02_task-stress_dce.{ending}" for ending in ("json", "nii.gz")
    }
    assert run(tmp_path / "first", tmp_path / "second", tmp_path / "bids") == 0
    assert digests(tmp_path / "bids" / "sub-01") == after
    no_errors(tmp_path / "bids")


def test_sessions_and_participants_that_are_named(rest, phantom, tmp_path):
    write_study(tmp_path / "dicom", rest[:1], "ge")
    write_study(tmp_path / "other", [acquisition(phantom, "stress")], "ge", name="other")
    bids = tmp_path / "bids"
    assert run(tmp_path / "dicom", bids, "--participant", "sub-07", "--session", "A") == 0
    assert (bids / "sub-07/ses-A/perf/sub-07_ses-A_task-rest_dce.nii.gz").is_file()
    assert (bids / "participants.tsv").read_text().split() == ["participant_id", "sub-07"]
    before = digests(bids)
    assert run(tmp_path / "other", bids, "--participant", "07", "--session", "A", "--task", "rest") == 2
    assert digests(bids) == before
    assert run(tmp_path / "dicom", bids, "--participant", "no_label") == 2


def test_dry_run_shows_the_table_and_writes_nothing(rest, tmp_path, capsys):
    write_study(tmp_path / "dicom", rest, "siemens", options=StudyOptions(proton_density="apart"))
    assert run(tmp_path / "dicom", tmp_path / "bids", "--dry-run") == 0
    table = capsys.readouterr().out
    for word in ("input function", "tissue", "rest", "AcquisitionTime", "proton density", "SaturationDelayTime"):
        assert word in table
    assert not (tmp_path / "bids").exists()


def test_the_protocol_file_is_asked_once_and_recognised(rest, phantom, tmp_path, capsys):
    write_study(tmp_path / "dicom", rest, "siemens")
    protocol = tmp_path / "lab.yaml"
    assert run(tmp_path / "dicom", tmp_path / "bids", "--protocol", protocol) == 0
    assert "SaturationDelayTime" in capsys.readouterr().err
    asked = protocol.read_text()
    assert asked.count("SaturationDelayTime: null") == 2
    filled = asked.replace("SaturationDelayTime: null", "SaturationDelayTime: 0.05")
    filled = filled.replace("RepetitionTimeExcitation: null", "RepetitionTimeExcitation: 0.0022")
    filled = filled.replace("ExcitationsToKSpaceCenter: null", "ExcitationsToKSpaceCenter: 24")
    protocol.write_text(filled)
    assert run(tmp_path / "dicom", tmp_path / "bids", "--protocol", protocol) == 0
    assert capsys.readouterr().err == ""
    metadata = imported(tmp_path / "bids", "task-rest").metadata
    assert (metadata["SaturationDelayTime"], metadata["ExcitationsToKSpaceCenter"]) == (0.05, 24)
    assert metadata["ImportedFrom"]["SaturationDelayTime"] == "protocol file"
    # Another patient on the same protocol.
    write_study(tmp_path / "next", [acquisition(phantom, "stress", kind) for kind in ("tissue", "aif")], "siemens")
    assert run(tmp_path / "next", tmp_path / "bids2", "--protocol", protocol) == 0
    assert imported(tmp_path / "bids2", "task-stress").metadata["SaturationDelayTime"] == 0.05
    assert protocol.read_text() == filled


def test_flow_is_absolute_without_an_echo_time(rest, tmp_path, capsys):
    """A spoiled signal can do without, as what an import says of it must."""
    for path in write_study(tmp_path / "dicom", rest[:1], "siemens"):
        ds = pydicom.dcmread(path)
        ds.EchoTime = None
        ds.save_as(path)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert "EchoTime; give them in" in (said := capsys.readouterr().err) and "flow is relative" in said
    protocol = tmp_path / "bids" / "code" / "import_protocols.yaml"
    filled = protocol.read_text()
    for name, value in (("SaturationDelayTime", 0.05), ("RepetitionTimeExcitation", 0.0022),
                        ("ExcitationsToKSpaceCenter", 24)):  # fmt: skip
        filled = filled.replace(f"{name}: null", f"{name}: {value}")
    protocol.write_text(filled)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert "EchoTime; give it in" in (said := capsys.readouterr().err) and "relative" not in said
    assert "decay until its echo is not counted" in said


@pytest.mark.parametrize("wrong", ["SaturationDelayTime: 50", "SaturationDelay: 0.05", "PulseSequenceType: spin echo"])
def test_a_wrong_protocol_is_named(rest, tmp_path, capsys, wrong):
    write_study(tmp_path / "dicom", rest[:1], "siemens")
    protocol = tmp_path / "lab.yaml"
    protocol.write_text(f"'0123456789':\n  {wrong}\n")
    assert run(tmp_path / "dicom", tmp_path / "bids", "--protocol", protocol) == 2
    said = capsys.readouterr().err
    assert str(protocol) in said and wrong.split(":")[0] in said and said.count("\n") == 1
    assert not (tmp_path / "bids").exists()


def test_every_value_says_where_it_comes_from(rest, tmp_path):
    write_study(tmp_path / "dicom", rest[:1], "ge")
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    sidecar = read_json(next(tmp_path.glob("bids/sub-01/perf/*.json")))
    constants = {"Modality", "BodyPart", "Units", "ConversionSoftware", "ConversionSoftwareVersion", "ImportedFrom"}
    assert set(sidecar) - constants == set(sidecar["ImportedFrom"])
    assert sidecar["ImportedFrom"]["MagneticFieldStrength"] == "MagneticFieldStrength, gauss"
    assert sidecar["ImportedFrom"]["VolumeTiming"] == "TriggerTime"
    assert json.dumps(sidecar)


@pytest.mark.parametrize("private", [True, False])
def test_philips_where_trigger_time_is_a_delay(rest, tmp_path, capsys, private):
    """The begin of each dynamic is the clock; without private elements dynamics are one beat apart, and it is said."""
    for path in write_study(tmp_path / "dicom", rest[:1], "philips"):
        ds = pydicom.dcmread(path)
        ds.TriggerTime = 100.0 + 150.0 * sorted_places(rest[0].series).index(f"{float(ds.ImagePositionPatient[2]):.3f}")
        ds.HeartRate = 60
        if not private:
            ds.remove_private_tags()
        ds.save_as(path)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    found, expected = imported(tmp_path / "bids", "task-rest"), rest[0].series
    origin = found.metadata["ImportedFrom"]["VolumeTiming"]
    if private:
        np.testing.assert_allclose(found.times, expected.times - expected.times[0], atol=1e-3)
        assert origin.startswith("dynamic scan begin time")
    else:
        np.testing.assert_allclose(np.diff(found.times), 1.0)
        assert origin.startswith("derived") and "no field tells the time of a frame" in capsys.readouterr().out


def test_a_scan_over_midnight(rest, tmp_path):
    for path in write_study(tmp_path / "dicom", rest[:1], "siemens"):
        ds = pydicom.dcmread(path)
        for name in ("AcquisitionTime", "ContentTime"):
            text = getattr(ds, name)
            seconds = int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:]) - 36_605 + 86_400 - 600
            seconds %= 86_400
            setattr(ds, name, f"{int(seconds // 3600):02d}{int(seconds // 60 % 60):02d}{seconds % 60:09.6f}")
        ds.save_as(path)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert_same(imported(tmp_path / "bids", "task-rest"), rest[0].series)


def test_headers_of_an_anonymiser_that_leaves_next_to_nothing(rest, tmp_path):
    gone = ("PatientID", "PatientName", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "StudyTime",
            "SeriesTime", "Manufacturer", "Modality", "FrameOfReferenceUID", "ImageType",
            "StudyInstanceUID", "SeriesNumber", "InstanceNumber", "SeriesDescription", "ProtocolName")  # fmt: skip
    for path in write_study(tmp_path / "dicom", rest[:1], "siemens"):
        ds = pydicom.dcmread(path)
        for name in gone:
            if name in ds:
                delattr(ds, name)
        ds.save_as(path)
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    assert_same(imported(tmp_path / "bids", "task-rest"), rest[0].series)


def test_voxels_are_stored_as_integers_where_they_are(rest, tmp_path):
    import nibabel as nib

    write_study(tmp_path / "dicom", rest[:1], "siemens")
    assert run(tmp_path / "dicom", tmp_path / "bids") == 0
    path = next(tmp_path.glob("bids/sub-01/perf/*.nii.gz"))
    assert nib.load(path).get_data_dtype() == np.int16
    np.testing.assert_array_equal(read_image(path)[0], rest[0].series.data)
