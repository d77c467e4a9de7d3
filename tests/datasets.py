"""A small BIDS dataset that the command line can run on in seconds, and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qperf_app.testing.examples import AFFINE, example_landmarks, example_masks, example_series


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_image(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


def small_dataset(root: Path, participants: tuple[str, ...] = ("01",), tasks: tuple[str, ...] = ("rest",)) -> Path:
    """One slice of the example heart for each participant and task: signal with all its sequence values."""
    write_json(root / "dataset_description.json", {"Name": "small", "BIDSVersion": "1.10.0", "DatasetType": "raw"})
    (root / "README.md").write_text("A small example heart, made for tests of the command line.\n" * 5)
    for number, participant in enumerate(participants):
        for position, task in enumerate(tasks):
            series = example_series(seed=number + 100 * position)
            image = series_path(root, participant, task)
            write_image(image, series.data)
            fields = {**series.metadata, "TaskName": task, "VolumeTiming": beats(series.metadata["VolumeTiming"])}
            write_json(image.with_name(image.name.replace(".nii.gz", ".json")), fields)
    return root


def beats(times: Sequence[float]) -> list[float]:
    """Times that are not quite even, as those of a heart aren't."""
    return [round(t + 0.004 * (k % 3), 3) for k, t in enumerate(times)]


def series_path(root: Path, participant: str = "01", task: str = "rest") -> Path:
    return root / f"sub-{participant}" / "perf" / f"sub-{participant}_task-{task}_dce.nii.gz"


def edit_sidecar(root: Path, **fields: Any) -> None:
    """Change fields of sub-01's resting sidecar; None deletes one."""
    path = series_path(root)
    path = path.with_name(path.name.replace(".nii.gz", ".json"))
    content = {**json.loads(path.read_text()), **fields}
    write_json(path, {key: value for key, value in content.items() if value is not None})


def hand_drawn(root: Path, participant: str = "01", task: str = "rest", empty: bool = False) -> Path:
    """A derivative dataset with the example heart's true mask and insertion points."""
    write_json(
        root / "dataset_description.json",
        {"Name": "drawn", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "hand"}]},
    )
    prefix = root / f"sub-{participant}" / "perf" / f"sub-{participant}_task-{task}"
    masks = example_masks()
    mask = masks["myocardium"][:, :, None].astype(np.uint8) * (0 if empty else 1)
    write_image(prefix.with_name(f"{prefix.name}_label-myocardium_mask.nii.gz"), mask)
    for name in ("lv", "rv"):
        pool = masks[name][:, :, None].astype(np.uint8)
        write_image(prefix.with_name(f"{prefix.name}_label-{name.upper()}_mask.nii.gz"), pool)
    lines = ["name\tslice\tx\ty\tz"]
    lines += ["\t".join(map(str, (m.name, m.slice, *m.position))) for m in example_landmarks()]
    prefix.with_name(f"{prefix.name}_desc-landmarks_points.tsv").write_text("\n".join(lines) + "\n")
    return root


def step_states(scan: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """State of each step of a scan in a status file, by step and plugin."""
    return {(s["key"]["step"], s["key"]["plugin"]): s["outcome"]["state"] for s in scan["steps"]}


#: A third party's plugin for the step of ``tests/new_step``.
PLUGIN_OF_A_NEW_STEP = """
from dataclasses import dataclass, field

import numpy as np

from qperf_app.plugins import hookimpl
from qperf_app.plugins.steps.noise import NoisePlugin


@dataclass(frozen=True)
class Options:
    order: int = field(default=1, metadata={"help": "order of the differences"})


class Differences(NoisePlugin):
    name, version, summary = "differences", "1.0", "differences between frames, by the median of their size"
    citations = ("Gasser T, Sroka L, Jennen-Steinmetz C. Residual variance. Biometrika 1986;73:625-633.",)
    Options = Options

    def measure(self, series, context):
        order = self.options.order
        weights = np.array([1.0, -1.0]) if order == 1 else np.array([1.0, -2.0, 1.0])
        found = np.abs(np.diff(series.dynamic().data.astype(float), n=order, axis=-1))
        return np.median(found, axis=-1) / 0.6745 / np.sqrt((weights**2).sum())


@hookimpl
def qperf_noise():
    return Differences
"""
