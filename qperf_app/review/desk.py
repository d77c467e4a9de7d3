"""What a reader does with a scan: load it, draw, decide. All reading and writing of a review passes here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.reviews import Decision, Review, add_review, read_reviews
from qperf_app.geometry import Level
from qperf_app.review.corrections import (
    corrected_files,
    corrected_frames,
    sources_of,
    write_corrections,
    write_description,
)
from qperf_app.review.drafts import Draft, newest, now, read_draft, store
from qperf_app.review.edits import Edits, Touched, check_edits, edits_of, published_files
from qperf_app.review.listing import Row, listed, reasons_of
from qperf_app.review.planes import Plane, planes_of
from qperf_app.review.preview import preview, published_flow, published_input, published_levels
from qperf_app.review.study import ReviewScan, Study
from qperf_app.workflow.outcomes import to_json

#: Scans that are kept in memory: the one at hand, its neighbours, and that of a second reader.
KEPT = 4


@dataclass(frozen=True)
class Opened:
    """A scan that was read: its series, and what is published of it."""

    scan: ReviewScan
    planes: Mapping[str, Plane]
    levels: tuple[Level | None, ...] | None


class Desk:
    """The scans of a study, for one reader. Safe to call from several threads."""

    def __init__(self, study: Study, reader: str = "") -> None:
        self.study = study
        self.reader = reader
        self._lock = Lock()
        self._scans: dict[str, tuple[float, list[ReviewScan]]] = {}
        self._unreadable: dict[str, str] = {}
        self._opened: OrderedDict[tuple[str, float], Opened] = OrderedDict()

    def rows(self) -> list[Row]:
        """The list of scans."""
        index = self._index()
        return listed(self.study, [scan for _, scans in index for scan in scans], dict(self._unreadable))

    def find(self, key: str) -> ReviewScan:
        """A scan by its key.

        Raises
        ------
        KeyError
            For what is no scan of the study.
        """
        return self._find(key)[0]

    def open(self, key: str) -> Opened:
        """Read a scan; the last few are kept."""
        scan, written = self._find(key)
        with self._lock:
            if (key, written) not in self._opened:
                planes = planes_of(scan.record, self.study.out_dir)
                levels = published_levels(scan.record, self.study.out_dir)
                self._opened[key, written] = Opened(scan, planes, levels)
                while len(self._opened) > KEPT:
                    self._opened.popitem(last=False)
            self._opened.move_to_end((key, written))
            return self._opened[key, written]

    def describe(self, key: str) -> dict[str, Any]:
        """All that the page of a scan shows, but for its films."""
        opened = self.open(key)
        record, out_dir = opened.scan.record, self.study.out_dir
        draft, edits = self._current(opened)
        severity, reasons = reasons_of(record)
        return {
            "key": key,
            "participant": opened.scan.participant,
            "label": record.label,
            "severity": severity,
            "reasons": reasons,
            "reviews": [vars(review) for review in read_reviews(self.study.corrections, key)],
            "planes": {name: _described(plane) for name, plane in opened.planes.items()},
            "input": published_input(record, out_dir),
            "version": draft.version,
            "saved": self._computed(opened, draft, edits),
            "flow": published_flow(record, out_dir),
            "flow_before": published_flow(record, self.study.corrections),
            "edits": to_json(edits),
            "preview": preview(edits, opened.planes, opened.levels),
        }

    def keep(self, key: str, version: int, edits: Edits) -> dict[str, Any]:
        """Keep what was drawn so far; returns the new version, and what follows from the edits."""
        opened = self.open(key)
        check_edits(edits, opened.planes)
        with newest(self.study.corrections, key, version) as before:
            draft = store(self.study.corrections, key, before, edits, self.reader, saved=False)
        return {"version": draft.version, "preview": preview(edits, opened.planes, opened.levels)}

    def preview(self, key: str, edits: Edits) -> dict[str, Any]:
        """What follows from edits, which are not kept."""
        opened = self.open(key)
        check_edits(edits, opened.planes)
        return preview(edits, opened.planes, opened.levels)

    def decide(self, key: str, version: int, decision: Decision, comment: str) -> dict[str, Any]:
        """Write down what was decided; with ``corrected``, the files of the corrections as well."""
        opened = self.open(key)
        with newest(self.study.corrections, key, version) as before:
            edits = self._current(opened, before)[1]
            if decision == "accepted" and not self._computed(opened, before, edits):
                raise ValueError("there are edits that the results were not computed with: compute again, or undo them")
            if decision == "corrected":
                write_corrections(self.study, opened.scan, edits, opened.planes)
            changed = ", ".join(edits.touched) if decision == "corrected" else ""
            write_description(self.study)
            review = Review(now(), self.reader, decision, changed, comment)
            add_review(self.study.corrections, key, review, sources_of(opened.planes))
            saved = before.saved or decision == "corrected"
            corrected = self.study.written(opened.scan.participant) if decision == "corrected" else None
            draft = store(self.study.corrections, key, before, edits, self.reader, saved, corrected)
        return {"version": draft.version, "saved": draft.saved}

    def _current(self, opened: Opened, draft: Draft | None = None) -> tuple[Draft, Edits]:
        """The draft of a scan, and its edits: what was drawn, and for the rest what is published by now."""
        key, planes = opened.scan.key, opened.planes
        draft = draft or read_draft(self.study.corrections, key)
        files = published_files(opened.scan.record, self.study.out_dir)
        if draft is None or not draft.version:
            corrected = corrected_files(self.study, planes)
            frames = corrected_frames(self.study, planes)
            touched: list[Touched] = list(corrected)
            if frames:
                touched.append("frames")
            overlaid = {**files, **{str(role): path for role, path in corrected.items()}}
            return Draft(saved=True), edits_of(overlaid, planes, touched, frames)
        published, drawn = edits_of(files, planes, []), draft.edits
        regions = {
            structure: drawn.regions[structure] if drawn.is_drawn(structure) and structure in drawn.regions else region
            for structure, region in published.regions.items()
        }
        points = drawn.points if drawn.is_drawn("landmarks") else published.points
        edits = replace(drawn, regions=regions, points=points)
        check_edits(edits, planes)
        return draft, edits

    def _computed(self, opened: Opened, draft: Draft, edits: Edits) -> bool:
        """Whether the results were computed with the edits."""
        if draft.saved:
            return not draft.corrected or self.study.is_after(opened.scan.participant, draft.corrected)
        return self._as_published(opened, edits)

    def _as_published(self, opened: Opened, edits: Edits) -> bool:
        """Whether nothing was drawn, and there are no corrections either."""
        held = corrected_files(self.study, opened.planes) or corrected_frames(self.study, opened.planes)
        return not edits.touched and not held

    def _find(self, key: str) -> tuple[ReviewScan, float]:
        for written, scans in self._index():
            for scan in scans:
                if scan.key == key:
                    return scan, written
        raise KeyError(key)

    def _read(self, label: str) -> list[ReviewScan]:
        self._unreadable.pop(label, None)
        try:
            return self.study.scans_of(label)
        except DatasetError as error:
            self._unreadable[label] = str(error)
            return []

    def _index(self) -> list[tuple[float, list[ReviewScan]]]:
        """Scans of every participant, read again where its status was written anew."""
        with self._lock:
            found = {}
            for label, written in self.study.statuses():
                known = self._scans.get(label)
                found[label] = known if known and known[0] == written else (written, self._read(label))
            self._scans = found
            self._unreadable = {label: why for label, why in self._unreadable.items() if label in found}
            return list(found.values())


def _described(plane: Plane) -> dict[str, Any]:
    slices, rows, columns = plane.shape
    return {
        "shape": [slices, len(plane.series.times), rows, columns],
        "spacing": list(plane.layout.spacing),
        "times": plane.series.times.tolist(),
        "protonDensity": plane.series.n_proton_density,
        "window": list(plane.window()),
        "edges": [plane.layout.up, plane.layout.right, plane.layout.down, plane.layout.left],
    }
