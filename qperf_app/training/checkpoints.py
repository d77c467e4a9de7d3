"""What a training keeps in its folder to be taken up again: a checkpoint, and a note of what is being trained."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKPOINT, NOTE = "checkpoint.npz", "training.json"


def check_same_training(folder: Path, wanted: Mapping[str, Any], resume: bool) -> None:
    """Note what is being trained: a folder is of one training, whose cases and checkpoint are taken up again.

    Raises
    ------
    ValueError
        Where the folder holds a checkpoint that is not to be resumed, or is of another training.
    """
    note, checkpoint = folder / NOTE, folder / CHECKPOINT
    if not resume and checkpoint.exists():
        raise ValueError(f"{folder} has a checkpoint: resume it, or choose another folder")
    if note.is_file():
        try:
            noted = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{note}: can't be read ({error}); choose another folder") from None
        if noted != wanted:
            raise ValueError(f"{note}: the training there had other options or another seed; choose another folder")
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint}: {NOTE}, which says of which training it is, is missing")
    else:
        note.write_text(json.dumps(wanted, indent=2), encoding="utf-8")


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
    try:
        np.savez(partial, **arrays)
        partial.replace(checkpoint)
    finally:
        partial.unlink(missing_ok=True)


def restore(folder: Path, model: Any, optimizer: Any) -> tuple[list[NDArray[Any]], list[dict[str, float]]] | None:
    """Put model and optimizer into the state that was saved; best weights and figures, or None where there is none.

    Raises
    ------
    ValueError
        Where the checkpoint is damaged.
    """
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        return None
    try:
        with np.load(checkpoint, allow_pickle=False) as found:
            history: list[dict[str, float]] = json.loads(str(found["history"]))
            named = {kind: [found[k] for k in sorted(found.files) if k.startswith(kind)] for kind in ("w", "b", "o")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{checkpoint}: is damaged ({error}); remove it to begin anew") from None
    model.set_weights(named["w"])
    for variable, value in zip(optimizer.variables, named["o"], strict=True):
        variable.assign(value)
    return named["b"], history
