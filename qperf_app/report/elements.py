"""Elements that only the host's own sections use, beside those of the plugin interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qperf_app.plugins.results import Paragraph, Picture, Table

LineStyle = Literal["solid", "dashed", "dotted", "cross", "plus", "fill"]


@dataclass(frozen=True)
class Drawing:
    """A scalable drawing: the ``svg`` element, whose words are escaped, and what it shows in words."""

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Movie:
    """A moving picture with a still that stands in for it where movement is unwelcome.

    ``times`` are the s of its frames and ``numbers`` those of their volumes in a series of ``total``, from 1, for the
    label beside the slider; ``still_at`` is the frame that the still shows; ``columns`` head its panels from left to
    right, ``rows`` name them from top to bottom.
    """

    moving: Picture
    still: Picture
    times: tuple[float, ...]
    numbers: tuple[int, ...]
    total: int
    still_at: int
    columns: tuple[str, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True)
class TextTable(Table):
    """A table of words: on a narrow page each row becomes a block."""


@dataclass(frozen=True)
class PictureRow:
    """Pictures that stand side by side at any width of the page; None leaves the place empty."""

    heading: str
    pictures: tuple[Picture | Drawing | None, ...]


@dataclass(frozen=True)
class PictureGrid:
    """Rows of pictures under common column headings, with the scale that they share.

    On a phone the rows of a ``large`` one are swiped through instead of shrinking; a ``small`` one is small everywhere.
    """

    columns: tuple[str, ...]
    rows: tuple[PictureRow, ...]
    caption: str = ""
    scale: Drawing | None = None
    size: Literal["small", "normal", "large"] = "normal"


@dataclass(frozen=True)
class Gallery:
    """Pictures that stand beside each other where the page is wide enough, below each other where it is not."""

    pictures: tuple[Picture | Drawing, ...]
    caption: str = ""


@dataclass(frozen=True)
class Key:
    """Legend of the lines in a picture: a colour, a line style and what it stands for."""

    entries: tuple[tuple[str, LineStyle, str], ...]


@dataclass(frozen=True)
class Cell:
    """One number with its interval and what to know of it; ``low`` draws the eye."""

    value: str
    interval: str = ""
    note: str = ""
    low: bool = False


@dataclass(frozen=True)
class Territories:
    """The numbers of one study: a row for each territory with a cell for each column. No rows: there are none."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


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
    | Drawing
    | Table
    | Paragraph
    | Movie
    | PictureGrid
    | Gallery
    | Key
    | Territories
    | Subheading
    | Columns
    | Details
    | Verbatim
    | Listing
)


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading that the contents list leads to; ``printed``: it is for paper as well."""

    title: str
    anchor: str
    elements: tuple[HostElement, ...]
    printed: bool = False
