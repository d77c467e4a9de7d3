"""What the steps' checks of a plugin's result are made of. The host and the conformance suite use the same checks."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class PluginResultError(ValueError):
    """A plugin returned something that its step's interface does not allow."""


def check_kind(result: object, cls: type[T]) -> T:
    """Return the result, or raise where it is no ``cls``."""
    if not isinstance(result, cls):
        raise PluginResultError(f"expected {cls.__name__}, got {type(result).__name__}")
    return result


def check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise where an array has another shape."""
    if np.shape(array) != tuple(shape):
        raise PluginResultError(f"{name} has shape {np.shape(array)}, expected {tuple(shape)}")


def check_mask(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise where an array is no boolean one of the shape."""
    check_shape(name, array, shape)
    if np.asarray(array).dtype != bool:
        raise PluginResultError(f"{name} must be boolean, it is {np.asarray(array).dtype}")
