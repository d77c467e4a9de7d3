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


def check_array(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise where something is no plain NumPy array, or has another shape."""
    # A masked array would be stored with the values that its mask hides.
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise PluginResultError(f"{name} must be a plain NumPy array, it is a {type(array).__name__}")
    check_shape(name, array, shape)


def check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise where an array has another shape."""
    if np.shape(array) != tuple(shape):
        raise PluginResultError(f"{name} has shape {np.shape(array)}, expected {tuple(shape)}")


def check_mask(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise where an array is no boolean one of the shape."""
    check_array(name, array, shape)
    if array.dtype != bool:
        raise PluginResultError(f"{name} must be boolean, it is {array.dtype}")


def check_numbers(name: str, array: Any, shape: tuple[int, ...], gaps: bool = True) -> None:
    """Raise where an array of the shape holds anything but real numbers; ``gaps``: NaN says not estimated.

    Images keep single precision: what that can't hold is infinite.
    """
    check_array(name, array, shape)
    if array.dtype.kind not in "fiu":
        raise PluginResultError(f"{name} must hold real numbers, it is {array.dtype}")
    # Neither makes a copy, nor minds NaN.
    ends = [float(one.reduce(array, axis=None)) for one in (np.fmin, np.fmax)] if array.size else []
    if any(abs(end) > float(np.finfo(np.float32).max) for end in ends):
        raise PluginResultError(f"{name} has infinite values{'; NaN says not estimated' if gaps else ''}")
    if not gaps and np.isnan(array).any():
        raise PluginResultError(f"{name} is not finite everywhere")


def check_texts(name: str, texts: Any) -> None:
    """Raise where something is no tuple or list of texts: one text alone would be taken letter by letter."""
    if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
        raise PluginResultError(f"{name} must be a tuple of texts, it is {texts!r:.80}")


def check_estimated_dice(values: Any, slices: int) -> None:
    """Raise where an estimate of the Dice is given and is none for each slice: 0 to 1, or NaN."""
    if len(values) not in (0, slices):
        raise PluginResultError(f"estimated_dice has {len(values)} values, expected one for each of {slices} slices")
    if any(value < 0 or value > 1 for value in values):
        raise PluginResultError(f"estimated_dice is {tuple(values)}, expected 0 to 1, or NaN")
