"""The raw series of a participant, and how they make scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qperf_app.bids.names import (
    AIF_LABEL,
    PREBOLUS_LABEL,
    SERIES_ENTITIES,
    as_acquired,
    is_input_series,
    label,
    plain_label,
    prefix,
    series_kind,
)
from qperf_app.checks.images import ImageHeader
from qperf_app.geometry import Grid
from qperf_app.plugins.keys import Acquisition
from qperf_app.plugins.steps.spec import RunsOn


@dataclass(frozen=True)
class SeriesInput:
    """A raw series: where it is, its metadata with inheritance, what its header says, its BIDS URI.

    Of two echoes it is the first, and ``second_echo`` the other one.
    """

    path: Path
    entities: Mapping[str, str]
    metadata: Mapping[str, Any]
    header: ImageHeader
    source: str
    second_echo: SeriesInput | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.header.shape

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return self.header.grid

    @cached_property
    def prefix(self) -> str:
        """Start of the names of all that is made of it."""
        return prefix(self.entities)

    @property
    def is_aif(self) -> bool:
        """Whether it was made for the input function: of a dual sequence, or with the small dose of a dual bolus."""
        return is_input_series(self.entities)

    @property
    def is_prebolus(self) -> bool:
        """Whether it was made with the small dose of a dual bolus."""
        return self.entities.get("acq") == PREBOLUS_LABEL


@dataclass(frozen=True)
class Scan:
    """One tissue series with its input-function or prebolus series, or either of them alone.

    ``notes`` say what would belong to it and does not: a series of another name, or one that is not selected.
    """

    tissue: SeriesInput | None
    aif: SeriesInput | None
    notes: tuple[str, ...] = ()

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
    def acquisition(self) -> Acquisition:
        """How its input function was acquired."""
        if self.aif is None:
            return "single bolus"
        if self.tissue is None:
            return "input function alone"
        return "dual bolus" if self.aif.is_prebolus else "dual sequence"

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
            RunsOn.ALONE: tissue if self.blood is self.tissue else (),
        }[on]


Entities = Mapping[str, str]


def pair_series(series: Sequence[SeriesInput], present: Iterable[Entities] = ()) -> list[Scan]:
    """Pair each tissue series with the input-function series of the same session, task, contrast agent and run.

    Without one, with their prebolus series. Runs compare as numbers: ``run-1`` belongs to ``run-01`` where no other
    does.

    Parameters
    ----------
    series : sequence of SeriesInput
        The selected series of a participant.
    present : iterable of mappings
        Entities of all series that the participant has.
    """
    series = _with_echoes(series)
    aifs = [s for s in series if s.is_aif]
    tissues = [s for s in series if not s.is_aif]
    partners = {t.path: [_partner(t, aifs, kind) for kind in (AIF_LABEL, PREBOLUS_LABEL)] for t in tissues}
    partner = {path: sequence or prebolus for path, (sequence, prebolus) in partners.items()}
    spare = {path: prebolus for path, (sequence, prebolus) in partners.items() if sequence is not None}
    known = {aif.path for both in partners.values() for aif in both if aif is not None}
    lone = [aif for aif in aifs if aif.path not in known]
    without = [t for t in tissues if partner[t.path] is None]
    unselected = [e for name, e in {prefix(e): e for e in present}.items() if name not in {s.prefix for s in series}]
    scans = [
        Scan(
            t,
            partner[t.path],
            (
                *((*_apart(t, lone), *_left_out(t, unselected)) if t in without else _not_used(spare.get(t.path))),
                *(note for s in (t, partner[t.path]) if s for note in _other_reconstructions(s, unselected)),
            ),
        )
        for t in tissues
    ]
    return scans + [Scan(None, aif, (*_apart(aif, without), *_left_out(aif, unselected))) for aif in lone]


def _with_echoes(series: Sequence[SeriesInput]) -> list[SeriesInput]:
    """Two echoes as one series."""
    found: dict[str, SeriesInput] = {}
    for one in sorted(series, key=lambda s: plain_label("echo", s.entities.get("echo", ""))):
        first = found.get(one.prefix)
        found[one.prefix] = one if first is None else replace(first, second_echo=one)
    return [found[prefix] for prefix in dict.fromkeys(s.prefix for s in series)]


def _partner(tissue: SeriesInput, series: Sequence[SeriesInput], kind: str) -> SeriesInput | None:
    """The series of a kind whose labels are the same; or whose labels compare as the same, if there is one.

    A tissue series that the scanner has corrected may belong to an input-function series that it has not.
    """
    aifs = [s for s in series if s.entities["acq"] == kind]
    exact = [aif for aif in aifs if _key(aif.entities, literal=True) == _key(tissue.entities, literal=True)]
    alike = [aif for aif in aifs if _key(aif.entities) == _key(tissue.entities)]
    acquired = _key(as_acquired(tissue.entities))
    found = exact or alike or [aif for aif in aifs if _key(as_acquired(aif.entities)) == acquired]
    return found[0] if len(found) == 1 else None


def _key(entities: Entities, literal: bool = False) -> tuple[tuple[str, str], ...]:
    """Entities that both series of a scan share: literally, or as they compare."""
    kept = ((k, v) for k, v in entities.items() if k not in ("acq", "echo"))
    return tuple(sorted((k, v if literal else plain_label(k, v)) for k, v in kept))


def _not_used(prebolus: SeriesInput | None) -> tuple[str, ...]:
    """Say of a prebolus series that a dual sequence needs none."""
    if prebolus is None:
        return ()
    used = f"the input function is measured in the acq-{AIF_LABEL} series"
    return (f"Its prebolus series {prebolus.path.name} is not used: {used}.",)


def _apart(series: SeriesInput, others: Sequence[SeriesInput]) -> list[str]:
    """Series of the other kind that are left alone too, and what keeps them apart."""
    notes = []
    for other in others:
        if all(series.entities.get(k) == other.entities.get(k) for k in ("ses", "task")):
            differs = _difference(series.entities, other.entities) or "more than one would belong to it"
            notes.append(
                f"The {series_kind(other.entities)} {other.path.name} is not paired with {series.path.name}: {differs}."
            )
    return notes


def _difference(one: Entities, other: Entities) -> str:
    """Entities beside ``acq`` in which two series differ."""

    def words(entities: Entities, key: str) -> str:
        return f"{key}-{entities[key]}" if key in entities else f"no {key}"

    keys = [k for k in SERIES_ENTITIES if k != "acq"]
    differing = [k for k in keys if one.get(k) != other.get(k)]
    return ", ".join(f"{words(one, k)} against {words(other, k)}" for k in differing)


def _other_reconstructions(series: SeriesInput, unselected: Sequence[Entities]) -> list[str]:
    """Reconstructions of the same acquisition that were left for it."""
    if "rec" in series.entities:
        return []
    acquired = _key(series.entities)
    return [
        f"The {series_kind(entities)} is there as rec-{entities['rec']} too, which was not selected "
        "(--bids-filter-file)."
        for entities in unselected
        if is_input_series(entities) == series.is_aif and _key(as_acquired(entities)) == acquired
    ]


def _left_out(series: SeriesInput, unselected: Sequence[Entities]) -> list[str]:
    """Series that belong to it and were not selected."""
    then = "no flow is computed" if series.is_aif else "its blood signal may saturate"
    return [
        f"Its {series_kind(entities)} {prefix(entities)} is there and not selected (filters): {then}."
        for entities in unselected
        if is_input_series(entities) != series.is_aif
        and _key(as_acquired(entities)) == _key(as_acquired(series.entities))
    ]
