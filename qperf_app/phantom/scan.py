"""One simulated scan with its truth, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import N_SLICES, Grid, acquire, plan_grids
from qperf_app.phantom.bolus import Bolus, prebolus_of, sample_bolus
from qperf_app.phantom.config import USUAL_DOSE, PhantomConfig
from qperf_app.phantom.curves import Injection, concentrations
from qperf_app.phantom.fields import noise_amplification, sample_transmit_field
from qperf_app.phantom.heart import HeartShape, contraction, phase_of
from qperf_app.phantom.motion import Deformation, sample_motion, within_slices
from qperf_app.phantom.participant import Participant, sample_participant
from qperf_app.phantom.perfusion import Kinetics, sample_kinetics
from qperf_app.phantom.render import Renderer
from qperf_app.phantom.sequences import AIF, AIF_TWO_ECHOES, TISSUE, Protocol
from qperf_app.phantom.series import Painted, SeriesTruth, Slab, paint_series
from qperf_app.phantom.shapes import truncated_normal
from qperf_app.phantom.sidecar import metadata
from qperf_app.phantom.triggering import Clock, Stamps, Triggers, mean_interval, plan_clock, sample_triggers
from qperf_app.plugins import InputFunction, Series


@dataclass(frozen=True)
class Scan:
    """A simulated scan.

    Parameters
    ----------
    config : PhantomConfig
    participant : Participant
    series, truth : mappings
        ``tissue``, and ``aif`` where the acquisition is a dual sequence, ``prebolus`` where it is a dual bolus.
    aif : InputFunction
        In the left ventricle at the dynamic volumes, in whole blood.
    model : str
        Model of the tissue curves.
    kinetics : Kinetics
        Of the wall's cells.
    bolus : Bolus
    second_echo : Series, optional
        Of the input-function series.
    prebolus : InputFunction, optional
        In the left ventricle at the dynamic volumes of the prebolus series.
    """

    config: PhantomConfig
    participant: Participant
    series: Mapping[str, Series]
    truth: Mapping[str, SeriesTruth]
    aif: InputFunction
    model: str
    kinetics: Kinetics
    bolus: Bolus
    second_echo: Series | None = None
    prebolus: InputFunction | None = None


#: Share of scans whose tissue is distributed where the model is mixed, so that fitting an exchange model is not always
#: the inverse of the simulation.
DISTRIBUTED_SHARE = 0.25
#: Change of the mean RR interval from a dual bolus' first injection to the second (standard deviation), and the pause
#: between the two series, s.
_RATE_CHANGE, _PAUSE = 0.06, (15.0, 60.0)
#: Draws that stay when a heart is scanned again: person, tissue, plan.
_STAYS = (0, 4, 5)


def simulate_scan(
    config: PhantomConfig,
    rng: np.random.Generator,
    participant: Participant | None = None,
    again: np.random.Generator | None = None,
) -> Scan:
    """Simulate one scan.

    Parameters
    ----------
    config : PhantomConfig
    rng : Generator
        Source of every draw; the same state gives the same scan.
    participant : Participant, optional
        Who is scanned; drawn where none is given. Rest and stress of one person share it.
    again : Generator, optional
        Source of what is another when the same heart is scanned again: beats, breathing, bolus, noise and fields. The
        tissue and the planned slices stay those of ``rng``.
    """
    children = rng.spawn(9)
    if again is not None:
        children = [
            old if k in _STAYS else new for k, (old, new) in enumerate(zip(children, again.spawn(9), strict=True))
        ]
    person_rng, beat_rng, motion_rng, bolus_rng, tissue_rng, plan_rng, noise_rng, prebolus_rng, field_rng = children
    person = sample_participant(config, person_rng) if participant is None else participant
    triggers = _triggers(config, beat_rng)
    protocols = _protocols(config)
    clock = plan_clock(config, triggers, N_SLICES, protocols["tissue"].duration)
    bolus = _bolus(config, clock, bolus_rng)
    drawn = "ATH" if tissue_rng.random() < DISTRIBUTED_SHARE else "2CXM"
    model = drawn if config.model == "mixed" else config.model
    kinetics = sample_kinetics(
        config.task, person.defects, person.haematocrit, np.random.default_rng(person.personal_seed), tissue_rng
    )
    view = _View(config, person, float(plan_rng.uniform(0.0, 0.6)), model, kinetics)
    grids = plan_grids(config, person, plan_rng)
    injections, clocks, slabs = [Injection(bolus)], dict.fromkeys(grids, clock), {}
    if "prebolus" in grids:
        small, clocks["prebolus"] = _prebolus(config, bolus, mean_interval(triggers), protocols["tissue"], prebolus_rng)
        slabs = view.slabs({"prebolus": grids["prebolus"]}, clocks["prebolus"], [Injection(small)], prebolus_rng)
        pause = clocks["prebolus"].onsets[-1] + float(prebolus_rng.uniform(*_PAUSE))
        injections.append(Injection(small, pause))
    together = {name: grid for name, grid in grids.items() if name != "prebolus"}
    slabs = view.slabs(together, clock, injections, motion_rng) | slabs

    transmit = sample_transmit_field(config.b1_variation, field_rng)
    n, series, painted, noise = config.proton_density_frames, {}, {}, 0.0
    for name, child in zip(grids, noise_rng.spawn(2), strict=False):
        painted[name] = paint_series(config, grids[name], protocols[name], slabs[name], kinetics, transmit)
        # The series of both boluses are read alike.
        noise = noise if name == "prebolus" else _noise(config, name, painted[name])
        amplification = noise_amplification(grids[name], config.noise_amplification, field_rng)
        for echo, image in enumerate(painted[name].images):
            data = acquire(image, config.phase_resolution, noise, child, amplification)
            sidecar = metadata(config, protocols[name], grids[name], person.haematocrit, clocks[name], name, echo)
            series[name, echo] = Series(data, clocks[name].onsets, grids[name].affine, sidecar)

    def blood(name: str, signal: str) -> InputFunction:
        curve = slabs[name][0].curves.tissues["left"]
        return InputFunction(clocks[name].onsets[n:], curve[n:], painted[signal].blood)

    return Scan(
        config=config,
        participant=person,
        series={name: series[name, 0] for name in grids},
        truth={name: each.truth for name, each in painted.items()},
        aif=blood("tissue", "aif" if "aif" in grids else "tissue"),
        model=model,
        kinetics=kinetics,
        bolus=bolus,
        second_echo=series.get(("aif", 1)),
        prebolus=blood("prebolus", "prebolus") if "prebolus" in grids else None,
    )


def _protocols(config: PhantomConfig) -> dict[str, Protocol]:
    """How each series is read."""
    tissue = TISSUE[config.readout]
    chosen = {
        "tissue": tissue,
        "prebolus": tissue,
        "aif": AIF_TWO_ECHOES if config.aif_echoes == 2 else AIF[config.aif_readout],
    }
    return {name: scanned.saturated(config.saturation_efficiency) for name, scanned in chosen.items()}


def _triggers(config: PhantomConfig, rng: np.random.Generator, interval: float | None = None) -> Triggers:
    """Beats enough for a series; the scanner misses some where it waits for them."""
    if config.interval:
        return sample_triggers(config.task, int(4 * config.frames * config.interval) + 4, 0.0, rng, interval)
    return sample_triggers(config.task, config.frames * config.beats_per_image, config.missed_beats, rng, interval)


def _bolus(config: PhantomConfig, clock: Clock, rng: np.random.Generator) -> Bolus:
    first, last = clock.onsets[config.proton_density_frames], clock.onsets[-1]
    bolus = sample_bolus(config.task, config.input_function == "individual", config.abnormal_bolus, first, last, rng)
    return replace(bolus, peak=bolus.peak * (config.dose / USUAL_DOSE))


def _prebolus(
    config: PhantomConfig, bolus: Bolus, interval: float, scanned: Protocol, rng: np.random.Generator
) -> tuple[Bolus, Clock]:
    """The first bolus of a dual-bolus study, and the clock of its series."""
    slower = truncated_normal(rng, 1.0, _RATE_CHANGE)
    clock = plan_clock(config, _triggers(config, rng, slower * interval), N_SLICES, scanned.duration)
    arrival = clock.onsets[config.proton_density_frames] + truncated_normal(rng, 5.0, 1.5, 2.5, 9.0)
    return prebolus_of(bolus, config.prebolus_dose, float(arrival), slower), clock


def _noise(config: PhantomConfig, name: str, painted: Painted) -> float:
    """Standard deviation of the noise that gives a series its contrast-to-noise ratio."""
    curve, cnr = (painted.blood, config.aif_cnr) if name == "aif" else (painted.wall, config.cnr)
    return float((curve.max() - curve[0]) / cnr) if len(curve) else 0.0


@dataclass(frozen=True)
class _View:
    """Who is scanned: what is the same in all series of a scan.

    ``contracted`` is the part of the contraction that is done when the first slice of a volume is read.
    """

    config: PhantomConfig
    person: Participant
    contracted: float
    model: str
    kinetics: Kinetics

    def slabs(
        self, grids: Mapping[str, Grid], clock: Clock, injections: Sequence[Injection], rng: np.random.Generator
    ) -> dict[str, list[Slab]]:
        """Slabs of series that are read in the same beats; ``rng`` draws the motion."""
        person, stamps = self.person, clock.stamps()
        motion = sample_motion(self.config.breathing, stamps, rng, self._size(stamps))
        motion = within_slices(motion, next(iter(grids.values())).normal, self.config.through_plane)
        renderers = {}
        for name, grid in grids.items():
            for place in clock.groups(grid.shape[2]):
                trace = motion.at(stamps.where[place.start])
                moved = Deformation(trace, person.torso.dome, person.centre, person.axes, self.config.wall_motion)
                shape = self._shape(clock.phase[place.start])
                renderers[name, place.start] = place, Renderer(person, shape, moved, grid.slices(place))
        levels = np.any([renderer.levels() for _, renderer in renderers.values()], axis=0)
        curves = concentrations(self.model, self.kinetics, injections, stamps.times, person.haematocrit, levels)
        result: dict[str, list[Slab]] = {name: [] for name in grids}
        for (name, first), (place, renderer) in renderers.items():
            result[name].append(Slab(place, renderer, curves.at(stamps.where[first])))
        return result

    def _shape(self, phase: NDArray[np.float64]) -> HeartShape:
        """The heart where a slice is read; in the middle of its beat where nothing triggers."""
        if self.config.interval or not phase.any():
            return self.person.heart.contracted(self.contracted)
        return self.person.heart.contracted(float(contraction(phase_of(self.contracted) + phase.mean())))

    def _size(self, stamps: Stamps) -> NDArray[np.float64] | None:
        """Relative change of the heart's size, where it is read in all phases of its beat."""
        if not self.config.interval:
            return None
        usual = self.person.heart.contracted(self.contracted).outer_radius
        done = contraction(stamps.phase)
        return np.array([self.person.heart.contracted(part).outer_radius for part in done]) / usual - 1.0
