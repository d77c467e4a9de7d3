"""From arrays to encoded pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.results import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

#: Colours that stay apart for every form of colour vision (Okabe and Ito, Color Universal Design, 2008).
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
#: The grey of what was not estimated.
MISSING = "#c9ced4"


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
    picture.save(buffer, "WEBP", quality=quality, method=2)
    return Picture(buffer.getvalue(), "image/webp", alt)


def encode_palette(steps: NDArray[np.uint8], palette: NDArray[np.uint8], transparent: bool = False) -> bytes:
    """Encode steps (rows, columns) into a palette (n, 3) as PNG; the first colour is seen through where asked."""
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(np.ascontiguousarray(steps), "P")
    picture.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **({"transparency": 0} if transparent else {}))
    return buffer.getvalue()


def png_uri(data: bytes) -> str:
    """Embed a PNG."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def data_uri(picture: Picture) -> str:
    """Embed a picture."""
    return f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode('ascii')}"


def hexadecimal(colour: NDArray[np.uint8]) -> str:
    """Write a colour (3,) as HTML does."""
    return "#" + bytes(int(c) for c in colour).hex()


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
        # No later frame is tried as a key frame as well: each is encoded once.
        kmin=0,
        kmax=0,
    )
    return Picture(buffer.getvalue(), "image/webp", alt)


def write(image: Image, at: tuple[float, float], text: str, size: float, anchor: str = "la", ink: str = "#fff") -> None:
    """Write text with a dark rim; ``anchor`` as Pillow has it."""
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text(
        at, text, fill=ink, font=font, anchor=anchor, stroke_width=max(1, round(size / 9)), stroke_fill="#000"
    )


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
