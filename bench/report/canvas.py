"""What all figures share: the look, colours and markers, axes that read well, and the same bytes each time.

Figures are SVG without a date and with a fixed salt for its identifiers; pictures and clouds of points are
WebP. Drawing libraries are imported inside functions, so that tables and the page do without them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

from bench.report.results import Results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    Colour = tuple[float, float, float]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)))
GREY = "0.35"
RASTER_DPI, QUALITY = 130, 88
MOST_LINES = 3000
"""A figure that takes more lines of SVG is lighter, and as legible, as pixels."""

MOST_TRIES = 4
CUT_INCHES, ROOM_INCHES = 0.01, 0.1
"""What may be missing at an edge, less than a pixel; and what is added beyond what is missing."""

SALT = "flowbench"
"""Any text: what an SVG calls its parts hangs on it, so that another would change every published figure."""

DUBLIN = "http://purl.org/dc/elements/1.1/"


class Drawing(NamedTuple):
    """A figure before it is a file: the file's stem, the heading and caption on the page, the figure.

    raster: whether it shows pictures or clouds of points, which are lighter as pixels than as lines; what turns out
    to be as heavy becomes pixels by itself.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    raster: bool = False


@contextmanager
def look() -> Iterator[None]:
    """The look of every figure, whatever the machine's own matplotlib settings are."""
    import matplotlib.style
    import seaborn as sns

    own = {
        **sns.axes_style("whitegrid"),
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "axes.titlepad": 5,
        "axes.edgecolor": "0.6",
        "grid.color": "0.92",
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "svg.hashsalt": SALT,
        "svg.fonttype": "none",
    }
    with matplotlib.style.context(["default", own]):
        yield


def drawn(drawing: Drawing) -> tuple[str, bytes]:
    """The figure's file name and content, SVG or WebP, with title and caption inside: equal drawings, equal bytes."""
    if not drawing.raster:
        held = {"Date": None, "Creator": None, "Title": drawing.title, "Description": drawing.caption}
        lines = _saved(drawing.figure, format="svg", metadata=held)
        if lines.count(b"\n") <= MOST_LINES:
            return f"{drawing.name}.svg", lines
    written = {"quality": QUALITY, "method": 4, "xmp": _xmp(drawing)}
    return f"{drawing.name}.webp", _saved(drawing.figure, format="webp", dpi=RASTER_DPI, pil_kwargs=written)


def _saved(figure: Figure, **how: Any) -> bytes:
    """A figure's file. Where a legend or a label would be cut off the figure grows by as much, and is saved again."""
    for _ in range(MOST_TRIES):
        content = io.BytesIO()
        figure.savefig(content, **how)
        (width, height), held = figure.get_size_inches(), figure.get_tightbbox()
        sizes = (width, max(-held.x0, held.x1 - width, 0.0)), (height, max(-held.y0, held.y1 - height, 0.0))
        if max(cut for _, cut in sizes) < CUT_INCHES:
            break
        figure.set_size_inches(*(size + (1.2 * cut + ROOM_INCHES) * (cut > 0) for size, cut in sizes))
    return content.getvalue()


def about(content: bytes, name: str) -> tuple[str, str]:
    """Title and caption of a file that `drawn` made; its name where it has none. ValueError, SyntaxError or OSError
    where it cannot be read.
    """
    root = ElementTree.fromstring(_xmp_of(content) if content.startswith(b"RIFF") else content)
    title, caption = (root.findtext(f".//{{{DUBLIN}}}{part}") for part in ("title", "description"))
    return title or name, caption or ""


def _xmp(drawing: Drawing) -> bytes:
    """Title and caption as the Dublin Core elements that an SVG has too."""
    root = ElementTree.Element("metadata")
    for part, text in (("title", drawing.title), ("description", drawing.caption)):
        ElementTree.SubElement(root, f"{{{DUBLIN}}}{part}").text = text
    return ElementTree.tostring(root)


def _xmp_of(content: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
        held = image.info.get("xmp")
    if not isinstance(held, bytes):
        raise ValueError("the picture carries no caption")
    return held


def panels(rows: int, columns: int, width: float = 3.1, height: float = 2.7, beside: float = 1.7) -> Any:
    """A figure and its (rows, columns) array of axes; `beside` inches are for the legend. Sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width + beside, rows * height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def gallery(
    count: int, shape: tuple[int, int], width: float = 3.1, height: float = 2.7, beside: float = 1.7
) -> tuple[Any, list[Any]]:
    """A figure and the axes of its first `count` panels, laid out in (rows, columns); sizes as `panels` has them."""
    figure, grid = panels(*shape, width=width, height=height, beside=beside)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def shown(text: object, limit: int = 30) -> str:
    """A label as a figure shows it: not too long, and a dollar sign is a dollar sign."""
    label = str(text)
    return (label if len(label) <= limit else label[: limit - 1] + "…").replace("$", r"\$")


def colours(labels: Sequence[str]) -> dict[str, Colour]:
    """A colour for each label, told apart by colour-blind readers up to ten."""
    import seaborn as sns

    palette = sns.color_palette("colorblind" if len(labels) <= 10 else "husl", len(labels))
    return {label: (r, g, b) for label, (r, g, b) in zip(labels, palette, strict=True)}


def fold(items: int, most: int = 4) -> tuple[int, int]:
    """Rows and columns that hold so many panels, at most `most` side by side and none nearly empty."""
    rows = math.ceil(items / most)
    return rows, math.ceil(items / rows)


def nice_log(axis: Axis, low: float, high: float, ticks: Sequence[float] = ()) -> None:
    """A log axis with plain numbers: given ticks if few, 1-2-5 steps, or even steps where it is short."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    apart = [tick for i, tick in enumerate(ticks) if i == 0 or tick > 1.3 * ticks[i - 1]]
    if 0 < len(apart) <= 8:
        axis.set_major_locator(FixedLocator(apart))
    elif high / low < 4:
        axis.set_major_locator(MaxNLocator(5))
    elif high / low < 3000:
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=20))
    else:
        axis.set_major_locator(LogLocator(base=10, numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def effect(results: Results, axis: str, means: pd.Series[float]) -> float:
    """How much an axis moves a score: the spread of its labels' means over the spread of all, 0 to 1."""
    known = means.dropna()
    labels = results.combinations.loc[known.index, axis]
    spread = float(known.var(ddof=0))
    if not spread:
        return 0.0
    return float(known.groupby(labels).transform("mean").var(ddof=0)) / spread
