"""Bad input gets one clear line, the right exit code, and leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from qperf_app.cli.app import main
from qperf_app.cli.tools import main as tools
from qperf_app.testing.examples import example_series
from tests.datasets import edit_sidecar, hand_drawn, series_path, small_dataset, write_image, write_json

Spoil = Callable[[Path], None]


@pytest.fixture()
def dataset(tmp_path: Path) -> Path:
    return small_dataset(tmp_path / "raw")


def run(dataset: Path, *arguments: str, out: Path | None = None) -> int:
    out = out or dataset.parent / "out"
    work = dataset.parent / "work"
    return main([str(dataset), str(out), "participant", "-w", str(work), "--nprocs", "1", *arguments])


def refuse_with(
    code: int, words: tuple[str, ...], dataset: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> None:
    assert run(dataset, "--skip-bids-validation", *arguments) == code
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert "Traceback" not in said
    assert not (dataset.parent / "out").exists()
    assert not (dataset.parent / "work").exists()


def truncate(root: Path) -> None:
    path = series_path(root)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: len(whole) // 2]))


def cut_gzip(root: Path) -> None:
    path = series_path(root)
    path.write_bytes(path.read_bytes()[:2000])


def flip_a_bit(root: Path) -> None:
    """Of the compressed stream's checksum: all values are there, and nobody knows whether they are those written."""
    path = series_path(root)
    content = bytearray(path.read_bytes())
    content[-6] ^= 16
    path.write_bytes(content)


def not_nifti(root: Path) -> None:
    series_path(root).write_bytes(b"not an image at all")


def with_nan(root: Path) -> None:
    data = example_series().data.copy()
    data[3, 4, 0, 7] = np.nan
    write_image(series_path(root), data)


def three_dimensional(root: Path) -> None:
    write_image(series_path(root), example_series().data[..., 0])


def bad_json(root: Path) -> None:
    path = series_path(root)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"VolumeTiming": [0, 1,')


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


IMAGE, SIDECAR = "sub-01_task-rest_dce.nii.gz", "sub-01_task-rest_dce.json"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: edit_sidecar(root, VolumeTiming=None), (SIDECAR, "VolumeTiming is missing")),
        (lambda root: edit_sidecar(root, VolumeTiming=[0.0, 0.8]), (SIDECAR, "has 2 times", "40 volumes")),
        (lambda root: edit_sidecar(root, VolumeTiming=[1.0] * 40), (SIDECAR, "must increase")),
        (lambda root: edit_sidecar(root, VolumeTiming="often"), (SIDECAR, "VolumeTiming must be a list")),
        (lambda root: edit_sidecar(root, Units="mM"), (SIDECAR, "Units is 'mM'")),
        (lambda root: edit_sidecar(root, ProtonDensityVolumeCount=40), (SIDECAR, "ProtonDensityVolumeCount is 40")),
        (lambda root: edit_sidecar(root, Haematocrit=42), (SIDECAR, "Haematocrit is 42")),
        (lambda root: edit_sidecar(root, FlipAngle=0), (SIDECAR, "FlipAngle")),
        (truncate, (IMAGE, "truncated")),
        (cut_gzip, (IMAGE, "truncated")),
        (flip_a_bit, (IMAGE, "damaged")),
        (not_nifti, (IMAGE, "not readable as a NIfTI image")),
        (with_nan, (IMAGE, "not finite in 1 frame (from 1: 8)")),
        (three_dimensional, (IMAGE, "3 dimensions")),
        (bad_json, (SIDECAR, "JSON", "1 file can't be read:")),
        (lambda root: pipe(series_path(root)), (IMAGE, "is a pipe, not a file")),
        (lambda root: pipe(series_path(root).with_name(SIDECAR)), (SIDECAR, "is a pipe, not a file")),
    ],
)
def test_unusable_series(
    dataset: Path, spoil: Spoil, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(dataset)
    refuse_with(16, words, dataset, capsys)


def test_all_missing_fields_are_listed_at_once(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_sidecar(dataset, FlipAngle=None, MagneticFieldStrength=None, VolumeTiming=None)
    refuse_with(16, ("FlipAngle is missing", "MagneticFieldStrength is missing", "VolumeTiming"), dataset, capsys)


def test_a_slip_in_the_name_of_a_field_is_told(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_sidecar(dataset, Haematocrit=None, Hematocrit=0.3)
    assert run(dataset, "--dry-run", "--skip-bids-validation") == 0
    assert "Hematocrit is no field that is read: is it Haematocrit?" in capsys.readouterr().err
    edit_sidecar(dataset, FlipAngle=None, flipangle=12)
    refuse_with(16, (SIDECAR, "FlipAngle is missing", "flipangle is there: is it meant?"), dataset, capsys)


def test_bad_json_of_another_datatype_does_not_matter(dataset: Path) -> None:
    other = dataset / "sub-01" / "anat" / "sub-01_T1w.json"
    other.parent.mkdir()
    other.write_text("{")
    assert run(dataset, "--dry-run", "--skip-bids-validation") == 0


def test_empty_mask_handed_in(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = hand_drawn(dataset.parent / "drawn", empty=True)
    refuse_with(16, ("label-myocardium_mask.nii.gz", "mask is empty"), dataset, capsys, "-d", f"drawn={drawn}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("\t", ","), ("not separated by tabs", "'name,slice,x,y,z'")),
        (lambda text: text.replace("\t", ";"), ("not separated by tabs",)),
        (lambda text: "\ufeff" + text.replace("slice", "z-slice"), ("column 'slice' is missing",)),
    ],
)
def test_table_of_another_form(
    dataset: Path, change: Callable[[str], str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    table = drawn / "sub-01" / "perf" / "sub-01_task-rest_desc-landmarks_points.tsv"
    table.write_text(change(table.read_text()), encoding="utf-8")
    refuse_with(16, (table.name, *words), dataset, capsys, "-d", f"drawn={drawn}")


def test_a_table_may_begin_with_a_byte_order_mark(dataset: Path) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    table = drawn / "sub-01" / "perf" / "sub-01_task-rest_desc-landmarks_points.tsv"
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert run(dataset, "--dry-run", "--skip-bids-validation", "-d", f"drawn={drawn}") == 0


def test_mask_of_another_grid(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    mask = drawn / "sub-01" / "perf" / "sub-01_task-rest_label-myocardium_mask.nii.gz"
    write_image(mask, np.ones((5, 5, 1), np.uint8))
    refuse_with(16, (mask.name, "shape (5, 5, 1)"), dataset, capsys, "-d", f"drawn={drawn}")


def test_mask_of_several_volumes(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    mask = drawn / "sub-01" / "perf" / "sub-01_task-rest_label-myocardium_mask.nii.gz"
    one = np.asarray(nib.load(mask).dataobj)
    write_image(mask, np.repeat(one[..., None], 10, axis=3))
    refuse_with(16, (mask.name, "shape (", "10)"), dataset, capsys, "-d", f"drawn={drawn}")


@pytest.mark.parametrize(
    "flag", ["--motion-correction", "--blood-pool", "--concentration", "--myocardium", "--kinetics"]
)
def test_unknown_plugin(dataset: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    refuse_with(2, (flag, "no plugin named 'magic'", "installed:"), dataset, capsys, flag, "magic")


def test_unknown_plugin_to_leave_out(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("no plugin named 'nosuch' to leave out", "nlls")
    refuse_with(2, words, dataset, capsys, "--disable-plugin", "fermi", "nosuch")
    config = dataset.parent / "config.yaml"
    config.write_text("disable: [nosuch]\n")
    refuse_with(2, words, dataset, capsys, "--config-file", str(config))


def test_labels_with_a_comma(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse_with(18, ("sub-01,02", "separated by spaces"), dataset, capsys, "--participant-label", "01,02")


def test_a_truth_value_is_no_number(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataset.parent / "config.yaml"
    config.write_text("kinetics: {plugin: nlls, options: {max_delay_sd: true}}\n")
    refuse_with(2, ("kinetics plugin 'nlls', option 'max_delay_sd': ", "got True"), dataset, capsys,
                "--config-file", str(config))  # fmt: skip
    # A number as JSON and YAML 1.2 have it.
    config.write_text("kinetics: {plugin: nlls, options: {max_delay_sd: 1e-1}}\n")
    assert run(dataset, "--skip-bids-validation", "--dry-run", "--config-file", str(config)) == 0


def test_unknown_option(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataset.parent / "config.yaml"
    config.write_text("kinetics: {plugin: nlls, options: {speed: high}}\n")
    refuse_with(2, ("'nlls'", "no option 'speed'"), dataset, capsys, "--config-file", str(config))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kinetic: nlls", ("unknown key 'kinetic'",)),
        ("- nlls", ("must hold a mapping",)),
        ("a: [", ("not YAML",)),
        ("!!python/object/apply:os.system ['true']", ("not YAML",)),
        ("haematocrit: 0.4\nhaematocrit: 0.3", ("'haematocrit' is there twice",)),
        ("kinetics: []", ("kinetics", "one plugin is needed")),
        ("kinetics: [fermi, fermi]", ("kinetics", "'fermi' is there twice")),
        ("random-seed: -1", ("random-seed",)),
        ("haematocrit: 42", ("haematocrit",)),
    ],
)
def test_bad_configuration_file(
    dataset: Path, text: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataset.parent / "config.yaml"
    config.write_text(text)
    refuse_with(2, words, dataset, capsys, "--config-file", str(config))


def test_output_inside_the_raw_dataset(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in (dataset, dataset / "out", dataset / "sub-01" / "x"):
        assert run(dataset, out=out) == 2
        assert "inside the raw dataset" in capsys.readouterr().err
    assert not (dataset / "out").exists()


def test_unwritable_output(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = dataset.parent / "file"
    blocker.write_text("in the way")
    assert run(dataset, "--skip-bids-validation", out=blocker / "out") == 2
    said = capsys.readouterr().err
    assert "OUT_DIR" in said and "can't be written to" in said


def test_memory_that_a_step_declares_and_may_not_have_is_told(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, told in (("100M", True), ("100", True), ("64G", False), ("64GB", False), ("0.064 TiB", False)):
        assert run(dataset, "--dry-run", "--skip-bids-validation", "--mem", given) == 0
        assert ("may be in use (--mem); sub-01_task-rest: " in capsys.readouterr().err) == told
    for wrong in ("0", "GB", "8B", "lots"):
        with pytest.raises(SystemExit):
            run(dataset, "--dry-run", "--mem", wrong)
        assert "is not an amount of memory, such as 8G, 8GB" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--boilerplate-only", "--dry-run")])
def test_folders_that_cannot_be_made_are_refused_by_a_dry_run_too(
    dataset: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    root = dataset.parent
    (root / "file").write_text("in the way")
    (root / "link").symlink_to(root / "nowhere")
    before = sorted(root.rglob("*"))
    cases = [(root / "file", "is not a folder"), (root / "link" / "out", "link to what is not there")]
    for out, why in cases:
        assert run(dataset, "--skip-bids-validation", *arguments, out=out) == 2
        said = capsys.readouterr().err
        assert f"OUT_DIR {out} can't be written to: {root}" in said and why in said
    for made_up in (Path("/proc/out"), Path("/sys/out")):
        assert run(dataset, "--skip-bids-validation", *arguments, out=made_up) == 2
        assert f"OUT_DIR {made_up} can't be written to" in capsys.readouterr().err
    if "--boilerplate-only" not in arguments:
        words = [str(dataset), str(root / "out"), "participant", "-w", str(root / "file"), *arguments]
        assert main([*words, "--skip-bids-validation"]) == 2
        assert f"--work-dir {root / 'file'} can't be written to" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_results_and_work_in_one_folder(
    dataset: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = dataset.parent / "out"
    assert main([str(dataset), str(out), "participant", "-w", str(out), *arguments]) == 2
    assert f"OUT_DIR and --work-dir are both {out}" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"dce": {"task": "stress"}, "dce": {"task": "rest"}}', "field 'dce' is there twice"),
        ('{"dce": {"run": NaN}}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_bad_filter_file(dataset: Path, content: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset.parent / "filters.json"
    path.write_text(content)
    refuse_with(2, (f"--bids-filter-file {path}: ", words), dataset, capsys, "--bids-filter-file", str(path))


def test_unknown_execution_plugin_is_refused_by_a_dry_run_too(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dataset.parent / "plugin.yaml"
    path.write_text("plugin: Abacus\n")
    refuse_with(2, ("no execution plugin 'Abacus'",), dataset, capsys, "--use-plugin", str(path), "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bids", "out", "participant", "--dry"), ("unrecognized arguments: --dry",)),
        (("bids", "out", "participant", "--nprocs", "many"), ("--nprocs", "'many' is not a whole number")),
        (("bids", "out", "participants"), ("invalid choice: 'participants'",)),
        (("bids", "out", "participant", "--reports-only", "--boilerplate-only"), ("not allowed with",)),
        (("--kinetics", "fermi", "bids", "out", "participant"), ("BIDS_DIR, OUT_DIR, level", "--kinetics takes every")),
        (
            ("--task-id", "rest", "--kinetics", "fermi", "bids", "out", "group"),
            ("BIDS_DIR, OUT_DIR, level", "--task-id, --kinetics take every"),
        ),
    ],
)
def test_wrong_arguments_get_one_line(
    arguments: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    one_line(capsys.readouterr().err, "qperf-app", words)


@pytest.mark.parametrize(
    ("arguments", "command", "words"),
    [
        (("phantom", "out", "--part", "1"), "qperf phantom", ("unrecognized arguments: --part 1",)),
        (("plugins", "--js"), "qperf plugins", ("unrecognized arguments: --js",)),
        (("validate",), "qperf validate", ("required: DATASET",)),
        (("train", "myocardium", "out", "--res"), "qperf train", ("unrecognized arguments: --res",)),
        (("magic",), "qperf", ("invalid choice: 'magic'",)),
    ],
)
def test_so_do_those_of_the_tools(
    arguments: tuple[str, ...], command: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        tools(arguments)
    assert stopped.value.code == 2
    one_line(capsys.readouterr().err, command, words)


def one_line(said: str, command: str, words: tuple[str, ...]) -> None:
    """The error is one line that says what is wrong and where the arguments are explained."""
    assert said.startswith(f"{command}: ") and said.count("\n") == 1
    assert all(word in said for word in (*words, f"{command} --help")), said


@pytest.mark.parametrize("name", ["raw", "a:b"])
def test_name_of_a_derivative_dataset_that_would_not_tell_it(
    dataset: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = hand_drawn(dataset.parent / "drawn")
    refuse_with(2, ("--derivatives", repr(name)), dataset, capsys, "-d", f"{name}={drawn}")


def test_missing_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere") == 2
    assert "is not a folder" in capsys.readouterr().err


def test_dataset_without_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "raw" / "dataset_description.json", {"Name": "empty", "BIDSVersion": "1.10.0"})
    assert run(tmp_path / "raw") == 16
    assert "no perfusion series" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("--participant-label", "99"), ("--task-id", "stress"), ("--session-label", "B")]
)
def test_filters_that_select_nothing(
    dataset: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_with(18, ("not found:",), dataset, capsys, *arguments)


def test_invalid_dataset_is_refused_by_the_validator(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(dataset / "dataset_description.json", {"Name": 3})
    assert run(dataset) == 16
    assert "dataset_description.json" in capsys.readouterr().err
    assert not (dataset.parent / "out").exists()


def test_who_is_not_in_the_table_of_participants_yet_is_computed(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "participants.tsv").write_text("participant_id\nsub-99\n")
    assert run(dataset, "--dry-run") == 0
    assert "BIDS errors in files not used here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"plugin_args": {}}, ("'plugin' must name",)),
        ({"plugin": "Linear", "plugin_args": ["-p short"]}, ("'plugin_args' must be a mapping",)),
        ({"plugin": "Linear", "plugin-args": {}}, ("unknown key 'plugin-args' (known: plugin, plugin_args)",)),
        ({"plugin": "SLURM", "plugin_args": {"sbatch_arg": ""}}, ("plugin_args: unknown key 'sbatch_arg'",)),
        ({"plugin": "SLURM", "plugin_args": {"sbatch_args": ["-p short"]}}, ("sbatch_args: must be a text",)),
        ({"plugin": "SLURM", "plugin_args": {"sbatch_args": "-p 'short"}}, ("sbatch_args: No closing quotation",)),
        ({"plugin": "SGEGraph"}, ("SGEGraph returns before its jobs are done",)),
        ({"plugin": "CondorDAGMan"}, ("CondorDAGMan returns before its jobs are done",)),
        ({"plugin": "SLURM"}, ("SLURM needs the command sbatch",)),
        ({"plugin": "SLURMGraph"}, ("SLURMGraph needs the command sbatch",)),
        ({"plugin": "SGE"}, ("SGE needs the command qsub",)),
        ({"plugin": "LSF"}, ("LSF needs the command bsub",)),
        ({"plugin": "Abacus"}, ("no execution plugin 'Abacus'",)),
    ],
)
def test_execution_plugin_file(
    dataset: Path,
    content: dict[str, object],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = dataset.parent / "plugin.yaml"
    path.write_text(json.dumps(content))
    monkeypatch.setenv("PATH", "")
    refuse_with(2, (f"--use-plugin {path}: ", *words), dataset, capsys, "--use-plugin", str(path))


def slurm_of(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of Slurm that do what the script says, and a file for --use-plugin."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (folder / "plugin.yaml").write_text("plugin: SLURM\n")
    return folder / "plugin.yaml"


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "echo 'slurm_load_jobs error' >&2; exit 1",
            "ended with 1: slurm_load_jobs",
        ),
        ("exec sleep 20", "squeue says nothing for 0.2 s"),
    ],
)
def test_a_queue_that_does_not_answer(
    dataset: Path,
    script: str,
    words: str,
    arguments: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = slurm_of(script, dataset.parent, monkeypatch)
    monkeypatch.setattr("qperf_app.workflow.slurm.ANSWER_SECONDS", 0.2)
    refuse_with(70, ("Slurm doesn't answer: ", words), dataset, capsys, "--use-plugin", str(path), *arguments)


def test_a_job_that_slurm_does_not_take(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = 'case $0 in *sbatch) echo "sbatch: error: Invalid account" >&2; exit 1;; esac'
    path = slurm_of(refusing, dataset.parent, monkeypatch)
    refuse_with(2, ("sbatch takes no such job: Invalid account",), dataset, capsys, "--use-plugin", str(path))


def test_a_work_directory_that_jobs_can_not_be_told(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = slurm_of("true", dataset.parent, monkeypatch)
    work = dataset.parent / "my work"
    refuse_with(2, (f"--work-dir {work}", "blanks"), dataset, capsys, "--use-plugin", str(path), "-w", str(work))


@pytest.mark.slow
def test_an_execution_plugin_that_does_not_start_is_the_reason(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qperf_app.workflow.graph._TELL_EVERY", 0.0)
    path = dataset.parent / "plugin.yaml"
    path.write_text("plugin: Debug\n")
    assert run(dataset, "--skip-bids-validation", "--kinetics", "fermi", "--use-plugin", str(path)) == 1
    reason = "motion-correction (progressive): not begun: ValueError: plugin_args must contain a callable function"
    said = capsys.readouterr().err
    assert reason in said and "participants made ready to submit: 0 of 1" in said
