"""Section of the report: where and when the blood-pool network looked, for scans in which it was asked to show that."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import canonical_order
from qperf_app.plugins import Paragraph, ParticipantResult, Picture, ReportSectionPlugin, ScanResult, Series
from qperf_app.plugins.results import Element
from qperf_app.plugins.steps import BLOOD_POOL
from qperf_segmentation.networks.pool_input import STEP
from qperf_segmentation.resunet_blood_pool import PoolNetworkOptions, ResUNetBloodPool

Array = NDArray[np.float32]

#: Noisy copies whose slopes are averaged, and their noise's standard deviation; the picture's brightest is 1.
_COPIES, _NOISE = 24, 0.1


@dataclass(frozen=True)
class Saliency:
    """How much the left ventricle's certainty hangs on each pixel and moment of what the network saw of a slice.

    ``image`` (64, 48, 64) is what it saw, ``slope`` of the same shape the size of the gradient, relative to its
    largest value, ``share`` (64, 48) its probability of left blood, ``times`` (64,) s.
    """

    image: Array
    slope: Array
    share: Array
    times: NDArray[np.float64]


def saliency_of(
    series: Series,
    slice_: int,
    start: float,
    weights: Path,
    about: NDArray[np.float64] | None = None,
    step: float = STEP,
) -> Saliency:
    """Gradient of the left ventricle's logits, summed where it is the likeliest class, with respect to the input.

    Simonyan et al. 2013, arXiv:1312.6034, as Xue et al. 2020 show it; the mean over noisy copies, since the slope at
    one point changes from frame to frame (Smilkov et al. 2017, arXiv:1706.03825). The noise is always the same.

    Raises
    ------
    WeightsError
        Where the weights can't be read.
    """
    import tensorflow as tf

    from qperf_segmentation.networks import pool_input
    from qperf_segmentation.networks.weights import load

    model = load(weights, shape=pool_input.SHAPE, frames=pool_input.FRAMES, points=0)
    times = np.asarray(series.dynamic().times, np.float64)
    signal = pool_input.corrected_signal(series)[:, :, slice_]
    seen = pool_input.look_at(signal, times, series.voxel_size, start, about, step)
    share = tf.nn.softmax(model(seen.image[None], training=False)[0])[..., 1]
    # Where nothing is certain, the whole picture's certainty is asked about.
    weight = tf.where(tf.reduce_any(share > 0.5), tf.cast(share > 0.5, tf.float32), share)
    noise = np.random.default_rng(0).standard_normal((_COPIES, *seen.image.shape))
    x = tf.constant((seen.image + _NOISE * noise).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        certainty = tf.reduce_sum(weight * model(x, training=False)[..., 1])
    slope = np.abs(tape.gradient(certainty, x).numpy().mean(axis=0))
    return Saliency(
        seen.image,
        slope / max(float(slope.max()), 1e-12),
        share.numpy(),
        start + step * np.arange(pool_input.FRAMES, dtype=np.float64),
    )


class SaliencySection(ReportSectionPlugin):
    """Pictures of where in the slice, and when, a change would change the network's answer most."""

    name = "saliency"
    version = "1.0"
    summary = "where and when the network of resunet looked, where its option saliency asks for it"
    title = "What the blood-pool network looked at"
    citations = (
        "Simonyan K, Vedaldi A, Zisserman A. Deep inside convolutional networks: visualising image classification "
        "models and saliency maps. 2013. arXiv:1312.6034",
    )

    def render(self, participant: ParticipantResult) -> Sequence[Element]:
        """One picture for each scan whose blood pools come from ``resunet`` with the option ``saliency``."""
        pictures = [picture for scan in participant.scans for picture in _pictures(scan)]
        if not pictures:
            return ()
        words = (
            "Bright: a change of the signal there would change the network's certainty about the left ventricle most. "
            "It should be the ventricle and what surrounds it, around the first pass. Anywhere else, it looked at the "
            "wrong thing."
        )
        return (Paragraph(words), *pictures)


def _pictures(scan: ScanResult) -> Iterator[Picture]:
    """The window that the pools come from, of the slice that the input function comes from."""
    asked = next((s for s in scan.steps if s.step == BLOOD_POOL.name and s.plugin == "resunet"), None)
    series = scan.aif_corrected or scan.corrected or scan.series
    if asked is None or asked.state != "done" or not asked.options.get("saliency") or series is None:
        return
    assert scan.pools is not None
    order = canonical_order(series.affine)
    plugin, seen = ResUNetBloodPool(PoolNetworkOptions(**asked.options)), series.reordered(order)
    answer = plugin.answer(seen)
    if isinstance(answer, str):
        return
    slice_ = int(scan.pools.aif.sum(axis=(0, 1)).argmax())
    k = order.slice_index(slice_, series.data.shape[2])
    yield _draw(saliency_of(seen, k, answer.start, plugin.weights, answer.about, answer.step), scan.label, slice_)


def _draw(found: Saliency, label: str, slice_: int) -> Picture:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 2.9), dpi=110, layout="constrained")
    axes: Any = figure.subplots(1, 3, width_ratios=(1, 1, 1.7))
    where = found.slope.max(axis=-1)
    region = found.share > 0.5
    for panel, values, title, colours in (
        (axes[0], found.image.max(axis=-1), "brightest over time", "gray"),
        (axes[1], where, "where it looked", "magma"),
    ):
        panel.imshow(values.T, cmap=colours, origin="lower")
        if region.any():
            panel.contour(region.T.astype(float), [0.5], colors="#56b4e9", linewidths=1.0)
        panel.set_title(title, fontsize=9)
        panel.set_axis_off()
    inside = region if region.any() else where > 0.5
    when, blood = found.slope[inside].mean(axis=0), found.image[inside].mean(axis=0)
    axes[2].plot(found.times, when / max(float(when.max()), 1e-12), color="#d55e00", label="when it looked")
    axes[2].plot(found.times, blood / max(float(blood.max()), 1e-12), color="#0072b2", label="signal there")
    axes[2].set_xlabel("Time (s)", fontsize=9)
    axes[2].legend(fontsize=8, frameon=False)
    axes[2].tick_params(labelsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    alt = (
        f"Saliency of the blood-pool network, {label}, slice {slice_ + 1}: most at "
        f"{found.times[int(when.argmax())]:.0f} s, {100 * where[inside].sum() / where.sum():.0f} % of it in the pool."
    )
    return Picture(
        file.getvalue(), "image/png", alt, f"{label}, slice {slice_ + 1}; the line is the pool that was found."
    )
