"""From curves to parameters with a trained network: features, its answer, and what to make of that."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel
from qperf_app.plugins import STATISTICS
from qperf_cnn import network, scope
from qperf_cnn.features import Features, Filters, FloatArray, build_filters, extract
from qperf_cnn.labels import MEDIAN, QUANTITIES
from qperf_cnn.responses import CurveMaker

Array = NDArray[np.float64]

#: Curves of one block, filled up for the network: how a product is summed may hang on how many rows it has.
BLOCK = 1024
_PARAMETERS = [0, 1, 3, 4, 5]


class Estimates(NamedTuple):
    """``values`` (n, 6, 5): STATISTICS of each quantity; ``fitted`` (n, t) curves of the medians; ``outside`` (n,),
    curves that the network was not trained for."""

    values: Array
    fitted: Array
    outside: NDArray[np.bool_]


def estimate(path: Path, times: Array, curves: Array, input_times: Array, plasma: Array, threads: int = 1) -> Estimates:
    """Estimate from curves (n, t), NaN where a frame is missing, and the input function in plasma, mmol/L.

    Curves with the same frames share their filters; the network sees all curves together.
    """
    found = Estimates(
        np.empty((len(curves), len(QUANTITIES), len(STATISTICS))),
        np.empty(curves.shape),
        np.empty(len(curves), dtype=bool),
    )
    trained = network.load(path)
    response_curves = CurveMaker.of(times, input_times, plasma, trained.model)
    blocks = list(_blocks(times, curves, input_times, plasma, trained.model))
    if not blocks:
        return found

    def seen(block: _Block) -> Features:
        return extract(block.filters, curves[block.rows][:, block.present])

    def judge(block: _Block, features: Features, answers: Array, hidden: FloatArray) -> None:
        values = network.read_answer(answers)
        medians = values[..., MEDIAN]
        fitted = response_curves(medians[:, _PARAMETERS])
        measured = curves[block.rows][:, block.present]
        missed = scope.misfit(measured, fitted[:, block.present], features, block.filters.peak)
        found.values[block.rows], found.fitted[block.rows] = values, fitted
        found.outside[block.rows] = scope.outside(trained.scope, features, hidden, missed, medians)

    with ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        features = list(pool.map(seen, blocks))
        ends = np.cumsum([len(block.rows) for block in blocks])[:-1]
        answered = _answer(trained, Features(*map(np.concatenate, zip(*features, strict=True))), pool)
        list(pool.map(judge, blocks, features, *(np.split(each, ends) for each in answered)))
    return found


class _Block(NamedTuple):
    """Curves (``rows``) with the same frames (``present``), and their filters."""

    filters: Filters
    present: NDArray[np.bool_]
    rows: NDArray[np.intp]


def _blocks(times: Array, curves: Array, input_times: Array, plasma: Array, model: ExchangeModel) -> Iterator[_Block]:
    """Curves with the same frames, no more than stay in a processor's cache."""
    packed = np.packbits(np.isfinite(curves), axis=1)
    _, first, group = np.unique(packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    for k, example in enumerate(first):
        present = np.isfinite(curves[example])
        filters = build_filters(times[present], input_times, plasma, model)
        rows = np.flatnonzero(group == k)
        for start in range(0, len(rows), BLOCK):
            yield _Block(filters, present, rows[start : start + BLOCK])


def run(path: Path, features: Features) -> tuple[Array, FloatArray]:
    """Answer (n, 30) and last layer (n, w) for features."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return _answer(network.load(path), features, pool)


def _answer(trained: network.Trained, features: Features, pool: ThreadPoolExecutor) -> tuple[Array, FloatArray]:
    """Answer and last layer, block by block."""
    pieces = (Features(*(a[k : k + BLOCK] for a in features)) for k in range(0, len(features.scalars), BLOCK))
    answers, hidden = zip(*pool.map(lambda piece: _run(trained, piece), pieces), strict=True)
    return np.concatenate(answers), np.concatenate(hidden)


def _run(trained: network.Trained, features: Features) -> tuple[Array, FloatArray]:
    """Answer and last layer of one block."""
    n = len(features.scalars)
    padded = (np.concatenate([a, np.repeat(a[:1], BLOCK - n, axis=0)]) if n < BLOCK else a for a in features)
    answer, hidden = (a[:n] for a in trained(*padded))
    return answer, hidden.astype(np.float32)
