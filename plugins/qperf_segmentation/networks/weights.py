"""The shipped networks, and how one is built from its files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from qperf_app.training import WeightsError, card_of, read_arrays, read_card
from qperf_segmentation.networks.architecture import Architecture, build
from qperf_segmentation.networks.forward import ForwardNetwork

#: Weights that come with the package.
SHIPPED = Path(__file__).parent.parent / "weights"


def weights_file(given: str, usual: Path) -> Path:
    """File that an option means: the usual one where it is empty, others that are shipped by name, or a path."""
    if not given:
        return usual
    if Path(given).name == given and (named := usual.with_name(f"{usual.stem}-{given}.npz")).is_file():
        return named
    return Path(given)


def read_architecture(path: Path) -> Architecture:
    """Architecture that the card of weights gives.

    Raises
    ------
    WeightsError
        Where the card can't be read or names no architecture.
    """
    try:
        return Architecture.from_dict(read_card(path)["architecture"])
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{card_of(path)}: no model card that can be read ({error})") from None


def forward(path: Path, **expected: Any) -> ForwardNetwork:
    """The network to ask, without TensorFlow; read once per process. Parameters and errors as of :func:`load`."""
    return _forward(path, _checked(path, expected))


def load(path: Path, **expected: Any) -> Any:
    """Load a network as a Keras model, to train it or to differentiate it; loaded once per process.

    Parameters
    ----------
    path : Path
    expected
        Values that its architecture must have, such as ``frames``.

    Raises
    ------
    WeightsError
        Where the files are missing, damaged, or of another network.
    """
    return _load(path, _checked(path, expected))


def _checked(path: Path, expected: Mapping[str, Any]) -> tuple[int, int]:
    """What tells the file from a later one of its name, whose card says what is expected."""
    architecture = read_architecture(path)
    for name, value in expected.items():
        if getattr(architecture, name) != value:
            raise WeightsError(f"{path}: {name} is {getattr(architecture, name)}, it must be {value}")
    stat = path.stat() if path.exists() else None
    return (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)


@lru_cache(maxsize=8)
def _forward(path: Path, _: tuple[int, int]) -> ForwardNetwork:
    architecture, arrays = read_architecture(path), read_arrays(path)
    try:
        return ForwardNetwork(architecture, arrays)
    except ValueError as error:
        raise WeightsError(f"{path}: its arrays don't fit the architecture of its card ({error})") from None


@lru_cache(maxsize=4)
def _load(path: Path, _: tuple[int, int]) -> Any:
    arrays = read_arrays(path)
    model = build(read_architecture(path), start="zeros")
    try:
        model.set_weights(arrays)
    except ValueError as error:
        raise WeightsError(f"{path}: its arrays don't fit the architecture of its card ({error})") from None
    return model
