"""The checks of raw series and of what is handed in: pure functions, each fault and its neighbours that are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qperf_app.checks import Finding, lowered, refusal
from qperf_app.checks.anatomy import cavities, enhancement_findings, mirrored, septum_apart, widening
from qperf_app.checks.blood import blood_findings
from qperf_app.checks.curves import amount_findings, blood_peaks, curve_findings, peak_findings
from qperf_app.checks.flow import has_enough_flow, implausible_flow, implausible_reserve, without_enhancement
from qperf_app.checks.images import (
    ImageHeader,
    header_findings,
    leading_bright,
    proton_density_in_signal,
    voxel_findings,
)
from qperf_app.checks.masks import labels_findings, mask_findings, pools_findings, wall_findings
from qperf_app.checks.points import point_findings
from qperf_app.checks.ranges import FIELDS, TABLE, range_findings
from qperf_app.checks.scan import PULSES, place_findings, scan_findings, task_findings
from qperf_app.checks.sequence import CONTRADICTIONS
from qperf_app.checks.spelling import slip_for, spelling_findings
from qperf_app.checks.study import digest, rest_and_stress_findings, same_voxels_finding
from qperf_app.checks.timing import interval_findings, timing_findings, with_timing
from qperf_app.checks.wall import blood_in_wall, clocks_apart, enclosed_blood, input_comes_late
from qperf_app.geometry import Grid, voxel_to_world
from qperf_app.plugins.records import BloodPools, InputFunction, Landmark

N = 34
TIMES = [round(0.87 * k + 0.02 * (k % 3), 3) for k in range(N)]
SHAPE = (64, 64, 3, N)
GOOD: dict[str, Any] = {
    "VolumeTiming": TIMES,
    "FlipAngle": [5.0, 5.0] + [12.0] * (N - 2),
    "RepetitionTimeExcitation": 0.0022,
    "EchoTime": 0.0011,
    "SaturationDelayTime": 0.05,
    "ExcitationsToKSpaceCenter": 24,
    "ProtonDensityVolumeCount": 2,
    "MagneticFieldStrength": 1.5,
    "Haematocrit": 0.42,
    "Units": "arbitrary",
    "TaskName": "rest",
    "PulseSequenceType": "Saturation-recovery FLASH",
}
USED = {
    "VolumeTiming", "FlipAngle", "RepetitionTimeExcitation", "SaturationDelayTime", "ExcitationsToKSpaceCenter",
    "ProtonDensityVolumeCount", "MagneticFieldStrength", "Haematocrit", "Units",
    "SliceTiming",
}  # fmt: skip


def found(metadata: dict[str, Any], shape: tuple[int, ...] = SHAPE) -> list[Finding]:
    """All findings about one series' metadata, as the app weighs them."""
    findings = [*timing_findings("f", metadata, shape), *range_findings("f", metadata)]
    findings += [finding for check in CONTRADICTIONS for finding in check("f", metadata, shape)]
    return list(lowered(findings, USED))


def one(findings: Iterable[Finding], severity: str, *words: str) -> None:
    """Exactly one finding of a severity and none graver; it has the words."""
    findings = list(findings)
    graver = [f for f in findings if f.refused and severity == "doubt"]
    same = [f for f in findings if f.severity == severity]
    assert not graver and len(same) == 1, findings
    assert all(word in same[0].text for word in words), same[0].text


def test_good_series_have_nothing_against_them() -> None:
    assert found(GOOD) == []
    # Two beats of a slow heart, one of a fast one; 3 T; no proton density; a small angle; a missed beat; a late start.
    for fields in (
        {"VolumeTiming": [1.9 * k for k in range(N)]},
        {"VolumeTiming": [0.4 * k for k in range(N)]},
        {"MagneticFieldStrength": 2.89},
        {"MagneticFieldStrength": 0.55},
        {"ProtonDensityVolumeCount": 0, "FlipAngle": 12},
        {"FlipAngle": [3.0, 3.0] + [5.0] * (N - 2), "SaturationDelayTime": 0.01, "RepetitionTimeExcitation": 0.0014},
        {"VolumeTiming": [t + (0.9 if k > 9 else 0) for k, t in enumerate(TIMES)]},
        {"VolumeTiming": [t + (25.0 if k > 1 else 0) for k, t in enumerate(TIMES)]},
        {"VolumeTiming": [t + 12.5 for t in TIMES]},
        {"RepetitionTimeExcitation": 0.00683, "EchoTime": 0.00148, "ExcitationsToKSpaceCenter": 10},
    ):
        assert found({**GOOD, **fields}) == [], fields
    assert found({"VolumeTiming": TIMES, "Units": "mmol/L"}) == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("FlipAngle", 0.209, ("0.209 degrees", "in radians? Then write 11.97")),
        ("FlipAngle", [0.0873] * 2 + [0.2094] * (N - 2), ("in radians",)),
        ("RepetitionTimeExcitation", 2.2, ("2.2 s", "in ms? Then write 0.0022")),
        ("RepetitionTimeExcitation", 2200, ("in µs",)),
        ("RepetitionTimeExcitation", 0.0000022, ("possible are",)),
        ("RepetitionTimeExcitation", 0.87, ("0.87 s",)),
        ("SaturationDelayTime", 50, ("50 s", "in ms? Then write 0.05")),
        ("MagneticFieldStrength", 15000, ("15000 T", "in gauss? Then write 1.5")),
        ("MagneticFieldStrength", 1500, ("in mT? Then write 1.5",)),
        ("MagneticFieldStrength", 63.87, ("in MHz of hydrogen? Then write 1.5",)),
        ("Haematocrit", 42, ("Haematocrit is 42", "in per cent? Then write 0.42")),
        ("Haematocrit", "0.42", ("'0.42', not a number",)),
        ("Haematocrit", [0.42], ("[0.42], not a number",)),
        ("SaturationDelayTime", True, ("not a number",)),
        ("MagneticFieldStrength", [1.5, "x"], ("not a number",)),
        ("VolumeTiming", [1000 * t for t in TIMES], ("s, possible", "in ms?")),
        ("VolumeTiming", [t / 60 for t in TIMES], ("in minutes",)),
        ("VolumeTiming", [36000 + t for t in TIMES], ("begins at 36000 s", "time of day")),
        ("VolumeTiming", [t - 0.5 for t in TIMES], ("begins at -0.5 s", "from the start of the series")),
        ("VolumeTiming", [*TIMES[:-1], 1e30], ("jumps by 1e+30 s", "up to 600 s are possible")),
        ("VolumeTiming", [t + (700 if k > 1 else 0) for k, t in enumerate(TIMES)], ("jumps by 70",)),
        ("VolumeTiming", [8.7 * k for k in range(N)], ("time between volumes",)),
        ("VolumeTiming", TIMES[:-1] + [TIMES[-2]], ("must increase strictly",)),
        ("FrameTimesStart", [2 * t for t in TIMES], ("the two differ",)),
        ("FrameTimesStart", "early", ("the two differ",)),
        ("ProtonDensityVolumeCount", 4, ("ProtonDensityVolumeCount is 4", "FlipAngle is 5 degrees up to volume 2")),
        ("ProtonDensityVolumeCount", 1, ("up to volume 2",)),
        ("ProtonDensityVolumeCount", 0, ("ProtonDensityVolumeCount is 0", "up to volume 2")),
        ("ProtonDensityVolumeCount", 2.0, ("2.0, expected a whole number",)),
        ("EchoTime", 0.0024, ("EchoTime is 0.0024 s", "RepetitionTimeExcitation 0.0022 s")),
        ("ExcitationsToKSpaceCenter", 450, ("450 excitations 0.0022 s apart", "after 0.89 s")),
        ("SaturationDelayTime", 0.9, ("SaturationDelayTime 0.9 s", "after 0.89 s")),
        ("PulseSequenceType", "Inversion-recovery FLASH", ("not saturation", "--concentration linear")),
        ("SequenceName", "*tfi2d1_60", ("'*tfi2d1_60' (bSSFP)", "contradict")),
        ("SliceTiming", [0, 100, 200], ("SliceTiming", "in ms")),
        ("SliceTiming", [0.0, 0.1], ("a number (s) for each slice",)),
        ("SliceTiming", 0.1, ("a number (s) for each slice",)),
        ("SequenceVariant", ["SK", "SS"], ("SequenceVariant",)),
        ("ScanningSequence", "EP\\SE", ("ScanningSequence",)),
    ],
)
def test_what_decides_about_flow_is_refused(field: str, value: Any, words: tuple[str, ...]) -> None:
    findings = [f for f in found({**GOOD, field: value}) if f.refused]
    one(findings, "refused", *words)
    assert field in findings[0].field


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("FlipAngle", 12.0, ("FlipAngle is 12 degrees for the 2 proton-density volumes", "list one for each volume")),
        ("FlipAngle", [12.0] * N, ("alike",)),
        ("FlipAngle", [12.0] * 2 + [5.0] * (N - 2), ("are the two exchanged?",)),
        ("EchoTime", 1.1, ("EchoTime is 1.1 s", "in ms? Then write 0.0011")),
        ("SaturationDelayTime", 0.45, ("0.45 s",)),
        ("SaturationDelayTime", 0.0005, ("usual are",)),
        ("Haematocrit", 0.07, ("Haematocrit is 0.07",)),
        ("VolumeTiming", [t + (40 if k > 15 else 0) for k, t in enumerate(TIMES)], ("jumps by 40", "volume 16")),
        ("VolumeTiming", list(range(N)), ("counts the volumes",)),
        ("VolumeTiming", [t + 75 for t in TIMES], ("begins at 75 s",)),
        ("RepetitionTime", 0.0022, ("RepetitionTime is 0.0022 s", "VolumeTiming is used")),
        ("ContrastBolusVolume", 0.005, ("ContrastBolusVolume", "in L? Then write 5")),
        ("ContrastBolusIngredientConcentration", 0.5, ("in mmol/mL",)),
        ("ImageType", ["ORIGINAL", "PRIMARY", "P", "ND"], ("P: a magnitude series",)),
        ("SliceThickness", 0.008, ("in m? Then write 8",)),
        ("PulseSequenceType", "GRE", ("no field names the read-out", "Saturation-recovery FLASH")),
    ],
)
def test_what_may_be_so_is_doubted(field: str, value: Any, words: tuple[str, ...]) -> None:
    findings = found({**GOOD, field: value})
    assert not any(f.refused for f in findings)
    assert any(field in f.field and all(word in f.text for word in words) for f in findings), findings


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Hematocrit", "Haematocrit"),
        ("haematocrit", "Haematocrit"),
        ("Haemotocrit", "Haematocrit"),
        ("HCT", "Haematocrit"),
        ("flipangle", "FlipAngle"),
        ("flip_angle", "FlipAngle"),
        ("FlipAngles", "FlipAngle"),
        ("SaturationDelay", "SaturationDelayTime"),
        ("VolumeTimings", "VolumeTiming"),
        ("Unit", "Units"),
    ],
)
def test_a_field_that_is_nearly_a_known_one_is_told(written: str, meant: str) -> None:
    one(spelling_findings("f", {**GOOD, written: 1}), "doubt", written, f"is it {meant}?")
    assert slip_for(meant, [*GOOD, written]) == written


def test_fields_of_bids_and_dicom_are_no_slips() -> None:
    others = (
        "EchoTime1 EchoTime2 EchoNumber EchoTrainLength RepetitionTime RepetitionTimePreparation "
        "RepetitionTimeInversion InversionTime PhaseEncodingDirection InPlanePhaseEncodingDirection "
        "PhaseEncodingSteps AcquisitionTime MRAcquisitionType SequenceName PulseSequenceName PulseSequenceDetails "
        "ContrastBolusAgent ContrastBolusRoute ContrastBolusStartTime ContrastFlowDuration ImageType ImagingFrequency "
        "ImagedNucleus SliceNumber FrameDuration FrameReferenceTime DelayTime DwellTime SpoilingState SpoilingType "
        "SpoilingGradientMoment PatientPosition PatientAge MultibandAccelerationFactor ParallelReductionFactorInPlane "
        "DeviceSerialNumber TaskName FlipAngle "
    )
    assert list(spelling_findings("f", dict.fromkeys(others.split(), 1))) == []


def test_a_field_that_nothing_reads_is_only_doubted() -> None:
    (finding,) = lowered(range_findings("f", {"FlipAngle": 0.2}), {"VolumeTiming"})
    assert finding.severity == "doubt"
    assert next(iter(lowered([refusal("f", "", "an image")], ()))).refused
    assert next(iter(lowered([refusal("f", "EchoTime, FlipAngle", "x")], {"FlipAngle"}))).refused


def test_a_series_too_short_for_a_first_pass() -> None:
    metadata = {**GOOD, "VolumeTiming": TIMES[:3], "FlipAngle": GOOD["FlipAngle"][:3]}
    one(found(metadata, (64, 64, 3, 3)), "refused", "1 dynamic volume (3 volumes, ProtonDensityVolumeCount 2)", "5")


def test_frame_times_serve_where_volume_timing_is_absent() -> None:
    metadata = with_timing({"FrameTimesStart": TIMES, "VolumeTiming": None, "FlipAngle": None})
    assert metadata == {"FrameTimesStart": TIMES, "VolumeTiming": TIMES}
    assert list(timing_findings("f", metadata, SHAPE)) == []
    same = {"FrameTimesStart": list(TIMES), "VolumeTiming": TIMES}
    assert with_timing(same) == same and list(timing_findings("f", same, SHAPE)) == []
    one(timing_findings("f", {}, SHAPE), "refused", "VolumeTiming is missing")


def test_every_range_is_ordered_and_every_slip_leads_into_it() -> None:
    assert len({entry.name for entry in FIELDS}) == len(FIELDS)
    for entry in TABLE:
        assert entry.possible[0] <= entry.usual[0] < entry.usual[1] <= entry.possible[1], entry
        middle = (entry.usual[0] + entry.usual[1]) / 2
        for slip in entry.slips:
            assert entry.verdict(middle) is None
            assert f"in {slip.unit}" in entry.words(middle / slip.factor) or entry.verdict(middle / slip.factor) is None


def test_series_of_one_scan() -> None:
    aif = {**GOOD, "FlipAngle": [3.0, 3.0] + [5.0] * (N - 2), "SaturationDelayTime": 0.01}
    assert list(scan_findings("f", GOOD, aif)) == []
    one(scan_findings("f", GOOD, {**aif, "MagneticFieldStrength": 3}), "refused", "is 3", "1.5")
    one(scan_findings("f", GOOD, {**aif, "Haematocrit": 0.36}), "refused", "is 0.36", "0.42")
    without = {k: v for k, v in GOOD.items() if k != "Haematocrit"}
    one(scan_findings("f", without, aif), "doubt", "absent in the tissue series")
    assert list(scan_findings("f", GOOD, {**aif, "PulseSequenceType": "Saturation-recovery bSSFP"})) == []
    two, three = ({**fields, "MRAcquisitionType": kind} for fields, kind in ((GOOD, "2D"), (aif, "3D")))
    one(scan_findings("f", two, three), "doubt", "'3D'")
    one(scan_findings("f", GOOD, {**aif, "SaturationDelayTime": 0.05}), "doubt", "0.05 s in both series")
    one(scan_findings("f", aif, {**GOOD, PULSES: 30}), "refused", "are the two files exchanged?")
    one(scan_findings("f", GOOD, {**aif, "RepetitionTimeExcitation": 0.0014}), "doubt", "24 in both series", "copied")
    assert not list(scan_findings("f", GOOD, {**aif, "RepetitionTimeExcitation": 0.0014, PULSES: 12}))
    later = {**aif, "VolumeTiming": [t + 120 for t in TIMES]}
    one(scan_findings("f", GOOD, later), "refused", "from 121.", "the clocks don't overlap")
    one(scan_findings("f", GOOD, {**aif, "VolumeTiming": [t + 6 for t in TIMES]}), "doubt", "one moment")
    one(scan_findings("f", GOOD, {**aif, "VolumeTiming": [t * 1.3 for t in TIMES]}), "doubt", "one heart")
    grid = short_axis_grid()
    moved_away = Grid.of(grid.shape, np.eye(4) @ grid.affine + np.outer([1, 0, 0, 0], [0, 0, 0, 300]))
    one(place_findings("f", grid, moved_away), "doubt", "300 mm from that of the tissue series")
    assert not list(place_findings("f", grid, grid))
    one(task_findings("f", {"TaskName": "Stress"}, "rest"), "doubt", "'Stress'", "task-rest")
    assert not list(task_findings("f", {"TaskName": "rest and stress"}, "rest"))


AFFINE = np.array([[-2.0, 0, 0, 60], [0, 1.8, -3.0, -50], [0, 0.6, 9.0, 20], [0, 0, 0, 1]])


def header(**fields: Any) -> ImageHeader:
    rows = tuple(map(tuple, AFFINE.tolist()))
    return replace(ImageHeader((24, 24, 2, N), rows, "uint16", (0, 65535)), **fields)


def heart(seed: int = 0) -> np.ndarray:
    """A smooth image with a bolus, two bright proton-density volumes before it."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(24), np.arange(24), indexing="ij")
    disc = np.exp(-((x - 12) ** 2 + (y - 11) ** 2) / 40.0)[:, :, None, None]
    course = 1.0 + 3.0 * np.exp(-(((np.arange(N) - 14) / 4.0) ** 2))
    data = 60.0 * disc * course + 20.0 + rng.normal(0, 1.0, (24, 24, 2, N))
    data[..., :2] = 400.0 * disc + 100.0 + rng.normal(0, 1.0, (24, 24, 2, 2))
    return np.abs(data).astype(np.float32)


def voxels(data: np.ndarray, metadata: dict[str, Any] = GOOD, **fields: Any) -> list[Finding]:
    return list(voxel_findings("f", data, metadata, header(**fields)))


def test_images_that_are_as_they_should_be() -> None:
    assert list(header_findings("f", header())) == []
    assert voxels(heart()) == []
    assert voxels(heart()[..., 2:], {**GOOD, "ProtonDensityVolumeCount": 0}) == []
    # Proton-density volumes of a balanced series are spoiled, and no brighter.
    level = heart()[..., 2:]
    assert voxels(np.concatenate([1.1 * level[..., :2], level], -1), {**GOOD, "PulseSequenceType": "bSSFP"}) == []
    # Concentration lies about zero.
    assert voxels(heart()[..., 2:] / 60 - 1, {"Units": "mmol/L"}, stored="float32", limits=None) == []


def test_images_that_are_no_magnitude_series() -> None:
    one(header_findings("f", header(stored="RGB")), "refused", "RGB")
    one(header_findings("f", header(stored="complex64")), "refused", "complex64")
    one(
        header_findings("f", header(shape=(24, 24, 60))),
        "refused",
        "3 dimensions",
        "of one slice it is (24, 24, 1, 60)",
    )
    one(
        header_findings("f", header(shape=(3, 96, 96, 57))), "refused", "96 slices of 3 × 96 pixels, 57 volumes", "axes"
    )
    one(header_findings("f", header(shape=(96, 96, 57, 3))), "doubt", "57 slices of 96 × 96 pixels, 3 volumes", "axes")


def test_geometry_of_the_header() -> None:
    for factor, unit in ((1e-3, "in m?"), (1e3, "in µm?")):
        scaled = AFFINE.copy()
        scaled[:3] *= factor
        one(header_findings("f", header(affine=tuple(map(tuple, scaled.tolist())))), "refused", unit)
    slanted = AFFINE.copy()
    slanted[1] /= 1000
    assert any("not perpendicular" in f.text for f in header_findings("f", header(affine=tuple(map(tuple, slanted)))))
    one(header_findings("f", header(placed=False)), "doubt", "neither qform nor sform")
    other = AFFINE.copy()
    other[:3, 3] += 30
    both = (tuple(map(tuple, other.tolist())), header().affine)
    one(header_findings("f", header(both_forms=both)), "doubt", "differ by up to 52 mm", "sform is used")
    assert list(header_findings("f", header(both_forms=(header().affine, header().affine)))) == []


def test_values_below_zero() -> None:
    data = heart()
    data[3, 4, 0, 7] = -5
    one(voxels(data), "doubt", "below 0 in 1 voxels", "used as they are")
    one([f for f in voxels(heart() - 300) if "below" in f.text], "refused", "an intercept lost")


def test_volumes_without_contents_and_copies() -> None:
    data = heart()
    data[..., 9] = 0
    one(voxels(data), "doubt", "1 of 34 volumes hold nothing but zeros (from 1: 10)")
    data[..., 5:] = 0
    one([f for f in voxels(data) if "nothing but" in f.text], "refused", "no series left")
    data = heart()
    data[..., 20] = data[..., 19]
    one(voxels(data), "doubt", "the same as the volume before it", "1 volume (from 1: 21)")
    data = heart()
    data[:, :, 1] = 0
    one(voxels(data), "doubt", "1 of 2 slices")
    data[2, 3, 0, 4] = np.nan
    one(voxels(data), "refused", "not finite in 1 frame (from 1: 5)")
    data = heart()
    data[: data.shape[0] // 4] = np.nan
    one(voxels(data), "refused", "25% of the voxels are NaN in every frame", "write 0 there")


def test_volumes_of_which_a_part_is_lost() -> None:
    data = heart()
    data[:12, ..., 20] = 0
    one(voxels(data), "doubt", "part of the image is 0 in 1 volume (from 1: 21)")
    # What is dark before or after as well is air, or a lung that moves.
    data = heart()
    data[:12, ..., 20:22] = 0
    assert voxels(data) == []


def test_volumes_in_another_order() -> None:
    exchanged = heart()[..., [*range(17), 18, 17, *range(19, N)]]
    one(voxels(exchanged), "doubt", "volumes 18 and 19 (from 1) fit in exchanged order alone")
    # Where all move, none stands out.
    moving = np.stack([np.roll(heart()[..., t], (t * 7) % 5, 0) for t in range(N)], axis=-1)
    assert not [f for f in voxels(moving) if "exchanged" in f.text]


def test_integers_at_the_end_of_their_range() -> None:
    data = heart()
    clipped = [f for f in voxels(np.minimum(data, 255), limits=(0, 255), stored="uint8") if "256 grey" not in f.text]
    one(clipped, "doubt", "largest of uint8")
    one(voxels(data * (250 / data.max()), limits=(0, 255), stored="uint8"), "doubt", "256 grey values")
    levelled = data * (255 / data.max(axis=(0, 1, 2)))
    assert any("scaled by itself" in f.text for f in voxels(levelled, limits=None, stored="float32"))
    data[:3, :3, 0, :] = 65530
    one([f for f in voxels(data) if "unsigned" in f.text], "doubt", "uint16")
    noise = np.random.default_rng(1).integers(0, 60000, (24, 24, 2, N)).astype(np.float32)
    assert any("byte order" in f.text for f in voxels(noise))


@pytest.mark.parametrize(("count", "severity"), [(0, "doubt"), (1, "refused"), (4, "refused")])
def test_the_signal_says_where_the_proton_density_volumes_end(count: int, severity: str) -> None:
    means = heart().mean(axis=(0, 1, 2))
    assert leading_bright(means) == 2
    assert list(proton_density_in_signal("f", means, 2)) == []
    one(proton_density_in_signal("f", means, count), severity, f"Count is {count}", "after volume 2")
    one(proton_density_in_signal("f", means[2:], 2), "doubt", "doesn't fall after volume 2")
    # A bolus is no end of proton-density volumes, neither is a slow fall.
    assert leading_bright(means[10:]) == 0
    assert leading_bright(np.geomspace(10, 1, 20)) == 0


def ring(shape: tuple[int, int, int] = (48, 44, 3)) -> np.ndarray:
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    radius = np.hypot(x - 24, y - 20)
    return np.repeat(((radius > 7) & (radius < 12))[:, :, None], shape[2], axis=2)


def test_masks() -> None:
    wall = ring()
    for good in (wall.astype(np.uint8), wall * 255.0):
        assert list(mask_findings("f", good, False)) == []
    one(mask_findings("f", wall * 0, False), "refused", "empty")
    assert list(mask_findings("f", wall * 0, True)) == []
    one(mask_findings("f", wall + 2 * np.roll(wall, 9, 0), False), "refused", "labels 1, 2, 3: a label image is no")
    one(mask_findings("f", wall * -1.0, False), "refused", "below 0")
    one(mask_findings("f", wall * 0.3, False), "refused", "0.3")
    soft = wall * 1.0
    soft[24, 28, 0] = 0.7
    one(mask_findings("f", soft, False), "doubt", "fractions")
    one(mask_findings("f", np.ones((20, 20, 1)), False), "doubt", "covers 100%")
    assert list(wall_findings("f", wall)) == []
    filled = np.hypot(*np.meshgrid(np.arange(48) - 24, np.arange(44) - 20, indexing="ij")) < 7
    cavity = np.repeat(filled[:, :, None], 3, axis=2)
    one(wall_findings("f", cavity), "doubt", "no cavity")
    # A pool with a bay, as the outflow tract makes, and a papillary muscle has none either; a wall with a gap has one.
    bay = cavity.copy()
    bay[27:, 19:22], bay[20, 20] = False, False
    one(wall_findings("f", bay), "doubt", "is it the mask of a blood pool?")
    gap = wall.copy()
    gap[24:, 17:23] = False
    assert list(wall_findings("f", gap)) == []
    assert list(pools_findings("f", wall, cavity)) == []
    one(pools_findings("f", wall, np.roll(cavity, -20, 0)), "doubt", "LV and RV exchanged")
    one(pools_findings("f", wall, wall), "doubt", "lie in the myocardium")


def test_masks_lie_where_the_bolus_passes() -> None:
    wall = ring()
    filled = np.hypot(*np.meshgrid(np.arange(48) - 24, np.arange(44) - 20, indexing="ij")) < 7
    cavity = np.repeat(filled[:, :, None], 3, axis=2)
    course = np.exp(-(((np.arange(N) - 14) / 4.0) ** 2))
    data = 20.0 + (300.0 * cavity + 60.0 * wall)[..., None] * course
    affine = short_axis_grid().affine
    for role, mask in (("lv", cavity), ("myocardium", wall)):
        assert list(enhancement_findings("f", role, mask, data, affine)) == []
        moved = np.roll(mask, 24, 0)
        one(enhancement_findings("f", role, moved, data, affine), "doubt", "does it lie in its place?")
    one(enhancement_findings("f", "lv", wall, data, affine), "doubt", "20% of what the brightest blood does")
    # Where everything enhances somewhat, as lung and liver do, what the wall encloses must be blood.
    veiled = data + 20.0 * course
    one(enhancement_findings("f", "myocardium", np.roll(wall, 24, 0), veiled, affine), "doubt", "what it encloses")
    assert list(enhancement_findings("f", "myocardium", wall, veiled, affine)) == []


def test_the_right_ventricle_lies_on_the_right() -> None:
    grid = short_axis_grid()
    left = np.zeros(grid.shape, bool)
    left[20:26, 18:24] = True
    # The patient's right is that end of the first axis whose x is the larger.
    way = int(np.sign(grid.affine[0, 0])) * 14
    assert mirrored(left, np.roll(left, way, 0), grid.affine) == ""
    assert "on the patient's left" in mirrored(left, np.roll(left, -way, 0), grid.affine)
    assert mirrored(left, left & False, grid.affine) == "" and mirrored(left, np.roll(left, -way, 0), np.eye(4)) == ""


def test_the_ventricle_tapers_to_the_apex() -> None:
    x, y = np.meshgrid(np.arange(48) - 24, np.arange(44) - 20, indexing="ij")
    tapering = np.stack([np.abs(np.hypot(x, y) - radius) < 2.5 for radius in (15, 13, 10)], axis=-1)
    affine = short_axis_grid().affine
    assert widening(tapering, affine) == "" and widening(ring(), affine) == ""
    for order, (wider, narrower) in (((2, 1, 0), (3, 1)), ((0, 2, 1), (3, 2)), ((2, 0, 1), (2, 1))):
        told = widening(tapering[:, :, order], affine)
        assert f"wider in slice {wider} " in told and f"than in slice {narrower} " in told and "wrong order" in told
    # Nothing is known of an image without orientation.
    assert widening(tapering[:, :, ::-1], np.eye(4)) == ""


def test_septum_and_blood_pools_agree_on_where_the_right_ventricle_is() -> None:
    grid, wall = short_axis_grid(), ring()
    points = insertion_points(grid)
    left = np.zeros(grid.shape, bool)
    left[22:27, 18:23] = True
    middle = np.mean([m.position for m in points], axis=0) - voxel_to_world(grid.affine, (24, 20, 1))
    step = np.linalg.solve(grid.affine[:3, :3], middle)
    way = np.rint(14 * step[:2] / np.abs(step[:2]).max()).astype(int)

    def pools(sign: int) -> BloodPools:
        right = np.roll(left, sign * way, (0, 1))
        return BloodPools(left, right, left, grid.affine)

    assert septum_apart(points, wall, grid.affine, pools(1)) == ""
    assert "wrong way round" in septum_apart(points, wall, grid.affine, pools(-1))
    assert septum_apart([], wall, grid.affine, pools(-1)) == ""


def test_labels() -> None:
    labels = ring() * 3.0
    assert list(labels_findings("f", labels)) == []
    one(labels_findings("f", labels * 100), "refused", "300")
    one(labels_findings("f", labels + ring() * 0.5), "refused", "3.5")
    one(labels_findings("f", labels * 0), "refused", "no voxel")


#: A short axis as patients have it: the normal from base to apex, to the left, front and down.
SHORT_AXIS = np.array([-0.65, 0.60, -0.47]) / np.linalg.norm([-0.65, 0.60, -0.47])


def short_axis_grid() -> Grid:
    first = np.cross(SHORT_AXIS, [0, 0, 1.0])
    first /= np.linalg.norm(first)
    second = np.cross(SHORT_AXIS, first)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([first * 2, second * 2, SHORT_AXIS * 10])
    affine[:3, 3] = (40, -30, 25)
    return Grid.of((48, 44, 3), affine)


def insertion_points(grid: Grid, width: float = 110.0) -> list[Landmark]:
    """Points at the wall's outer border, the septum, so many degrees wide, on the patient's right."""
    from qperf_app.geometry.slices import SlicePlane

    points = []
    for z in range(3):
        plane = SlicePlane.of(ring(), grid.affine, z)
        assert plane.septal_turn is not None
        middle = np.rad2deg(np.arctan2(plane.second[0], plane.first[0]))
        half = plane.septal_turn * width / 2
        for name, angle in (("RVInsertionAnterior", middle - half), ("RVInsertionInferior", middle + half)):
            way = np.cos(np.deg2rad(angle)) * plane.first + np.sin(np.deg2rad(angle)) * plane.second
            points.append(Landmark(name, z, tuple((plane.centre + 24 * way).tolist())))  # type: ignore[arg-type]
    return points


def moved(points: list[Landmark], how: Any) -> list[Landmark]:
    return [replace(m, position=tuple(np.asarray(how(np.array(m.position))).tolist())) for m in points]


def outwards(points: list[Landmark], grid: Grid, factor: float) -> list[Landmark]:
    """The points so many times as far from the middle of the ring."""

    def place(m: Landmark) -> tuple[float, ...]:
        centre = voxel_to_world(grid.affine, (24, 20, m.slice))
        return tuple((centre + factor * (np.array(m.position) - centre)).tolist())

    return [replace(m, position=place(m)) for m in points]  # type: ignore[arg-type]


def test_points_that_are_right() -> None:
    grid = short_axis_grid()
    assert list(point_findings("f", insertion_points(grid), grid, ring())) == []
    assert list(point_findings("f", insertion_points(grid), grid, None)) == []
    # A right ventricle that embraces more than half of the left one, as at the base.
    assert list(point_findings("f", insertion_points(grid, 220.0), grid, ring())) == []
    one(point_findings("f", insertion_points(grid)[::2], grid, ring()), "doubt", "no slice has both")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p, g: moved(p, lambda x: x * (-1, -1, 1)), "in LPS"),
        (lambda p, g: moved(p, lambda x: (np.linalg.inv(g.affine) @ [*x, 1])[:3]), "voxel indices"),
        (lambda p, g: moved(p, lambda x: (np.linalg.inv(g.affine) @ [*x, 1])[:3] + 1), "counted from 1"),
        (lambda p, g: [replace(m, name=p[k ^ 1].name) for k, m in enumerate(p)], "two names exchanged"),
        (lambda p, g: moved(p, lambda x: x / 10), "in cm"),
        (lambda p, g: moved(p, lambda x: x / 1000), "in m:"),
        (lambda p, g: moved(p, lambda x: x[[1, 0, 2]]), "x and y exchanged"),
        (lambda p, g: outwards(p, g, 1.7), "mm from the wall, 15 mm are possible"),
        (lambda p, g: moved(p, lambda x: x + SHORT_AXIS * 9), "off the plane"),
        (lambda p, g: moved(p, lambda x: x + g.affine[:3, 0] * 60), "outside of the image"),
        (lambda p, g: [replace(m, slice=m.slice + 1) for m in p], "count from 0"),
        (lambda p, g: [*p, p[0]], "there twice"),
        (lambda p, g: [replace(p[0], name=m.name) for m in p[:2]], "slice 1 lie at the same place"),
    ],
)
def test_points_that_are_not(spoil: Any, words: str) -> None:
    grid = short_axis_grid()
    one(point_findings("f", spoil(insertion_points(grid), grid), grid, ring()), "refused", words)


def bolus(scale: float = 4.0) -> InputFunction:
    since = np.clip(np.array(TIMES) - 5, 0, None)
    return InputFunction(np.array(TIMES), scale * (since / 4) ** 2 * np.exp(2 - since / 2))


def curve(aif: InputFunction, sidecar: dict[str, Any] | None = None, haematocrit: Any = 0.42) -> list[Finding]:
    return list(curve_findings("f", aif, np.array(TIMES[2:]), sidecar or {}, haematocrit))


def test_input_functions() -> None:
    good = bolus()
    assert curve(good) == [] and curve(good, {"Haematocrit": 0}) == [] and curve(good, {"Haematocrit": 0.42}) == []
    # Longer, finer, of later frames alone.
    fine = np.arange(0, 60, 0.3)
    assert curve(InputFunction(fine, np.interp(fine, good.times, good.concentration))) == []
    one(curve(replace(good, times=good.times * 1000)), "refused", "is it in ms?")
    one(curve(replace(good, times=good.times / 60)), "refused", "is it in minutes?")
    one(curve(replace(good, times=good.times + 600)), "refused", "on the clock of the series")
    cut = InputFunction(good.times[:13], good.concentration[:13])
    one(curve_findings("f", cut, good.times[:16], {}, None), "refused", "after its peak")
    one(curve(bolus(5000)), "refused", "5", "in µmol/L?")
    one(curve(bolus(0.004)), "refused", "in mol/L?")
    one(curve(bolus(30)), "doubt", "29.846 mmol/L")
    assert curve(replace(bolus(5000), units="1")) == []
    one(curve(replace(good, units="umol/L")), "refused", "'umol/L'")
    one(curve(replace(good, concentration=-good.concentration + 0.1)), "refused", "no bolus")
    one(curve(good, {"Haematocrit": 0.36}), "refused", "0.36", "0.42")
    one(curve(good, {"Haematocrit": 42}), "refused", "fraction")


def test_the_curve_and_the_blood_of_the_series_peak_together() -> None:
    times, data = np.array(TIMES), np.zeros((30, 30, 1, N))
    for columns, at in ((slice(0, 2), 8.0), (slice(10, 12), 13.0)):
        course = np.exp(-(((times - at) / 3.0) ** 2))
        data[columns, :8, 0] = course / course.max()
    first, last = blood_peaks(data, times)
    assert abs(first - 8.0) < 1 and abs(last - 13.0) < 1
    good = bolus()
    shift = 13.0 - float(good.times[int(good.concentration.argmax())])
    assert list(peak_findings("f", replace(good, times=good.times + shift), (first, last), 1.0)) == []
    one(peak_findings("f", replace(good, times=good.times + shift + 4), (first, last), 1.0), "doubt", "on the clock")
    one(peak_findings("f", replace(good, times=good.times + shift - 12), (first, last), 1.0), "doubt", "on the clock")


def test_the_curve_has_as_much_tracer_as_the_blood_of_the_series() -> None:
    own = bolus(4.0)
    # The right ventricle's bolus is higher and shorter, and holds as much.
    early = InputFunction(own.times, 1.3 * np.interp(own.times * 1.3 - 1.5, own.times, own.concentration))
    for same in (own, bolus(5.0), bolus(3.0), early):
        assert list(amount_findings("f", same, own, 0.42)) == []
    one(amount_findings("f", bolus(4.0 / 0.58), own, 0.42), "doubt", "1.7 times", "of plasma?", "Haematocrit 0")
    assert list(amount_findings("f", replace(bolus(4.0 / 0.58), plasma=True), own, 0.42)) == []
    one(amount_findings("f", bolus(12.0), own, 0.42), "doubt", "3 times", "another scan?")


def test_flow_that_no_heart_has() -> None:
    assert implausible_flow("rest", [0.6, 0.9, 3.0, 1.2], "mL/min/g") == ""
    assert implausible_flow("stress", [3.0, 4.0, 6.5], "mL/min/g") == ""
    assert "above 2 mL/min/g in 3 of 4 segments at rest" in implausible_flow("rest", [3, 4, 5, 1, np.nan], "mL/min/g")
    assert "under stress" in implausible_flow("stress", [9, 12, 4], "mL/min/g")
    assert "below 0.1" in implausible_flow("rest", [0.01, 0.05], "mL/min/g")
    assert implausible_flow("rest", [30, 40], "1") == "" and implausible_flow("rest", [np.nan], "mL/min/g") == ""
    assert has_enough_flow([1, 2, np.nan, np.nan]) and not has_enough_flow([1, np.nan, np.nan])
    assert not has_enough_flow([])


def test_voxel_places_of_the_short_axis_are_what_the_tests_think() -> None:
    grid = short_axis_grid()
    assert np.allclose(voxel_to_world(grid.affine, (0, 0, 1)) - grid.affine[:3, 3], SHORT_AXIS * 10)


# --- the blood in a series, and series beside each other


def chamber(seed: int = 0) -> np.ndarray:
    """Blood in a quarter of an image, air around it, noise as of magnitudes; no proton-density volumes."""
    rng = np.random.default_rng(seed)
    course = 60.0 + 300.0 * bolus(1.0).concentration / bolus(1.0).concentration.max()
    clean = np.zeros((24, 24, 1, N))
    clean[6:18, 6:18] = course
    return np.hypot(clean + rng.normal(0, 4, clean.shape), rng.normal(0, 4, clean.shape)).astype(np.float32)


def blood(data: np.ndarray, times: list[float] | None = None) -> list[Finding]:
    return list(blood_findings("f", data, np.array(times or TIMES), True))


def test_a_peak_that_is_cut_off() -> None:
    assert blood(chamber()) == [] and blood(np.rint(chamber())) == []
    for level in (250.0, 250.4):
        one(blood(np.minimum(chamber(), np.float32(level))), "doubt", "highest value, 250", "cut off?")
    # A plateau that saturates is none: noise lies upon it.
    flat = np.minimum(chamber(), 250) + np.random.default_rng(1).normal(0, 2, (24, 24, 1, N))
    assert blood(flat) == []


def test_a_constant_that_was_added() -> None:
    assert blood(chamber() + 10) == []
    one(blood(chamber() + 100), "doubt", "of what blood has before the bolus", "a constant added?")


def test_a_hole_in_the_first_pass() -> None:
    peak = int(bolus().concentration.argmax())

    def without(first: int, count: int) -> list[Finding]:
        kept = [k for k in range(N) if not first <= k < first + count]
        return blood(chamber()[..., kept], [TIMES[k] for k in kept])

    one(without(peak - 1, 3), "doubt", "jumps by 3.44 s within the first pass", "are volumes missing?")
    # Two beats may be missed; more may before the bolus and after it; a longer gap is one of the clock.
    assert without(peak, 2) == [] and without(1, 3) == [] and without(N - 6, 3) == [] and without(peak - 1, 5) == []


def test_the_header_has_the_time_between_volumes() -> None:
    assert not [f for v in (None, 0.87, 1.0, 0.0022, 0.16) for f in interval_findings("f", GOOD, v)]
    one(interval_findings("f", GOOD, 1.74), "doubt", "0.89 s between volumes", "(pixdim[4]) 1.74 s")


def test_rest_and_stress_of_one_session() -> None:
    faster = {**GOOD, "VolumeTiming": [0.8 * t for t in TIMES]}
    alike = {**GOOD, "VolumeTiming": [1.01 * t for t in TIMES]}
    for stress in (
        faster,
        alike,
        {**faster, "VolumeTiming": [1.6 * t for t in TIMES]},
        {**faster, "Haematocrit": 0.41},
    ):
        assert list(rest_and_stress_findings("f", GOOD, stress)) == [], stress["VolumeTiming"][1]
    # Volumes at every beat at rest, at every second one under stress.
    assert not list(rest_and_stress_findings("f", faster, {**GOOD, "VolumeTiming": [1.3 * t for t in TIMES]}))
    one(
        rest_and_stress_findings("f", faster, {**GOOD, "VolumeTiming": [0.99 * t for t in TIMES]}),
        "doubt",
        "exchanged?",
    )
    copied = {**GOOD, "VolumeTiming": [t + 2.0 for t in TIMES]}
    for stress in (GOOD, copied):
        one(rest_and_stress_findings("f", GOOD, stress), "doubt", "the very intervals of the series at rest")
    one(rest_and_stress_findings("f", GOOD, {**faster, "MagneticFieldStrength": 3}), "refused", "is 3 under stress")
    one(rest_and_stress_findings("f", GOOD, {**faster, "Haematocrit": 0.35}), "refused", "0.35", "0.42 at rest")
    for name, value, words in (
        ("SaturationDelayTime", 0.1, "0.1 under stress and 0.05 at rest"),
        ("ExcitationsToKSpaceCenter", 30, "30 under stress and 24"),
        ("FlipAngle", [5.0] * 2 + [15.0] * 20, "5 and 15 under stress and 5 and 12"),
        ("FlipAngle", 12.0, "12 under stress and 5 and 12"),
    ):
        one(rest_and_stress_findings("f", GOOD, {**faster, name: value}), "doubt", words)


def test_the_same_voxels_have_one_digest() -> None:
    data = chamber()
    assert digest(data) == digest(np.asfortranarray(data)) and digest(data) != digest(data[::-1])
    assert digest(data) != digest(data.reshape(24, 12, 2, N))
    one([same_voxels_finding("f", ["a", "b"])], "doubt", "the very values of a, b")


# --- the outlined wall


def beating_ring(late: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """A wall and its series: blood within it, muscle that comes later and nearly as far, noise."""
    wall, times = ring(), np.array(TIMES)
    x, y = np.meshgrid(np.arange(48) - 24, np.arange(44) - 20, indexing="ij")
    pool = np.repeat((np.hypot(x, y) <= 7)[:, :, None], 3, axis=2)
    course = np.sqrt(bolus().concentration / bolus().concentration.max())
    data = 50.0 + np.random.default_rng(2).normal(0, 3, (48, 44, 3, N))
    data[pool] += 300.0 * course
    data[wall] += 200.0 * np.interp(times - late, times, course)
    return wall, data


def grown(wall: np.ndarray) -> np.ndarray:
    return wall | np.any([np.roll(wall, step, axis) for axis in (0, 1) for step in (1, -1)], axis=0)


def test_an_outline_that_holds_blood() -> None:
    wall, data = beating_ring()
    affine = short_axis_grid().affine

    def told(outline: np.ndarray) -> str:
        enclosed = cavities(outline, affine)
        return blood_in_wall(outline, enclosed, data, enclosed_blood(enclosed, data))

    assert told(wall) == "" and told(np.roll(wall, 1, 0)) == ""
    assert "is the outline too wide" in told(grown(wall))
    # A solid wall encloses nothing; without a bolus nothing is said.
    assert told(wall | (data[..., 0] > 1e9)) == "" and blood_in_wall(wall, grown(wall), data, np.zeros(0)) == ""
    assert blood_in_wall(wall, grown(wall), data, np.zeros(N)) == ""


def test_the_bolus_comes_at_one_time_into_both_series() -> None:
    wall, data = beating_ring()
    blood, times = enclosed_blood(cavities(wall, short_axis_grid().affine), data), np.array(TIMES)
    own = bolus()
    # Signal that saturates, as a square root here, is early by half a second.
    for shift in (0.0, 0.9, -0.9):
        assert clocks_apart(replace(own, times=own.times + shift), blood, times) == ""
    for shift in (2.7, -2.7):
        assert "lost volumes?" in clocks_apart(replace(own, times=own.times + shift), blood, times)
        assert input_comes_late(replace(own, times=own.times + shift), blood, times) is (shift > 0)
    # The signal of the input function is the better measure where there is one.
    held = replace(own, signal=np.sqrt(own.concentration), times=own.times + 1.5)
    assert clocks_apart(held, blood, times) == ""
    assert clocks_apart(own, np.zeros(0), times) == "" and clocks_apart(own, np.zeros(N), times) == ""


def test_the_septum_lies_where_the_right_ventricle_is() -> None:
    grid, wall = short_axis_grid(), ring()
    points, left = insertion_points(grid), np.zeros(grid.shape, bool)
    left[22:27, 18:23] = True
    middle = voxel_to_world(grid.affine, (24, 20, 1))
    way = np.mean([m.position for m in points], axis=0) - middle
    first, second = (grid.affine[:3, k] / np.linalg.norm(grid.affine[:3, k]) for k in (0, 1))
    at = np.rad2deg(np.arctan2(way @ second, way @ first))

    def told(turn: float) -> str:
        angle = np.deg2rad(at + turn)
        centre = np.rint(np.array([24, 20]) + 12 * np.array([np.cos(angle), np.sin(angle)])).astype(int)
        right = np.zeros(grid.shape, bool)
        right[centre[0] - 2 : centre[0] + 3, centre[1] - 2 : centre[1] + 3] = True
        return septum_apart(points, wall, grid.affine, BloodPools(left, right, left, grid.affine))

    # The points are 110 degrees apart.
    assert not any(told(turn) for turn in (0, 30, -30, 60, -60))
    assert all(told(turn) for turn in (80, 90, -90, 150, 180))


def test_rest_and_stress_that_were_exchanged_and_outlines_without_muscle() -> None:
    rest = {k: 1.0 for k in range(1, 7)}
    reason = implausible_reserve(rest, {k: 0.5 for k in range(1, 6)})
    assert "less than two thirds of that at rest in 5 of 5 segments" in reason and "exchanged?" in reason
    # No response to the stress agent, and a wall of which half is ischaemic.
    assert implausible_reserve(rest, dict.fromkeys(rest, 0.9)) == ""
    assert implausible_reserve(rest, {k: 0.5 if k < 4 else 2.0 for k in rest}) == ""
    assert implausible_reserve(rest, {k: np.nan for k in rest}) == "" and implausible_reserve({}, rest) == ""
    assert implausible_reserve(rest, dict.fromkeys(rest, 5.5)) == ""
    assert "more than 6 times that at rest in 4 of 6 segments" in implausible_reserve(
        rest, {k: 7.0 if k < 5 else 2.0 for k in rest}
    )
    codes = np.full((10, 10), 255, np.uint8)
    codes[:5] = 0
    assert without_enhancement(codes) == "" and without_enhancement(codes[5:]) == ""
    codes[0] = 19
    assert without_enhancement(codes) == ""
    codes[1] = 19
    assert "40% of the outlined wall shows no enhancement" in without_enhancement(codes)
