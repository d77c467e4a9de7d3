"""Validation curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss and validation Dice of every epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(history) + 1)
    left.plot(epochs, [entry["loss"] for entry in history], color="black")
    left.set(xlabel="epoch", ylabel="training loss")
    for key in (k for k in history[0] if k.startswith("dice")):
        right.plot(epochs, [entry[key] for entry in history], label=f"class {key.removeprefix('dice_')}")
    right.set(xlabel="epoch", ylabel="validation Dice", ylim=(0, 1))
    right.legend()
    figure.savefig(path, dpi=100)
