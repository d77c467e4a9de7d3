"""Draws from the ranges of simulated cases, which are data: ``case_ranges.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from qperf_app.methods.yaml_files import load_yaml
from qperf_app.phantom.draws import Draws

Ranges = Mapping[str, Mapping[str, Any]]


@cache
def case_ranges() -> Ranges:
    """Sections of the file: ranges, chances and constants by name."""
    content: Ranges = load_yaml(Path(__file__).with_name("case_ranges.yaml").read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True)
class CaseDraws(Draws):
    """Draws of one case by the names of the file."""

    ranges: Ranges = field(default_factory=case_ranges)

    def value(self, section: str, name: str) -> float:
        """A draw from a range, or a constant."""
        given = self.ranges[section][name]
        if isinstance(given, Mapping):
            return self.log_uniform(*given["log"])
        return self.uniform(*given) if isinstance(given, list) else float(given)

    def whole(self, section: str, name: str) -> int:
        """A whole number from a range, both ends among them."""
        low, high = self.ranges[section][name]
        return int(self.rng.integers(low, high + 1))

    def happens(self, section: str, name: str) -> bool:
        """Whether something of a given chance is so."""
        return bool(self.rng.random() < self.ranges[section][name])

    def one_of(self, section: str, name: str) -> str:
        """One of several words, by their weights."""
        words = self.ranges[section][name]
        weights = [float(weight) for weight in words.values()]
        return str(self.rng.choice([str(word) for word in words], p=[weight / sum(weights) for weight in weights]))
