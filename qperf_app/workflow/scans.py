"""The raw series of a participant, and how they make scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qperf_app.bids.names import AIF_LABEL, label, prefix
from qperf_app.plugins.steps.spec import RunsOn


@dataclass(frozen=True)
class SeriesInput:
    """A raw series: where it is, its metadata with inheritance, its shape from the header, its BIDS URI."""

    path: Path
    entities: Mapping[str, str]
    metadata: Mapping[str, Any]
    shape: tuple[int, ...]
    source: str

    @property
    def prefix(self) -> str:
        """Start of the names of all that is made of it."""
        return prefix(self.entities)

    @property
    def is_aif(self) -> bool:
        """Whether it was made for the input function."""
        return self.entities.get("acq") == AIF_LABEL


@dataclass(frozen=True)
class Scan:
    """One tissue series with its input-function series, or either of them alone."""

    tissue: SeriesInput | None
    aif: SeriesInput | None

    @property
    def series(self) -> tuple[SeriesInput, ...]:
        """Both, as far as they are there; the one that the blood pools are found in first."""
        return tuple(s for s in (self.aif, self.tissue) if s is not None)

    @property
    def blood(self) -> SeriesInput:
        """The series that the blood pools are found in."""
        return self.series[0]

    @property
    def main(self) -> SeriesInput:
        """The series whose prefix the scan's results carry."""
        return self.series[-1]

    @property
    def label(self) -> str:
        """Entities without the participant."""
        return label(self.main.entities)

    def series_for(self, on: RunsOn) -> tuple[SeriesInput, ...]:
        """Series that a step runs on."""
        tissue = () if self.tissue is None else (self.tissue,)
        return {
            RunsOn.EACH: self.series,
            RunsOn.BLOOD: (self.blood,),
            RunsOn.SCAN: (self.main,),
            RunsOn.TISSUE: tissue,
        }[on]


def pair_series(series: Sequence[SeriesInput]) -> list[Scan]:
    """Pair each tissue series with the input-function series of the same session, task, contrast agent and run."""

    def key(s: SeriesInput) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((k, v) for k, v in s.entities.items() if k != "acq"))

    aifs = {key(s): s for s in series if s.is_aif}
    tissues = [s for s in series if not s.is_aif]
    lone = [aif for k, aif in aifs.items() if k not in {key(t) for t in tissues}]
    return [Scan(t, aifs.get(key(t))) for t in tissues] + [Scan(None, aif) for aif in lone]
