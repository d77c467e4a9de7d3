"""Calibration where blood lies in the voxels of the wall: ranks of prior draws, the fractions of blood among them.

Rings of muscle about a cavity are drawn from the priors of ``spill-over`` and ``hmc``: where the border of the blood
lies, what each voxel's muscle does, noise. The two plugins then see the rings, one after the other as in the app, and
where each truth lies among the quantiles of its posterior is counted (after Talts et al. 2018, arXiv:1804.06788).

Run from the root of the repository: ``python -m benchmarks.mixture_calibration``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from benchmarks.kinetics_accuracy import HAEMATOCRIT, simulate
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.methods.priors import read
from qperf_app.methods.spill_over import BLUR
from qperf_app.methods.wider_intervals import NINETY, widened_by
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import MODELS
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    ConcentrationSeries,
    InputFunction,
    KineticMaps,
    Myocardium,
    RunContext,
    Series,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.records import Statistic
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import ExchangeOptions
from qperf_spill_over import TwoPool

Array = NDArray[np.float64]
NAMES = ("Fp", "PS", "vp", "ve", "Ta")
SIDE, SPACING = 30, 2.5
#: Radii of cavity and wall, in voxels.
INNER, OUTER = 6.0, 10.0
#: Standard deviation of a border's offset from the outline, of a voxel's own one, and how far borders are alike, in
#: voxels: the prior of ``spill-over``.
OFFSET, OWN, ALIKE = 1.0, 0.4, 1.5
#: Bounds of the fraction of blood that rows are of; more than the last and a voxel gives no flow.
FRACTIONS = (0.0, 0.02, 0.15, 0.5)
#: Quantiles that a posterior gives, and shares of the truths that lie between them.
QUANTILES: tuple[Statistic, ...] = ("q05", "q50", "q95")
SHARES = np.array([0.05, 0.45, 0.45, 0.05])
QUANTITIES = ("fraction of blood", *NAMES)


@dataclass(frozen=True)
class Ring:
    """A slice: its mask and, in the mask's voxels, true parameters and fractions of blood."""

    series: Series
    wall: NDArray[np.bool_]
    truth: dict[str, Array]


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rings", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    base = simulate(2, 1, 0.002)
    aif = InputFunction(base.times, base.blood)
    rng = np.random.default_rng(3)
    rings = [draw_ring(aif, rng) for _ in range(args.rings)]
    fraction = np.concatenate([ring.truth["fraction of blood"] for ring in rings])
    rows = [
        ("yes" if propagate else "no", *row)
        for propagate in (True, False)
        for row in rows_of(
            np.concatenate([ranks(ring, aif, args.threads, propagate) for ring in rings], axis=1), fraction
        )
    ]
    publish([table(rows)], args, seed=3)


def draw_ring(aif: InputFunction, rng: np.random.Generator) -> Ring:
    """A ring whose border, muscle and noise are drawn from the priors."""
    place = np.stack(np.meshgrid(*(np.arange(SIDE) - SIDE / 2 + 0.5,) * 2, indexing="ij"), axis=-1)
    radius = np.linalg.norm(place, axis=-1)
    wall, cavity = (radius >= INNER) & (radius < OUTER), radius < INNER
    voxels = place[wall]
    apart = ((voxels[:, None] - voxels[None]) ** 2).sum(axis=-1)
    alike = np.exp(-0.5 * apart / ALIKE**2) + 1e-6 * np.eye(len(voxels))
    offset = OFFSET * np.linalg.cholesky(alike) @ rng.standard_normal(len(voxels))
    depth = radius[wall] - INNER - offset - OWN * rng.standard_normal(len(voxels))
    fraction = np.asarray(norm.cdf(-depth / BLUR))
    prior = read("", "2CXM", NAMES)
    x = prior.mean + prior.sd * rng.standard_normal((len(voxels), len(NAMES)))
    truth = np.where(prior.positive, np.exp(x), x).T
    grid, plasma = even_input(aif.times, plasma_concentration(aif.concentration, HAEMATOCRIT), aif.times[-1] + 5.0)
    joined = np.union1d(grid, aif.times)
    muscle = MODELS["2CXM"](joined, np.interp(joined, grid, plasma), *truth)[:, np.searchsorted(joined, aif.times)]
    scale = (prior.noise_scale * plasma.max()) ** 2
    # Of a ring the noise is one: it is of a scan.
    noise = np.sqrt(scale / rng.standard_gamma(prior.noise_shape))
    data = np.zeros((SIDE, SIDE, 1, len(aif.times)))
    data[cavity, 0] = aif.concentration
    data[wall, 0] = fraction[:, None] * aif.concentration + (1.0 - fraction[:, None]) * muscle
    data[..., 0, :] += noise * rng.standard_normal(data[..., 0, :].shape)
    affine = np.diag([SPACING, SPACING, 8.0, 1.0])
    series = Series(data, aif.times, affine, {"Units": CONCENTRATION_UNITS})
    return Ring(series, wall[..., None], {"fraction of blood": fraction, **dict(zip(NAMES, truth, strict=True))})


def ranks(ring: Ring, aif: InputFunction, threads: int, propagate: bool) -> NDArray[np.intp]:
    """Which of the four intervals between its quantiles each truth lies in, (quantities, n); -1 without a posterior.

    ``propagate``: whether the intervals are widened by what the fraction's uncertainty does, as the host does.
    """
    constants, context = TissueConstants(HAEMATOCRIT), RunContext(0, threads)

    def convert(series: Series, where: NDArray[np.bool_] | None = None) -> ConcentrationSeries:
        del where
        return ConcentrationSeries(series.data, CONCENTRATION_UNITS, ~np.isfinite(series.data))

    wall = Myocardium(ring.wall)
    found = TwoPool().separate(ring.series, wall, None, aif, constants, convert, context)
    assert found.muscle is not None and found.shift is not None
    # Neighbours were drawn by themselves.
    plugin = ExchangePosterior(ExchangeOptions(prior="voxel"))

    def fit(concentration: NDArray[np.floating]) -> KineticMaps:
        voxels, affine = np.argwhere(ring.wall), ring.series.affine
        curves = TissueCurves(concentration[ring.wall].astype(np.float64), aif.times, voxels, affine, of_image=True)
        return plugin.fit(curves, aif, constants, context)

    posterior = fit(found.muscle.data)
    if propagate:
        other = fit(found.muscle.data + np.nan_to_num(found.shift))
        posterior = widened_by(posterior, other, np.random.default_rng(0))
    maps = {(m.quantity, m.statistic): m.values for m in posterior.maps}
    mean, sd = found.fractions["LV"][ring.wall], found.sd["LV"][ring.wall]
    bounds = {"fraction of blood": mean + NINETY * np.array([[-1.0], [0.0], [1.0]]) * sd}
    bounds.update({name: np.stack([maps[name, q] for q in QUANTILES]) for name in NAMES})
    rows = []
    for name in QUANTITIES:
        rank = (ring.truth[name] > bounds[name]).sum(axis=0)
        rows.append(np.where(np.isfinite(bounds[name]).all(axis=0), rank, -1))
    return np.array(rows)


def rows_of(bins: NDArray[np.intp], fraction: Array) -> Iterator[Row]:
    """Coverage, and whether ranks are even, by the true fraction of blood."""
    for low, high in itertools.pairwise(FRACTIONS):
        inside = (fraction >= low) & (fraction < high)
        pairs: list[tuple[float, float]] = []
        for each in bins[:, inside]:
            count = np.bincount(each[each >= 0], minlength=4)
            expected = SHARES * count.sum()
            statistic = float(((count - expected) ** 2 / expected).sum())
            pairs.append((100 * float(count[1:3].sum() / count.sum()), float(chi2.sf(statistic, 3))))
        yield (f"{low:g} to {high:g}", int(inside.sum()), *pairs)


def table(rows: Sequence[Row]) -> Table:
    """Of all rows."""
    form = "{:.0f} ({:.2g})"
    columns = (
        Column("widened by the fraction's uncertainty"),
        Column("fraction of blood"),
        Column("voxels", format="d"),
        *(Column(f"{name}: 90 % intervals cover (p)", "%", form) for name in QUANTITIES),
    )
    title = "Posteriors of voxels in which blood lies, by spill-over and hmc"
    return Table(
        "hmc-calibration-mixture", title, columns, tuple(rows), "p is that of the ranks being even, in four bins."
    )


if __name__ == "__main__":
    main()
