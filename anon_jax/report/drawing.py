"""How each chart of a report is drawn: matplotlib, as SVG; no display, no global state is used."""

import dataclasses
import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure

INK, GRID, PAPER = "#24292f", "#d5d9dd", "#ffffff"
# Grey for raw, then colours of Okabe and Ito's set that differ for all kinds of colour vision;
# dashes, markers and hatches tell the same apart in black and white.
COLOURS = ("#8a9096", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("--", "-", "--", ":", "-.", "--", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "anon_jax",  # ids, and with them the files, do not change from run to run
    "text.parse_math": False,  # a name with dollars is a name
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_MOST_LETTERS = 26  # of a name beside a bar


@dataclasses.dataclass(frozen=True)
class Chart:
    """An SVG with a white background, its file name beside report.md, and its title."""

    title: str
    file: str
    svg: str


def inline_svg(chart: Chart) -> str:
    """The SVG for an HTML page: colours become the page's CSS variables, ids become unique."""
    svg = chart.svg[chart.svg.index("<svg") :]
    svg = svg.replace(PAPER, "none").replace(INK, "currentColor").replace(GRID, "var(--grid)")
    for index, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--series-{index})")
    prefix = chart.file.removesuffix(".svg")
    for reference in ('id="', "url(#", 'href="#'):
        svg = svg.replace(reference, f"{reference}{prefix}-")
    return svg


def percent(share: float | None) -> float:
    """0.8 -> 80; NaN, which is not drawn, for what is missing."""
    return np.nan if share is None else 100 * share


def shorten(name: str, letters: int = _MOST_LETTERS) -> str:
    """A name that fits beside a bar."""
    return name if len(name) <= letters else f"{name[: letters - 1]}\u2026"


def to_svg(figure: Figure) -> str:
    """The same figure gives the same text."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", facecolor=PAPER, metadata=nothing)
    return buffer.getvalue()
