"""The charts of a comparison: what is kept against what leaks, and bars for each attribute."""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anon_jax.report.comparison_words import LEAKAGES
from anon_jax.report.drawing import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    STYLE,
    Chart,
    percent,
    shorten,
    to_svg,
)

Row = Mapping[str, Any]

_LEGEND_HEIGHT = 0.8  # inches of the legend that the trade-off has room for
_BAR, _LINE = 0.2, 0.13  # inches of a bar, and of each further line of its name
_LETTERS = 32  # of a row's name beside a bar; its budget stands at the end


def draw_tradeoff(protocol: Mapping[str, Any]) -> Chart | None:
    """Top-1 against normalised leakage, or None where no row has both."""
    leakage = protocol["leakage"]
    rows = [row for row in protocol["rows"] if row["figures"][leakage] and row["figures"]["top1"]]
    if not rows:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.4))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        _draw_levels(axes, protocol["chance"]["top1"])
        _draw_front(axes, [row for row in rows if row["front"]], leakage)
        styles = _styles(protocol["rows"])
        labels = _labels(list(styles), lambda name: shorten(name, _LETTERS))
        for series, style in styles.items():
            members = [row for row in rows if row["series"] == series]
            _draw_series(axes, labels[series], members, style, leakage)
        axes.set_xlim(*_around(axes.get_xlim(), 0.0, 1.0))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.set_xlabel(f"normalised leakage, {LEAKAGES[leakage]} (0 chance, 1 raw)")
        axes.set_ylabel("action Top-1 (%)")
        axes.grid()
        add_legend(figure)
        title = "Action kept against attributes leaked"
        return Chart(title, f"tradeoff_{protocol['number']}.svg", to_svg(figure))


def add_legend(figure: Figure) -> None:
    """Above the axes, in as many columns as fit: names say what tells settings apart."""
    for columns in (3, 2, 1):
        legend = figure.legend(loc="outside upper center", ncols=columns)
        place = legend.get_window_extent()
        if columns == 1 or place.width <= figure.bbox.width:
            more = max(0.0, place.height / figure.dpi - _LEGEND_HEIGHT)
            figure.set_figheight(figure.get_figheight() + more)
            return
        legend.remove()


def draw_attributes(protocol: Mapping[str, Any]) -> list[Chart]:
    """A chart for each attribute: a bar of average precision a row, prevalence as a line."""
    styles = _styles(protocol["rows"])
    charts = []
    for index, (name, prevalence) in enumerate(protocol["prevalence"].items(), start=1):
        found = [
            (row, row["attributes"][name])
            for row in protocol["rows"]
            if row["attributes"].get(name) is not None
        ]
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        file = f"attribute_{protocol['number']}_{index:02d}_{slug}".rstrip("_") + ".svg"
        if found:
            chance = "" if prevalence is None else f" (prevalence {percent(prevalence):.1f} %)"
            charts.append(Chart(f"{name}{chance}", file, _draw_bars(found, prevalence, styles)))
    return charts


def _draw_bars(
    found: Sequence[tuple[Row, Mapping[str, Any]]],
    prevalence: float | None,
    styles: Mapping[str, int],
) -> str:
    with matplotlib.rc_context(STYLE):
        labels = _labels([row["name"] for row, _ in found], _shorten)
        lines = max(label.count("\n") for label in labels.values())
        figure = Figure(figsize=(4.0, 0.7 + (_BAR + _LINE * lines) * len(found)))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        places = np.arange(len(found))
        axes.barh(
            places,
            [percent(ap["mean"]) for _, ap in found],
            0.74,
            xerr=[_half(ap) for _, ap in found],
            color=[_colour(styles[row["series"]]) for row, _ in found],
            error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.0},
        )
        if prevalence is not None:
            axes.axvline(percent(prevalence), color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.set_yticks(places, [labels[row["name"]] for row, _ in found], fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("average precision (%)")
        axes.grid(axis="x")
        return to_svg(figure)


def _draw_levels(axes: Axes, chance: float | None) -> None:
    style: dict[str, Any] = {"color": INK, "linewidth": 0.9, "linestyle": (0, (1, 2))}
    axes.axvline(0.0, **style, label="chance")
    if chance is not None:
        axes.axhline(percent(chance), **style)


def _draw_front(axes: Axes, rows: Sequence[Row], name: str) -> None:
    """A step up wherever more leakage buys more of the action."""
    points = sorted((_mean(row, name), percent(_mean(row, "top1"))) for row in rows)
    if points:
        leakage, top1 = zip(*points, strict=True)
        axes.plot(
            [*leakage, max(1.0, leakage[-1])],
            [*top1, top1[-1]],
            drawstyle="steps-post",
            color=INK,
            alpha=0.45,
            linewidth=3.0,
            solid_capstyle="butt",
            label="Pareto front",
            zorder=1,
        )


def _draw_series(
    axes: Axes, label: str, rows: Sequence[Row], style: int, leakage_name: str
) -> None:
    if not rows:
        return
    leakage = [_mean(row, leakage_name) for row in rows]
    top1 = [percent(_mean(row, "top1")) for row in rows]
    axes.errorbar(
        leakage,
        top1,
        xerr=[_half(row["figures"][leakage_name], 1) for row in rows],
        yerr=[_half(row["figures"]["top1"]) for row in rows],
        color=_colour(style),
        linestyle=DASHES[_cycle(style, len(DASHES))],
        marker="*" if style == 0 else MARKERS[(style - 1) % len(MARKERS)],
        markersize=10 if style == 0 else 6.5,
        markeredgecolor=INK,
        markeredgewidth=0.6,
        linewidth=1.4,
        elinewidth=0.9,
        capsize=2.0,
        label=label,
    )
    for row, x, y in zip(rows, leakage, top1, strict=True):
        if row["budget"] is not None:
            axes.annotate(
                f"{row['budget']:g}",
                (x, y),
                # Neighbouring series on different sides, so that their labels seldom meet.
                xytext=(5, -11) if style % 2 else (-5, 6),
                textcoords="offset points",
                ha="left" if style % 2 else "right",
                fontsize=8,
            )


def _styles(rows: Sequence[Row]) -> dict[str, int]:
    """Series -> number of its style; 0 is kept for raw, whose name is its method's."""
    series = dict.fromkeys(row["series"] for row in rows if row["method"] != "raw")
    return {"raw": 0} | {name: index for index, name in enumerate(series, start=1)}


def _colour(style: int) -> str:
    return COLOURS[_cycle(style, len(COLOURS))]


def _cycle(style: int, length: int) -> int:
    """0 stays 0; the others go round the rest."""
    return style and (style - 1) % (length - 1) + 1


def _mean(row: Row, name: str) -> float:
    return row["figures"][name]["mean"]


def _half(figure: Mapping[str, Any], scale: float = 100) -> float:
    """Half of an interval; NaN, which is not drawn, with one seed."""
    return np.nan if figure["high"] is None else scale * (figure["high"] - figure["mean"])


def _labels(names: Sequence[str], cut: Callable[[str], str]) -> dict[str, str]:
    """{name: what stands in a chart}: cut, but whole, in lines, where two would read alike."""
    labels = {name: cut(name) for name in names}
    times = Counter(labels.values())
    return {name: label if times[label] == 1 else _in_lines(name) for name, label in labels.items()}


def _in_lines(name: str) -> str:
    """Broken between settings, and inside of one where it is longer than a line."""
    return "\n".join(textwrap.fill(part, _LETTERS) for part in re.split(r"(?<=,) ", name))


def _shorten(name: str) -> str:
    """Cut in the middle: the end tells budgets apart."""
    name = name.replace(" = ", "=")
    if len(name) <= _LETTERS:
        return name
    return f"{name[: _LETTERS - 13]}\u2026{name[-12:]}"


def _around(limits: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Limits that hold both levels, with some air."""
    return min(limits[0], low - 0.05), max(limits[1], high + 0.05)
