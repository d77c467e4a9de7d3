"""Which series a command names: labels of participants, sessions and tasks, and what a ``--bids-filter-file`` holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qperf_app.bids.errors import SelectionError
from qperf_app.bids.names import DATATYPE, SERIES_ENTITIES, SUFFIX, is_input_series, plain_label

#: Entities of a series as filter files name them, and as they stand in file names.
LONG_NAMES = dict(
    zip(("subject", "session", "task", "acquisition", "ceagent", "reconstruction", "run"), SERIES_ENTITIES, strict=True)
)


@dataclass(frozen=True)
class Choice:
    """Which series a command names: labels by entity, None for all, and filters by :func:`is_input_series`."""

    labels: Mapping[str, frozenset[str] | None]
    queries: Mapping[bool, Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        sessions: Iterable[str] | None,
        tasks: Iterable[str] | None,
        filters: Mapping[str, Mapping[str, Any]],
    ) -> Choice:
        """From labels, with or without the entity's name, and what a filter file holds.

        Raises
        ------
        SelectionError
            If the filters are none.
        """
        return cls({"ses": labels_of(sessions, "ses"), "task": labels_of(tasks, "task")}, _queries(filters))

    def names(self, entities: Mapping[str, str], entity: str) -> bool:
        """Whether the filter of a series' kind speaks of an entity."""
        return entity in self.queries[is_input_series(entities)]

    def takes(self, entities: Mapping[str, str]) -> bool:
        """Whether a series with these entities is chosen."""
        query = self.queries[is_input_series(entities)]
        return all(labels is None or entities.get(entity) in labels for entity, labels in self.labels.items()) and all(
            _matches(entities, entity, value) for entity, value in query.items()
        )


def labels_of(labels: Iterable[str] | None, entity: str) -> frozenset[str] | None:
    """The labels without the entity's name."""
    return None if labels is None else frozenset(label.removeprefix(f"{entity}-") for label in labels)


def _queries(filters: Mapping[str, Mapping[str, Any]]) -> dict[bool, dict[str, Any]]:
    """Filters by whether a series is an input-function series, entities by their short names.

    Filters of other kinds of image (``bold``, …) are passed over, so that one file can serve several apps.
    """
    if filters and not {"dce", "aif"} & set(filters):
        raise SelectionError(f"the filters name {', '.join(sorted(filters))}; this app knows dce and aif")
    short = {**LONG_NAMES, **{name: name for name in LONG_NAMES.values()}}
    # What a filter file of another app states of its images, and ours have anyway.
    fixed = {"datatype": DATATYPE, "suffix": SUFFIX, "extension": ".nii.gz"}
    queries: dict[bool, dict[str, Any]] = {}
    for kind, is_aif in (("dce", False), ("aif", True)):
        query = filters.get(kind, {})
        if not isinstance(query, Mapping) or not all(map(_is_label_filter, query.values())):
            raise SelectionError(f"filter {kind}: expected entities with a label, a list of labels or null each")
        unknown = sorted(name for name, value in query.items() if name not in short and fixed.get(name) != value)
        if unknown:
            raise SelectionError(f"filter {kind}: {', '.join(unknown)} unknown; entities are {', '.join(LONG_NAMES)}")
        queries[is_aif] = {short[name]: value for name, value in query.items() if name in short}
    return queries


def _is_label_filter(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(v is None or (isinstance(v, str | int) and not isinstance(v, bool)) for v in values)


def _matches(entities: Mapping[str, str], entity: str, value: Any) -> bool:
    """Whether a series' entity has a value that a filter allows."""
    label = entities.get(entity)
    if value is None or value == "*":
        return (label is None) == (value is None)
    allowed = value if isinstance(value, list | tuple) else [value]
    return any(_matches(entities, entity, one) if one is None else _same(entity, label, str(one)) for one in allowed)


def _same(entity: str, label: str | None, wanted: str) -> bool:
    """Whether two labels are the same; a run's index may have leading zeros."""
    return label is not None and plain_label(entity, label) == plain_label(entity, wanted)
