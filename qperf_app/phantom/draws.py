"""Random draws from ranges that can be widened together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Draws:
    """Draws of one case. ``spread`` above 1 widens every range about its middle; positive quantities stay positive."""

    rng: np.random.Generator
    spread: float = 1.0

    def uniform(self, low: float, high: float) -> float:
        """Even between the limits; a lower limit of 0 or more is never left for a negative value."""
        middle, half = (low + high) / 2.0, self.spread * (high - low) / 2.0
        value = float(self.rng.uniform(middle - half, middle + half))
        return max(value, 0.5 * low) if low >= 0.0 else value

    def log_uniform(self, low: float, high: float) -> float:
        """Even in the logarithm."""
        return float(np.exp(self.uniform_log(np.log(low), np.log(high))))

    def uniform_log(self, low: float, high: float) -> float:
        """Even between logarithms, which may be negative."""
        middle, half = (low + high) / 2.0, self.spread * (high - low) / 2.0
        return float(self.rng.uniform(middle - half, middle + half))

    def log_normal(self, sigma: float) -> float:
        """A factor about 1."""
        return float(np.exp(self.rng.normal(0.0, self.spread * sigma)))

    def normal(self, sigma: float, limit: float, size: int) -> NDArray[np.float64]:
        """About 0, clipped at the limit."""
        return np.clip(self.rng.normal(0.0, self.spread * sigma, size), -self.spread * limit, self.spread * limit)
