"""``qperf train kinetics``: simulate, label, learn, and write weights and model card."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel, exchange_model
from qperf_app.plugins import STATISTICS
from qperf_app.plugins.results import INTERVAL
from qperf_app.training import (
    Schedule,
    Trainer,
    TrainingJob,
    TrainingLoop,
    TrainingReport,
    build_seeded,
    check_same_training,
    cosine,
    train_network,
    write_trained,
)
from qperf_cnn.labels import MEDIAN, QUANTITIES, Labels, LabelStore
from qperf_cnn.own import studies_of
from qperf_cnn.simulation import Study, simulate
from qperf_cnn.targets import Kind, read_kind, spread_of, statistics_of, value_of

Array = NDArray[np.float64]
In = TypeVar("In")
Out = TypeVar("Out")

#: Curves of a study.
CURVES = 128
#: Studies from this number on are for validation, never for training.
HELD_OUT = 1_000_000
#: Frames that every curve is padded to where the network learns through the model.
FRAMES = 112
#: Options that may change when a training is taken up again.
SCHEDULE = ("epochs", "patience")
FILE = "kinetics.npz"
# Part of the learning rate that is left at the end.
_LEAST_RATE = 0.01
_LABELLER: dict[str, tuple[str, dict[str, Any]]] = {
    "posterior": ("hmc", {"passes": 1}),
    # With every value, however little the curve says of it: who leaves those out learns from easy curves only.
    "mle": ("nlls", {"regularisation": "none", "max_log_sd": np.inf, "max_delay_sd": np.inf}),
}
_IN_WORDS: dict[ExchangeModel, str] = {
    "2CXM": "two-compartment exchange model",
    "ATH": "adiabatic tissue homogeneity model",
}
_LIMITS = (
    "Learnt from simulated curves of the {model} and from posteriors under the built-in priors; "
    "whoever changes the priors trains again. Frames 0.5 to 1.4 s apart over 30 to 90 s, noise up to 2 % of the input "
    "function's peak. Not a medical device."
)


@dataclass(frozen=True)
class KineticsTrainerOptions:
    """Options of the trainer; each becomes a flag of ``qperf train kinetics``."""

    labels: str = field(
        default="posterior",
        metadata={
            "help": "what to learn: posterior (of plugin hmc), truth, mle (plugin nlls without priors), self (through "
            "the model, without labels) or hybrid:WEIGHT[:FIRST:SECOND], FIRST weighted against SECOND (truth and mle)"
        },
    )
    model: ExchangeModel = field(
        default="2CXM", metadata={"help": "what the curves follow: 2CXM, or ATH, the scale of distributed models"}
    )
    studies: int = field(
        default=800,
        metadata={
            "help": f"simulated studies of {CURVES} curves to train on, beside those of --from-run",
            "range": (0, 1_000_000),
        },
    )
    held_out: int = field(default=40, metadata={"help": "simulated studies to validate on", "range": (1, 1_000_000)})
    label_folder: str = field(
        default="",
        metadata={
            "help": "folder of labels, for several trainings on the same; OUT/labels where it is empty",
            "path": True,
        },
    )
    epochs: int = field(default=90, metadata={"help": "passes through the curves at most", "range": (1, 1_000_000)})
    batch: int = field(default=512, metadata={"help": "curves of one step", "range": (1, 1_000_000)})
    rate: float = field(default=2e-3, metadata={"help": "learning rate at the start", "range": (1e-9, 10.0)})
    patience: int = field(
        default=20,
        metadata={"help": "epochs without a better validation loss that end training", "range": (1, 1_000_000)},
    )
    width: int = field(
        default=192, metadata={"help": "width of the dense layers; filters are in proportion", "range": (1, 100_000)}
    )


class KineticsTrainer(Trainer):
    """Trains the network of plugin ``cnn``."""

    Options = KineticsTrainerOptions
    from_runs = True

    def train(self, job: TrainingJob) -> TrainingReport:
        """Simulate, label in resumable pieces, train, and write weights, card and picture.

        The curves of finished runs are labelled and learnt with the simulated ones; what is held out is simulated.

        Raises
        ------
        ValueError
            For a kind of label that there is none of, a run without curves, or a checkpoint of another training.
        """
        import keras

        from qperf_cnn import scope
        from qperf_cnn.network import Architecture, build, load, shapes

        options, kind = self.options, read_kind(self.options.labels)
        exchange_model(options.model)
        if job.scans and "truth" in kind.sources:
            raise ValueError(f"labels {options.labels}: nobody knows the truth of the curves of --from-run")
        architecture = Architecture((options.width // 4, options.width // 2), options.width)
        # Before the curves are labelled, which may take hours.
        start = None if job.start_from is None else load(job.start_from).weights
        if start is not None and [array.shape for array in start] != shapes(architecture):
            raise ValueError(f"{job.start_from}: not of width {options.width} (--width)")
        own = [partial(_same, study) for read in job.scans for study in studies_of(read(), CURVES, options.model)]
        if not options.studies and not own:
            raise ValueError("studies is 0 and no --from-run is given: there is nothing to train on")
        fixed = {k: v for k, v in dataclasses.asdict(options).items() if k not in (*SCHEDULE, "label_folder")}
        fixed |= {"own_scans": len(job.scans)} if job.scans else {}
        check_same_training(job.out, {"trainer": FILE, "seed": job.seed, **fixed}, job.resume)
        stores = self._stores(job, kind)
        train, held = (
            collect(kind, stores, [*self._simulated(job.seed, first, count), *more], job.say, name, job.threads)
            for name, count, first, more in (
                ("train", options.studies, 0, own),
                ("held out", options.held_out, HELD_OUT, ()),
            )
        )
        model = build_seeded(partial(build, architecture), job.seed)
        if start is not None:
            model.set_weights(start)
        started = time.monotonic()
        history = self._learn(job, model, keras.optimizers.Adam(options.rate, clipnorm=1.0), train, held)
        limits, figures = judge(model, held)
        figures = {"held-out loss": round(min(e["validation"] for e in history), 4), **figures}
        described = {
            "title": f"Parameters of the {_IN_WORDS[options.model]} and their uncertainty from a curve",
            "model": options.model,
            "architecture": architecture.as_dict(),
            "parameters": int(model.count_params()),
            "labels": options.labels,
            "statistics": statistics_of(kind),
            "data": {
                "studies": options.studies,
                **({"own_scans": len(job.scans), "own_studies": len(own)} if job.scans else {}),
                "curves": len(train.examples),
                "held_out_curves": len(held.examples),
                "labellers": {name: f"{s.plugin.name} {s.plugin.version}" for name, s in stores.items()},
                "sha256": train.digests,
            },
            "epochs": len(history),
            "seconds": round(time.monotonic() - started),
            "limits": _LIMITS.format(model=_IN_WORDS[options.model]),
        }
        arrays = [*model.get_weights(), *scope.to_arrays(limits)]
        return write_trained(job, job.out / FILE, arrays, described, figures, history)

    def _learn(self, job: TrainingJob, model: Any, optimizer: Any, train: Collected, held: Collected) -> Any:
        """Train the model; figures of every epoch."""
        import tensorflow as tf

        from qperf_cnn.learning import CurveBatches, loss_of, validation_of

        options, each = self.options, loss_of(model, self.options.model)
        schedule = Schedule(options.epochs, cosine(options.rate, options.epochs, _LEAST_RATE), options.patience)
        loop = TrainingLoop(model, optimizer, lambda *batch: tf.reduce_mean(each(*batch)), schedule, job.seed, job.out)
        train_network(
            job,
            loop,
            CurveBatches(train.examples, options.batch),
            validation_of(each, held.examples),
            lambda figures: -figures["validation"],
            f"{len(train.examples)} curves to train on, {len(held.examples)} held out",
        )
        return loop.history

    def _simulated(self, seed: int, first: int, count: int) -> list[Callable[[], Study]]:
        return [partial(simulate, seed, number, CURVES, self.options.model) for number in range(first, first + count)]

    def _stores(self, job: TrainingJob, kind: Kind) -> dict[str, LabelStore]:
        """Stores of the labels that are needed, by source."""
        folder = Path(self.options.label_folder) if self.options.label_folder else job.out / "labels"
        stores = {}
        for source in kind.sources:
            if source in _LABELLER:
                if job.labeller is None:
                    raise ValueError(f"labels {self.options.labels}: there is no labeller")
                name, options = _LABELLER[source]
                stores[source] = LabelStore(folder, job.labeller(name, {**options, "model": self.options.model}))
        return stores


@dataclass(frozen=True)
class Collected:
    """Examples and, of the same curves, the truth (n, 6); their studies, with the curves that are among the examples;
    and by source the SHA-256 of all labels."""

    examples: Any
    truth: Array
    studies: list[tuple[Study, NDArray[np.bool_]]]
    digests: dict[str, str]


def _same(study: Study) -> Study:
    return study


def _beside(work: Callable[[In], Out], inputs: Sequence[In], threads: int) -> Iterator[Out]:
    """What the work makes of the inputs, in their order; an error or interruption leaves what has not begun undone."""
    pool = ThreadPoolExecutor(max_workers=max(threads, 1))
    try:
        yield from pool.map(work, inputs)
    finally:
        pool.shutdown(cancel_futures=True)


def collect(
    kind: Kind,
    stores: dict[str, LabelStore],
    makers: Sequence[Callable[[], Study]],
    say: Callable[[str], None],
    name: str,
    threads: int = 1,
) -> Collected:
    """Make and label studies, as many beside each other as threads, and extract what the network sees of them; tells
    how far it is every 15 s."""
    from qperf_cnn.features import build_filters, extract
    from qperf_cnn.learning import Examples
    from qperf_cnn.targets import true_values

    parts: list[tuple[Any, ...]] = []
    studies: list[tuple[Study, NDArray[np.bool_]]] = []
    digests = {source: hashlib.sha256() for source in stores}
    started = last = time.monotonic()

    def label(make: Callable[[], Study]) -> tuple[Study, dict[str, Labels]]:
        study = make()
        return study, {source: store.label(study) for source, store in stores.items()}

    for done, (study, found) in enumerate(_beside(label, makers, threads), 1):
        for source, store in stores.items():
            digests[source].update(store.digest(study).encode())
        value, spread = _targets(kind, study, found)
        good = np.asarray(np.isfinite(value).all(axis=1) & np.isfinite(spread).all(axis=(1, 2)))
        filters = build_filters(study.times, study.times, study.plasma, study.model)
        features = extract(filters, study.tissue[good])
        parts.append(
            (
                features.responses.astype(np.float16), features.scalars, value[good], spread[good],
                true_values(study.truth[good], study.model),
            )
        )  # fmt: skip
        studies.append((study, good))
        if time.monotonic() - last > 15 or done == len(makers):
            last = time.monotonic()
            say(f"{name}: {done} of {len(makers)} studies made and labelled ({last - started:.0f} s)")
    responses, scalars, value, spread, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    scans = _scans(studies, scalars) if kind.first == "self" else None
    whole = spread.astype(np.float32) if kind.whole else None
    examples = Examples(responses, scalars, value.astype(np.float32), whole, scans)
    return Collected(examples, truth, studies, {source: whole.hexdigest() for source, whole in digests.items()})


def _targets(kind: Kind, study: Study, found: dict[str, Labels]) -> tuple[Array, Array]:
    """Value and spread that the network is to answer; the spread is that of the posterior alone."""
    n = len(study.tissue)
    value = value_of(kind, study, found) if kind.first != "self" else np.zeros((n, len(QUANTITIES)))
    return value, spread_of(found["posterior"]) if kind.whole else np.zeros((n, len(QUANTITIES), 4))


def _scans(studies: list[tuple[Study, NDArray[np.bool_]]], scalars: NDArray[np.float32]) -> Any:
    """Curves as the loss through the model needs them."""
    from qperf_cnn.features import RESIDUAL_SHIFT
    from qperf_cnn.learning import Scans

    times, plasma, curves = [], [], []
    for study, good in studies:
        lacking, peak = FRAMES - len(study.times), study.plasma.max()
        times.append(np.append(study.times, study.times[-1] + 1.0 + np.arange(lacking)))
        plasma.append(np.pad(study.plasma / peak, (0, lacking), mode="edge"))
        curves.append(np.pad(study.tissue[good] / peak, ((0, 0), (0, lacking)), constant_values=np.nan))
    first = np.concatenate([[0], np.cumsum([good.sum() for _, good in studies])])
    every = np.concatenate(curves)
    # The least that any model leaves is about the residual of a deconvolution.
    weights = np.isfinite(every) / np.maximum(np.exp(scalars[:, 1] - RESIDUAL_SHIFT), 1e-3)[:, None]
    single = [np.asarray(a, np.float32) for a in (np.stack(times), np.stack(plasma), np.nan_to_num(every), weights)]
    return Scans(single[0], single[1], single[2], single[3], first)


def judge(model: Any, held: Collected) -> tuple[Any, dict[str, float]]:
    """Scope of the training, and errors on held-out curves."""
    from qperf_cnn import network, scope
    from qperf_cnn.features import Features
    from qperf_cnn.responses import CurveMaker

    examples = held.examples
    answer, hidden = (
        np.asarray(a, np.float64)
        for a in model.predict([examples.responses.astype(np.float32), examples.scalars], batch_size=4096, verbose=0)
    )
    values = network.read_answer(answer)
    missed, first = [], 0
    for study, good in held.studies:
        rows = slice(first, first + int(good.sum()))
        fitted = CurveMaker.of(study.times, study.times, study.plasma, study.model)(
            values[rows][:, [0, 1, 3, 4, 5], MEDIAN]
        )
        features = Features(examples.responses[rows], examples.scalars[rows])
        missed.append(scope.misfit(study.tissue[good], fitted, features, float(study.plasma.max())))
        first = rows.stop
    figures = {}
    for k, name in enumerate(QUANTITIES):
        error, truth = values[:, k, MEDIAN] - held.truth[:, k], held.truth[:, k]
        figures[f"{name} NMSE"] = round(float(np.mean(error**2) / np.mean(truth**2)), 4)
        low, high = (values[:, k, STATISTICS.index(s)] for s in INTERVAL)
        within = (truth >= low) & (truth <= high)
        figures[f"{name} in 90 % interval"] = round(float(within.mean()), 4)
    features = Features(examples.responses.astype(np.float32), examples.scalars)
    return scope.learn(features, hidden, np.concatenate(missed)), figures
