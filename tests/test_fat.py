"""Fat in the voxels of the wall: told from its brightness before the bolus, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qperf_app.methods.fat import fat_fraction

Array = NDArray[np.float64]
#: Brightness after saturation over that of the proton-density image: muscle, fat, lung, blood.
MUSCLE, FAT, BLOOD = 0.16, 0.45, 0.13


def slice_of(fat_share: float, noise: float = 0.0) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """A ring of wall, whose outermost voxels hold a share of fat where it lies on fat, and none on lung."""
    x, y = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(x, y)
    wall = (radius >= 12) & (radius < 17)
    share = np.where((radius >= 16) & (radius < 17) & (x > 0), fat_share, 0.0)
    share = np.where((radius >= 17) & (radius < 21) & (x > 0), 1.0, share)
    tissue = (radius < 17) | (share > 0)
    # A coil that is nearer to one side.
    coil = 1000.0 * np.exp(-x / 60.0)
    density = np.where(tissue, coil, 0.02 * coil)
    ratio = (1.0 - share) * np.where(radius < 12, BLOOD, MUSCLE) + share * FAT
    rng = np.random.default_rng(0)
    baseline = density * ratio + noise * rng.normal(size=x.shape)
    return density, baseline, wall, share[wall]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_the_share_of_fat_is_found_whatever_the_coil(share: float) -> None:
    density, baseline, wall, true = slice_of(share)
    found, sd = fat_fraction(density, baseline, wall)
    np.testing.assert_allclose(found, true, atol=1e-9)
    assert sd == pytest.approx(0.0, abs=1e-9) and true.max() == share


def test_noise_is_not_taken_for_fat() -> None:
    density, baseline, wall, true = slice_of(0.6, noise=15.0)
    found, sd = fat_fraction(density, baseline, wall)
    assert 0.02 < sd < 0.1
    assert (found[true == 0] > 0).mean() < 0.06
    assert np.abs(found[true > 0] - 0.6).mean() < 2 * sd
    scaled, same = fat_fraction(3.0 * density, 3.0 * baseline, wall)
    np.testing.assert_allclose(scaled, found)
    assert same == pytest.approx(sd)


def test_without_fat_about_or_without_a_wall_nothing_is_said() -> None:
    density, baseline, wall, _ = slice_of(0.0)
    dark = np.where(baseline > 2 * MUSCLE * density, MUSCLE * density, baseline)
    for found, sd in (fat_fraction(density, dark, wall), fat_fraction(density, baseline, np.zeros_like(wall))):
        assert not found.any() and sd == 0.0
