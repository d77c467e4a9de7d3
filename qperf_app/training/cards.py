"""What a training leaves behind: weights, their model card, and the picture of its course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.training.trainer import TrainingJob, TrainingReport
from qperf_app.training.weights import card_of, write_weights


def write_trained(
    job: TrainingJob,
    weights: Path,
    arrays: Sequence[NDArray[Any]],
    described: Mapping[str, Any],
    figures: Mapping[str, float],
    history: Sequence[Mapping[str, float]] = (),
) -> TrainingReport:
    """Write weights and their card, and a picture of the training's course where there is a history.

    Parameters
    ----------
    job : TrainingJob
    weights : Path
        File of the weights; card and picture stand beside it.
    arrays : sequence of arrays
    described : mapping
        What the card says beside the job's command and seed: title, architecture, data, limits.
    figures : mapping
        On held-out examples.
    history : sequence of mappings
        Figures of every epoch.
    """
    card = {
        **described,
        "command": job.command,
        "seed": job.seed,
        "started_from": None if job.start_from is None else job.start_from.name,
        "figures": dict(figures),
    }
    write_weights(weights, arrays, card)
    files: tuple[Path, ...] = (weights, card_of(weights))
    if history:
        picture = weights.with_suffix(".png")
        draw_history(history, picture)
        files = (*files, picture)
    return TrainingReport(files, dict(figures))


def draw_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the training loss, and the validation's figures, of every epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    panels: Any = figure.subplots(1, 2)
    epochs = np.arange(1, len(history) + 1)
    for name in history[0]:
        panel = panels[0] if name == "loss" else panels[1]
        panel.plot(epochs, [figures[name] for figures in history], label=name)
    panels[0].set(xlabel="epoch", ylabel="training loss")
    panels[1].set(xlabel="epoch", ylabel="validation")
    panels[1].legend()
    figure.savefig(path, dpi=100)
