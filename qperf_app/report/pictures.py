"""From arrays to encoded pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.results import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

#: Colours that stay apart for every form of colour vision (Okabe and Ito, Color Universal Design, 2008).
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
#: Ink of text and axes, of what recedes, and the grey of what was not estimated.
INK, MUTED, MISSING = "#1d2733", "#5b6875", "#c9ced4"


def window(values: NDArray[np.floating], low: float = 1.0, high: float = 99.5) -> tuple[float, float]:
    """Grey levels of black and white: percentiles of the finite values, never equal."""
    finite = np.asarray(values)[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    black, white = np.percentile(finite, (low, high))
    return float(black), float(white if white > black else black + 1.0)


def grey(values: NDArray[np.floating], levels: tuple[float, float]) -> NDArray[np.uint8]:
    """Turn values into grey levels, 0 at ``levels[0]`` and 255 at ``levels[1]``."""
    scaled = (np.nan_to_num(values) - levels[0]) / (levels[1] - levels[0])
    levelled: NDArray[np.uint8] = (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levelled


def rgb(grey_levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat grey levels (...,) into (..., 3)."""
    return np.repeat(grey_levels[..., None], 3, axis=-1)


def encode(image: NDArray[np.uint8] | Image, alt: str, quality: int = 88) -> Picture:
    """Encode a grey picture as WebP with small losses."""
    from PIL import Image as PillowImage

    buffer = io.BytesIO()
    picture = PillowImage.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return Picture(buffer.getvalue(), "image/webp", alt)


def encode_exactly(image: Image, alt: str) -> Picture:
    """Encode a picture as WebP without loss: thin coloured lines and colours that are read off keep their colour."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=20, method=1)
    return Picture(buffer.getvalue(), "image/webp", alt)


def encode_animation(frames: Sequence[NDArray[np.uint8]], milliseconds: int, alt: str, quality: int = 50) -> Picture:
    """Encode frames as an endless animated WebP."""
    from PIL import Image as PillowImage

    pictures = [PillowImage.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
        quality=quality,
        method=0,
    )
    return Picture(buffer.getvalue(), "image/webp", alt)


def draw_line(image: Image, points: NDArray[np.floating], colour: str, width: float, style: str = "solid") -> None:
    """Draw a line (n, 2) with a dark rim, so that it shows on bright and on dark tissue."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    pieces = [points] if style == "solid" else _dashes(points, 5.0 * width)
    for ink, extra in (("#000000", 1.6), (colour, 0.0)):
        for piece in pieces:
            pen.line([tuple(p) for p in piece], fill=ink, width=round(width + extra), joint="curve")


def draw_dots(image: Image, points: NDArray[np.floating], colour: str, radius: float) -> None:
    """Draw a dot with a dark rim at every point (n, 2)."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    for x, y in points:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="#000")


def _dashes(points: NDArray[np.floating], length: float) -> list[NDArray[np.float64]]:
    """Cut a line into strokes of a length with gaps of the same length."""
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    strokes = []
    for start in np.arange(0.0, along[-1], 2 * length):
        at = np.linspace(start, min(start + length, along[-1]), 6)
        strokes.append(np.stack([np.interp(at, along, points[:, k]) for k in (0, 1)], axis=1))
    return strokes


def write(image: Image, at: tuple[float, float], text: str, size: float, anchor: str = "la", ink: str = "#fff") -> None:
    """Write text with a dark rim; ``anchor`` as Pillow has it."""
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text(
        at, text, fill=ink, font=font, anchor=anchor, stroke_width=max(1, round(size / 9)), stroke_fill="#000"
    )


def figure_axes(width: float, height: float, inside: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """Return a figure, inches, that no global state knows of, and its axes: left, bottom, right, top as fractions.

    Fixed places, because finding them by the size of the text takes longer than drawing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=200)
    FigureCanvasAgg(figure)
    left, bottom, right, top = inside
    return figure, figure.add_axes((left, bottom, right - left, top - bottom))


def figure_grid(width: float, count: int, columns: int, height: float, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` small axes in rows, ``height`` inches each, under a title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    whole = rows * height + 0.3
    figure = Figure(figsize=(width, whole), dpi=200)
    FigureCanvasAgg(figure)
    figure.text(0.01, 1.0 - 0.2 / whole, title, fontsize=8.5, color=INK)
    axes = []
    for k in range(count):
        row, column = divmod(k, columns)
        left, bottom = (column * width / columns + 0.3) / width, (whole - 0.3 - (row + 1) * height + 0.2) / whole
        axes.append(figure.add_axes((left, bottom, (width / columns - 0.38) / width, (height - 0.38) / whole)))
    return figure, axes


def encode_figure(figure: Figure, alt: str) -> Picture:
    """Draw a figure and encode it."""
    from PIL import Image as PillowImage

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    return encode_exactly(PillowImage.fromarray(np.ascontiguousarray(pixels)), alt)


def picture_size(picture: Picture) -> tuple[int, int]:
    """Width and height in pixels.

    Raises
    ------
    ValueError
        Where the bytes are no picture of the format that is declared.
    """
    from PIL import Image as PillowImage
    from PIL import UnidentifiedImageError

    try:
        with PillowImage.open(io.BytesIO(picture.data)) as image:
            if image.get_format_mimetype() == picture.mime:
                return image.size
    except UnidentifiedImageError:
        pass
    raise ValueError(f"the bytes of a Picture are no {picture.mime}")
