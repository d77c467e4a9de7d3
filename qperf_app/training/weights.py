"""A network on disk: an .npz of plain arrays and a model card in JSON; reading it never runs code from the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class WeightsError(ValueError):
    """Weights that can't be used; the message names the file."""


def card_of(path: Path) -> Path:
    """The model card that stands beside weights."""
    return path.with_suffix(".json")


def read_card(path: Path) -> dict[str, Any]:
    """The model card of weights.

    Raises
    ------
    WeightsError
        Where there is none, or it is not a JSON object.
    """
    try:
        card = json.loads(card_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{card_of(path)}: no model card that can be read ({error})") from None
    if not isinstance(card, dict):
        raise WeightsError(f"{card_of(path)}: no model card that can be read (not an object)")
    return card


def write_weights(path: Path, arrays: Sequence[NDArray[Any]], card: Mapping[str, Any]) -> None:
    """Write weights and their card, each in one step."""
    partial = path.with_name(path.stem + ".partial.npz")
    named: dict[str, Any] = {f"{i:04d}": np.asarray(a, np.float32) for i, a in enumerate(arrays)}
    np.savez_compressed(partial, **named)
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    partial.replace(path)
    text = json.dumps({**card, "sha256": digest}, indent=2, ensure_ascii=False) + "\n"
    card_of(path).write_text(text, encoding="utf-8")


def read_arrays(path: Path) -> list[NDArray[np.float32]]:
    """Weights of a file whose digest is that of its card.

    Raises
    ------
    WeightsError
        Where a file is missing or damaged.
    """
    card = read_card(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != card.get("sha256"):
        raise WeightsError(f"{path}: its SHA-256 is not the one that {card_of(path).name} gives")
    try:
        with np.load(path, allow_pickle=False) as found:
            return [found[name].astype(np.float32) for name in sorted(found.files)]
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(f"{path}: not weights ({error})") from None
