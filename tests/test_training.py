"""The training room: one loop for every network, learning rates, and the commands of the shipped weights."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qperf_app.cli import train
from qperf_app.cli.tools import main
from qperf_app.training import Schedule, TrainingLoop, build_seeded, check_same_training, cosine, halved
from qperf_cnn.plugin import SHIPPED as KINETICS
from qperf_segmentation.networks.weights import SHIPPED as NETWORKS

CARDS = sorted((*KINETICS["2CXM"].parent.glob("*.json"), *NETWORKS.glob("*.json")))


# ------------------------------------------------------------------ shipped weights


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_the_command_of_a_shipped_card_makes_its_weights_from_nothing(card: Path, tmp_path: Path) -> None:
    program, command, *arguments = shlex.split(json.loads(card.read_text())["command"])
    assert (program, command) == ("qperf", "train")
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    args = parser.parse_args([str(tmp_path) if word == "OUT" else word for word in arguments])
    assert args.out == tmp_path
    assert args.start_from is None and not args.dataset and not args.from_run and not args.resume
    trainer = train.load_trainer(train._trainable()[args.step][args.plugin])
    trainer.Options(**train._options(args, trainer))


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_a_shipped_card_names_no_file_that_is_not_there(card: Path) -> None:
    content = json.loads(card.read_text())
    assert content.get("started_from") is None
    words = [word for word in content["command"].split() if not word.replace(".", "").isdigit()]
    assert card.with_suffix(".npz").is_file() and not [word for word in words if "." in word]


# ------------------------------------------------------------------ learning rates


def test_rates_halve_and_start_anew() -> None:
    rate = halved(0.8, 2, restart_every=5)
    assert [rate(epoch) for epoch in (0.0, 1.9, 2.0, 4.5, 5.0, 7.0)] == [0.8, 0.8, 0.4, 0.2, 0.8, 0.4]
    assert [halved(0.8, 2)(epoch) for epoch in (5.0, 7.0)] == [0.2, 0.1]
    fall = cosine(2.0, 10, least=0.1)
    assert fall(0.0) == 2.0 and fall(10.0) == pytest.approx(0.2) and fall(5.0) == pytest.approx(1.1)


# ------------------------------------------------------------------ the loop


class Line:
    """Batches of a straight line, y = 2 x - 1, with noise."""

    def __len__(self) -> int:
        return 5

    def draw(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        import tensorflow as tf

        for _ in range(len(self)):
            x = rng.uniform(-1.0, 1.0, (16, 1)).astype(np.float32)
            yield tf.constant(x), tf.constant(2.0 * x - 1.0 + rng.normal(0.0, 0.05, x.shape).astype(np.float32))


def line_loop(epochs: int, folder: Path | None = None, patience: int = 99, rate: float = 0.1) -> TrainingLoop:
    import keras
    import tensorflow as tf

    model = build_seeded(lambda: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), 7)
    return TrainingLoop(
        model,
        keras.optimizers.Adam(rate),
        lambda x, y: tf.reduce_mean(tf.square(model(x) - y)),
        Schedule(epochs, cosine(rate, 20), patience),
        7,
        folder,
    )


def weights_of(loop: TrainingLoop) -> list[NDArray[Any]]:
    return [np.array(w) for w in loop.network.get_weights()]


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole = line_loop(20)
    whole.run(Line())
    assert whole.history[-1]["loss"] < 0.02 < whole.history[0]["loss"] and len(whole.losses) == len(Line())
    (tmp_path / "a").mkdir()
    broken = line_loop(8, tmp_path / "a")
    broken.run(Line())
    resumed = line_loop(20, tmp_path / "a")
    assert resumed.resume() == 8
    resumed.run(Line())
    assert [entry["loss"] for entry in resumed.history] == [entry["loss"] for entry in whole.history]
    for first, second in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_folder_is_of_one_training(tmp_path: Path) -> None:
    """Cases that a training has left are never another one's, with or without a checkpoint."""
    check_same_training(tmp_path, {"seed": 1}, resume=False)
    for resume in (False, True):
        check_same_training(tmp_path, {"seed": 1}, resume)
        with pytest.raises(ValueError, match=r"training\.json: the training there had other options or another seed"):
            check_same_training(tmp_path, {"seed": 2}, resume)
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(ValueError, match=r"training\.json: can't be read"):
        check_same_training(tmp_path, {"seed": 1}, resume=True)
    (tmp_path / "training.json").unlink()
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is missing"):
        check_same_training(tmp_path, {"seed": 1}, resume=True)
    with pytest.raises(ValueError, match=r"checkpoint\.npz: is damaged .*; remove it to begin anew"):
        line_loop(1, tmp_path).resume()


def test_the_best_weights_are_kept_and_no_better_score_ends_it() -> None:
    seen: list[list[NDArray[Any]]] = []
    loop = line_loop(20, patience=3)

    def validate() -> dict[str, float]:
        seen.append(weights_of(loop))
        return {"validation": float(abs(len(seen) - 4))}

    told: list[str] = []
    loop.run(Line(), validate, lambda figures: -figures["validation"], told.append)
    assert len(loop.history) == 7, "three epochs after the fourth"
    for kept, best in zip(weights_of(loop), seen[3], strict=True):
        np.testing.assert_array_equal(kept, best)
    assert told[0].startswith("epoch 1/20: loss ") and "validation 3.0000" in told[0]


def test_importing_the_room_loads_no_tensorflow() -> None:
    import subprocess
    import sys

    code = "import sys, qperf_app.training; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("kinetics", "OUT", "--start-from", "nowhere.npz"), "nowhere.json: no model card"),
        (("kinetics", "OUT", "--start-from", "WEIGHTS", "--width", "64"), "not of width 64 (--width)"),
        (("blood-pool", "OUT", "--start-from", "nowhere.npz"), "nowhere.json: no model card"),
        (("kinetics", "OUT", "--studies", "0"), "nothing to train on"),
        (("kinetics", "FILE"), "is not a folder"),
    ],
)
def test_what_can_not_be_trained_is_refused_before_cases_are_made(
    words: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    given = {"OUT": tmp_path / "out", "FILE": tmp_path / "file", "WEIGHTS": KINETICS["2CXM"]}
    assert main(["train", *(str(given.get(word, word)) for word in words)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and reason in said[0]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
