"""The grid of a sweep: methods, budgets, seeds and fields of the game, and the cells they make."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from anon_jax import settings
from anon_jax.errors import ConfigError
from anon_jax.methods import get_method, unused_fields
from anon_jax.phases.setup import PRETRAINING
from configs import base

_BUDGET = "minimax.penalty.budget"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: its folder below the sweep's, and the fields that make it what it is.

    Attributes:
      pretrained: folder of the run that has to be done before; "" = none.
    """

    folder: str
    overrides: tuple[str, ...]
    pretrained: str = ""


def plan(
    methods: Sequence[str],
    budgets: Sequence[str],
    seeds: Sequence[str],
    workdir: Path,
    vary: Sequence[str] = (),
    config: ConfigDict | None = None,
) -> tuple[list[Cell], list[Cell]]:
    """The shared pre-trainings, one for each seed, and the cells that the grid consists of.

    Pre-training does not depend on the method, the budget or a field of the game. Methods without
    a penalty have one cell for each seed, whatever the budgets; the same goes for other fields
    that a method does not use.

    Args:
      vary: of fields of `config.minimax`, "FIELD=VALUE,VALUE"; the grid has all combinations.
      config: of all cells; what is varied is checked together with the rest of it. None = base's.

    Raises:
      ConfigError: an unknown method or field, a budget or a seed that is no number, or nothing to
        run.
    """
    for text in budgets:
        _check_number("budgets", text, float)
    for text in seeds:
        _check_number("seeds", text, int)
    if not methods or not seeds:
        raise ConfigError("--methods and --seeds need at least one entry each")
    axes = {_BUDGET: [float(text) for text in budgets], **_axes(vary, methods)}
    grid = _grid(methods, axes)
    if vary:
        _check_grid(grid, base.get_config() if config is None else config)
    shared, cells = [], []
    for seed in dict.fromkeys(seeds):
        pretrained = f"pretrained/seed{seed}"
        of_seed = (f"--config.seed={seed}",)
        if any(get_method(method).learned for method in methods):
            phases = f"--config.phases={PRETRAINING!r}"
            shared.append(Cell(pretrained, (*of_seed, phases)))
        for method, varied in grid:
            overrides = [*of_seed, f"--config.method={method}", "--config.evaluate_raw=False"]
            needed = pretrained if get_method(method).learned else ""
            if needed:
                overrides.append(f"--config.pretrained={workdir / needed}")
            overrides += [f"--config.{field}={value}" for field, value in varied.items()]
            parts = [method, *itertools.starmap(_part, varied.items()), f"seed{seed}"]
            cells.append(Cell(f"cells/{'-'.join(parts)}", tuple(overrides), needed))
    return shared, cells


def _grid(
    methods: Sequence[str], axes: Mapping[str, Sequence[Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Each method with all combinations of values of the fields that it uses."""
    grid = []
    for name in dict.fromkeys(methods):
        unused = unused_fields(get_method(name))
        used = {
            field: dict.fromkeys(values)
            for field, values in axes.items()
            if values and not field.startswith(unused)
        }
        combinations = itertools.product(*used.values())
        grid += [(name, dict(zip(used, values, strict=True))) for values in combinations]
    return grid


def _axes(vary: Sequence[str], methods: Sequence[str]) -> dict[str, list[Any]]:
    """The fields of --vary and their values, of the type that the config has."""
    axes: dict[str, list[Any]] = {}
    for text in vary:
        field, _, values = text.partition("=")
        known = [name for name in settings.defaults() if name.startswith("minimax.")]
        if field not in known or not values:
            raise ConfigError(
                f"--vary: '{text}' is not FIELD=VALUE,VALUE with a field of config.minimax: "
                f"{', '.join(known)}"
            )
        if field == _BUDGET:
            raise ConfigError(f"--vary: the values of {field} are those of --budgets")
        if field in axes:
            raise ConfigError(f"--vary: {field} is given twice; one list has all its values")
        if all(field.startswith(unused_fields(get_method(method))) for method in methods):
            raise ConfigError(f"--vary: none of {', '.join(methods)} uses config.{field}")
        axes[field] = [_parsed(field, value.strip()) for value in values.split(",")]
    return axes


def _parsed(field: str, text: str) -> Any:
    kind = type(settings.defaults()[field])
    try:
        return {"True": True, "False": False}[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ConfigError(f"--vary: '{text}' is no {kind.__name__}, as {field} is") from None


def _check_grid(grid: Sequence[tuple[str, Mapping[str, Any]]], config: ConfigDict) -> None:
    """Finds values, and combinations of them, that cells would refuse after the pre-training."""
    for method, varied in grid:
        cell = ConfigDict(config.to_dict())
        cell.method = method
        cell.update_from_flattened_dict(dict(varied))
        try:
            settings.check_config(cell)
        except ConfigError as error:
            given = ", ".join(f"{field}={value}" for field, value in varied.items())
            raise ConfigError(f"--vary: with {given}, {error}") from None


def _part(field: str, value: Any) -> str:
    """Of the name of a cell's folder."""
    name = "B" if field == _BUDGET else f"{field.removeprefix('minimax.')}="
    return f"{name}{value:g}" if isinstance(value, float) else f"{name}{value}"


def _check_number(flag: str, text: str, kind: type) -> None:
    try:
        number = kind(text)
    except ValueError:
        word = "whole number" if kind is int else "number"
        raise ConfigError(f"--{flag}: '{text}' is no {word}") from None
    if not 0 <= number < math.inf:
        raise ConfigError(f"--{flag}: {text} is not a finite number from 0 on")
