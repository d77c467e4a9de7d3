"""Several methods asked, one after another, until two agree on what can be trusted; else what can be trusted most.

The pool's members are the family's own methods, networks of as many weights as are given. Each answer has an estimated
Dice from what it looks like (:mod:`qperf_app.methods.outline_trust`) and from how far the others agree with it. That a
pool chooses among its members by their disagreement is the idea of DAUGS (Yalcinkaya et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import dice
from qperf_app.methods.outline_features import SeenSlice, cavity_of, seen_slices
from qperf_app.methods.outline_trust import pool_model, trust_pool, trust_wall, wall_model
from qperf_app.plugins import BloodPools, Landmark, Resources, Series
from qperf_segmentation.blood_pool import KMeansBloodPool
from qperf_segmentation.myocardium import ClassicalMyocardium
from qperf_segmentation.resunet_blood_pool import PoolNetworkOptions, ResUNetBloodPool
from qperf_segmentation.resunet_myocardium import ResUNetMyocardium, WallNetworkOptions
from qperf_segmentation.templates import (
    XUE_2020,
    CanonicalBloodPool,
    SliceOutline,
    SliceOutliner,
    SliceWiseMyocardium,
    not_found,
)

Mask = NDArray[np.bool_]

DAUGS = (
    "Yalcinkaya DM, Youssef K, Heydari B, et al. Improved robustness for deep learning-based segmentation of "
    "multi-center myocardial perfusion MRI datasets using data adaptive uncertainty-guided space-time analysis. 2024. "
    "arXiv:2408.04805"
)
#: Pixels, mm, of which three lie across a wall; larger ones don't show its inner border.
FINE = 3.0
#: Distance of two insertion points, mm, that is half a segment of six at a radius of 30 mm.
HALF_SEGMENT = 15.0
#: Share of the left pool that lies within the wall about it, where the two belong together; of the smaller of two
#: pools, where they are in one place.
WITHIN = 0.5
#: Estimated Dice from which on a left ventricle counts as found.
FOUND = 0.5
#: Dice between two outlines from which on they say the same; pools so much alike lead to the same wall.
SAME = 0.7
#: What agreement adds to the logit of a pool's estimated Dice: so much for each unit of the overlap with the one that
#: agrees most, beyond what two good ones have in common.
AGREEMENT, USUAL_AGREEMENT = 3.0, 0.8


@dataclass(frozen=True)
class EnsembleOptions:
    """Options of the plugin ``ensemble`` for blood pools."""

    weights: tuple[str, ...] = field(
        default=("cine", "cine-wide", ""),
        metadata={"help": "weights of the networks that take part; an empty name: the usual ones"},
    )


@dataclass(frozen=True)
class WallEnsembleOptions:
    """Options of the plugin ``ensemble`` for the wall."""

    weights: tuple[str, ...] = field(
        default=("cine", "cine-wide"),
        metadata={"help": "weights of the networks that take part; an empty name: the usual ones"},
    )


class EnsembleBloodPool(CanonicalBloodPool):
    """Ask ``kmeans``, then the networks: the first pools that can be trusted, or else those that can be trusted most.

    Methods that work differently go wrong in different places: what another member says, too, can be trusted more, and
    what none says less, or what a network that looks right has elsewhere. Where one member sees no left ventricle,
    pools of another are taken only if two agree on them, or if they are a network's and look right: what pools look
    like is what ``kmeans`` looks for. What is bright is a part of the cavity: papillary muscles and what flows slowly
    lie in it too. Where the series shows the wall, and the wall that ``classical`` draws about the pool can be trusted,
    the left pool is all that lies within it, as readers draw it; the input function's voxels stay those of the
    brightest.
    """

    name = "ensemble"
    version = "1.3"
    summary = "asks kmeans, then resunet, until two agree on pools that can be trusted; fills the left one to the wall"
    citations = (XUE_2020, DAUGS)
    Options = EnsembleOptions

    @property
    def members(self) -> tuple[CanonicalBloodPool, ...]:
        """Who is asked."""
        networks = (ResUNetBloodPool(PoolNetworkOptions(weights=each)) for each in self.options.weights)
        return (KMeansBloodPool(), *networks)

    def loaded_files(self) -> Mapping[str, str]:
        """The networks' weights."""
        return {name: digest for each in self.members for name, digest in each.loaded_files().items()}

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """The most that a member takes."""
        return _resources(shape)

    def find_in_order(self, series: Series) -> BloodPools:
        """Find the pools of a series in canonical order."""
        seen, least = seen_slices(series), pool_model().trusted
        answers: list[BloodPools] = []
        for member in self.members:
            pools = member.find_in_order(series)
            answers.append(_judged(seen, pools) if pools.found and seen else pools)
            first = _with_others(answers, 0)
            if seen and first.found and _agreement(answers, 0) >= SAME and _of_input(first) >= least:
                # Others can only say the same, or be outvoted.
                return _filled(series, seen, first)
        found = {k: _with_others(answers, k) for k, pools in enumerate(answers) if pools.found}
        if not found or not seen:
            return next((pools for pools in answers if not pools.found), answers[0])
        look_right = [k for k in found if k and _of_input(answers[k]) >= least]
        for k, pools in found.items():
            if _of_input(pools) >= least and _least_overlap(answers, k, look_right) >= WITHIN:
                return _filled(series, seen, pools)
        agreed = [k for k in found if _agreement(answers, k) >= SAME and _of_input(found[k]) >= FOUND]
        best = max(look_right or agreed or found, key=lambda k: _of_input(found[k]))
        if len(found) < len(answers) and not look_right and not agreed:
            reasons = "; ".join(dict.fromkeys(pools.reason for pools in answers if not pools.found))
            likely = _of_input(found[best])
            return not_found(series, f"{reasons} (what else enhances has an estimated Dice of {likely:.2f})")
        # Known no better than by what it has in common with another that looks right.
        common = _least_overlap(answers, best, look_right)
        return replace(found[best], estimated_dice=tuple(min(each, common) for each in found[best].estimated_dice))


def _resources(shape: tuple[int, int, int, int]) -> Resources:
    return Resources(memory_gb=0.5 + 12 * 8 * math.prod(shape) / 2**30)


def _judged(seen: Sequence[SeenSlice], pools: BloodPools) -> BloodPools:
    """Pools with their estimated Dice."""
    estimated = [trust_pool(seen[k], left).dice if left.any() else np.nan for k, left in _slices(pools)]
    return replace(pools, estimated_dice=tuple(estimated))


def _filled(series: Series, seen: Sequence[SeenSlice], pools: BloodPools) -> BloodPools:
    """Pools that can be trusted, the left one filled to the inner border of the wall about it where that can be."""
    if max(series.voxel_size[:2]) > FINE:
        return pools
    outline = ClassicalMyocardium().outliner(series)
    filled, estimated = pools.lv.copy(), list(pools.estimated_dice)
    for k, left in _slices(pools):
        outlined = outline(pools, k) if outline is not None and left.any() else ""
        if isinstance(outlined, SliceOutline) and trust_wall(seen[k], outlined.wall).dice >= wall_model().trusted:
            cavity = cavity_of(outlined.wall)
            if (cavity & left).sum() >= WITHIN * left.sum():
                filled[..., k] = cavity & ~pools.rv[..., k] | pools.aif[..., k]
                estimated[k] = trust_pool(seen[k], filled[..., k]).dice
    return replace(pools, lv=filled, estimated_dice=tuple(estimated))


def _with_others(answers: Sequence[BloodPools], index: int) -> BloodPools:
    """One of the answers, each slice's estimate raised or lowered by the other member that agrees most."""
    pools = answers[index]
    others = [*answers[:index], *answers[index + 1 :]]
    if not pools.estimated_dice or not others:
        return pools
    estimated = [
        with_agreement(pools.estimated_dice[k], max(overlap(left, other.lv[..., k]) for other in others))
        if left.any()
        else np.nan
        for k, left in _slices(pools)
    ]
    return replace(pools, estimated_dice=tuple(estimated))


def _agreement(answers: Sequence[BloodPools], index: int) -> float:
    """How far another member's left pool is the same, in the slice that one of the answers takes its input from."""
    return max(_overlaps(answers, index, range(len(answers))), default=0.0)


def _least_overlap(answers: Sequence[BloodPools], index: int, others: Iterable[int]) -> float:
    """The same of the least like of some other members."""
    return min(_overlaps(answers, index, others), default=1.0)


def _overlaps(answers: Sequence[BloodPools], index: int, others: Iterable[int]) -> Iterator[float]:
    """Overlap of an answer's left pool with those of others that see one in the slice of its input function."""
    left, k = answers[index].lv, _input_slice(answers[index])
    beside = (answers[n].lv[..., k] for n in others if n != index)
    return (overlap(left[..., k], other) for other in beside if other.any())


def _slices(pools: BloodPools) -> Iterator[tuple[int, Mask]]:
    """Left pool of each slice."""
    return enumerate(np.moveaxis(pools.lv, 2, 0))


def _of_input(pools: BloodPools) -> float:
    """Estimated Dice of the slice that the input function is taken from."""
    return float(pools.estimated_dice[_input_slice(pools)])


def _input_slice(pools: BloodPools) -> int:
    return int(pools.lv.sum(axis=(0, 1)).argmax())


@dataclass(frozen=True)
class _Candidate:
    """An outline, which member drew it (0: ``classical``), and its estimated Dice from what it looks like."""

    outline: SliceOutline
    member: int
    alone: float

    @property
    def of_rules(self) -> bool:
        """Whether rules have drawn it and not a network."""
        return self.member == 0

    @property
    def looks_right(self) -> bool:
        """Whether what it looks like can be trusted."""
        return self.alone >= wall_model().trusted


class EnsembleMyocardium(SliceWiseMyocardium):
    """Ask ``classical`` and the networks: in each slice the mean of two that agree, where it can be trusted.

    Each member starts from the pools given. Where that gives nothing, pools are looked for anew in the series itself,
    and the wall about those. Where no two agree even then, the answer is what one of them says, and known no better
    than by what it has in common with the others.
    """

    name = "ensemble"
    version = "1.3"
    summary = "mean of two that agree of classical and networks in each slice; else what one of them says"
    citations = (*ResUNetMyocardium.citations, DAUGS)
    Options = WallEnsembleOptions
    pool_finder = EnsembleBloodPool

    @property
    def members(self) -> tuple[SliceWiseMyocardium, ...]:
        """Who is asked."""
        networks = (ResUNetMyocardium(WallNetworkOptions(weights=each)) for each in self.options.weights)
        return (ClassicalMyocardium(), *networks)

    def loaded_files(self) -> Mapping[str, str]:
        """The networks' weights, those that look for pools among them."""
        every = (*self.members, EnsembleBloodPool())
        return {name: digest for each in every for name, digest in each.loaded_files().items()}

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """The most that a member takes."""
        return _resources(shape)

    def outliner(self, series: Series) -> SliceOutliner | None:
        """What asks every member about a slice."""
        seen, members = seen_slices(series), self.members

        @cache
        def outliner_of(member: int) -> SliceOutliner | None:
            return members[member].outliner(series)

        if not seen or outliner_of(0) is None:
            return None

        @cache
        def pools_of_its_own() -> BloodPools:
            return EnsembleBloodPool().find_in_order(series)

        def candidates(pools: BloodPools, k: int) -> Iterator[_Candidate]:
            for member in range(len(members)):
                outlined = None if (ask := outliner_of(member)) is None else ask(pools, k)
                if isinstance(outlined, SliceOutline):
                    yield _Candidate(outlined, member, trust_wall(seen[k], outlined.wall).dice)

        def every_candidate(pools: BloodPools, k: int) -> Iterator[_Candidate]:
            yield from candidates(pools, k)
            own = pools_of_its_own()
            if own.lv[..., k].any() and dice(own.lv[..., k], pools.lv[..., k]) < SAME:
                yield from candidates(own, k)

        def outline(pools: BloodPools, k: int) -> SliceOutline | str:
            found: list[_Candidate] = []
            agreed: list[SliceOutline] = []
            paired: set[int] = set()
            for one in every_candidate(pools, k):
                if len(members) == 1 and one.looks_right:
                    return replace(one.outline, estimated_dice=one.alone)
                for n, other in enumerate(found):
                    if one.member != other.member and dice(one.outline.wall, other.outline.wall) >= SAME:
                        paired |= {n, len(found)}
                        mean = _mean_of(seen[k], other, one)
                        agreed.append(mean if other.of_rules or one.of_rules else _beside_rules(mean, found))
                        if agreed[-1].estimated_dice >= wall_model().trusted:
                            return agreed[-1]
                found.append(one)
            if not found:
                return "no member sees a wall"
            if len(members) == 1:
                best = max(found, key=lambda one: one.alone)
                return replace(best.outline, estimated_dice=best.alone)
            if alone := [one for n, one in enumerate(found) if n not in paired]:
                agreed.append(_of_one(alone, found))
            return max(agreed, key=lambda outline: outline.estimated_dice)

        return outline


def _mean_of(seen: SeenSlice, one: _Candidate, other: _Candidate) -> SliceOutline:
    """What two members who agree say: their mean, or the one that can be trusted where that can't be.

    Two methods that work differently err differently: their mean is nearer to what readers draw than either.
    """
    mean = mean_wall([one.outline.wall, other.outline.wall], seen.spacing)
    of_mean = trust_wall(seen, mean).dice if mean.any() else 0.0
    better = max(one, other, key=lambda candidate: candidate.alone)
    wall, estimated = (
        (mean, of_mean) if of_mean >= min(better.alone, wall_model().trusted) else (better.outline.wall, better.alone)
    )
    points = _mean_points(one.outline.landmarks, other.outline.landmarks)
    return SliceOutline(wall, points, one.outline.doubts, estimated)


def _beside_rules(agreed: SliceOutline, found: Iterable[_Candidate]) -> SliceOutline:
    """What networks agree on, known no better than by what it has in common with rules that look right.

    Networks that were taught alike can be wrong alike.
    """
    rules = (one.outline.wall for one in found if one.of_rules and one.looks_right)
    common = min((dice(agreed.wall, wall) for wall in rules), default=1.0)
    return replace(agreed, estimated_dice=min(agreed.estimated_dice, common))


def _mean_points(one: Sequence[Landmark], other: Sequence[Landmark]) -> tuple[Landmark, ...]:
    """Insertion points half way between those of two members where these are near each other; else the first one's.

    On real series that differ more, the rules were right in six of seven.
    """
    beside = {point.name: point for point in other}
    points: list[Landmark] = []
    for point in one:
        near = beside.pop(point.name, point)
        if math.dist(point.position, near.position) < HALF_SEGMENT:
            x, y, z = np.mean([point.position, near.position], axis=0)
            point = replace(point, position=(float(x), float(y), float(z)))
        points.append(point)
    return (*points, *beside.values())


def _of_one(alone: Sequence[_Candidate], found: Sequence[_Candidate]) -> SliceOutline:
    """What one member says and no other: that of a network if it looks right, else what looks most so.

    What an outline looks like is what ``classical`` looks for, so that its wrong ones look right. An outline is known
    no better than by what others have in common with it.
    """
    looks_right = [one for one in alone if one.looks_right and not one.of_rules]
    chosen = max(looks_right or alone, key=lambda one: one.alone)
    common = max((dice(chosen.outline.wall, o.outline.wall) for o in found if o.member != chosen.member), default=0.0)
    note = f"the methods asked draw different walls (Dice {common:.2f}): check the outline"
    doubts = (*chosen.outline.doubts, note)
    return replace(chosen.outline, doubts=doubts, estimated_dice=min(chosen.alone, common))


def overlap(one: Mask, other: Mask) -> float:
    """Part of the smaller of two regions that lies in the other: whether they are in one place, whatever their size."""
    return float((one & other).sum() / max(min(one.sum(), other.sum()), 1))


def mean_wall(walls: Sequence[Mask], spacing: NDArray[np.float64]) -> Mask:
    """The mean shape of outlines (x, y): the mean signed distance from either border, mm."""

    def mean_shape(masks: Sequence[Mask]) -> Mask:
        return np.asarray(np.mean([_signed_distance(mask, spacing) for mask in masks], axis=0) > 0)

    cavities = [cavity_of(wall) for wall in walls]
    return mean_shape([wall | cavity for wall, cavity in zip(walls, cavities, strict=True)]) & ~mean_shape(cavities)


def _signed_distance(mask: Mask, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.ndimage import distance_transform_edt

    inside, outside = (distance_transform_edt(m, sampling=spacing) for m in (mask, ~mask))
    return np.asarray(inside - outside)


def with_agreement(estimated: float, other: float) -> float:
    """An estimated Dice, raised or lowered by how far another outline is the same."""
    p = min(max(estimated, 1e-3), 1 - 1e-3)
    return 1.0 / (1.0 + math.exp(-math.log(p / (1 - p)) - AGREEMENT * (other - USUAL_AGREEMENT)))
