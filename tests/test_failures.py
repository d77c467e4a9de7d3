"""A participant that fails never stops the others, and says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qperf_app.cli.app import main
from qperf_app.plugins import InputFunction, KineticMaps, TissueCurves
from qperf_kinetics.fermi import FermiDeconvolution
from tests.datasets import hand_drawn, small_dataset, step_states, write_json

#: Peak, mmol/L, of the input function at which the fit fails.
PEAK = 4.0


def spoiled_input_function(root: Path, participant: str = "02") -> Path:
    """An input function that the fit of :func:`fit_fails` doesn't take."""
    perf = root / f"sub-{participant}" / "perf"
    perf.mkdir(parents=True)
    rows = [f"{0.85 * k:.2f}\t{max(0, PEAK - abs(k - 15)):.1f}" for k in range(40)]
    name = f"sub-{participant}_task-rest_desc-aif_timeseries"
    (perf / f"{name}.tsv").write_text("\n".join(["time\tconcentration", *rows]) + "\n")
    write_json(perf / f"{name}.json", {"concentration": {"Units": "mmol/L"}})
    return root


def fit_fails(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Let ``fermi`` fail on one input function; returns the words that keep the steps in this process."""
    fit = FermiDeconvolution.fit

    def failing(self: FermiDeconvolution, curves: TissueCurves, aif: InputFunction, *rest: Any) -> KineticMaps:
        if np.nanmax(aif.concentration) == PEAK:
            raise RuntimeError("no fit of this input function")
        return fit(self, curves, aif, *rest)

    monkeypatch.setattr(FermiDeconvolution, "fit", failing)
    execution = folder / "execution.yml"
    execution.write_text("plugin: Linear\n")
    return ["--use-plugin", str(execution)]


def test_the_others_are_complete(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    raw = small_dataset(tmp_path / "raw", participants=("01", "02"))
    first, second = (hand_drawn(tmp_path / f"drawn{p}", participant=p) for p in ("01", "02"))
    wrong = spoiled_input_function(tmp_path / "wrong")
    out = tmp_path / "out"
    command = [
        str(raw), str(out), "participant", "-w", str(tmp_path / "work"), "--nprocs", "1", "--skip-bids-validation",
        "--motion-correction", "none", "--kinetics", "fermi",
        *fit_fails(monkeypatch, tmp_path), "-d", f"a={first}", f"b={second}", f"wrong={wrong}",
    ]  # fmt: skip
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "sub-02: failed: task-rest: kinetics (fermi)" in said and "1 of 2 participants done" in said
    good, bad = (json.loads((out / f"sub-{p}" / f"sub-{p}_status.json").read_text()) for p in ("01", "02"))
    assert good["state"] == "done" and bad["state"] == "failed"
    assert "no fit of this input function" in bad["steps_failed"][0]["reason"]
    assert any("segment-values" in s["step"] for s in bad["steps_without_result"])
    assert (out / "sub-01.html").is_file() and (out / "sub-02.html").is_file()
    assert list((out / "sub-01" / "perf").glob("*_dcemap.nii.gz"))
    # What the step before kinetics found stays.
    assert not [p for p in (out / "sub-02" / "perf").glob("*_dcemap.nii.gz") if "_model-mixture_" not in p.name]
    # What went well before the failure is there.
    assert (out / "sub-02" / "perf" / "sub-02_task-rest_desc-preproc_dce.nii.gz").is_file()
    crash = next((out / "logs" / "sub-02").glob("crash-*.txt")).read_text()
    assert "--participant-label 02" in crash and "Traceback" in crash
    assert not list(out.glob(".staging*"))


def test_what_a_step_gave_before_it_failed_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = small_dataset(tmp_path / "raw"), tmp_path / "out"
    drawn, wrong = hand_drawn(tmp_path / "drawn"), spoiled_input_function(tmp_path / "wrong", "01")
    command = [str(raw), str(out), "participant", "-w", str(tmp_path / "work"), "--nprocs", "1"]
    command += ["--skip-bids-validation", "--motion-correction", "none", "--kinetics", "fermi"]
    command += [*fit_fails(monkeypatch, tmp_path), "-d", f"a={drawn}"]
    assert main(command) == 0
    folder = out / "sub-01" / "perf"
    flow = "*_param-MBF_desc-fermi_dcemap.*"
    assert len(list(folder.glob(flow))) == 2 and list(folder.glob("*_desc-fermi_segments.tsv"))
    assert main([*command, f"wrong={wrong}"]) == 1
    assert not list(folder.glob(flow)) and not list(folder.glob("*_desc-fermi_segments.*"))
    assert list(folder.glob("*_desc-preproc_dce.nii.gz"))


def test_not_found_is_an_answer(tmp_path: Path) -> None:
    """A series without a bolus runs to a report that says so."""
    import numpy as np

    from qperf_app.testing.examples import example_series
    from tests.datasets import series_path, write_image

    raw = small_dataset(tmp_path / "raw")
    series = example_series()
    noise = np.random.default_rng(0).normal(0, 0.5, series.data.shape)
    write_image(series_path(raw), np.abs(series.data[..., :1] + noise).astype(np.float32))
    out = tmp_path / "out"
    quick = ["-w", str(tmp_path / "work"), "--nprocs", "1", "--skip-bids-validation", "--motion-correction", "none"]
    assert main([str(raw), str(out), "participant", *quick]) == 0
    status = json.loads((out / "sub-01" / "sub-01_status.json").read_text())
    assert status["state"] == "done" and not status["complete"]
    states = step_states(status["scans"][0])
    assert states["blood-pool", ""] == "not-found"
    assert states["kinetics", "nlls"] == "skipped"
    assert (out / "sub-01.html").is_file()


def test_the_reproducing_command_names_one_participant_only() -> None:
    """Labels that the first call gave are left out, its other words stay in place."""
    from qperf_app.cli.participant import without_option

    argv = ["bids", "out", "participant", "--participant-label", "01", "02", "-w", "work", "--participant-label=03"]
    assert without_option(argv, "--participant-label") == ["bids", "out", "participant", "-w", "work"]
