"""The network: a residual U-Net in the plane that sees the frames as channels (2D+T)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network.

    Parameters
    ----------
    shape : tuple of two ints
        Grid (x, y); divisible by 4.
    frames : int
        Time samples, the input's channels.
    classes : int
        Of the softmax over each pixel, background first.
    points : int
        1 for a map of the landmarks, 0 for none.
    filters : int
        Of all convolutions.
    modules : int
        Residual modules: 4 for the two levels down and up, the rest at the bottom; at least 5.
    clock : {"seconds", "passes"}
        Unit of the distance between samples: seconds, or widths of the series' own first pass, about which they lie.
    """

    shape: tuple[int, int]
    frames: int
    classes: int
    points: int = 0
    filters: int = 32
    modules: int = 8
    clock: Literal["seconds", "passes"] = "seconds"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the model card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """The architecture that a model card names."""
        return cls(**{**values, "shape": tuple(values["shape"])})


def build(architecture: Architecture, start: str = "he_normal") -> Any:
    """Build the network: (batch, x, y, frames) to logits (batch, x, y, classes + points).

    ``start`` is how Keras makes the first weights; ``zeros`` takes no time where others replace them.

    After Xue et al. 2020 (doi:10.1002/mrm.28291): a dense map widens the time axis by half, residual modules of two
    batch normalisations, ReLUs and 3x3 convolutions work on two levels down and up with skips between them.
    """
    from keras import Input, Model, layers

    if architecture.modules < 5:
        raise ValueError(f"modules is {architecture.modules}; it must be at least 5")
    n = architecture.filters

    def convolution(x: Any, filters: int = n, stride: int = 1, size: int = 3) -> Any:
        return layers.Conv2D(filters, size, strides=stride, padding="same", kernel_initializer=start)(x)

    def module(x: Any) -> Any:
        y = x
        for _ in range(2):
            y = layers.BatchNormalization(momentum=0.9)(y)
            y = convolution(layers.ReLU()(y))
        return layers.Add()([x, y])

    inputs = Input((*architecture.shape, architecture.frames))
    x = convolution(inputs, 3 * architecture.frames // 2, size=1)
    fine = module(convolution(layers.ReLU()(x)))
    middle = module(convolution(fine, stride=2))
    x = convolution(middle, stride=2)
    for _ in range(architecture.modules - 4):
        x = module(x)
    for skip in (middle, fine):
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        x = module(convolution(layers.Concatenate()([x, skip]), size=1))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return Model(inputs, convolution(x, architecture.classes + architecture.points, size=1))
