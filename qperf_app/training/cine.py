"""A folder of cine images with drawn cavities: persons to train on, and persons held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.training.anatomy import Anatomy, UnclearAnatomyError, tell_apart


def cine_files(folder: Path) -> list[tuple[Path, Path]]:
    """Images and their drawn cavities, sorted by name: ``…/Images/…/X.png`` and ``…/Labels/…/X.png``.

    The layout is that of the Sunnybrook cardiac data (Radau et al., MIDAS Journal 2009) as SegNetCMR has it.

    Raises
    ------
    ValueError
        Where there are none, or of fewer than three persons.
    """
    pairs = []
    for image in sorted(folder.rglob("*.png"), key=lambda path: (path.name, str(path))):
        parts = list(image.parts)
        if "Images" in parts:
            parts[len(parts) - 1 - parts[::-1].index("Images")] = "Labels"
            if (drawn := Path(*parts)).is_file():
                pairs.append((image, drawn))
    if len({person_of(image.name) for image, _ in pairs}) < 3:
        raise ValueError(
            f"{folder}: no cine images of three persons with drawn cavities (Images/…/X.png with Labels/…/X.png)"
        )
    return pairs


class Anatomies:
    """Slices of a folder of cine images, each told apart when it is first drawn.

    Every third person is held out: a case of theirs is for validation only.
    """

    def __init__(self, folder: Path) -> None:
        self._persons: dict[str, list[tuple[Path, Path]]] = {}
        for image, drawn in cine_files(folder):
            self._persons.setdefault(person_of(image.name), []).append((image, drawn))
        self._known: dict[Path, Anatomy | None] = {}

    def persons(self, held_out: bool) -> list[str]:
        """Those to train on, or those held out."""
        return [name for i, name in enumerate(sorted(self._persons)) if (i % 3 == 2) is held_out]

    def draw(self, rng: np.random.Generator, held_out: bool = False) -> Anatomy:
        """A person, all alike likely, and one of the slices that can be told apart.

        Raises
        ------
        ValueError
            Where hardly any can.
        """
        persons = self.persons(held_out)
        for _ in range(200):
            files = self._persons[persons[int(rng.integers(len(persons)))]]
            found = self._told_apart(*files[int(rng.integers(len(files)))])
            if found is not None:
                return found
        raise ValueError("none of 200 cine images could be told apart")

    def _told_apart(self, image: Path, drawn: Path) -> Anatomy | None:
        if image not in self._known:
            try:
                self._known[image] = tell_apart(read_picture(image), read_picture(drawn) > 127, image.name)
            except UnclearAnatomyError:
                self._known[image] = None
        return self._known[image]


def person_of(name: str) -> str:
    """Part of an image's name that is the person's: all before ``-IM-``."""
    return name.split("-IM-")[0]


def read_picture(path: Path) -> NDArray[np.float32]:
    """A picture as (x, y), x to the right and y down."""
    from PIL import Image as Pictures

    with Pictures.open(path) as picture:
        return np.ascontiguousarray(np.asarray(picture.convert("L"), np.float32).T)
