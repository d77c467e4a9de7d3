"""What the trainers of both networks share: examples from cases, cached on disk; training; model card; picture."""

from __future__ import annotations

import dataclasses
import os
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.training import (
    HELD_OUT,
    Schedule,
    Trainer,
    TrainingCase,
    TrainingJob,
    TrainingLoop,
    TrainingReport,
    build_seeded,
    check_same_training,
    halved,
    train_network,
    write_trained,
)
from qperf_segmentation.networks.architecture import Architecture, build
from qperf_segmentation.networks.weights import load

#: So many drawn cases have one among them that is held out.
HELD_EVERY = 5
#: Options that may change when a training is taken up again.
SCHEDULE = ("cases", "hard", "epochs", "patience", "halve_every", "restart_every")


@dataclass(frozen=True)
class TrainerOptions:
    """Options of both trainers; each becomes a flag of ``qperf train``."""

    cases: int = field(
        default=3000, metadata={"help": "simulated cases to train on; 0: drawn ones only", "range": (0, 10_000_000)}
    )
    held_out: int = field(default=300, metadata={"help": "simulated cases to validate on", "range": (0, 10_000_000)})
    filters: int = field(default=32, metadata={"help": "filters of every convolution", "range": (1, 10_000)})
    modules: int = field(default=8, metadata={"help": "residual modules", "range": (5, 1000)})
    epochs: int = field(default=40, metadata={"help": "passes through the cases at most", "range": (1, 1_000_000)})
    batch: int = field(default=16, metadata={"help": "cases of one step", "range": (1, 1_000_000)})
    rate: float = field(default=1e-3, metadata={"help": "learning rate at the start", "range": (1e-9, 10.0)})
    halve_every: int = field(
        default=10, metadata={"help": "epochs after which the rate is halved", "range": (1, 1_000_000)}
    )
    restart_every: int = field(
        default=0, metadata={"help": "epochs after which the rate starts anew; 0: never", "range": (0, 1_000_000)}
    )
    patience: int = field(
        default=12,
        metadata={"help": "epochs without a better validation Dice that end training", "range": (1, 1_000_000)},
    )
    clock: str = field(default="passes", metadata={"help": "time between samples: in passes of the bolus, or seconds"})
    hard: float = field(
        default=0.0, metadata={"help": "share of an epoch drawn from kinds of scene that fail", "range": (0.0, 1.0)}
    )
    drawn_copies: int = field(
        default=10, metadata={"help": "times that each drawn case is seen in an epoch", "range": (1, 1_000_000)}
    )


@dataclass(frozen=True)
class Example:
    """One case as the network sees it: (x, y, frames), (x, y) classes, (p, 2) points in pixels, NaN for none."""

    image: NDArray[np.floating]
    classes: NDArray[np.uint8]
    points: NDArray[np.floating]
    scene: str


class NetworkTrainer(Trainer):
    """Trains a residual U-Net on cases."""

    Options = TrainerOptions
    #: File name of the weights, and what the model card says of them.
    file: str
    title: str
    limits: str
    #: Landmarks of an example.
    points = 0

    @abstractmethod
    def architecture(self) -> Architecture:
        """The network for these options."""

    @abstractmethod
    def examples_of(self, case: TrainingCase, rng: np.random.Generator) -> Iterator[Example]:
        """What the network sees of a case; nothing where it can't see anything."""

    @abstractmethod
    def augment(
        self, images: NDArray[Any], targets: NDArray[Any], rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Variety for a batch."""

    def train(self, job: TrainingJob) -> TrainingReport:
        """Make the examples, train, and write weights, card and picture.

        Raises
        ------
        ValueError
            Where there is nothing to train on, or the checkpoint is of another training.
        """
        import keras

        from qperf_segmentation.networks.learning import FAILED, ImageBatches, loss_of, mean_dice, validation_dice

        options, architecture = self.options, self.architecture()
        if options.clock not in ("seconds", "passes"):
            raise ValueError(f"clock is {options.clock!r}, not seconds or passes")
        if not options.cases and not job.drawn:
            raise ValueError("cases is 0 and no drawn masks are given: there is nothing to train on")
        if not options.held_out and len(job.drawn) < HELD_EVERY:
            raise ValueError(
                f"held-out is 0 and of {len(job.drawn)} drawn series none is held out (every {HELD_EVERY}th is): there "
                "is nothing to tell the better epochs by"
            )
        # Before the cases are made, which may take hours.
        start = None if job.start_from is None else load(job.start_from, **_fixed(architecture)).get_weights()
        fixed = {k: v for k, v in dataclasses.asdict(options).items() if k not in SCHEDULE}
        made_of = {"trainer": self.file, "seed": job.seed, "anatomy": job.anatomy, "drawn": len(job.drawn)}
        wanted = {**made_of, **fixed}
        check_same_training(job.out, wanted, job.resume)
        train, held = self._examples(job)
        model = build_seeded(partial(build, architecture), job.seed)
        if start is not None:
            model.set_weights(start)
        rate = halved(options.rate, options.halve_every, options.restart_every)
        loop = TrainingLoop(
            model,
            keras.optimizers.Adam(options.rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8),
            lambda images, classes, maps: loss_of(model(images, training=True), classes, maps, architecture.classes),
            Schedule(options.epochs, rate, options.patience),
            job.seed,
            job.out,
        )
        batches = ImageBatches(
            train,
            options.batch,
            self.augment,
            architecture.points,
            options.hard,
            lambda: loop.history[-1] if loop.history else {},
        )
        started = time.monotonic()
        best = train_network(
            job,
            loop,
            batches,
            lambda: validation_dice(model, held, architecture.classes),
            mean_dice,
            f"{len(train)} cases to train on, {len(held)} held out",
        )
        described = {
            "title": self.title,
            "architecture": architecture.as_dict(),
            "parameters": int(model.count_params()),
            "data": {
                "simulated": options.cases,
                "anatomy": job.anatomy,
                "drawn": len(job.drawn),
                "examples": len(train),
                "held_out": len(held),
            },
            "epochs": len(loop.history),
            "seconds": round(time.monotonic() - started),
            "limits": self.limits,
        }
        course = [{k: v for k, v in epoch.items() if not k.startswith(FAILED)} for epoch in loop.history]
        figures = {f"held-out {name}": round(value, 4) for name, value in best.items()}
        return write_trained(job, job.out / self.file, model.get_weights(), described, figures, course)

    def _examples(self, job: TrainingJob) -> tuple[Any, Any]:
        """Examples to train on and to validate on: simulated, and drawn."""
        sets = []
        for name, count, first in (("train", self.options.cases, 0), ("held", self.options.held_out, HELD_OUT)):
            simulated = self._simulated(job, name, count if self.options.cases else 0, first)
            sets.append(simulated)
        drawn_train, drawn_held = self._drawn(job)
        return _joined(sets[0], drawn_train, self.options.drawn_copies), _joined(sets[1], drawn_held, 1)

    def _simulated(self, job: TrainingJob, name: str, count: int, first: int) -> Any:
        """Examples of ``count`` simulated cases, from a cache in the output folder that is filled where it is short."""
        from qperf_segmentation.networks.learning import Examples

        architecture = self.architecture()
        folder = job.out / "cache"
        folder.mkdir(exist_ok=True)
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "images": ((count, *architecture.shape, architecture.frames), np.float16),
            "classes": ((count, *architecture.shape), np.uint8),
            "points": ((count, self.points, 2), np.float32),
            "scenes": ((count,), np.dtype("<U24")),
        }
        if not count:
            return Examples(*(np.zeros(shape, dtype) for shape, dtype in shapes.values()))
        assert job.simulated is not None
        paths = {key: folder / f"{name}-{key}.raw" for key, (shape, _) in shapes.items() if np.prod(shape)}
        progress = folder / f"{name}.count"
        done = int(progress.read_text()) if progress.is_file() else 0
        done = done if all(p.is_file() for p in paths.values()) else 0
        # A file that is longer than asked for keeps what it has, a shorter one is made longer: cases may be added.
        arrays: dict[str, Any] = {
            key: np.memmap(paths[key], dtype, "r+" if done else "w+", shape=shape) if key in paths else np.zeros(shape)
            for key, (shape, dtype) in shapes.items()
        }
        for key, path in paths.items():
            _reserve(path, arrays[key].nbytes)
        last = time.monotonic()
        for i in range(done, count):
            example = self._one(job, first + i)
            arrays["images"][i], arrays["classes"][i] = example.image, example.classes
            arrays["points"][i], arrays["scenes"][i] = example.points, example.scene
            if time.monotonic() - last > 15 or i + 1 == count:
                last = time.monotonic()
                for key in paths:
                    arrays[key].flush()
                progress.write_text(str(i + 1))
                job.say(f"simulated {i + 1} of {count} cases ({name})")
        return Examples(*(arrays[key][:count] for key in shapes))

    def _one(self, job: TrainingJob, number: int) -> Example:
        """The example of a simulated case; one that shows nothing is replaced by another."""
        assert job.simulated is not None
        for attempt in range(20):
            rng = np.random.default_rng([job.seed, number, attempt])
            for example in self.examples_of(job.simulated(number + attempt * 10 * HELD_OUT), rng):
                return example
        raise ValueError("the simulated cases show nothing that could be trained on")

    def _drawn(self, job: TrainingJob) -> tuple[list[Example], list[Example]]:
        """Examples of cases that people drew, every :data:`HELD_EVERY`-th one held out."""
        train: list[Example] = []
        held: list[Example] = []
        for i, read in enumerate(job.drawn):
            into = held if i % HELD_EVERY == HELD_EVERY - 1 else train
            into += list(self.examples_of(read(), np.random.default_rng([job.seed, i, 99])))
        if job.drawn:
            job.say(f"drawn: {len(train)} slices to train on, {len(held)} held out")
        if job.drawn and not train:
            raise ValueError("none of the drawn cases can be trained on")
        return train, held


def _reserve(path: Path, size: int) -> None:
    """Take the room of a mapped file: a disk that is full ends a program that writes to one without a word."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _fixed(architecture: Architecture) -> dict[str, Any]:
    """What weights to start from must share with the network."""
    return {k: getattr(architecture, k) for k in ("shape", "frames", "classes", "points", "filters", "modules")}


def _joined(simulated: Any, drawn: list[Example], copies: int) -> Any:
    """Simulated and drawn examples as one set."""
    from qperf_segmentation.networks.learning import Examples

    if not drawn:
        return simulated
    stacked = [
        np.stack([np.asarray(getattr(e, part)) for e in drawn] * copies)
        for part in ("image", "classes", "points", "scene")
    ]
    arrays = (simulated.images, simulated.classes, simulated.points, simulated.scenes)
    return Examples(*(np.concatenate([a, b.astype(a.dtype)]) for a, b in zip(arrays, stacked, strict=True)))
