"""What the training loop is given: batches, loss and validation. Knows nothing of what the classes mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Adds variety to a batch of images and targets.
Augment = Callable[[NDArray[Any], NDArray[Any], np.random.Generator], tuple[NDArray[Any], NDArray[Any]]]

#: Held-out images that are looked at together.
_VALIDATED = 32
#: A held-out example has failed below this Dice; so are the figures of it named.
_GOOD, FAILED = 0.7, "failed"


@dataclass(frozen=True)
class Examples:
    """Images (n, x, y, frames), classes (n, x, y), points (n, p, 2) in pixels, NaN for none; kinds of scene (n,)."""

    images: NDArray[np.float16]
    classes: NDArray[np.uint8]
    points: NDArray[np.float32]
    scenes: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.images)


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
    return np.asarray(np.divide(maps, total, out=np.zeros_like(maps), where=total > 1e-3).astype(np.float32))


@dataclass(frozen=True)
class ImageBatches:
    """Batches of an epoch for :func:`loss_of`: images, classes, and the landmarks' maps where the network has them.

    ``hard`` is the share of an epoch that is drawn from the kinds of scene that fail, in proportion to how often those
    of validation did; ``figures`` gives the last epoch's (:func:`validation_dice`), none before the first.
    """

    examples: Examples
    size: int
    augment: Augment
    points: int
    hard: float = 0.0
    figures: Callable[[], Mapping[str, float]] = dict

    def __len__(self) -> int:
        return len(self.examples) // self._size

    @property
    def _size(self) -> int:
        return min(self.size, len(self.examples))

    def chances(self) -> NDArray[np.float64] | None:
        """Chance of each example to be drawn next, None where every one is drawn once."""
        failures, scenes = self.figures(), self.examples.scenes
        often = np.array([failures.get(f"{FAILED} {scene}", 0.0) for scene in scenes], np.float64)
        if not self.hard or not often.any():
            return None
        return np.asarray((1.0 - self.hard) / len(scenes) + self.hard * often / often.sum())

    def draw(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """Every example once, in an order drawn anew, but for those that would not fill the last batch; with ``hard``
        some more than once and some not at all."""
        import tensorflow as tf

        examples, chances = self.examples, self.chances()
        n = len(examples)
        order = rng.permutation(n) if chances is None else rng.choice(n, n, p=chances)
        for start in range(0, len(self) * self._size, self._size):
            # Sorted: the cache on disk is read in order.
            chosen = np.sort(order[start : start + self._size])
            images = np.asarray(examples.images[chosen], np.float32)
            maps = point_maps(examples.points[chosen], (images.shape[1], images.shape[2]))[..., : self.points]
            targets = np.concatenate([examples.classes[chosen][..., None].astype(np.float32), maps], axis=-1)
            images, targets = self.augment(images, targets, rng)
            arrays = images, targets[..., 0].astype(np.int32), targets[..., 1:]
            yield tuple(tf.constant(np.ascontiguousarray(array)) for array in arrays)


def validation_dice(model: Any, held: Examples, classes: int) -> dict[str, float]:
    """Figures on held-out examples.

    Dice of each foreground class over all pixels, as ``dice_1`` and so on; of each kind of scene, as ``failed cine
    tissue-bSSFP``, the share of the examples whose first class has a Dice below 0.7 (or is seen where there is none).
    """
    both, sizes, failed = np.zeros(classes), np.zeros(classes), np.zeros(len(held), bool)
    for start in range(0, len(held), _VALIDATED):
        part = slice(start, start + _VALIDATED)
        logits = np.asarray(model(np.asarray(held.images[part], np.float32), training=False))
        found = logits[..., :classes].argmax(axis=-1)
        for c in range(classes):
            a, b = found == c, held.classes[part] == c
            both[c] += (a & b).sum()
            sizes[c] += a.sum() + b.sum()
        a, b = found == 1, held.classes[part] == 1
        of_each = [np.count_nonzero(mask, axis=(1, 2)) for mask in (a & b, a, b)]
        failed[part] = 2 * of_each[0] < _GOOD * (of_each[1] + of_each[2])
    kinds = {f"{FAILED} {scene}": float(failed[held.scenes == scene].mean()) for scene in np.unique(held.scenes)}
    return {f"dice_{c}": float(2 * both[c] / max(sizes[c], 1)) for c in range(1, classes)} | kinds


def mean_dice(figures: Mapping[str, float]) -> float:
    """Score of an epoch."""
    return float(np.mean([value for name, value in figures.items() if name.startswith("dice")]))


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
