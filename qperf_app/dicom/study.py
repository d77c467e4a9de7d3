"""From the frames of all sources to the series of a dataset: what would be written, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qperf_app.bids.names import AIF_LABEL, PREBOLUS_LABEL, folder, prefix
from qperf_app.dicom.copies import without_copies
from qperf_app.dicom.frames import Frame
from qperf_app.dicom.metadata import Sidecar, describe, proton_density_count
from qperf_app.dicom.pixels import bright_start
from qperf_app.dicom.protocols import Protocol
from qperf_app.dicom.roles import Role, assign_roles
from qperf_app.dicom.selection import LeftOut, select
from qperf_app.dicom.sources import Opener
from qperf_app.dicom.timing import Timed, common_clock, time_stack


class ImportRefused(Exception):
    """The sources can't be imported as they are; the message is one line."""


@dataclass(frozen=True)
class PlannedSeries:
    """A series that can be written.

    Parameters
    ----------
    role : Role
    timed : Timed
    sidecar : Sidecar
    protocol : Protocol
        With the names of the fields that are missing.
    """

    role: Role
    timed: Timed
    sidecar: Sidecar
    protocol: Protocol

    def entities(self, participant: str, session: str) -> dict[str, str]:
        """Entities of its name."""
        labels = {
            "aif": AIF_LABEL,
            "prebolus": PREBOLUS_LABEL,
            "tissue": f"slice{self.role.part}" if self.role.part else "",
        }
        found = {"sub": participant, "ses": session, "task": self.role.task, "acq": labels[self.role.kind]}
        found["run"] = str(self.role.run) if self.role.run else ""
        return {key: value for key, value in found.items() if value}

    def name(self, participant: str, session: str) -> str:
        """Path of its image below the dataset."""
        entities = self.entities(participant, session)
        return f"{folder(entities)}/{prefix(entities)}_dce.nii.gz"

    @property
    def remarks(self) -> list[str]:
        """What the user should know of it."""
        clock = self.role.stack.clock
        told = [clock.remark] if clock is not None and clock.remark else []
        burnt = [frame for frames in self.timed.frames for frame in frames if frame.header.burnt_in]
        if burnt:
            told.append(
                f"{len(burnt)} images say that text is burnt into them: look at them before you share the dataset"
            )
        return list(dict.fromkeys([*told, *self.timed.remarks, *self.sidecar.remarks]))


@dataclass(frozen=True)
class PlannedStudy:
    """The series of one study, and what of it is left out."""

    series: tuple[PlannedSeries, ...]
    left_out: tuple[LeftOut, ...]


def plan_studies(
    frames: Sequence[Frame], protocols: Mapping[str, Mapping[str, Any]], opener: Opener, task: str | None = None
) -> list[PlannedStudy]:
    """Plan every study, in order of time.

    Parameters
    ----------
    frames : sequence of Frame
    protocols : mapping
        Content of the protocol file.
    opener : Opener
        Of the first frames of each series that is taken, pixels are looked at.
    task : {"rest", "stress"}, optional
        Of every scan, where the user says so.

    Raises
    ------
    ImportRefused
        Where the sources hold images of several people.
    """
    people = {frame.header.patient for frame in frames if frame.header.patient and frame.header.modality == "MR"}
    if len(people) > 1:
        raise ImportRefused(f"the sources hold MR images of {len(people)} patients; import one at a time")
    return [_plan(study, protocols, opener, task) for study in _studies(frames)]


def _studies(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames by study. Studies that share a frame of reference are one: an anonymiser may have made them several."""
    groups: list[tuple[set[str], list[Frame]]] = []
    by_key: dict[tuple[str, str], list[Frame]] = {}
    for frame in frames:
        by_key.setdefault((frame.header.study, frame.header.frame_of_reference), []).append(frame)
    for (study, reference), members in by_key.items():
        names = {f"study {study}"} | ({f"frame of reference {reference}"} if reference else set())
        same = [group for group in groups if group[0] & names]
        rest = [group for group in groups if not group[0] & names]
        merged = (names.union(*(group[0] for group in same)), [f for group in same for f in group[1]] + members)
        groups = [*rest, merged]
    return sorted((members for _, members in groups), key=_first)


def _first(frames: Sequence[Frame]) -> tuple[float, str]:
    begins = [frame.header.begin for frame in frames if frame.header.begin is not None]
    return min(begins, default=0.0), frames[0].header.study


def _plan(
    frames: Sequence[Frame], protocols: Mapping[str, Mapping[str, Any]], opener: Opener, task: str | None
) -> PlannedStudy:
    own, copies = without_copies(frames, opener)
    scans, left = select(own)
    roles, unused = assign_roles(scans, task)
    planned: list[PlannedSeries] = []
    for group in _acquired_together(roles):
        timed = [time_stack(role.stack, role.proton_density) for role in group]
        for role, one in zip(group, common_clock(timed), strict=True):
            # Only where no header tells of proton-density frames, a few pixels are looked at.
            bright = 0 if proton_density_count(one)[0] else bright_start(one.frames[len(one.frames) // 2], opener)
            planned.append(PlannedSeries(role, one, *describe(role, one, protocols, bright)))
    return PlannedStudy(tuple(planned), tuple(copies + left + unused))


def _acquired_together(roles: Sequence[Role]) -> list[list[Role]]:
    """Roles by scan; a pre-bolus has a clock of its own."""
    groups: dict[tuple[int, bool], list[Role]] = {}
    for role in roles:
        groups.setdefault((role.scan, role.kind == "prebolus"), []).append(role)
    return list(groups.values())
