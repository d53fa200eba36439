"""The charts of one run's report: curves of training, bars of attributes."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anon_jax.report.drawing import (
    COLOURS,
    DASHES,
    INK,
    STYLE,
    Chart,
    percent,
    shorten,
    to_svg,
)
from anon_jax.report.panels import Panel, make_panels

Lines = Sequence[Mapping[str, float]]

_MOST_POINTS = 300  # of a curve; longer ones are averaged over even stretches


def draw_curves(
    metrics: Mapping[str, Lines],
    references: Mapping[str, float],
    distance_unit: str,
    privacy_unit: str,
) -> list[tuple[str, list[Chart]]]:
    """The charts of each phase, in the order of a run; unknown phases last, a chart a metric.

    Args:
      metrics: name of a metrics file without suffix, "PHASE" or "PHASE/METHOD", -> its lines.
      references: name of a level, e.g. "budget", -> its height.
      distance_unit, privacy_unit: as in `make_panels`.
    """
    panels = make_panels(distance_unit, privacy_unit)
    phases: dict[str, dict[str, Lines]] = {phase: {} for phase in panels}
    for name in sorted(metrics, key=lambda name: (not name.endswith("/raw"), name)):
        phase, _, run = name.partition("/")
        phases.setdefault(phase, {})[run] = metrics[name]
    drawn = []
    number = 0
    for phase, runs in phases.items():
        found = []
        for panel in panels.get(phase) or _panels_of_unknown(runs):
            series = _series(panel, runs)
            if series:
                number += 1
                slug = re.sub(r"[^a-z0-9]+", "_", f"{phase}_{panel.title}".lower()).strip("_")
                svg = _draw_panel(panel, series, references)
                found.append(Chart(panel.title, f"curve_{number:02d}_{slug}.svg", svg))
        if found:
            drawn.append((phase, found))
    return drawn


def draw_attributes(attributes: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Bars of the average precision of each attribute, a bar a method, with chance marked."""
    if not attributes:
        return None
    methods = list(attributes[0]["methods"])
    thickness, styles = 0.8 / len(methods), _style_indices(methods)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 0.9 + len(attributes) * (0.14 + 0.16 * len(methods))))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        places = np.arange(len(attributes))
        for index, method in enumerate(methods):
            values = [percent(entry["methods"][method]["ap"]) for entry in attributes]
            offset = (index - (len(methods) - 1) / 2) * thickness
            colour = COLOURS[styles[index]]
            axes.barh(places + offset, values, thickness * 0.9, color=colour, label=method)
        chance = [percent(entry["prevalence"]) for entry in attributes]
        axes.vlines(chance, places - 0.46, places + 0.46, colors=INK, label="chance", linewidth=1.6)
        axes.set_yticks(places, [shorten(entry["attribute"]) for entry in attributes])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("average precision (%)")
        axes.grid(axis="x")
        figure.legend(loc="outside upper center", ncols=3)
        return Chart("Average precision of each attribute", "attributes.svg", to_svg(figure))


def _panels_of_unknown(runs: Mapping[str, Lines]) -> list[Panel]:
    names = {name for lines in runs.values() for line in lines for name in line} - {"step"}
    return [Panel(name, name, {name: ""}) for name in sorted(names)]


def _series(panel: Panel, runs: Mapping[str, Lines]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label -> steps and values of each line of a panel."""
    series = {}
    for run, lines in runs.items():
        if panel.beside and not any(panel.beside in line for line in lines):
            continue
        for metric, label in panel.metrics.items():
            points = [(line["step"], line[metric]) for line in lines if metric in line]
            if points:
                steps, values = np.array(points, dtype=float).T  # [N, 2] -> [N], [N]
                series[" ".join(filter(None, (run, label)))] = (_thin(steps), _thin(values))
    return series


def _thin(values: np.ndarray) -> np.ndarray:
    if len(values) <= _MOST_POINTS:
        return values
    return np.array([part.mean() for part in np.array_split(values, _MOST_POINTS)])


def _draw_panel(
    panel: Panel,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    references: Mapping[str, float],
) -> str:
    scale = 100 if panel.share else 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.0, 2.6))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        styles = _style_indices(series)
        for style, (label, (steps, values)) in zip(styles, series.items(), strict=True):
            axes.plot(
                steps,
                scale * values,
                DASHES[style],
                color=COLOURS[style],
                linewidth=1.5,
                marker="o" if len(steps) <= 12 else "",
                markersize=3.5,
                label=label,
            )
        _draw_reference(axes, panel, references, scale)
        axes.set_xlim(left=0)
        if panel.share:
            axes.set_ylim(-2, 102)
        axes.set_xlabel("training step")
        axes.set_ylabel(panel.unit)
        axes.grid(axis="y")
        labels = [label for label in axes.get_legend_handles_labels()[1] if label]
        if labels:
            figure.legend(loc="outside upper center", ncols=3)
        return to_svg(figure)


def _draw_reference(
    axes: Axes, panel: Panel, references: Mapping[str, float], scale: float
) -> None:
    name, label = panel.reference or ("", "")
    if name in references:
        height = references[name]
        text = f"{label} = {scale * height:.3g}{' %' if panel.share else ''}"
        axes.axhline(scale * height, color=INK, linewidth=1.0, linestyle=(0, (6, 3)), label=text)


def _style_indices(labels: Iterable[str]) -> list[int]:
    """An entry of COLOURS and DASHES for each label: the first is kept for raw."""
    others = itertools.cycle(range(1, len(COLOURS)))
    return [0 if label == "raw" else next(others) for label in labels]
