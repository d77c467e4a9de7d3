"""The specification: its schema, its examples, and what the validator says of datasets that break it."""

from __future__ import annotations

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

from qperf_app.bids.validate import Issue, validate
from qperf_app.cli import validate as command

TIMES = [0.0, 0.8, 1.7, 2.4, 3.3, 4.0, 4.9, 5.6]
GOOD = {**SEQUENCE, "VolumeTiming": TIMES}
SHAPE = (4, 4, 1, 8)
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


def codes_by_participant(issues: Iterable[Issue]) -> dict[str, set[tuple[str, str]]]:
    """Codes and fields of the errors of every ``sub-<label>`` folder."""
    found: dict[str, set[tuple[str, str]]] = {}
    for issue in errors(issues):
        found.setdefault(issue.location.split("/")[0].removeprefix("sub-"), set()).add((issue.code, issue.field))
    return found


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
    names = [definition["name"] for kind in ("entities", "metadata", "columns") for definition in objects[kind].values()]
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
        made = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        kept = {p.relative_to(EXAMPLES): p.read_bytes() for p in (EXAMPLES / name).rglob("*") if p.is_file()}
        assert made == kept


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

#: What is wrong, metadata, shape of the image, and the expected codes with the field they are about.
RAW_VARIANTS: list[tuple[str, Mapping[str, Any], tuple[int, ...], set[tuple[str, str]]]] = [
    ("good", GOOD, SHAPE, set()),
    ("onlytiming", {"VolumeTiming": TIMES}, SHAPE, set()),
    ("concentration", {"VolumeTiming": TIMES, "Units": "mmol/L", "Haematocrit": 0}, SHAPE, set()),
    ("onevolumemore", {**GOOD, "ProtonDensityVolumeCount": 7}, SHAPE, set()),
    ("notiming", without(GOOD, "VolumeTiming"), SHAPE, {("SIDECAR_KEY_REQUIRED", "VolumeTiming")}),
    ("shorttiming", {**GOOD, "VolumeTiming": TIMES[:-1]}, SHAPE, {("VOLUME_TIMING_NOT_MATCHING_NIFTI", "")}),
    (
        "backwards",
        {**GOOD, "VolumeTiming": TIMES[::-1]},
        SHAPE,
        {("VOLUME_TIMING_NOT_MONOTONICALLY_INCREASING", "")},
    ),
    ("repeated", {**GOOD, "VolumeTiming": [0.0, *TIMES[:-1]]}, SHAPE, {("VOLUME_TIMING_REPEATED", "")}),
    ("negative", {**GOOD, "VolumeTiming": [-1.0, *TIMES[1:]]}, SHAPE, {("VOLUME_TIMING_NEGATIVE", "")}),
    ("text", {**GOOD, "VolumeTiming": [str(t) for t in TIMES]}, SHAPE, {("JSON_SCHEMA_VALIDATION_ERROR", "VolumeTiming")}),
    (
        "twoclocks",
        {**GOOD, "RepetitionTime": 0.8},
        SHAPE,
        {("VOLUME_TIMING_AND_REPETITION_TIME_MUTUALLY_EXCLUSIVE", "")},
    ),
    ("threedim", GOOD, SHAPE[:3], {("DCE_NOT_4D", "")}),
    ("onevolume", {"VolumeTiming": [0.0]}, (4, 4, 1, 1), {("DCE_NOT_4D", "")}),
    ("flips", {**GOOD, "FlipAngle": [12.0, 12.0]}, SHAPE, {("FLIP_ANGLE_NOT_MATCHING_NIFTI", "")}),
    ("allpd", {**GOOD, "ProtonDensityVolumeCount": 8}, SHAPE, {("PROTON_DENSITY_VOLUME_COUNT_TOO_LARGE", "")}),
    (
        "fractionpd",
        {**GOOD, "ProtonDensityVolumeCount": 1.5},
        SHAPE,
        {("JSON_SCHEMA_VALIDATION_ERROR", "ProtonDensityVolumeCount")},
    ),
    ("pdconcentration", {**GOOD, "Units": "mmol/L"}, SHAPE, {("PROTON_DENSITY_IN_CONCENTRATION", "")}),
    ("units", {**GOOD, "Units": "mM"}, SHAPE, {("DCE_UNITS", "")}),
    ("percent", {**GOOD, "Haematocrit": 42}, SHAPE, {("HAEMATOCRIT_OUT_OF_RANGE", "")}),
    ("delayms", {**GOOD, "SaturationDelayTime": 95}, SHAPE, {("JSON_SCHEMA_VALIDATION_ERROR", "SaturationDelayTime")}),
    ("trms", {**GOOD, "RepetitionTimeExcitation": 2.4}, SHAPE, {("REPETITION_TIME_EXCITATION_GREATER_THAN", "")}),
    ("center", {**GOOD, "ExcitationsToKSpaceCenter": 0}, SHAPE, {("JSON_SCHEMA_VALIDATION_ERROR", "ExcitationsToKSpaceCenter")}),
]  # fmt: skip

#: File names, below sub-<label>/perf/ and behind sub-<label>_, with the codes of a good series of that name.
RAW_NAMES: list[tuple[str, str, set[str]]] = [
    ("fullname", "task-stress_acq-aif_ce-gadobutrol_run-02", set()),
    ("exercise", "task-exercise", {"PERFUSION_TASK_LABEL"}),
    ("notask", "acq-aif", {"MISSING_REQUIRED_ENTITY"}),
    ("order", "task-rest_run-1_acq-aif", {"FILENAME_MISMATCH"}),
    ("alien", "task-rest_desc-preproc", {"ENTITY_NOT_IN_RULE"}),
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


@pytest.mark.parametrize(("label", "expected"), [(v[0], v[3]) for v in RAW_VARIANTS])
def test_raw_metadata(raw_issues, label, expected):
    assert codes_by_participant(raw_issues).get(label, set()) == expected


@pytest.mark.parametrize(("label", "expected"), [(v[0], v[2]) for v in RAW_NAMES])
def test_raw_names(raw_issues, label, expected):
    assert {code for code, _ in codes_by_participant(raw_issues).get(label, set())} == expected


def test_raw_files_that_are_not_what_they_seem(raw_issues):
    found = codes_by_participant(raw_issues)
    assert ("JSON_INVALID", "") in found["badjson"]
    assert ("NIFTI_HEADER_UNREADABLE", "") in found["noimage"]


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

#: Participant, name behind ``sub-<label>_``, metadata, content (shape or table), expected codes and fields.
DERIVED: list[tuple[str, str, Mapping[str, Any], Any, set[tuple[str, str]]]] = [
    ("dce", "task-rest_desc-preproc_dce.nii.gz", TIMED, SERIES, set()),
    ("dcenodesc", "task-rest_dce.nii.gz", TIMED, SERIES, {("DERIVATIVE_DCE_WITHOUT_DESC", "")}),
    ("dcenotiming", "task-rest_desc-preproc_dce.nii.gz", without(TIMED, "VolumeTiming"), SERIES, {("SIDECAR_KEY_REQUIRED", "VolumeTiming")}),
    ("noskull", "task-rest_desc-preproc_dce.nii.gz", without(TIMED, "SkullStripped"), SERIES, {("SIDECAR_KEY_REQUIRED", "SkullStripped")}),
    ("nounits", "task-rest_desc-preproc_dce.nii.gz", without(TIMED, "Units"), SERIES, {("SIDECAR_KEY_REQUIRED", "Units")}),
    ("conc", "task-rest_desc-conc_dce.nii.gz", {**TIMED, "Units": "1"}, SERIES, set()),
    ("concunits", "task-rest_desc-conc_dce.nii.gz", TIMED, SERIES, {("CONCENTRATION_UNITS", "")}),
    ("xfm", "task-rest_desc-moco_xfm.nii.gz", {**OURS, "Units": "mm"}, FIELD, set()),
    ("xfmshape", "task-rest_desc-moco_xfm.nii.gz", {**OURS, "Units": "mm"}, (4, 4, 1, 3, 2), {("XFM_SHAPE", "")}),
    ("xfmunits", "task-rest_desc-moco_xfm.nii.gz", OURS, FIELD, {("XFM_UNITS", "")}),
    ("mask", "task-stress_acq-aif_label-LV_mask.nii.gz", OURS, VOLUME, set()),
    ("framemask", "task-rest_label-myocardium_desc-frames_mask.nii.gz", OURS, SERIES, set()),
    ("masklabel", "task-rest_label-brain_mask.nii.gz", OURS, VOLUME, {("MASK_LABEL", "")}),
    ("masknolabel", "task-rest_mask.nii.gz", OURS, VOLUME, {("MISSING_REQUIRED_ENTITY", "")}),
    ("maskshape", "task-rest_label-RV_mask.nii.gz", OURS, FIELD, {("MASK_DIMENSIONS", "")}),
    ("nosources", "task-rest_label-LV_mask.nii.gz", without(OURS, "Sources"), VOLUME, {("SIDECAR_KEY_REQUIRED", "Sources")}),
    ("pathsource", "task-rest_label-LV_mask.nii.gz", {**OURS, "Sources": ["sub-1/x.nii.gz"]}, VOLUME, {("SOURCES_NOT_BIDS_URI", "")}),
    ("map", "task-rest_model-2CXM_param-Fp_stat-q05_desc-hmc_dcemap.nii.gz", MAP, VOLUME, set()),
    ("othermap", "task-rest_model-Other_param-chisq_desc-x_dcemap.nii.gz", OURS, VOLUME, set()),
    ("mapstat", "task-rest_model-2CXM_param-Fp_stat-median_desc-hmc_dcemap.nii.gz", MAP, VOLUME, {("STATISTIC_LABEL", "")}),
    ("mapmodel", "task-rest_param-Fp_desc-hmc_dcemap.nii.gz", MAP, VOLUME, {("MISSING_REQUIRED_ENTITY", "")}),
    ("maporder", "task-rest_param-Fp_model-2CXM_desc-hmc_dcemap.nii.gz", MAP, VOLUME, {("FILENAME_MISMATCH", "")}),
    ("mapunits", "task-rest_model-2CXM_param-PS_desc-hmc_dcemap.nii.gz", OURS, VOLUME, {("QUANTITY_UNITS", "")}),
    ("mapdelay", "task-rest_model-2CXM_param-Ta_desc-hmc_dcemap.nii.gz", MAP, VOLUME, {("QUANTITY_UNITS", "")}),
    ("mapshape", "task-rest_model-2CXM_param-Fp_desc-hmc_dcemap.nii.gz", MAP, SERIES, {("MAP_NOT_3D", "")}),
    ("mbf", "task-rest_model-Fermi_param-MBF_desc-fermi_dcemap.nii.gz", MBF, VOLUME, set()),
    ("mbfdensity", "task-rest_model-Fermi_param-MBF_desc-fermi_dcemap.nii.gz", without(MBF, "TissueDensity"), VOLUME, {("SIDECAR_KEY_REQUIRED", "TissueDensity")}),
    ("qc", "task-rest_desc-fermi_qc.nii.gz", {**OURS, "Levels": {"0": "estimated"}}, VOLUME, set()),
    ("qclevels", "task-rest_desc-fermi_qc.nii.gz", OURS, VOLUME, {("SIDECAR_KEY_REQUIRED", "Levels")}),
    ("dseg", "task-rest_seg-AHA17_dseg.nii.gz", OURS, VOLUME, set()),
    ("lookup", "task-rest_seg-AHA17_dseg.tsv", OURS, table("index name", "1 a"), set()),
    ("lookupname", "task-rest_seg-AHA17_dseg.tsv", OURS, table("index", "1"), {("TSV_COLUMN_MISSING", "name")}),
    ("aif", "task-rest_desc-aif_timeseries.tsv", AIF, CURVE, set()),
    ("aifcolumn", "task-rest_desc-aif_timeseries.tsv", AIF, table("time signal", "0 1", "1 2"), {("TSV_COLUMN_MISSING", "concentration")}),
    ("aiforder", "task-rest_desc-aif_timeseries.tsv", AIF, table("time concentration", "1 0", "0.5 1"), {("TIME_NOT_INCREASING", "")}),
    ("aifrepeat", "task-rest_desc-aif_timeseries.tsv", AIF, table("time concentration", "1 0", "1 1"), {("TSV_INDEX_VALUE_NOT_UNIQUE", "")}),
    ("aiftext", "task-rest_desc-aif_timeseries.tsv", AIF, table("time concentration", "0 low", "1 high"), {("TSV_VALUE_INCORRECT_TYPE", "concentration")}),
    ("aifunits", "task-rest_desc-aif_timeseries.tsv", {**AIF, "Units": "mM"}, CURVE, {("CONCENTRATION_UNITS", "")}),
    ("aiffoot", "task-rest_desc-aif_timeseries.tsv", without(AIF, "foot"), CURVE, {("SIDECAR_KEY_REQUIRED", "foot")}),
    ("aifpercent", "task-rest_desc-aif_timeseries.tsv", {**AIF, "Haematocrit": 42}, CURVE, {("HAEMATOCRIT_OUT_OF_RANGE", "")}),
    ("points", "task-rest_desc-landmarks_points.tsv", OURS, POINTS, set()),
    ("pointname", "task-rest_desc-landmarks_points.tsv", OURS, table("name slice x y z", "Apex 0 1 2 3"), {("TSV_VALUE_INCORRECT_TYPE", "name")}),
    ("pointz", "task-rest_desc-landmarks_points.tsv", OURS, table("name slice x y", "RVInsertionAnterior 0 1 2"), {("TSV_COLUMN_MISSING", "z")}),
    ("segments", "task-rest_seg-AHA17_desc-fermi_segments.tsv", QUANTITY, SEGMENTS, set()),
    ("segmentunit", "task-rest_seg-AHA17_desc-fermi_segments.tsv", OURS, SEGMENTS, {("TSV_ADDITIONAL_COLUMNS_MUST_DEFINE", "MBF")}),
    ("segmentrow", "task-rest_seg-AHA17_desc-fermi_segments.tsv", QUANTITY, table("index name n_voxels n_estimated", "1 a 3 2", "1 b 3 2"), {("TSV_INDEX_VALUE_NOT_UNIQUE", "")}),
]  # fmt: skip

GOOD_STATUS = {"state": "done", "steps_done": ["blood-pool"], "steps_failed": []}
REASON = {"step": "kinetics", "reason": "no input function"}
STATUSES: list[tuple[str, Mapping[str, Any], set[tuple[str, str]]]] = [
    ("statusdone", GOOD_STATUS, set()),
    ("statusfailed", {**GOOD_STATUS, "state": "failed", "steps_failed": [REASON]}, set()),
    ("statusword", {**GOOD_STATUS, "state": "ok"}, {("JSON_SCHEMA_VALIDATION_ERROR", "state")}),
    ("statusnostate", without(GOOD_STATUS, "state"), {("JSON_KEY_REQUIRED", "state")}),
    ("statuswhy", {**GOOD_STATUS, "state": "failed"}, {("STATUS_WITHOUT_REASON", "")}),
    ("statusreason", {**GOOD_STATUS, "steps_failed": [{"step": "x"}]}, {("JSON_SCHEMA_VALIDATION_ERROR", "steps_failed")}),
]  # fmt: skip


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


@pytest.mark.parametrize(("label", "expected"), [*((v[0], v[4]) for v in DERIVED), *((v[0], v[2]) for v in STATUSES)])
def test_derivatives(derivative_issues, label, expected):
    assert codes_by_participant(derivative_issues).get(label, set()) == expected


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
    with pytest.raises(RuntimeError, match="the BIDS validator failed with exit code"):
        validate(EXAMPLES / "raw")
