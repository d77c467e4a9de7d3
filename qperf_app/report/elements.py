"""Elements that only the host's own sections use, beside those of the plugin interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qperf_app.plugins.results import Paragraph, Picture, Table

LineStyle = Literal["solid", "dashed", "dotted", "cross", "plus", "fill"]


@dataclass(frozen=True)
class Movie:
    """A moving picture with a still that stands in for it where movement is unwelcome.

    ``times`` are the s of its frames, for the label beside the slider; ``still_at`` is the frame that the still shows;
    ``columns`` head its panels from left to right.
    """

    moving: Picture
    still: Picture
    times: tuple[float, ...]
    still_at: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class TextTable(Table):
    """A table of words: on a narrow page each row becomes a block."""


@dataclass(frozen=True)
class PictureRow:
    """Pictures that stand side by side at any width of the page; None leaves the place empty."""

    heading: str
    pictures: tuple[Picture | None, ...]


@dataclass(frozen=True)
class PictureGrid:
    """Rows of pictures under common column headings, with the scale that they share.

    On a phone the rows of a ``large`` one are swiped through instead of shrinking; a ``small`` one is small everywhere.
    """

    columns: tuple[str, ...]
    rows: tuple[PictureRow, ...]
    caption: str = ""
    scale: Picture | None = None
    size: Literal["small", "normal", "large"] = "normal"


@dataclass(frozen=True)
class Gallery:
    """Pictures that stand beside each other where the page is wide enough, below each other where it is not."""

    pictures: tuple[Picture, ...]
    caption: str = ""


@dataclass(frozen=True)
class Key:
    """Legend of the lines in a picture: a colour, a line style and what it stands for."""

    entries: tuple[tuple[str, LineStyle, str], ...]


@dataclass(frozen=True)
class Figure:
    """One number of the headline with its unit and what it rests on."""

    label: str
    value: str
    unit: str = ""
    note: str = ""
    low: bool = False


@dataclass(frozen=True)
class Headline:
    """The figures of one study."""

    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Subheading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Columns:
    """Two blocks side by side on a wide page."""

    left: tuple[HostElement, ...]
    right: tuple[HostElement, ...]


@dataclass(frozen=True)
class Details:
    """Elements behind a line that unfolds them."""

    summary: str
    elements: tuple[HostElement, ...]


@dataclass(frozen=True)
class Verbatim:
    """Text in which line breaks and spaces count."""

    text: str


@dataclass(frozen=True)
class Listing:
    """A list of lines."""

    items: tuple[str, ...]


HostElement = (
    Picture
    | Table
    | Paragraph
    | Movie
    | PictureGrid
    | Gallery
    | Key
    | Headline
    | Subheading
    | Columns
    | Details
    | Verbatim
    | Listing
)


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading that the contents list leads to."""

    title: str
    anchor: str
    elements: tuple[HostElement, ...]
