"""``qperf train kinetics --plugin pinn``: learn from participants' own curves, and keep the weights for others."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from qperf_app.methods import kinetic_inputs
from qperf_app.training import KineticScan, Trainer, TrainingJob, TrainingReport, write_trained

FILE = "pinn.npz"
_LIMITS = (
    "Learnt from the curves of the scans named above, without labels; what other scans hold beyond these (flows, "
    "delays, noise) it has not seen. Not a medical device."
)


@dataclass(frozen=True)
class PhysicsInformedTrainerOptions:
    """Options of the trainer."""

    steps: int = field(
        default=3000,
        metadata={"help": "steps, of 256 curves of one scan each; scans take turns", "range": (1, 10_000_000)},
    )
    rate: float = field(default=3e-3, metadata={"help": "learning rate at the start", "range": (1e-9, 10.0)})
    model: Literal["2CXM", "BTEX"] = field(
        default="2CXM", metadata={"help": "2CXM: two compartments; BTEX: a capillary of 20 segments"}
    )
    prior_weight: float = field(default=1.0, metadata={"help": "weight of the priors; 0: none", "range": (0.0, 1e6)})
    priors: str = field(default="", metadata={"help": "YAML file of priors; the built-in ones where it is empty"})

    def __post_init__(self) -> None:
        if self.model not in ("2CXM", "BTEX"):
            raise ValueError(f"model is {self.model!r}; it must be 2CXM or BTEX")


class PhysicsInformedTrainer(Trainer):
    """Trains the network of plugin ``pinn`` on the curves of finished runs."""

    Options = PhysicsInformedTrainerOptions
    from_runs = True

    def train(self, job: TrainingJob) -> TrainingReport:
        """Fit and write weights and card.

        Raises
        ------
        ValueError
            Where there is nothing to learn from.
        """
        from qperf_app.methods.priors import read
        from qperf_pinn.learning import Objective, teach
        from qperf_pinn.network import random_weights, read_network
        from qperf_pinn.setting import NAMES

        if not job.scans:
            raise ValueError("nothing to learn from: name the output folder of a finished run with --from-run")
        if job.resume:
            raise ValueError("a training of pinn takes minutes and keeps no checkpoint: --resume has no use")
        options, started = self.options, time.monotonic()
        scans = [self._examples(scan()) for scan in job.scans]
        priors = read(options.priors, "2CXM", NAMES)
        start = random_weights(job.seed, priors.mean)
        if job.start_from is not None:
            start = read_network(job.start_from, options.model)
        weights, losses = teach(
            start, scans, Objective(priors), options.steps, options.rate, job.seed, options.prior_weight, job.say
        )
        last = float(np.mean(losses[-max(1, len(losses) // 10) :]))
        figures = {"objective over the last tenth of the steps": round(last, 3)}
        described = {
            "title": "Parameters of a kinetic model from a curve, learnt through the model's equations",
            "model": options.model,
            "data": {"scans": len(scans), "curves": sum(len(scan.data) for scan in scans)},
            "seconds": round(time.monotonic() - started),
            "limits": _LIMITS,
        }
        return write_trained(job, job.out / FILE, weights, described, figures)

    def _examples(self, scan: KineticScan):  # type: ignore[no-untyped-def]
        from qperf_pinn.learning import examples_of
        from qperf_pinn.setting import Setting

        kinetic_inputs.check(scan.curves, scan.aif)
        setting = Setting.of(scan.curves, scan.aif, scan.constants.haematocrit, self.options.model)
        examples = examples_of(setting, scan.curves.concentration)
        if not len(examples.data):
            raise ValueError(f"{scan.name}: no curve has enough finite frames")
        return examples
