"""Training: cases and labels, the trainer's interface, the one training loop, weights with their model cards.

Importing it loads no TensorFlow. ``simulated_cases`` with what it is made of, ``drawn_cases`` and ``finished_runs`` are
the host's, which hands a trainer what they make or read; a plugin imports the rest.
"""

from qperf_app.training.cards import write_trained
from qperf_app.training.cases import (
    HELD_OUT,
    LEFT_BLOOD,
    NOTHING,
    RIGHT_BLOOD,
    WALL,
    CaseKind,
    KineticScan,
    TrainingCase,
)
from qperf_app.training.checkpoints import check_same_training
from qperf_app.training.loop import Batches, Schedule, TrainingLoop, build_seeded, cosine, halved, train_network
from qperf_app.training.trainer import Trainer, TrainingJob, TrainingReport
from qperf_app.training.weights import WeightsError, card_of, read_arrays, read_card, write_weights

__all__ = [
    "HELD_OUT",
    "LEFT_BLOOD",
    "NOTHING",
    "RIGHT_BLOOD",
    "WALL",
    "Batches",
    "CaseKind",
    "KineticScan",
    "Schedule",
    "Trainer",
    "TrainingCase",
    "TrainingJob",
    "TrainingLoop",
    "TrainingReport",
    "WeightsError",
    "build_seeded",
    "card_of",
    "check_same_training",
    "cosine",
    "halved",
    "read_arrays",
    "read_card",
    "train_network",
    "write_trained",
    "write_weights",
]
