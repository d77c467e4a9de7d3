"""Finding series and their metadata in a raw dataset."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from qperf_bids_spec import EXAMPLES

from qperf_app.bids.errors import DatasetError, SelectionError
from qperf_app.bids.images import read_shape
from qperf_app.bids.index import find_series, list_participants, parse_name, sidecar

RAW = EXAMPLES / "raw"


def make_dataset(root: Path, names: Mapping[str, Any]) -> Path:
    """Empty files, or JSON files where a value is given."""
    for name, content in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if content is None else content if isinstance(content, str) else json.dumps(content))
    return root


def series_path(name: str) -> str:
    """Where a series belongs, from its name."""
    parts = name.split("_")
    folders = [part for part in parts[:2] if part.startswith(("sub-", "ses-"))]
    return "/".join([*folders, "perf", name])


def names(series) -> list[str]:
    return [one.path.name.removesuffix("_dce.nii.gz") for one in series]


@pytest.fixture
def study(tmp_path) -> Path:
    series = [
        "sub-01_ses-A_task-rest_dce.nii.gz",
        "sub-01_ses-A_task-rest_acq-aif_dce.nii.gz",
        "sub-01_ses-A_task-stress_dce.nii.gz",
        "sub-01_ses-B_task-rest_run-01_dce.nii.gz",
        "sub-01_ses-B_task-rest_run-02_dce.nii.gz",
        "sub-02_ses-A_task-rest_acq-base_ce-gadobutrol_dce.nii.gz",
        "sub-10_task-rest_dce.nii",
    ]
    return make_dataset(tmp_path, {series_path(name): None for name in series})


# --- participants and series -----------------------------------------------------------------------------------------


def test_examples():
    assert list_participants(RAW) == ("01", "02", "03")
    found = find_series(RAW)
    assert names(found) == [
        "sub-01_task-rest_acq-aif",
        "sub-01_task-rest",
        "sub-01_task-stress_acq-aif",
        "sub-01_task-stress",
        "sub-02_ses-A_task-rest_ce-gadobutrol_run-1",
        "sub-03_task-rest",
    ]
    assert [one.is_aif for one in found] == [True, False, True, False, False, False]
    assert found[4].entities == {"sub": "02", "ses": "A", "task": "rest", "ce": "gadobutrol", "run": "1"}
    assert found[4].prefix == "sub-02_ses-A_task-rest_ce-gadobutrol_run-1"
    assert found[4].path == RAW / "sub-02/ses-A/perf/sub-02_ses-A_task-rest_ce-gadobutrol_run-1_dce.nii.gz"


def test_a_series_goes_to_another_process_and_into_a_set():
    found = find_series(RAW)
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("prefix", ["", "sub-"])
def test_chosen_participants(study, prefix):
    assert {one.entities["sub"] for one in find_series(study, participants=[f"{prefix}10", f"{prefix}02"])} == {
        "02",
        "10",
    }


def test_chosen_sessions_and_tasks(study):
    assert names(find_series(study, sessions=["ses-B"])) == [
        "sub-01_ses-B_task-rest_run-01",
        "sub-01_ses-B_task-rest_run-02",
    ]
    assert names(find_series(study, tasks=["stress"])) == ["sub-01_ses-A_task-stress"]
    assert names(find_series(study, ["01"], ["A"], ["task-rest"])) == [
        "sub-01_ses-A_task-rest_acq-aif",
        "sub-01_ses-A_task-rest",
    ]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"participants": ["01", "sub-98", "99"]}, r"^not found: sub-98, sub-99 \(there is sub-01, sub-02, sub-10\)$"),
        ({"sessions": ["A", "C"]}, r"^not found: ses-C \(there is ses-A, ses-B\)$"),
        ({"sessions": ["Z"]}, r"^not found: ses-Z \(there is ses-A, ses-B\)$"),
        ({"participants": ["10"], "sessions": ["A"]}, r"^not found: ses-A \(there is no ses-\* at all\)$"),
        ({"participants": ["10"], "tasks": ["stress"]}, r"^not found: task-stress \(there is task-rest\)$"),
        ({"filters": {"dce": {"run": 7}, "aif": {"run": 7}}}, r"the filters select none of 7 perfusion series$"),
    ],
)  # fmt: skip
def test_a_choice_of_what_is_not_there(study, choice, message):
    with pytest.raises(SelectionError, match=message):
        find_series(study, **choice)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"session": "B"}, ["sub-01_ses-B_task-rest_run-01", "sub-01_ses-B_task-rest_run-02"]),
        ({"ses": "B", "run": 1}, ["sub-01_ses-B_task-rest_run-01"]),
        ({"session": "B", "run": ["2", 3]}, ["sub-01_ses-B_task-rest_run-02"]),
        ({"acquisition": "*"}, ["sub-02_ses-A_task-rest_acq-base_ce-gadobutrol"]),
        ({"acquisition": None, "run": None, "task": "rest", "session": ["A"]}, ["sub-01_ses-A_task-rest"]),
        ({"session": None}, ["sub-10_task-rest_dce.nii"]),
        ({"session": [None, "B"], "run": [None, "01"]}, ["sub-01_ses-B_task-rest_run-01", "sub-10_task-rest_dce.nii"]),
        ({"ceagent": "gadobutrol", "suffix": "dce"}, ["sub-02_ses-A_task-rest_acq-base_ce-gadobutrol"]),
    ],
)
def test_filters_of_tissue_series(study, query, expected):
    """The same file leaves input-function series alone."""
    found = find_series(study, filters={"dce": query, "bold": {"task": "other app's"}})
    assert names(found) == ["sub-01_ses-A_task-rest_acq-aif", *expected]


def test_filters_of_input_function_series(study):
    found = find_series(study, participants=["01"], filters={"aif": {"session": "B"}})
    assert not any(one.is_aif for one in found)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"dce": {"sesion": "A"}}, "^filter dce: sesion unknown; entities are subject, session, task"),
        ({"dce": {"suffix": "bold"}}, "^filter dce: suffix unknown"),
        ({"dce": "rest"}, "^filter dce: expected entities with a label"),
        ({"dce": {"task": True}}, "^filter dce: expected entities with a label"),
        ({"aif": {"task": {"a": 1}}}, "^filter aif: expected entities with a label"),
        ({"DCE": {"session": "A"}}, "^the filters name DCE; this app knows dce and aif$"),
    ],
)
def test_filters_with_a_slip(study, filters, message):
    with pytest.raises(SelectionError, match=message):
        find_series(study, filters=filters)


# --- datasets that can't be used -------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: can't be listed: No such file or directory$"):
        find_series(tmp_path / "nowhere")
    make_dataset(tmp_path, {"sub-01/anat/sub-01_T1w.nii.gz": None})
    with pytest.raises(DatasetError, match=r"no perfusion series \(sub-\*/\[ses-\*/\]perf/\*_dce\.nii\.gz\)$"):
        find_series(tmp_path)
    with pytest.raises(DatasetError, match=r"a folder of a dataset: give the dataset itself"):
        find_series(tmp_path / "sub-01")
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS without content"),
        (None, "a link without content"),
    ):
        image = tmp_path / "image.nii.gz"
        image.unlink(missing_ok=True)
        if content is None:
            image.symlink_to(tmp_path / "annex" / "object")
        else:
            image.write_bytes(content)
        with pytest.raises(DatasetError, match=words):
            read_shape(image)
    study = tmp_path / "study"
    study.mkdir()
    (study / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(DatasetError, match=r"holds DICOM files: `qperf import`"):
        find_series(study)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("sub-01/perf/sub-01_task-rest_dce.nii", "the series is there twice, as .nii and as .nii.gz"),
        ("sub-01/perf/sub-02_task-rest_dce.nii.gz", "sub and ses of the name are not those of its folder"),
        ("sub-01/ses-A/perf/sub-01_task-rest_dce.nii.gz", "sub and ses of the name are not those of its folder"),
        ("sub-01/perf/sub-01_ses-A_task-rest_dce.nii.gz", "sub and ses of the name are not those of its folder"),
        ("sub-01/perf/sub-01_task-walk_dce.nii.gz", "the name must say task-rest or task-stress"),
        ("sub-01/perf/sub-01_dce.nii.gz", "the name must say task-rest or task-stress"),
        ("sub-01/perf/sub-01_task-rest_dir-a_dce.nii.gz", "has sub, ses, task, acq, ce, rec, run, echo in this"),
        ("sub-01/perf/sub-01_task-rest_run-1_acq-a_dce.nii.gz", "has sub, ses, task, acq, ce, rec, run, echo in this"),
    ],
)  # fmt: skip
def test_names_that_would_mix_up_results(tmp_path, file, message):
    make_dataset(tmp_path, {"sub-01/perf/sub-01_task-rest_dce.nii.gz": None, file: None})
    with pytest.raises(DatasetError) as caught:
        find_series(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / file) in str(caught.value)


def test_one_reconstruction_of_each_acquisition(tmp_path):
    """That without the entity, or the one that a filter chooses; echoes stay together; other runs are other ones."""
    rest = ["rest", "rest_acq-aif_echo-1", "rest_acq-aif_echo-2"]
    every = [*rest, "rest_rec-moco", "rest_rec-norm", "rest_run-2", "stress_rec-moco"]
    make_dataset(tmp_path, {series_path(f"sub-01_task-{name}_dce.nii.gz"): None for name in every})
    plain = {f"sub-01_task-{name}" for name in (*rest, "rest_run-2", "stress_rec-moco")}
    assert set(names(find_series(tmp_path))) == plain
    chosen = find_series(tmp_path, filters={"dce": {"reconstruction": "moco"}})
    assert set(names(chosen)) == {f"sub-01_task-{name}" for name in (*rest[1:], "rest_rec-moco", "stress_rec-moco")}
    both = find_series(tmp_path, tasks=["rest"], filters={"dce": {"reconstruction": ["moco", None]}})
    assert set(names(both)) == {f"sub-01_task-{name}" for name in (*rest, "rest_rec-moco", "rest_run-2")}
    (tmp_path / series_path("sub-01_task-rest_dce.nii.gz")).unlink()
    with pytest.raises(DatasetError, match=r"rec-moco_dce.*there as rec-moco and rec-norm; choose one with --bids-fil"):
        find_series(tmp_path)
    misplaced = tmp_path / series_path("sub-01_task-stress_run-1_rec-a_dce.nii.gz")
    misplaced.write_bytes(b"")
    with pytest.raises(DatasetError, match="in this order"):
        find_series(tmp_path, tasks=["stress"])


def test_a_bad_name_elsewhere_does_not_matter(study):
    make_dataset(study, {"sub-02/ses-A/perf/sub-02_ses-A_task-walk_dce.nii.gz": None})
    assert len(find_series(study, participants=["01"])) == 5


# --- metadata --------------------------------------------------------------------------------------------------------


def test_inheritance_from_the_root_to_the_series(tmp_path):
    image = "sub-01/ses-A/perf/sub-01_ses-A_task-rest_acq-aif_dce.nii.gz"
    files = {
        "dce.json": {"MagneticFieldStrength": 3, "EchoTime": 1, "Units": "arbitrary"},
        "sub-01/task-rest_dce.json": {"EchoTime": 2, "FlipAngle": 2},
        "sub-01/ses-A/sub-01_ses-A_acq-aif_dce.json": {"FlipAngle": 3, "VolumeTiming": [3]},
        image.replace(".nii.gz", ".json"): {"VolumeTiming": [4]},
        # None of these applies.
        "task-stress_dce.json": {"EchoTime": "stress"},
        "task-rest_bold.json": {"EchoTime": "bold"},
        "task-rest_xdce.json": {"EchoTime": "xdce"},
        "sub-01/ses-A/sub-01_ses-A_run-1_dce.json": {"EchoTime": "run"},
        "sub-01/ses-A/perf/sub-01_ses-A_task-rest_dce.json": {"EchoTime": "tissue"},
        "../dce.json": {"EchoTime": "outside the dataset"},
    }
    root = tmp_path / "study"
    make_dataset(
        root, {image: None, **{name: content for name, content in files.items() if "tissue" not in str(content)}}
    )
    merged = {"MagneticFieldStrength": 3, "Units": "arbitrary", "EchoTime": 2, "FlipAngle": 3, "VolumeTiming": [4]}
    assert sidecar(root / image, root) == merged
    # The tissue series' own file fits the input-function series too; the latter's own file wins, as in BIDS.
    make_dataset(root, files)
    assert sidecar(root / image, root) == merged


def test_times_of_a_converter_serve_where_volume_timing_is_absent(tmp_path):
    image = "sub-01/perf/sub-01_task-rest_dce.nii.gz"
    root = tmp_path / "study"
    make_dataset(root, {image: None, image.replace(".nii.gz", ".json"): {"FrameTimesStart": [0, 0.8]}})
    assert sidecar(root / image, root)["VolumeTiming"] == [0, 0.8]
    make_dataset(root, {"task-rest_dce.json": {"VolumeTiming": [1, 2]}})
    assert sidecar(root / image, root)["VolumeTiming"] == [1, 2]


def test_examples_inherit():
    for series in find_series(RAW, tasks=["stress"]):
        metadata = sidecar(series.path, RAW)
        assert (metadata["TaskName"], metadata["SaturationDelayTime"]) == ("Adenosine stress", 0.095)


def test_two_files_that_apply(study):
    make_dataset(study, {"task-rest_dce.json": {}, "dce.json": {}})
    series = find_series(study, participants=["10"])[0]
    with pytest.raises(DatasetError, match=r"several JSON files apply to one series: dce\.json, task-rest_dce\.json$"):
        sidecar(series.path, study)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{bad", "not readable as JSON"),
        ("[1]", "must hold a JSON object"),
        ('{"EchoTime": 0.001, "EchoTime": 0.002}', "not readable as JSON: field 'EchoTime' is there twice"),
        ('{"a": ' + "[" * 100_000, "not readable as JSON: nested too deeply"),
    ],
    ids=["broken", "list", "twice", "deep"],
)
def test_bad_json_of_a_chosen_series_is_named(study, content, reason):
    make_dataset(study, {"task-stress_dce.json": content})
    stress, rest = (find_series(study, participants=["01"], tasks=[task])[0] for task in ("stress", "rest"))
    with pytest.raises(DatasetError) as caught:
        sidecar(stress.path, study)
    assert str(caught.value).startswith(f"{study / 'task-stress_dce.json'}: {reason}")
    assert sidecar(rest.path, study) == {}


def test_json_may_begin_with_a_byte_order_mark(study):
    path = find_series(study, participants=["01"], tasks=["stress"])[0].path
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"EchoTime": 0.001}', encoding="utf-8-sig")
    assert sidecar(path, study)["EchoTime"] == 0.001


def test_bad_json_and_closed_folders_elsewhere_do_not_matter(study, monkeypatch):
    """No file of another datatype is read, and no folder of another participant or session even listed."""
    files = {
        "sub-01/ses-A/anat/sub-01_ses-A_T1w.json": "{bad",
        "sub-02/sub-02_dce.json": "{bad",
        "sub-01/ses-B/perf/sub-01_ses-B_task-rest_run-01_dce.json": "{bad",
        "task-rest_bold.json": "{bad",
    }
    make_dataset(study, files)
    seen: list[str] = []
    for function in ("listdir", "scandir"):
        original = getattr(os, function)
        monkeypatch.setattr(os, function, lambda path, original=original: seen.append(str(path)) or original(path))
    found = find_series(study, participants=["01"], sessions=["A"])
    assert len([sidecar(series.path, study) for series in found]) == 3
    assert {Path(path).relative_to(study).as_posix() for path in seen} == {
        ".",
        "sub-01",
        "sub-01/ses-A",
        "sub-01/ses-A/anat",
        "sub-01/ses-A/perf",
    }


def test_shared_listings_list_each_folder_once(study, monkeypatch):
    make_dataset(study, {"dce.json": {"MagneticFieldStrength": 3}})
    found = find_series(study)
    seen: list[str] = []
    original = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: seen.append(str(path)) or original(path))
    listings: dict[Path, list[str]] = {}
    assert all(sidecar(series.path, study, listings) == {"MagneticFieldStrength": 3} for series in found)
    assert len(seen) == len(set(seen))


def test_sidecar_of_what_is_no_file_of_the_dataset(study, tmp_path):
    with pytest.raises(DatasetError, match="not a BIDS file of"):
        sidecar(RAW / "sub-01/perf/sub-01_task-rest_dce.nii.gz", study)
    with pytest.raises(DatasetError, match="not a BIDS file of"):
        sidecar(study / "notes for me.txt", study)


# --- size ------------------------------------------------------------------------------------------------------------


def test_a_thousand_participants(tmp_path):
    """All are found; ``benchmarks/bids_index.py`` says how quickly."""
    for number in range(1000):
        folder = tmp_path / f"sub-{number:04d}" / "perf"
        folder.mkdir(parents=True)
        (folder / f"sub-{number:04d}_task-rest_dce.nii.gz").touch()
    found = find_series(tmp_path)
    assert [one.entities["sub"] for one in found] == [f"{number:04d}" for number in range(1000)]
    assert len(find_series(tmp_path, participants=["0007", "0999"])) == 2


def test_file_names():
    assert parse_name("sub-01_task-rest_dce.nii.gz") == ({"sub": "01", "task": "rest"}, "dce", ".nii.gz")
    assert parse_name("dce.json") == ({}, "dce", ".json")
    assert parse_name("README") == ({}, "README", "")
    assert parse_name("my_series_dce.nii.gz") is None
    assert parse_name("sub-01.html") is None
    assert parse_name("sub-01_sub-02_dce.nii.gz") is None
