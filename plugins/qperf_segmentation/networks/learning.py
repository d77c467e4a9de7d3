"""Teach a network: batches, loss, schedule, early stopping, checkpoints. Knows nothing of what the classes mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import training_state
from qperf_segmentation.networks.architecture import Architecture, build

#: Adds variety to a batch of images and targets.
Augment = Callable[[NDArray[Any], NDArray[Any], np.random.Generator], tuple[NDArray[Any], NDArray[Any]]]


@dataclass(frozen=True)
class Examples:
    """Images (n, x, y, frames), classes (n, x, y), and points (n, p, 2) in pixels, NaN where there is none."""

    images: NDArray[np.float16]
    classes: NDArray[np.uint8]
    points: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: the rate is halved every ``halve_every`` epochs; training stops after ``patience`` epochs
    without a better validation Dice."""

    epochs: int = 40
    batch: int = 16
    rate: float = 1e-3
    halve_every: int = 10
    patience: int = 12


def loss_of(logits: Any, classes: Any, maps: Any, n_classes: int) -> Any:
    """Cross-entropy minus half the logarithm of the soft intersection over union of the foreground classes.

    ``maps`` (batch, x, y, 0 or 1) is the landmarks' target map, of sum 1, or 0 where there is no landmark; its
    cross-entropy over the plane is added with a weight of 0.1.
    """
    import tensorflow as tf

    scores, points = logits[..., :n_classes], logits[..., n_classes:]
    wanted = tf.one_hot(classes, n_classes)
    entropy = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, scores))
    share = tf.nn.softmax(scores)
    both = tf.reduce_sum(share * wanted, [0, 1, 2])[1:]
    either = tf.reduce_sum(share + wanted - share * wanted, [0, 1, 2])[1:]
    result = entropy - 0.5 * tf.reduce_mean(tf.math.log((both + 1.0) / (either + 1.0)))
    if maps.shape[-1]:
        size = tf.shape(maps)
        flat = [tf.reshape(a, [size[0], -1, maps.shape[-1]]) for a in (maps, points)]
        there = tf.reduce_sum(flat[0], 1)
        missed = -tf.reduce_sum(flat[0] * tf.nn.log_softmax(flat[1], axis=1), 1)
        result += 0.1 * tf.reduce_sum(missed) / tf.maximum(tf.reduce_sum(there), 1.0)
    return result


def point_maps(points: NDArray[np.floating], shape: tuple[int, int], sigma: float = 1.5) -> NDArray[np.float32]:
    """Maps (n, x, y, 1) of sum 1 with a Gaussian about each of the points (n, p, 2); 0 where there is none."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    away = (x[None, :, :, None] - points[:, None, None, :, 0]) ** 2
    away = away + (y[None, :, :, None] - points[:, None, None, :, 1]) ** 2
    maps = np.nan_to_num(np.exp(-away / (2 * sigma**2))).sum(axis=-1, keepdims=True)
    total = maps.sum(axis=(1, 2), keepdims=True)
    return np.divide(maps, total, out=np.zeros_like(maps), where=total > 1e-3).astype(np.float32)


class Learner:
    """Trains one network; everything that a resumed run needs is in its checkpoint."""

    def __init__(self, architecture: Architecture, schedule: Schedule, seed: int, folder: Path) -> None:
        import keras

        keras.utils.set_random_seed(seed % 2**32)
        self.architecture, self.schedule, self.seed = architecture, schedule, seed
        self.model = build(architecture)
        self.optimizer = keras.optimizers.Adam(schedule.rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
        self.optimizer.build(self.model.trainable_variables)
        self.history: list[dict[str, float]] = []
        self.best: list[NDArray[Any]] = self.model.get_weights()
        self._folder = folder

    def train(self, train: Examples, held: Examples, augment: Augment, say: Callable[[str], None]) -> None:
        """Train to the end of the schedule, or until validation gets no better; the model keeps the best weights."""
        step = self._make_step()
        while len(self.history) < self.schedule.epochs and not self._settled():
            epoch, started = len(self.history), time.monotonic()
            self.optimizer.learning_rate.assign(self.schedule.rate * 0.5 ** (epoch // self.schedule.halve_every))
            # Each epoch's draws hang on its number, so that a resumed run goes the same way.
            rng = np.random.default_rng([self.seed, epoch])
            losses = [float(step(*batch)) for batch in self._batches(train, augment, rng)]
            dice = self.validate(held)
            self.history.append(
                {"loss": float(np.mean(losses)), **{f"dice_{i + 1}": float(d) for i, d in enumerate(dice)}}
            )
            if self._score(self.history[-1]) >= max(map(self._score, self.history)):
                self.best = self.model.get_weights()
            training_state.save(self._folder, self.model, self.optimizer, self.best, self.history)
            scores = ", ".join(f"{d:.3f}" for d in dice)
            say(
                f"epoch {epoch + 1}/{self.schedule.epochs}: loss {np.mean(losses):.4f}, validation Dice {scores} "
                f"({time.monotonic() - started:.0f} s)"
            )
        self.model.set_weights(self.best)

    def resume(self) -> int:
        """Take up the checkpoint, if there is one; returns the epochs that are done."""
        found = training_state.restore(self._folder, self.model, self.optimizer)
        if found is not None:
            self.best, self.history = found
        return len(self.history)

    def validate(self, held: Examples) -> NDArray[np.float64]:
        """Dice of each foreground class over all held-out pixels."""
        n = self.architecture.classes
        both, sizes = np.zeros(n), np.zeros(n)
        for start in range(0, len(held), 32):
            part = slice(start, start + 32)
            found = self.predict(held.images[part]).argmax(axis=-1)
            for c in range(n):
                a, b = found == c, held.classes[part] == c
                both[c] += (a & b).sum()
                sizes[c] += a.sum() + b.sum()
        return 2 * both[1:] / np.maximum(sizes[1:], 1)

    def predict(self, images: NDArray[np.floating]) -> NDArray[np.float32]:
        """Logits of the classes, (n, x, y, classes)."""
        result = self.model(np.asarray(images, np.float32), training=False)
        return np.asarray(result)[..., : self.architecture.classes]

    def _make_step(self) -> Callable[..., Any]:
        import tensorflow as tf

        @tf.function(reduce_retracing=True)
        def step(images: Any, classes: Any, maps: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = loss_of(self.model(images, training=True), classes, maps, self.architecture.classes)
            variables = self.model.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        return step

    def _batches(self, examples: Examples, augment: Augment, rng: np.random.Generator) -> Any:
        import tensorflow as tf

        order = rng.permutation(len(examples))
        size = min(self.schedule.batch, len(order))
        for start in range(0, len(order) - size + 1, size):
            # Sorted: the cache on disk is read in order.
            chosen = np.sort(order[start : start + size])
            images = np.asarray(examples.images[chosen], np.float32)
            maps = point_maps(examples.points[chosen], self.architecture.shape)[..., : self.architecture.points]
            targets = np.concatenate([examples.classes[chosen][..., None].astype(np.float32), maps], axis=-1)
            images, targets = augment(images, targets, rng)
            yield tuple(
                tf.constant(np.ascontiguousarray(a))
                for a in (images, targets[..., 0].astype(np.int32), targets[..., 1:])
            )

    @staticmethod
    def _score(entry: dict[str, float]) -> float:
        return float(np.mean([v for k, v in entry.items() if k.startswith("dice")]))

    def _settled(self) -> bool:
        scores = [self._score(entry) for entry in self.history]
        return bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= self.schedule.patience


def flips(images: NDArray[Any], targets: NDArray[Any], rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mirror the batch along none, one or both axes."""
    axes = tuple(axis + 1 for axis in (0, 1) if rng.random() < 0.5)
    return (np.flip(images, axes), np.flip(targets, axes)) if axes else (images, targets)


def intensities(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Change brightness, contrast and noise of each image."""
    one_each = (len(images), 1, 1, 1)
    gain, bend = (np.exp(rng.normal(0.0, sigma, one_each)).astype(np.float32) for sigma in (0.2, 0.15))
    offset, noisy = rng.normal(0.0, 0.03, one_each), rng.uniform(0.0, 0.04, one_each)
    result = rng.standard_normal(images.shape, dtype=np.float32) * noisy.astype(np.float32)
    # |x|^b of the sign of x, to first order about b = 1: a power of every sample would take longer than the network.
    size = np.abs(images)
    result += gain * images * (1.0 + (bend - 1.0) * np.log(size + np.float32(1e-3)))
    return result + offset.astype(np.float32)
