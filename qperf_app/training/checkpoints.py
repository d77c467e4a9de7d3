"""What a training keeps in its folder to be taken up again: a checkpoint, and a note of what is being trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKPOINT, NOTE = "checkpoint.npz", "training.json"


def check_same_training(folder: Path, wanted: Mapping[str, Any], resume: bool) -> None:
    """Note what is being trained; a resumed run must be of the same.

    Raises
    ------
    ValueError
        Where the folder holds a checkpoint that is not to be resumed, or one of another training.
    """
    note = folder / NOTE
    if resume and note.is_file() and json.loads(note.read_text()) != wanted:
        raise ValueError(f"{note}: the training to resume had other options or another seed")
    if not resume and (folder / CHECKPOINT).exists():
        raise ValueError(f"{folder} has a checkpoint: resume it, or choose another folder")
    note.write_text(json.dumps(wanted, indent=2))


def save(
    folder: Path, model: Any, optimizer: Any, best: Sequence[NDArray[Any]], history: list[dict[str, float]]
) -> None:
    """Write the state of model and optimizer, the best weights so far and the epochs' figures, in one step."""
    arrays: dict[str, Any] = {"history": np.array(json.dumps(history))}
    arrays |= {f"w{i:04d}": w for i, w in enumerate(model.get_weights())}
    arrays |= {f"b{i:04d}": w for i, w in enumerate(best)}
    arrays |= {f"o{i:04d}": np.asarray(v) for i, v in enumerate(optimizer.variables)}
    checkpoint = folder / CHECKPOINT
    partial = checkpoint.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.replace(checkpoint)


def restore(folder: Path, model: Any, optimizer: Any) -> tuple[list[NDArray[Any]], list[dict[str, float]]] | None:
    """Put model and optimizer into the state that was saved; best weights and figures, or None where there is none."""
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        return None
    with np.load(checkpoint, allow_pickle=False) as found:
        history: list[dict[str, float]] = json.loads(str(found["history"]))
        named = {kind: [found[k] for k in sorted(found.files) if k.startswith(kind)] for kind in ("w", "b", "o")}
    model.set_weights(named["w"])
    for variable, value in zip(optimizer.variables, named["o"], strict=True):
        variable.assign(value)
    return named["b"], history
