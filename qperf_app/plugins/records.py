"""The records that pass between steps: frozen, NumPy inside, no paths and no images files.

Array axes are (x, y, z) voxels and t for volumes. Times are s from the start of the series, lengths mm in the
right-anterior-superior (RAS+) world frame of the NIfTI affine, concentrations mmol/L.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.orientation import Reorientation

#: ``Units`` of a series that is gadolinium concentration already.
CONCENTRATION_UNITS = "mmol/L"
#: ``Units`` of a series that is proportional to concentration with an unknown factor.
RELATIVE_UNITS = "1"
#: ``Units`` of an uncalibrated magnitude series.
SIGNAL_UNITS = "arbitrary"


@dataclass(frozen=True, eq=False)
class Series:
    """One perfusion series with its timing and metadata; compared by identity.

    Parameters
    ----------
    data : (x, y, z, t) float array
    times : (t,) float array
        Start of each volume, s, strictly increasing, not necessarily evenly spaced.
    affine : (4, 4) float array
        Voxel index to world mm.
    metadata : mapping
        BIDS metadata of the series (``bids_spec/``), official names and units.
    """

    data: NDArray[np.floating]
    times: NDArray[np.float64]
    affine: NDArray[np.float64]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def units(self) -> str:
        """``Units`` of the metadata; arbitrary signal where there is none."""
        return str(self.metadata.get("Units", SIGNAL_UNITS))

    @property
    def n_proton_density(self) -> int:
        """Number of leading volumes that are proton-density weighted."""
        return int(self.metadata.get("ProtonDensityVolumeCount", 0))

    @property
    def slice_times(self) -> NDArray[np.float64]:
        """Time after the onset of a volume at which each slice was read, (z,) s: ``SliceTiming``, 0 without it."""
        given = self.metadata.get("SliceTiming")
        if given is None:
            return np.zeros(self.data.shape[2])
        times = np.asarray(given, np.float64)
        return times[::-1] if str(self.metadata.get("SliceEncodingDirection", "k")).endswith("-") else times

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Edge lengths of a voxel, mm, shape (3,)."""
        edges: NDArray[np.float64] = np.sqrt((np.asarray(self.affine)[:3, :3] ** 2).sum(axis=0))
        return edges

    @property
    def proton_density(self) -> NDArray[np.floating] | None:
        """Mean of the proton-density volumes, (x, y, z), or None where there are none."""
        n = self.n_proton_density
        return self.data[..., :n].mean(axis=-1) if n else None

    def dynamic(self) -> Series:
        """Return the series without its proton-density volumes."""
        n = self.n_proton_density
        if not n:
            return self
        metadata: dict[str, Any] = {**self.metadata, "ProtonDensityVolumeCount": 0}
        flip = metadata.get("FlipAngle")
        if isinstance(flip, list | tuple) and len(flip) == len(self.times):
            metadata["FlipAngle"] = list(flip[n:])
        return Series(self.data[..., n:], self.times[n:], self.affine, metadata)

    def with_data(self, data: NDArray[np.floating]) -> Series:
        """Return the same series with other voxel values."""
        return replace(self, data=data)

    def reordered(self, order: Reorientation) -> Series:
        """Return the same series stored in another order."""
        affine = order.apply_to_affine(self.affine, self.data.shape)
        metadata = self.metadata
        if "SliceTiming" in metadata:
            times = order.apply_to_slices(self.slice_times[:, None])[:, 0]
            metadata = {**metadata, "SliceTiming": times.tolist(), "SliceEncodingDirection": "k"}
        return replace(self, data=order.apply(self.data), affine=affine, metadata=metadata)


@dataclass(frozen=True)
class Motion:
    """Displacement that motion correction found.

    Parameters
    ----------
    displacement : (x, y, z, t, 3) float32 array
        World mm (RAS+): the corrected voxel at p is read from the uncorrected volume at p + displacement.
    corrected : (z, t) bool array
        False where a frame could not be corrected and keeps the identity.
    cost : (z, t) float array or None
        Final registration cost, lower is better; None where the method has none.
    residual : (z, t) float array or None
        Motion, mm, that is left in the corrected frame as far as the method can tell; NaN where it can't.
    """

    displacement: NDArray[np.float32]
    corrected: NDArray[np.bool_]
    cost: NDArray[np.float64] | None = None
    residual: NDArray[np.float64] | None = None

    def reordered(self, order: Reorientation) -> Motion:
        """Return the same motion for a series that is stored in another order."""
        frames = [None if a is None else order.apply_to_slices(a) for a in (self.cost, self.residual)]
        return Motion(order.apply(self.displacement), order.apply_to_slices(self.corrected), *frames)


@dataclass(frozen=True)
class BloodPools:
    """Left- and right-ventricular blood, on the grid of the series they were found in.

    ``found`` is False with a ``reason`` where no left ventricle can be trusted; the masks are then empty. ``aif``
    marks the voxels inside ``lv`` that the input function is averaged over. ``estimated_dice`` (z,) is what the plugin
    thinks of its ``lv`` in each slice, NaN where there is none; empty where it has no estimate of its own.
    """

    lv: NDArray[np.bool_]
    rv: NDArray[np.bool_]
    aif: NDArray[np.bool_]
    affine: NDArray[np.float64]
    found: bool = True
    reason: str = ""
    estimated_dice: tuple[float, ...] = ()

    def reordered(self, order: Reorientation) -> BloodPools:
        """Return the same pools stored in another order."""
        lv, rv, aif = (order.apply(mask) for mask in (self.lv, self.rv, self.aif))
        affine = order.apply_to_affine(self.affine, self.lv.shape)
        estimated = tuple(order.apply_to_slices(np.array(self.estimated_dice)).tolist())
        return replace(self, lv=lv, rv=rv, aif=aif, affine=affine, estimated_dice=estimated)


@dataclass(frozen=True)
class InputFunction:
    """Arterial input function.

    Parameters
    ----------
    times : (t,) float array
        s, on the clock of the tissue series.
    concentration : (t,) float array
        In ``units``; of whole blood, or of plasma where ``plasma`` is True.
    log_peak_sd : float
        Standard deviation of the logarithm of the first pass' height where the curve is an estimate with an uncertainty
        of its own. Plugins take the curve as it is; the host widens their intervals by it.
    """

    times: NDArray[np.float64]
    concentration: NDArray[np.float64]
    signal: NDArray[np.float64] | None = None
    units: str = CONCENTRATION_UNITS
    plasma: bool = False
    log_peak_sd: float = 0.0

    def in_plasma(self, haematocrit: float) -> NDArray[np.float64]:
        """Plasma concentration; the tracer stays outside the red cells: Cp = Cb / (1 - Hct)."""
        return self.concentration if self.plasma else self.concentration / (1.0 - haematocrit)

    def in_blood(self, haematocrit: float) -> NDArray[np.float64]:
        """Whole-blood concentration, Cb = Cp (1 - Hct)."""
        return self.concentration * (1.0 - haematocrit) if self.plasma else self.concentration


@dataclass(frozen=True)
class ConcentrationSeries:
    """Concentration of the dynamic volumes (proton-density volumes left out).

    ``invalid`` is True where the signal lies outside what the signal equation can give (saturation, noise above the
    equilibrium signal): ``data`` is NaN there. ``summary`` is a phrase for the table of steps.
    ``native_t1`` (x, y, z) is T1 before contrast, s, where the plugin measures it; NaN in voxels where it can't.
    """

    data: NDArray[np.floating]
    units: str
    invalid: NDArray[np.bool_]
    summary: str = ""
    native_t1: NDArray[np.floating] | None = None


class Converter(Protocol):
    """Turns a series of signal, or of part of its voxels, into concentration of the muscle.

    It is the concentration plugin of the scan, with its options. Of a series that is concentration already it returns
    the dynamic volumes.
    """

    def __call__(self, series: Series, where: NDArray[np.bool_] | None = None) -> ConcentrationSeries:
        """Convert; elsewhere than in the voxels ``where`` (x, y, z) what comes is not asked for, and may be NaN."""


@dataclass(frozen=True)
class SpillOver:
    """What lies in the voxels of the wall.

    Parameters
    ----------
    muscle : ConcentrationSeries or None
        Concentration in the muscle alone, (x, y, z, t), dynamic volumes; read in the wall only. None where it is that
        of the voxels as they are.
    fractions, sd : mapping of str to (x, y, z) float array
        Share of each neighbour in a voxel, 0 to 1, and its standard deviation; NaN outside the wall. ``LV`` and ``RV``
        are the ventricles' blood. Without any, nothing was looked for.
    shift : (x, y, z, t) float array or None
        By how much ``muscle`` changes where each voxel holds one standard deviation more blood, in its units; read in
        the wall only. The host widens the intervals of flow by what it does to them.
    """

    muscle: ConcentrationSeries | None = None
    fractions: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    sd: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    shift: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class SignalEquation:
    """What a series' signal is at every R1, as a table, for a scale of 1.

    Parameters
    ----------
    r1 : (k,) array
        1/s, rising from at most half of ``native_r1``.
    prepared, relaxed : (k,) arrays
        Signal of a volume after saturation, which rises strictly, and of the mean proton-density volume.
    native_r1 : float
        R1 that blood is expected to have before contrast, 1/s.
    relaxivity : float
        L/mmol/s.
    """

    r1: NDArray[np.float64]
    prepared: NDArray[np.float64]
    relaxed: NDArray[np.float64]
    native_r1: float
    relaxivity: float


@dataclass(frozen=True)
class Landmark:
    """A named point of one slice, world mm."""

    name: Literal["RVInsertionAnterior", "RVInsertionInferior"]
    slice: int
    position: tuple[float, float, float]


@dataclass(frozen=True)
class Myocardium:
    """Left-ventricular myocardium, (x, y, z) bool, with landmarks; ``warnings`` are for the reader of the report.

    ``estimated_dice`` (z,) is what the plugin thinks of its outline in each slice, NaN where there is none; empty where
    it has no estimate of its own. The host has one in any case.
    """

    mask: NDArray[np.bool_]
    landmarks: tuple[Landmark, ...] = ()
    warnings: tuple[str, ...] = ()
    estimated_dice: tuple[float, ...] = ()


@dataclass(frozen=True)
class TissueConstants:
    """What turns plasma flow per volume into blood flow per mass: explicit, never guessed inside a model.

    ``haematocrit`` is the volume fraction of red cells, ``density`` of myocardium in g/mL.
    """

    haematocrit: float = 0.42
    density: float = 1.05


@dataclass(frozen=True)
class TissueCurves:
    """Concentration curves of the voxels to estimate.

    ``concentration`` (n, t) in ``units`` at ``times`` (t,) s; ``voxels`` (n, 3) are their integer indices on the grid
    of ``affine``. ``of_image`` says that they are voxels of one image, each there once, so that neighbours resemble
    each other; curves of regions don't.
    """

    concentration: NDArray[np.float64]
    times: NDArray[np.float64]
    voxels: NDArray[np.intp]
    affine: NDArray[np.float64]
    units: str = CONCENTRATION_UNITS
    of_image: bool = False


#: What a map of a posterior may hold, in the order in which a plugin gives them.
Statistic = Literal["mean", "std", "q05", "q50", "q95"]
STATISTICS: tuple[Statistic, ...] = ("mean", "std", "q05", "q50", "q95")
#: What stands for a quantity where one value is to be shown, the first that there is: a point estimate, the median of a
#: posterior, its mean. A posterior of flow has a long upper tail, which moves its mean and not its median.
VALUE: tuple[Statistic | None, ...] = (None, "q50", "mean")


def value_keys(keys: Iterable[tuple[str, str | None]]) -> dict[str, tuple[str, str | None]]:
    """Of maps by (quantity, statistic), the one that stands for each quantity (:data:`VALUE`)."""
    there = list(keys)
    return {q: next((q, s) for s in VALUE if (q, s) in there) for q, t in there if t in VALUE}


@dataclass(frozen=True)
class ParameterMap:
    """Values (n,) of one OSIPI CAPLEX quantity; ``statistic`` is None for a point estimate.

    NaN marks a voxel that could not be estimated.
    """

    quantity: str
    units: str
    values: NDArray[np.float64]
    statistic: Statistic | None = None


@dataclass(frozen=True)
class KineticMaps:
    """What a kinetics plugin found for ``TissueCurves``, voxel by voxel in the same order.

    ``qc`` (n,) holds a code for each voxel, 0 for a full estimate; ``qc_legend`` says what every code means.
    ``fitted`` (n, t) is the model curve, for the report. A posterior may also give ``predicted_sd`` (n, t), the
    standard deviation of a curve measured again (of the model's curves and of the noise together), and ``flow_draws``
    (n, d), its draws of MBF in the order in which they were made.
    """

    model: str
    maps: tuple[ParameterMap, ...]
    qc: NDArray[np.uint8]
    qc_legend: Mapping[int, str]
    fitted: NDArray[np.float64] | None = None
    predicted_sd: NDArray[np.float64] | None = None
    flow_draws: NDArray[np.float32] | None = None

    @property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """Values (n,) of what stands for each quantity."""
        found: dict[tuple[str, str | None], NDArray[np.float64]] = {
            (m.quantity, m.statistic): m.values for m in self.maps
        }
        return {quantity: found[key] for quantity, key in value_keys(found).items()}


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class RunContext:
    """What the host gives every call: the seed of all its random draws and the threads it may use.

    A plugin that takes more than some seconds may tell through ``say`` how far it is, as often as it likes: the host
    shows the user some of it.
    """

    seed: int = 0
    threads: int = 1
    say: Callable[[str], None] = _silent


@dataclass(frozen=True)
class Resources:
    """Peak memory (GiB) and threads that a call needs; the scheduler relies on it."""

    memory_gb: float
    threads: int = 1
