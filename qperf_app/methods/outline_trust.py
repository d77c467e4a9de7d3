"""How far an outline can be trusted: an estimate of its Dice from what it looks like, and what speaks against it.

A generalised additive model (Hastie & Tibshirani, Stat Sci 1986;1:297): the logit of the Dice is a sum of one
piecewise-linear, mostly monotone function of each feature (:mod:`~qperf_app.methods.outline_features`). It was learnt
on simulated scans with outlines made worse step by step (``python -m qperf_app.training.outline_trust``); what each
function says can be read in its file. Robinson et al. (Real-time prediction of segmentation quality, MICCAI 2018,
arXiv:1806.06244) estimate Dice without a truth from image and outline by a network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.outline_features import Features, SeenSlice, pool_features, wall_features

Array = NDArray[np.float64]

#: A feature speaks against an outline where it costs so much of the logit against that of good ones; so many are told.
_SPEAKS, _TOLD = 0.4, 2
_FOLDER = Path(__file__).parent

#: Features, the direction in which each speaks for an outline (0: both ends may speak against it), and what it means
#: where one speaks against it. Directions are known beforehand: the phantom's perfect shapes shall teach no others.
FEATURES: Mapping[str, tuple[int, str]] = {
    "blood brightness": (1, "what it holds for blood is dim"),
    "blood contrast": (1, "what it holds for blood is noisy"),
    "blood unrest before": (-1, "its blood is unsteady before the bolus"),
    "blood wash-out": (1, "its blood does not wash out as blood does"),
    "blood passage": (0, "the bolus passes through it at another speed"),
    "blood least early": (1, "a part of the cavity is no blood"),
    "blood roundness": (1, "the cavity is not compact"),
    "blood size": (0, "the cavity has no usual size"),
    "blood before": (1, "no right ventricle enhances before it"),
    "blood after": (-1, "another pool enhances after it"),
    "blood beyond": (-1, "blood goes on beyond it"),
    "blood beyond, worst": (-1, "blood goes on beyond it on one side"),
    "muscle around": (1, "no muscle surrounds it"),
    "wall early": (-1, "the wall enhances with the blood"),
    "wall early, inner": (-1, "there is blood in the wall"),
    "wall early, tenth": (-1, "there is blood in the wall"),
    "wall height": (0, "the wall does not enhance as muscle does"),
    "wall dim": (-1, "a part of the wall does not enhance"),
    "wall likeness": (1, "the wall holds several curves"),
    "wall likeness, worst": (1, "one side of the wall is something else"),
    "wall unevenness": (-1, "the wall enhances unevenly round the cavity"),
    "wall delay": (0, "the wall does not follow the blood"),
    "inner border": (1, "the inner border does not part blood from muscle"),
    "muscle outside": (-1, "muscle lies outside of the wall"),
    "muscle outside, worst": (-1, "muscle lies outside of the wall on one side"),
    "right blood beside": (1, "no right ventricle lies beside it"),
    "ring cut by the image": (-1, "it lies at the edge of the image"),
    "thickness": (0, "the wall has no usual thickness"),
    "thickness, unevenness": (-1, "the thickness of the wall is uneven"),
    "radius": (0, "it has no size of a heart"),
    "cavity share": (0, "cavity and wall have no usual proportion"),
}


@dataclass(frozen=True)
class TrustModel:
    """A sum of piecewise-linear functions of features.

    Parameters
    ----------
    intercept : float
    trusted : float
        Estimated Dice below which an outline is doubtful: 95.5 % of the training's wrong ones (Dice below 0.6) are.
    knots, values : mapping of str to (k,) array
        Of each feature's function, constant beyond its ends. It is 0 at the median of good outlines.
    """

    intercept: float
    trusted: float
    knots: Mapping[str, Array]
    values: Mapping[str, Array]

    def contributions(self, features: Features) -> dict[str, float]:
        """What each feature adds to the logit."""
        return {name: float(np.interp(features[name], self.knots[name], self.values[name])) for name in self.knots}

    def dice(self, features: Features | None) -> float:
        """Estimated Dice, 0 to 1; 0 where there is nothing to judge, or a feature is no number."""
        if features is None:
            return 0.0
        logit = self.intercept + sum(self.contributions(features).values())
        return float(1.0 / (1.0 + np.exp(-logit))) if np.isfinite(logit) else 0.0

    def against(self, features: Features | None) -> tuple[str, ...]:
        """What speaks most against an outline, in words."""
        if features is None:
            return ("no cavity with a bolus in it",)
        costs = sorted((cost, name) for name, cost in self.contributions(features).items() if cost < -_SPEAKS)
        return tuple(dict.fromkeys(FEATURES[name][1] for _, name in costs))[:_TOLD]

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        functions = {name: [self.knots[name].tolist(), self.values[name].tolist()] for name in self.knots}
        return {"intercept": self.intercept, "trusted": self.trusted, "functions": functions}

    @classmethod
    def from_dict(cls, content: Mapping[str, object]) -> TrustModel:
        """The model that a file holds."""
        functions = content["functions"]
        assert isinstance(functions, dict)
        knots = {name: np.array(both[0], np.float64) for name, both in functions.items()}
        values = {name: np.array(both[1], np.float64) for name, both in functions.items()}
        return cls(float(str(content["intercept"])), float(str(content["trusted"])), knots, values)


@dataclass(frozen=True)
class Trust:
    """Estimated Dice of an outline, that below which it is doubtful, and what speaks against it."""

    dice: float
    least: float
    against: tuple[str, ...]


def trust_wall(seen: SeenSlice, wall: NDArray[np.bool_]) -> Trust:
    """How far a wall (x, y) in a slice can be trusted."""
    return _trust(wall_model(), wall_features(seen, wall))


def trust_pool(seen: SeenSlice, pool: NDArray[np.bool_]) -> Trust:
    """How far a left ventricle's blood (x, y) in a slice can be trusted."""
    return _trust(pool_model(), pool_features(seen, pool))


def wall_model() -> TrustModel:
    """The model of walls that comes with the package."""
    return _read("outline_trust_wall.json")


def pool_model() -> TrustModel:
    """The model of blood pools that comes with the package."""
    return _read("outline_trust_pool.json")


def _trust(model: TrustModel, features: Features | None) -> Trust:
    return Trust(model.dice(features), model.trusted, model.against(features))


@lru_cache
def _read(name: str) -> TrustModel:
    return TrustModel.from_dict(json.loads((_FOLDER / name).read_text()))
