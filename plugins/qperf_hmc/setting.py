"""How curves become features: a separable model's table and grid, or any model as it stands."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.methods.noise import white_noise_sd
from qperf_app.methods.priors import Priors
from qperf_app.methods.sobol import sobol
from qperf_app.physics.models import Model
from qperf_hmc import octree, table
from qperf_hmc.exchange import EXCHANGE
from qperf_hmc.forward import Direct, make_grid
from qperf_hmc.homogeneity import HOMOGENEITY
from qperf_hmc.separable import Separable
from qperf_hmc.target import Coordinates

Array = NDArray[np.float64]

#: Models that are tabulated.
SEPARABLE: dict[str, Separable] = {"2CXM": EXCHANGE, "ATH": HOMOGENEITY}
# What is compiled for a bound method is forgotten with it: these stay.
_FORWARD = {name: separable.forward for name, separable in SEPARABLE.items()}
# Draws of the prior that chains may start at, and how many of them the table is tried on.
_DICTIONARY, _TRIED = 8192, 256
# The table's delays reach this many standard deviations of the prior to either side.
_DELAY_REACH = 3.5
# The table is used where the noise exceeds its error by this factor.
_ERROR_BELOW_NOISE = 5.0


class Setting(NamedTuple):
    """One way to compute features of curves with samples at the same times.

    ``basis`` (t, r) compresses curves, None where features are the samples themselves. ``dictionary`` (p, n) are draws
    of the prior's coordinates and ``features`` (r, n) theirs. ``octree`` is a separable model's, None for others.
    """

    model: Coordinates
    tables: Any
    basis: Array | None
    octree: octree.Octree | None
    dictionary: Array
    features: Array

    def spreads(self, covariance: Array) -> Array:
        """Standard deviations (n, t) of curves from the covariance (n, r, r) of features, or their variance (n, r)."""
        if self.basis is None:
            return np.sqrt(covariance)
        variance = np.einsum("tr,nrs,ts->nt", self.basis, covariance, self.basis, optimize=True)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    def curves(self, features: Array) -> Array:
        """Curves (n, t) at every time from features (n, r)."""
        return features if self.basis is None else features @ self.basis.T

    def compress(self, curves: Array) -> tuple[Array, Array, Array | None]:
        """Features (n, r) of curves (n, t), their sums of squares outside (n,), and turns as :class:`Problem` has them.

        NaN is where a sample is missing. Without all its rows the basis is not orthonormal; what is orthonormal on
        those that a curve has differs from curve to curve by a turn.
        """
        known = np.nan_to_num(curves)
        if self.basis is None:
            return known, np.zeros(len(curves)), None
        # No product of matrices, whose rounding depends on their size.
        data, turns = (
            np.einsum("nt,tr->nr", known, self.basis),
            np.tile(np.eye(self.basis.shape[1]), (len(curves), 1, 1)),
        )
        for k in np.flatnonzero(~np.isfinite(curves).all(axis=1)):
            own, turns[k] = np.linalg.qr(np.isfinite(curves[k])[:, None] * self.basis)
            data[k] = known[k] @ own
        return data, np.maximum((known**2).sum(axis=1) - (data**2).sum(axis=1), 0.0), turns


def choose(
    model: Model, priors: Priors, times: Array, curves: Array, input_times: Array, concentration: Array
) -> Setting:
    """Choose the table where the curves' noise (n, t) hides its error."""
    dictionary = prior_draws(priors, _DICTIONARY)
    direct, joined = Coordinates(Direct(model), priors.positive), make_grid(times, input_times, concentration)
    separable = SEPARABLE.get(model.name)
    if separable is not None:
        mean, sd = priors.mean[4], priors.sd[4]
        reach = separable.delays((mean - _DELAY_REACH * sd, mean + _DELAY_REACH * sd), times[-1] - input_times[0])
        tables = table.build(times, input_times, concentration, reach, separable.ranks)
        tabulated = Coordinates(_FORWARD[model.name], priors.positive)
        some = [tf.constant(v) for v in dictionary[:, :: _DICTIONARY // _TRIED]]
        exact = direct.features(joined, some).numpy()
        found = tables.basis @ tabulated.features(tables, some).numpy()
        error = np.sqrt(((found - exact) ** 2).mean(axis=0)) / np.abs(exact).max(axis=0)
        noise = white_noise_sd(curves, robust=False) / np.nanmax(np.abs(curves), axis=1)
        if np.median(noise) > _ERROR_BELOW_NOISE * np.median(error):
            tree = octree.build(separable, tables, dictionary)
            return Setting(tabulated, tables, tables.basis, tree, dictionary, _features(tabulated, tables, dictionary))
    return Setting(direct, joined, None, None, dictionary, _features(direct, joined, dictionary))


def _features(model: Coordinates, tables: Any, dictionary: Array) -> Array:
    single = tf.nest.map_structure(as_tensor, tables)
    features: Array = model.features(single, [as_tensor(v) for v in dictionary]).numpy().astype(np.float64)
    return features


def as_tensor(value: Any) -> Any:
    """Tensor of single precision, or of whole numbers."""
    array = np.asarray(value)
    return tf.constant(array if array.dtype.kind == "i" else array.astype(np.float32))


def prior_draws(priors: Priors, count: int) -> Array:
    """Evenly spread draws of the prior's coordinates, (p, count)."""
    from scipy.special import ndtri

    uniform = sobol(count, len(priors.mean), seed=0)
    return np.asarray((priors.mean + priors.sd * ndtri(uniform)).T)
