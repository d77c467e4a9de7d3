"""The specification: its schema, its examples, and what the validator says of datasets that break it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qperf_bids_spec
import yaml
from qperf_bids_spec import EXAMPLES, EXTENSION, SCHEMA
from qperf_bids_spec.build import build, merge, resolve
from qperf_bids_spec.make_examples import SEQUENCE, make_derivatives, make_raw, write_image, write_json, write_table

from qperf_app.bids.validate import Issue, ValidatorError, validate
from qperf_app.cli import validate as command

TIMES = [0.0, 0.8, 1.7, 2.4, 3.3, 4.0, 4.9, 5.6]
GOOD = {**SEQUENCE, "VolumeTiming": TIMES}
SHAPE = (4, 4, 1, 8)
INVALID, MISSING = "JSON_SCHEMA_VALIDATION_ERROR", "SIDECAR_KEY_REQUIRED"
DERIVATIVE = {
    "Name": "Broken on purpose",
    "BIDSVersion": "1.11.2",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "qperf-app", "Version": "0"}],
    "SourceDatasets": [{"URL": "../raw"}],
    "DatasetLinks": {"raw": "../raw"},
}
OURS = {"Units": "1", "Sources": ["bids:raw:sub-01/perf/sub-01_task-rest_dce.nii.gz"], "SkullStripped": False}


def errors(issues: Iterable[Issue]) -> list[Issue]:
    return [issue for issue in issues if issue.severity == "error"]


def errors_of(participant: str, issues: Iterable[Issue]) -> set[str]:
    """Errors of a participant's files, each as "CODE field"."""
    folder = f"sub-{participant}/"
    return {f"{issue.code} {issue.field}".strip() for issue in errors(issues) if issue.location.startswith(folder)}


def contents(root: Path) -> dict[Path, bytes]:
    """Every file of a dataset, decompressed: compressed bytes depend on the library's version."""
    return {
        path.relative_to(root): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def without(metadata: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in fields}


# --- the schema ------------------------------------------------------------------------------------------------------


def test_schema_is_what_the_extension_makes_of_the_official_one():
    assert SCHEMA.read_text(encoding="utf-8") == build()
    assert SCHEMA.stat().st_size < 10e6


def test_extension_keeps_the_official_schema():
    """Nothing official is lost, apart from the two lists of selectors that the extension narrows."""
    pytest.importorskip("bidsschematools")
    from bidsschematools.data import __path__ as folders

    official = json.loads(Path(folders[0], "schema.json").read_text(encoding="utf-8"))
    ours = json.loads(SCHEMA.read_text(encoding="utf-8"))
    changed: list[str] = []

    def compare(theirs: Any, mine: Any, place: str) -> None:
        if isinstance(theirs, dict):
            for key, value in theirs.items():
                compare(value, mine[key], f"{place}.{key}")
        elif theirs != mine:
            changed.append(place)

    compare(official, ours, "")
    assert sorted(changed) == [
        ".rules.checks.events.EventsMissing.selectors",
        ".rules.entities",
        ".rules.sidecars.mri.EchoTimeRequiredASL.selectors",
        ".schema_version",
    ]


def test_expressions_are_in_the_language_of_the_schema():
    expressions = pytest.importorskip("bidsschematools.expressions")
    overlay = yaml.safe_load(EXTENSION.read_text(encoding="utf-8"))
    overlay = resolve(overlay, overlay)
    seen = 0

    def walk(node: Any) -> None:
        nonlocal seen
        for key, value in node.items():
            if key in ("selectors", "checks") and not isinstance(value, dict):
                for expression in value:
                    expressions.expression.parse_string(expression, parse_all=True)
                    seen += 1
            elif isinstance(value, dict):
                walk(value)

    walk(overlay["rules"])
    assert seen > 100


def test_prose_names_everything_that_the_extension_defines():
    prose = Path(qperf_bids_spec.__file__).with_name("README.md").read_text(encoding="utf-8")
    objects = yaml.safe_load(EXTENSION.read_text(encoding="utf-8"))["objects"]
    names = [
        definition["name"] for kind in ("entities", "metadata", "columns") for definition in objects[kind].values()
    ]
    names += [definition["value"] for definition in objects["suffixes"].values()]
    assert [name for name in names if f"`{name}`" not in prose and f"_{name}." not in prose] == []


def test_merge_refuses_what_it_was_not_written_for():
    assert merge({"a": [1, 2]}, {"a": {"$after": {1: [9]}}}) == {"a": [1, 9, 2]}
    assert merge({"a": [1]}, {"a": {"$append": [2]}, "b": {"c": 3}}) == {"a": [1, 2], "b": {"c": 3}}
    with pytest.raises(KeyError):
        merge({"a": [1]}, {"a": {"$after": {7: [9]}}})
    with pytest.raises(KeyError):
        merge({}, {"a": {"$append": [2]}})


# --- the examples ----------------------------------------------------------------------------------------------------


def test_examples_are_what_their_command_makes(tmp_path):
    for name, make in (("raw", make_raw), ("derivatives", make_derivatives)):
        make(tmp_path / name)
        assert contents(tmp_path / name) == contents(EXAMPLES / name)


def test_sources_of_the_examples_exist():
    derivatives = EXAMPLES / "derivatives"
    roots = {"": derivatives, "raw": derivatives / "../raw"}
    sidecars = list(derivatives.glob("sub-*/perf/*.json"))
    assert len(sidecars) > 15
    for sidecar in sidecars:
        for uri in json.loads(sidecar.read_text(encoding="utf-8"))["Sources"]:
            _, dataset, path = uri.split(":")
            assert (roots[dataset] / path).is_file(), f"{sidecar.name}: {uri}"


# --- broken datasets: every participant breaks one rule, but for those that break none -------------------------------

#: As a converter leaves it.
CONVERTED = without(GOOD, "VolumeTiming")
#: Participant, metadata, shape of the image, and the expected error as "CODE field"; none for a valid series.
RAW_VARIANTS: list[tuple[str, Mapping[str, Any], tuple[int, ...], str]] = [
    ("good", GOOD, SHAPE, ""),
    ("onlytiming", {"VolumeTiming": TIMES}, SHAPE, ""),
    ("concentration", {"VolumeTiming": TIMES, "Units": "mmol/L", "Haematocrit": 0}, SHAPE, ""),
    ("onevolumemore", {**GOOD, "ProtonDensityVolumeCount": 7}, SHAPE, ""),
    ("notiming", without(GOOD, "VolumeTiming"), SHAPE, "SIDECAR_KEY_REQUIRED VolumeTiming"),
    ("shorttiming", {**GOOD, "VolumeTiming": TIMES[:-1]}, SHAPE, "VOLUME_TIMING_NOT_MATCHING_NIFTI"),
    ("backwards", {**GOOD, "VolumeTiming": TIMES[::-1]}, SHAPE, "VOLUME_TIMING_NOT_MONOTONICALLY_INCREASING"),
    ("repeated", {**GOOD, "VolumeTiming": [0.0, *TIMES[:-1]]}, SHAPE, "VOLUME_TIMING_REPEATED"),
    ("converted", {**CONVERTED, "FrameTimesStart": TIMES, "RepetitionTime": 0.8}, SHAPE, ""),
    ("shortframes", {**CONVERTED, "FrameTimesStart": TIMES[:-1]}, SHAPE, "FRAME_TIMES_START_NOT_MATCHING_NIFTI"),
    ("backframes", {**CONVERTED, "FrameTimesStart": TIMES[::-1]}, SHAPE, "FRAME_TIMES_START_NOT_INCREASING"),
    ("origins", {**GOOD, "ImportedFrom": {"EchoTime": 1}}, SHAPE, "JSON_SCHEMA_VALIDATION_ERROR ImportedFrom"),
    ("dose", {**GOOD, "ContrastBolusVolume": 0}, SHAPE, "JSON_SCHEMA_VALIDATION_ERROR ContrastBolusVolume"),
    ("negative", {**GOOD, "VolumeTiming": [-1.0, *TIMES[1:]]}, SHAPE, "VOLUME_TIMING_NEGATIVE"),
    ("text", {**GOOD, "VolumeTiming": list("01234567")}, SHAPE, "JSON_SCHEMA_VALIDATION_ERROR VolumeTiming"),
    ("clocks", {**GOOD, "RepetitionTime": 0.8}, SHAPE, "VOLUME_TIMING_AND_REPETITION_TIME_MUTUALLY_EXCLUSIVE"),
    ("threedim", GOOD, SHAPE[:3], "DCE_NOT_4D"),
    ("onevolume", {"VolumeTiming": [0.0]}, (4, 4, 1, 1), "DCE_NOT_4D"),
    ("flips", {**GOOD, "FlipAngle": [12.0, 12.0]}, SHAPE, "FLIP_ANGLE_NOT_MATCHING_NIFTI"),
    ("allpd", {**GOOD, "ProtonDensityVolumeCount": 8}, SHAPE, "PROTON_DENSITY_VOLUME_COUNT_TOO_LARGE"),
    ("halfpd", {**GOOD, "ProtonDensityVolumeCount": 1.5}, SHAPE, f"{INVALID} ProtonDensityVolumeCount"),
    ("pdconcentration", {**GOOD, "Units": "mmol/L"}, SHAPE, "PROTON_DENSITY_IN_CONCENTRATION"),
    ("units", {**GOOD, "Units": "mM"}, SHAPE, "DCE_UNITS"),
    ("percent", {**GOOD, "Haematocrit": 42}, SHAPE, "HAEMATOCRIT_OUT_OF_RANGE"),
    ("delayms", {**GOOD, "SaturationDelayTime": 95}, SHAPE, f"{INVALID} SaturationDelayTime"),
    ("trms", {**GOOD, "RepetitionTimeExcitation": 2.4}, SHAPE, "REPETITION_TIME_EXCITATION_GREATER_THAN"),
    ("center", {**GOOD, "ExcitationsToKSpaceCenter": 0}, SHAPE, f"{INVALID} ExcitationsToKSpaceCenter"),
]

#: Participant, name of a good series between ``sub-<label>_`` and ``_dce``, and the expected error.
RAW_NAMES: list[tuple[str, str, str]] = [
    ("fullname", "task-stress_acq-aif_ce-gadobutrol_run-02", ""),
    ("exercise", "task-exercise", "PERFUSION_TASK_LABEL"),
    ("notask", "acq-aif", "MISSING_REQUIRED_ENTITY"),
    ("order", "task-rest_run-1_acq-aif", "FILENAME_MISMATCH"),
    ("alien", "task-rest_desc-preproc", "ENTITY_NOT_IN_RULE"),
]


@pytest.fixture(scope="module")
def raw_issues(tmp_path_factory) -> list[Issue]:
    root = tmp_path_factory.mktemp("raw")
    write_json(root / "dataset_description.json", {"Name": "Broken", "BIDSVersion": "1.11.2", "DatasetType": "raw"})
    for label, metadata, shape, _ in RAW_VARIANTS:
        write_image(root / f"sub-{label}/perf/sub-{label}_task-rest_dce.nii.gz", np.zeros(shape, np.int16), metadata)
    for label, name, _ in RAW_NAMES:
        write_image(root / f"sub-{label}/perf/sub-{label}_{name}_dce.nii.gz", np.zeros(SHAPE, np.int16), GOOD)
    bad = root / "sub-badjson/perf/sub-badjson_task-rest_dce.nii.gz"
    write_image(bad, np.zeros(SHAPE, np.int16), {})
    Path(str(bad).removesuffix(".nii.gz") + ".json").write_text("{not json")
    (root / "sub-noimage/perf").mkdir(parents=True)
    (root / "sub-noimage/perf/sub-noimage_task-rest_dce.nii.gz").write_bytes(b"not an image")
    write_json(root / "sub-noimage/perf/sub-noimage_task-rest_dce.json", GOOD)
    return validate(root)


@pytest.mark.parametrize(("label", "expected"), [(v[0], v[-1]) for v in (*RAW_VARIANTS, *RAW_NAMES)])
def test_raw(raw_issues, label, expected):
    assert errors_of(label, raw_issues) == ({expected} if expected else set())


def test_raw_files_that_are_not_what_they_seem(raw_issues):
    assert "JSON_INVALID" in errors_of("badjson", raw_issues)
    assert "NIFTI_HEADER_UNREADABLE" in errors_of("noimage", raw_issues)


def table(columns: str, *rows: str) -> tuple[list[str], list[list[str]]]:
    return columns.split(), [row.split() for row in rows]


MAP = {**OURS, "Units": "mL/min/mL"}
MBF = {**OURS, "Units": "mL/min/g", "TissueDensity": 1.05}
AIF = {**OURS, "Units": "mmol/L", "foot": 1.0, "peak": 2.0, "valley": None, "duration": None, "area": 3.0}
CURVE = table("time concentration", "0 0", "0.8 1.5", "1.7 n/a")
POINTS = table("name slice x y z", "RVInsertionAnterior 0 1 2 3", "RVInsertionInferior 0 1 2 -3.5")
SEGMENTS = table("index name n_voxels n_estimated MBF", "1 base 3 2 0.9")
QUANTITY = {**OURS, "MBF": {"Units": "mL/min/g"}}
VOLUME, SERIES, FIELD = (4, 4, 1), (4, 4, 1, 3), (4, 4, 1, 3, 3)
TIMED = {**OURS, "Units": "arbitrary", "VolumeTiming": TIMES[:3]}

TASK = "task-rest"
PREPROC, CONC, XFM = f"{TASK}_desc-preproc_dce.nii.gz", f"{TASK}_desc-conc_dce.nii.gz", f"{TASK}_desc-moco_xfm.nii.gz"
LV, FP, QC = (
    f"{TASK}_label-LV_mask.nii.gz",
    f"{TASK}_model-2CXM_param-Fp_desc-nlls_dcemap.nii.gz",
    f"{TASK}_desc-x_qc.nii.gz",
)
FLOW, LOOKUP = f"{TASK}_model-Fermi_param-MBF_desc-fermi_dcemap.nii.gz", f"{TASK}_seg-AHA17_dseg.tsv"
INPUT, LANDMARKS = f"{TASK}_desc-aif_timeseries.tsv", f"{TASK}_desc-landmarks_points.tsv"
TABLE = f"{TASK}_seg-AHA17_desc-fermi_segments.tsv"

#: Participant, name behind ``sub-<label>_``, metadata, shape of the image or content of the table, expected error.
DERIVED: list[tuple[str, str, Mapping[str, Any], Any, str]] = [
    ("dce", PREPROC, TIMED, SERIES, ""),
    ("dcenodesc", f"{TASK}_dce.nii.gz", TIMED, SERIES, "DERIVATIVE_DCE_WITHOUT_DESC"),
    ("dcenotiming", PREPROC, without(TIMED, "VolumeTiming"), SERIES, f"{MISSING} VolumeTiming"),
    ("noskull", PREPROC, without(TIMED, "SkullStripped"), SERIES, f"{MISSING} SkullStripped"),
    ("nounits", PREPROC, without(TIMED, "Units"), SERIES, f"{MISSING} Units"),
    ("conc", CONC, {**TIMED, "Units": "1"}, SERIES, ""),
    ("concunits", CONC, TIMED, SERIES, "CONCENTRATION_UNITS"),
    ("xfm", XFM, {**OURS, "Units": "mm"}, FIELD, ""),
    ("xfmshape", XFM, {**OURS, "Units": "mm"}, (4, 4, 1, 3, 2), "XFM_SHAPE"),
    ("xfmunits", XFM, OURS, FIELD, "XFM_UNITS"),
    ("mask", "task-stress_acq-aif_label-LV_mask.nii.gz", OURS, VOLUME, ""),
    ("framemask", f"{TASK}_label-myocardium_desc-frames_mask.nii.gz", OURS, SERIES, ""),
    ("maskspleen", f"{TASK}_label-spleen_mask.nii.gz", OURS, VOLUME, ""),
    ("masklabel", f"{TASK}_label-brain_mask.nii.gz", OURS, VOLUME, "MASK_LABEL"),
    ("masknolabel", f"{TASK}_mask.nii.gz", OURS, VOLUME, "MISSING_REQUIRED_ENTITY"),
    ("maskshape", LV, OURS, FIELD, "MASK_DIMENSIONS"),
    ("nosources", LV, without(OURS, "Sources"), VOLUME, f"{MISSING} Sources"),
    ("pathsource", LV, {**OURS, "Sources": ["sub-1/x.nii.gz"]}, VOLUME, "SOURCES_NOT_BIDS_URI"),
    ("map", FP, MAP, VOLUME, ""),
    ("mapstat", FP.replace("desc", "stat-q05_desc"), MAP, VOLUME, ""),
    ("mapother", f"{TASK}_model-Other_param-chisq_desc-x_dcemap.nii.gz", OURS, VOLUME, ""),
    ("mapmedian", FP.replace("desc", "stat-median_desc"), MAP, VOLUME, "STATISTIC_LABEL"),
    ("mapmodel", FP.replace("model-2CXM_", ""), MAP, VOLUME, "MISSING_REQUIRED_ENTITY"),
    ("maporder", FP.replace("model-2CXM_param-Fp", "param-Fp_model-2CXM"), MAP, VOLUME, "FILENAME_MISMATCH"),
    ("mapunits", FP, {**OURS, "Units": "mL/min/g"}, VOLUME, "QUANTITY_UNITS"),
    ("maprelative", FP, OURS, VOLUME, ""),
    ("mapdelay", FP.replace("Fp", "Ta"), MAP, VOLUME, "QUANTITY_UNITS"),
    ("mapvolume", FP.replace("Fp", "ve"), MAP, VOLUME, "QUANTITY_UNITS"),
    ("mapshape", FP, MAP, SERIES, "MAP_NOT_3D"),
    ("mbf", FLOW, MBF, VOLUME, ""),
    ("mbfunits", FLOW, {**MBF, "Units": "mL/min/mL"}, VOLUME, "QUANTITY_UNITS"),
    ("mbfrelative", FLOW, {**MBF, "Units": "1"}, VOLUME, ""),
    ("delayrelative", FP.replace("Fp", "Ta"), OURS, VOLUME, "QUANTITY_UNITS"),
    ("mbfdensity", FLOW, without(MBF, "TissueDensity"), VOLUME, f"{MISSING} TissueDensity"),
    ("qc", QC, {**OURS, "Levels": {"0": "estimated"}}, VOLUME, ""),
    ("qclevels", QC, OURS, VOLUME, f"{MISSING} Levels"),
    ("dseg", f"{TASK}_seg-AHA17_dseg.nii.gz", OURS, VOLUME, ""),
    ("lookup", LOOKUP, OURS, table("index name", "1 a"), ""),
    ("lookupname", LOOKUP, OURS, table("index", "1"), "TSV_COLUMN_MISSING name"),
    ("aif", INPUT, AIF, CURVE, ""),
    ("aifcolumn", INPUT, AIF, table("time signal", "0 1", "1 2"), "TSV_COLUMN_MISSING concentration"),
    ("aiforder", INPUT, AIF, table("time concentration", "1 0", "0.5 1"), "TIME_NOT_INCREASING"),
    ("aifrepeat", INPUT, AIF, table("time concentration", "1 0", "1 1"), "TSV_INDEX_VALUE_NOT_UNIQUE"),
    ("aiftext", INPUT, AIF, table("time concentration", "0 low"), "TSV_VALUE_INCORRECT_TYPE concentration"),
    ("aifunits", INPUT, {**AIF, "Units": "mM"}, CURVE, "CONCENTRATION_UNITS"),
    ("aiffoot", INPUT, without(AIF, "foot"), CURVE, f"{MISSING} foot"),
    ("aifpercent", INPUT, {**AIF, "Haematocrit": 42}, CURVE, "HAEMATOCRIT_OUT_OF_RANGE"),
    ("points", LANDMARKS, OURS, POINTS, ""),
    ("pointname", LANDMARKS, OURS, table("name slice x y z", "Apex 0 1 2 3"), "TSV_VALUE_INCORRECT_TYPE name"),
    ("pointz", LANDMARKS, OURS, table("name slice x y", "RVInsertionAnterior 0 1 2"), "TSV_COLUMN_MISSING z"),
    ("segments", TABLE, QUANTITY, SEGMENTS, ""),
    ("segmentunit", TABLE, OURS, SEGMENTS, "TSV_ADDITIONAL_COLUMNS_MUST_DEFINE MBF"),
    ("segmenttwice", TABLE, QUANTITY, (SEGMENTS[0], SEGMENTS[1] * 2), "TSV_INDEX_VALUE_NOT_UNIQUE"),
]

STATUS = {"state": "done", "steps_done": ["blood-pool"], "steps_failed": []}
REASON = {"step": "kinetics", "reason": "no input function"}
STATUSES: list[tuple[str, Mapping[str, Any], str]] = [
    ("statusdone", STATUS, ""),
    ("statusfailed", {**STATUS, "state": "failed", "steps_failed": [REASON]}, ""),
    ("statusword", {**STATUS, "state": "ok"}, f"{INVALID} state"),
    ("statusnostate", without(STATUS, "state"), "JSON_KEY_REQUIRED state"),
    ("statuswhy", {**STATUS, "state": "failed"}, "STATUS_WITHOUT_REASON"),
    ("statusreason", {**STATUS, "steps_failed": [{"step": "kinetics"}]}, f"{INVALID} steps_failed"),
]


@pytest.fixture(scope="module")
def derivative_issues(tmp_path_factory) -> list[Issue]:
    root = tmp_path_factory.mktemp("derivatives")
    write_json(root / "dataset_description.json", DERIVATIVE)
    for label, name, metadata, content, _ in DERIVED:
        path = root / f"sub-{label}/perf/sub-{label}_{name}"
        if name.endswith(".tsv"):
            write_table(path, *content, metadata)
        else:
            write_image(path, np.zeros(content, np.float32), metadata)
    for label, status, _ in STATUSES:
        write_json(root / f"sub-{label}/sub-{label}_status.json", status)
    return validate(root)


@pytest.mark.parametrize(("label", "expected"), [(v[0], v[-1]) for v in (*DERIVED, *STATUSES)])
def test_derivatives(derivative_issues, label, expected):
    assert errors_of(label, derivative_issues) == ({expected} if expected else set())


def test_every_check_of_ours_is_broken_by_some_dataset(raw_issues, derivative_issues):
    checks = yaml.safe_load(EXTENSION.read_text(encoding="utf-8"))["rules"]["checks"]["perf_first_pass"]
    ours = {check["issue"]["code"] for check in checks.values() if check["issue"]["level"] == "error"}
    # Belongs to the dataset as a whole, see the next test.
    assert ours - {issue.code for issue in (*raw_issues, *derivative_issues)} == {"DATASET_LINKS_MISSING"}


def test_derivatives_without_links(tmp_path):
    write_json(tmp_path / "dataset_description.json", without(DERIVATIVE, "DatasetLinks", "SourceDatasets"))
    path = tmp_path / "sub-01/perf/sub-01_task-rest_label-LV_mask.nii.gz"
    write_image(path, np.zeros(VOLUME, np.uint8), OURS)
    (tmp_path / "sub-01/perf/sub-01_task-rest_curve.tsv").write_text("a\n1\n")
    assert {(issue.code, issue.field) for issue in errors(validate(tmp_path))} == {
        ("JSON_KEY_REQUIRED", "DatasetLinks"),
        ("JSON_KEY_REQUIRED", "SourceDatasets"),
        ("DATASET_LINKS_MISSING", ""),
        ("NOT_INCLUDED", ""),
    }


def test_hand_ins_need_no_more_than_they_are_read_for(tmp_path):
    """A dataset made by hand is valid without ``Sources`` and without the features of its input function."""
    write_json(tmp_path / "dataset_description.json", {**DERIVATIVE, "GeneratedBy": [{"Name": "Manual"}]})
    prefix = tmp_path / "sub-01/perf/sub-01_task-rest"
    prefix.parent.mkdir(parents=True)
    Path(f"{prefix}_desc-aif_timeseries.tsv").write_text("time\tconcentration\n0\t0.1\n1\t2\n")
    write_image(Path(f"{prefix}_label-myocardium_mask.nii.gz"), np.zeros(VOLUME, np.uint8), {"Manual": True})
    assert errors(validate(tmp_path)) == []


# --- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    parser = ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.mark.parametrize("name", ["raw", "derivatives"])
def test_examples_are_valid(name, capsys):
    assert run(str(EXAMPLES / name)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(f"{EXAMPLES / name}: valid: 0 errors, ")
    assert all(line.startswith("warning: ") for line in lines[:-1])
    assert len(lines) < 10, "one line for each kind of warning"


def test_command_names_file_and_field(tmp_path, capsys):
    root = tmp_path / "study"
    shutil.copytree(EXAMPLES / "raw", root)
    sidecar = root / "sub-01/perf/sub-01_task-rest_dce.json"
    write_json(sidecar, without(json.loads(sidecar.read_text()), "VolumeTiming"))
    assert run(str(root), "--all-warnings") == 16
    lines = capsys.readouterr().out.splitlines()
    image = "sub-01/perf/sub-01_task-rest_dce.nii.gz"
    missing = "required field is missing from the metadata"
    assert lines[0] == f"error: {image}: VolumeTiming: {missing} [SIDECAR_KEY_REQUIRED]"
    assert lines[-1].startswith(f"{root}: not valid: 1 error, ")


def test_command_without_a_dataset(tmp_path, capsys):
    assert run(str(tmp_path / "nowhere")) == 2
    assert capsys.readouterr().err.strip() == f"qperf validate: {tmp_path / 'nowhere'} is not a folder"


def test_validator_needs_no_network_no_path_and_no_home(tmp_path):
    """In a network namespace of its own, with a HOME that isn't there, an empty PATH, and nothing written elsewhere."""
    unshare = shutil.which("unshare")
    isolate = [unshare, "--map-root-user", "--net"] if unshare else []
    if not unshare or subprocess.run([*isolate, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces on this machine")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {"HOME": str(tmp_path / "none"), "PATH": "", "TMPDIR": str(scratch), "BIDS_SCHEMA": "v1.9.0"}
    script = f"from qperf_app.bids.validate import validate\nprint(validate({str(EXAMPLES / 'derivatives')!r}))"
    inherited = {key: value for key, value in os.environ.items() if key.startswith("PYTHON")}
    finished = subprocess.run(
        [*isolate, sys.executable, "-c", script], env={**inherited, **environment}, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert "severity='error'" not in finished.stdout
    assert list(tmp_path.rglob("*")) == [scratch]


def test_a_validator_that_fails_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("qperf_app.bids.validate.SCHEMA", tmp_path / "no-schema.json")
    with pytest.raises(ValidatorError, match=r"the BIDS validator could not run \(exit code"):
        validate(EXAMPLES / "raw")
