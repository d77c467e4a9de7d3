"""Overlap of masks, and reading them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qperf_app.geometry.masks import dice

Mask = NDArray[np.bool_]


def read_image(path: Path) -> Any:
    """An image as nibabel has it."""
    return nib.load(path)


def read_mask(path: Path) -> Mask:
    """A mask; a single False where there is no file."""
    return np.asarray(read_image(path).get_fdata() > 0) if path.is_file() else np.zeros(1, dtype=bool)


def pairwise_dice(masks: Mask) -> float:
    """Mean Dice between all pairs of frames (x, y, z, t) that have something drawn."""
    frames = [masks[..., t] for t in range(masks.shape[-1]) if masks[..., t].any()]
    return float(np.mean([dice(a, b) for a, b in itertools.combinations(frames, 2)]))


def filled(wall: Mask) -> Mask:
    """Everything inside the epicardium."""
    return np.stack([ndimage.binary_fill_holes(wall[..., k]) for k in range(wall.shape[2])], axis=2)
