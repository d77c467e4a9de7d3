"""What a plugin instance says of the files that it reads with its options."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qperf_app.methods.priors import priors_file
from qperf_app.plugins.manager import load_plugins, make
from qperf_cnn.plugin import SHIPPED as NETWORKS
from qperf_segmentation.networks.weights import SHIPPED

POOLS, WALL, PRIORS = SHIPPED / "blood-pool.npz", SHIPPED / "myocardium.npz", priors_file("")
KINETICS = NETWORKS["2CXM"]


def loaded(step: str, name: str, **options: Any) -> Mapping[str, str]:
    plugin = make(load_plugins().get(step, name), options)
    files: Mapping[str, str] = plugin.loaded_files()
    return files


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("step", "name", "files"),
    [
        ("blood-pool", "resunet", (POOLS,)),
        ("myocardium", "resunet", (POOLS, WALL)),
        ("kinetics", "cnn", (KINETICS,)),
        ("kinetics", "hmc", (PRIORS,)),
        ("kinetics", "pinn", (PRIORS,)),
        ("kinetics", "nlls", (PRIORS,)),
        ("kinetics", "fermi", (PRIORS,)),
        ("blood-pool", "kmeans", ()),
        ("motion-correction", "progressive", ()),
    ],
)
def test_shipped_files_are_named_with_their_digests(step: str, name: str, files: tuple[Path, ...]) -> None:
    assert loaded(step, name) == {path.name: sha256(path) for path in files}


@pytest.mark.parametrize(
    ("step", "name", "option", "shipped"),
    [
        ("blood-pool", "resunet", "weights", POOLS),
        ("myocardium", "resunet", "weights", WALL),
        ("kinetics", "cnn", "weights", KINETICS),
        ("kinetics", "pinn", "weights", KINETICS),
        ("kinetics", "hmc", "priors", PRIORS),
    ],
)
def test_ones_own_file_takes_the_place_of_the_shipped_one(
    tmp_path: Path, step: str, name: str, option: str, shipped: Path
) -> None:
    own = tmp_path / f"own{shipped.suffix}"
    shutil.copy(shipped, own)
    own.write_bytes(own.read_bytes() + b"\n")
    files = loaded(step, name, **{option: str(own)})
    assert files[own.name] == sha256(own) != sha256(shipped) and shipped.name not in files
    with pytest.raises(ValueError, match=r"none\.npz"):
        loaded(step, name, **{option: str(tmp_path / "none.npz")})
