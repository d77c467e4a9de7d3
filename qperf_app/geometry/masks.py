"""What masks are asked for everywhere: how far two overlap, the largest piece of one, the rectangle around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def dice(a: Mask, b: Mask) -> float:
    """Dice overlap, 0 to 1: twice what two masks share over what they hold (Dice, Ecology 1945;26:297).

    0 where both are empty.
    """
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else 0.0


def largest_piece(mask: Mask) -> Mask:
    """The largest connected piece; empty stays empty."""
    from scipy.ndimage import label

    labels, count = label(mask)
    return mask if count < 2 else np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())


def rectangle_around(region: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Smallest rectangle around a region (x, y) that is not empty, with a margin as far as there are pixels."""
    rows, columns = (slice(max(0, int(at.min()) - margin), int(at.max()) + 1 + margin) for at in np.nonzero(region))
    return rows, columns
