"""Priors of kinetic parameters as data (``kinetic_priors.yaml``): read, check, and hand over as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from qperf_app.methods.yaml_files import load_yaml

# A parameter whose logarithm is taken is at least this.
_SMALLEST = 1e-30


@dataclass(frozen=True)
class Priors:
    """Normal priors of a model's coordinates (log of what is lognormal) and the noise's.

    ``positive`` says which parameters are lognormal; ``mean`` and ``sd`` are (p,), and ``between`` is the standard
    deviation of the difference of neighbouring voxels, NaN where the file does not give it. ``noise_scale`` is relative
    to the input function's peak.
    """

    positive: tuple[bool, ...]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    noise_shape: float
    noise_scale: float
    between: NDArray[np.float64]

    def coordinates(self, parameters: NDArray[np.floating]) -> NDArray[np.floating]:
        """Coordinates of parameters (..., p): the logarithm of what is lognormal."""
        return np.where(np.array(self.positive), np.log(np.maximum(parameters, _SMALLEST)), parameters)

    def parameters(self, coordinates: NDArray[np.floating]) -> NDArray[np.floating]:
        """Inverse of :meth:`coordinates`."""
        return np.where(np.array(self.positive), np.exp(coordinates), coordinates)


def priors_file(path: str) -> Path:
    """The YAML file of a plugin's option ``priors``: that of the built-in priors where it is empty."""
    return Path(path) if path else Path(__file__).with_name("kinetic_priors.yaml")


def read(path: str, model: str, names: Sequence[str]) -> Priors:
    """Priors of a model from a YAML file, or the built-in ones where the path is empty.

    Raises
    ------
    ValueError
        Naming the file and the field that is missing or wrong.
    """
    source = priors_file(path)
    where, text = path or source.name, source.read_text("utf-8")
    try:
        content = _content(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    return parse(content, model, names, where)


@lru_cache(maxsize=4)
def _content(text: str) -> Any:
    """Content of a YAML text: every slice of every scan asks for the same."""
    return load_yaml(text)


def parse(content: Any, model: str, names: Sequence[str], where: str) -> Priors:
    """Priors from the content of such a file."""
    chosen = _field(content, f"models.{model}", where)
    rows = [
        _prior(_field(chosen, name, f"{where}: models.{model}"), f"{where}: models.{model}.{name}") for name in names
    ]
    positive, mean, sd = zip(*rows, strict=True)
    noise = [
        _positive(_field(content, f"noise.{key}", where), f"{where}: noise.{key}")
        for key in ("shape", "relative_scale")
    ]
    between = [
        _positive(chosen[name]["between_neighbours"], f"{where}: models.{model}.{name}.between_neighbours")
        if "between_neighbours" in chosen[name]
        else np.nan
        for name in names
    ]
    return Priors(tuple(positive), np.array(mean), np.array(sd), noise[0], noise[1], np.array(between))


def _prior(entry: Any, where: str) -> tuple[bool, float, float]:
    kind = _field(entry, "distribution", where)
    if kind == "lognormal":
        median, spread = (_positive(_field(entry, key, where), f"{where}.{key}") for key in ("median", "log_sd"))
        return True, float(np.log(median)), spread
    if kind == "normal":
        return (
            False,
            _number(_field(entry, "mean", where), f"{where}.mean"),
            _positive(_field(entry, "sd", where), f"{where}.sd"),
        )
    raise ValueError(f"{where}.distribution is {kind!r}; it must be lognormal or normal")


def _field(content: Any, path: str, where: str) -> Any:
    for part in path.split("."):
        if not isinstance(content, Mapping) or part not in content:
            raise ValueError(f"{where}: {path} is missing")
        content = content[part]
    return content


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{where} is {value!r}; it must be a number")
    return float(value)


def _positive(value: Any, where: str) -> float:
    number = _number(value, where)
    if number <= 0.0:
        raise ValueError(f"{where} is {number:g}; it must be greater than 0")
    return number
