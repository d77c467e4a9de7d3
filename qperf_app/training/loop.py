"""The training loop: epochs, learning rate, best weights, checkpoints. Loss and batches are given to it.

What is drawn in an epoch hangs on the seed and the epoch's number alone, so that a training that was stopped and taken
up again ends where an unbroken one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qperf_app.training import checkpoints
from qperf_app.training.trainer import TrainingJob

#: Learning rate at a time, in epochs, a part of one included.
Rate = Callable[[float], float]
#: Figures of an epoch by name.
Figures = dict[str, float]

# Time between two words on a long epoch, s.
_TOLD_EVERY = 30.0


class Network(Protocol):
    """What the loop needs of a network; a Keras model has it."""

    @property
    def trainable_variables(self) -> list[Any]:
        """Keras variables that the optimizer moves."""

    def get_weights(self) -> list[NDArray[Any]]:
        """Arrays of all variables."""

    def set_weights(self, weights: list[NDArray[Any]]) -> None:
        """Put arrays into all variables."""


class Batches(Protocol):
    """Examples of an epoch; its length is the number of batches."""

    def __len__(self) -> int: ...

    def draw(self, rng: np.random.Generator) -> Iterable[tuple[Any, ...]]:
        """Arguments of the loss, one batch after another, in an order drawn anew."""


@dataclass(frozen=True)
class Schedule:
    """Epochs at most, the learning rate, and how many epochs without a better score end the training."""

    epochs: int
    rate: Rate
    patience: int


def halved(rate: float, every: int, restart_every: int = 0) -> Rate:
    """Learning rate that is halved every so many epochs.

    With ``restart_every`` it starts anew after so many epochs: a warm restart (Loshchilov and Hutter 2017,
    arXiv:1608.03983).
    """

    def at(epoch: float) -> float:
        since = int(epoch) % restart_every if restart_every else int(epoch)
        return float(rate * 0.5 ** (since // every))

    return at


def cosine(rate: float, epochs: int, least: float = 0.0) -> Rate:
    """Learning rate that falls along half a cosine, to ``least`` of itself at the end."""

    def at(epoch: float) -> float:
        return float(rate * (least + 0.5 * (1.0 - least) * (1.0 + np.cos(np.pi * epoch / epochs))))

    return at


def build_seeded(build: Callable[[], Any], seed: int) -> Any:
    """A Keras model whose first weights are drawn from a seed."""
    import keras

    keras.utils.set_random_seed(seed % 2**32)
    return build()


def minus_loss(figures: Mapping[str, float]) -> float:
    """Score of a training without validation."""
    return -figures["loss"]


class TrainingLoop:
    """Trains one network.

    Parameters
    ----------
    network : Network
    optimizer : keras.optimizers.Optimizer
        Its learning rate is set at every step.
    loss : function
        Mean loss, a scalar tensor, of what :class:`Batches` draw.
    schedule : Schedule
    seed : int
    folder : Path, optional
        For the checkpoint that is written after every epoch; none is kept without it.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Any,
        loss: Callable[..., Any],
        schedule: Schedule,
        seed: int,
        folder: Path | None = None,
    ) -> None:
        self.network, self.optimizer, self.schedule, self.seed = network, optimizer, schedule, seed
        optimizer.build(network.trainable_variables)
        #: Figures of every epoch, ``loss`` and what validation gives.
        self.history: list[Figures] = []
        #: Loss of every step of the last epoch.
        self.losses: list[float] = []
        self._best = network.get_weights()
        self._folder = folder
        self._step = self._compiled(loss)

    def resume(self) -> int:
        """Take up the checkpoint, if there is one; returns the epochs that are done."""
        found = None if self._folder is None else checkpoints.restore(self._folder, self.network, self.optimizer)
        if found is not None:
            self._best, self.history = found
        return len(self.history)

    def run(
        self,
        batches: Batches,
        validate: Callable[[], Figures] | None = None,
        score: Callable[[Mapping[str, float]], float] = minus_loss,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Train to the end of the schedule, or until the score gets no better; the network keeps the best weights.

        Parameters
        ----------
        batches : Batches
        validate : function, optional
            Figures of the network as it is.
        score : function
            Of an epoch's figures; the higher, the better.
        say : function, optional
            Told of the progress.
        """
        while len(self.history) < self.schedule.epochs and not self._settled(score):
            epoch, started = len(self.history), time.monotonic()
            self.losses = self._epoch(epoch, batches, say)
            figures = {"loss": float(np.mean(self.losses)), **(validate() if validate else {})}
            self.history.append(figures)
            if score(figures) >= max(map(score, self.history)):
                self._best = self.network.get_weights()
            if self._folder is not None:
                checkpoints.save(self._folder, self.network, self.optimizer, self._best, self.history)
            if say is not None:
                told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
                say(f"epoch {epoch + 1}/{self.schedule.epochs}: {told} ({time.monotonic() - started:.0f} s)")
        self.network.set_weights(self._best)

    def _epoch(self, epoch: int, batches: Batches, say: Callable[[str], None] | None) -> list[float]:
        """Take the steps of one epoch; their losses."""
        losses, count, last = [], len(batches), time.monotonic()
        for k, batch in enumerate(batches.draw(np.random.default_rng([self.seed, epoch]))):
            self.optimizer.learning_rate.assign(self.schedule.rate(epoch + k / count))
            losses.append(self._step(*batch))
            if say is not None and time.monotonic() - last > _TOLD_EVERY:
                last = time.monotonic()
                say(f"epoch {epoch + 1}/{self.schedule.epochs}: step {k + 1} of {count}, loss {float(losses[-1]):.4f}")
        return [float(loss) for loss in losses]

    def _compiled(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        """One step of the optimizer as a compiled function."""
        import tensorflow as tf

        def step(*batch: Any) -> Any:
            variables = self.network.trainable_variables
            with tf.GradientTape() as tape:
                value = loss(*batch)
            self.optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
            return value

        compiled: Callable[..., Any] = tf.function(step, reduce_retracing=True)
        return compiled

    def _settled(self, score: Callable[[Mapping[str, float]], float]) -> bool:
        scores = [score(figures) for figures in self.history]
        return bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= self.schedule.patience


def train_network(
    job: TrainingJob,
    loop: TrainingLoop,
    batches: Batches,
    validate: Callable[[], Figures],
    score: Callable[[Mapping[str, float]], float],
    examples: str,
) -> Figures:
    """Run a job's loop, from its checkpoint where it is to be resumed.

    ``examples`` tells the user what there is to train on. Returns the figures of the epoch whose weights are kept.
    """
    done = loop.resume() if job.resume else 0
    parameters = sum(weights.size for weights in loop.network.get_weights())
    job.say(f"{parameters} parameters, {examples}; {done} of at most {loop.schedule.epochs} epochs done")
    loop.run(batches, validate, score, job.say)
    return max(reversed(loop.history), key=score)
