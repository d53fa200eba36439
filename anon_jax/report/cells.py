"""The cells of a comparison: one method of one run, beside the raw backbone of its seed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.methods import METHODS
from anon_jax.metrics import normalised_leakage
from anon_jax.report.measured import interval, mean_over_steps, ratio
from anon_jax.report.protocols import Fields, key, variant_of
from anon_jax.report.runs import LeftOut, Run
from anon_jax.report.tree import at, number

TRAINING = ("reconstruct", "pretrain_privacy", "minimax")
# Name of a figure -> where it is in a method's results.
_SCORES = {
    "top1": ("action", "top1"),
    "cmap": ("privacy", "cmap"),
    "auroc": ("privacy", "auroc"),
    "f1": ("privacy", "f1"),
    "f1_tuned": ("privacy", "f1_tuned"),
    "reconstruction_cmap": ("reconstruction", "privacy", "cmap"),
    "white_box_cmap": ("reconstruction", "white_box", "cmap"),
    "reconstruction_psnr": ("reconstruction", "psnr"),
    "reconstruction_ssim": ("reconstruction", "ssim"),
    "rank1": ("identity", "rank1"),
    "map": ("identity", "map"),
    "test_distance": ("frames", "distance"),
    "psnr": ("frames", "psnr"),
    "ssim": ("frames", "ssim"),
    "ms_per_frame": ("frames", "cost", "ms_per_frame"),
    "gflops": ("frames", "cost", "gflops_per_frame"),
    "parameters": ("frames", "cost", "parameters"),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one run found about one method.

    Attributes:
      variant: the fields of the config that describe the method.
      found: the method's entry of results.json.
      raw: that of raw with the same seed and protocol; empty where there is none.
    """

    run: Run
    method: str
    variant: Fields
    found: Mapping[str, Any]
    raw: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.run.seed


def make_cells(runs: Sequence[Run]) -> tuple[list[Cell], list[LeftOut]]:
    """The cells of the runs of one protocol; of the same cell twice, the first one counts.

    Raw is taken from the run itself where it evaluated it, else from a run of the same seed.
    """
    raws: dict[int, Mapping[str, Any]] = {}
    for run in runs:
        if "raw" in run.measured:
            raws.setdefault(run.seed, run.measured["raw"])
    cells: dict[tuple[str, str, int], Cell] = {}
    repeated = []
    for run in runs:
        for method, found in run.measured.items():
            raw = run.measured.get("raw") or raws.get(run.seed, {})
            cell = Cell(run, method, variant_of(run, method), found, raw)
            place = (method, key(cell.variant), run.seed)
            if place in cells:
                repeated.append(_repetition(cell, cells[place]))
            else:
                cells[place] = cell
    return list(cells.values()), repeated


def figures(cell: Cell) -> dict[str, float | None]:
    """The figures of a cell by name; shares in [0, 1], seconds; None where one is not defined.

    `worst_cmap` and `worst_leakage` are of the strongest of all attackers, where more than the
    direct ones were tried; of raw there is nothing to reconstruct. `leakage` is of the direct
    ones. `drop`, `cmap_drop` (differences of shares) and `kept` are against the cell's raw;
    `utility` is (Top-1 - chance) / (Top-1 raw - chance), the second coordinate of
    `anon_jax.statistics`.
    """
    scores = {name: number(at(cell.found, *path)) for name, path in _SCORES.items()}
    top1, raw_top1 = scores["top1"], number(at(cell.raw, "action", "top1"))
    cmap, raw_cmap = scores["cmap"], number(at(cell.raw, "privacy", "cmap"))
    chance = number(at(cell.found, "action", "chance"))
    chance_cmap = number(at(cell.found, "privacy", "chance_cmap"))
    worst = _worst_cmap(cell)
    flickers = [number(at(cell.found, "frames", name)) for name in ("flicker", "raw_flicker")]
    return {
        **scores,
        "worst_cmap": worst,
        "drop": None if top1 is None or raw_top1 is None else raw_top1 - top1,
        "cmap_drop": None if cmap is None or raw_cmap is None else raw_cmap - cmap,
        "kept": None if top1 is None or not raw_top1 else top1 / raw_top1,
        "utility": _normalised(top1, chance, raw_top1),
        "leakage": _normalised(cmap, chance_cmap, raw_cmap),
        "worst_leakage": _normalised(worst, chance_cmap, raw_cmap),
        "flicker_ratio": ratio(*flickers),
        **_training(cell),
    }


def bootstrapped(cell: Cell) -> dict[str, list[float]]:
    """{figure: [low, high]}, 95 % over the test records of this run, by groups if there are any.

    Says how much the choice of the test records matters; not what another training would give.
    """
    found = {
        "top1": interval(at(cell.found, "action", "top1_interval")),
        "cmap": interval(at(cell.found, "privacy", "cmap_interval")),
    }
    return {name: limits for name, limits in found.items() if limits}


def _worst_cmap(cell: Cell) -> float | None:
    if cell.method == "raw":
        return number(at(cell.found, "privacy", "cmap"))
    attacked = number(at(cell.found, "reconstruction", "privacy", "cmap")) is not None
    return number(at(cell.found, "worst_case", "cmap")) if attacked else None


def _training(cell: Cell) -> dict[str, float | None]:
    """Of the run's own method: its results say nothing about the training of another."""
    results = cell.run.results
    if cell.method != cell.run.method or not at(results, "minimax"):
        return dict.fromkeys(("distance", "active", "seconds"))
    spent = [number(at(results, "seconds", phase)) for phase in TRAINING]
    known = [seconds for seconds in spent if seconds is not None]
    method = METHODS.get(cell.method)
    active = mean_over_steps(cell.run.minimax, "penalty/active")
    return {
        "distance": number(at(results, "minimax", "penalty/distance")),
        # Without a penalty it is counted against a budget that nothing depends on.
        "active": active if method is None or method.penalty else None,
        "seconds": sum(known) if known else None,
    }


def _normalised(score: float | None, chance: float | None, raw: float | None) -> float | None:
    """0 at chance, 1 at raw; None where raw is not above chance, so that nothing compares."""
    if score is None or chance is None or raw is None:
        return None
    share = normalised_leakage(score, chance, raw)
    return None if math.isnan(share) else share


def _repetition(cell: Cell, first: Cell) -> LeftOut:
    before = "the same run" if cell.run is first.run else str(first.run.folder)
    same = key(dict(cell.found)) == key(dict(first.found))
    values = "with the same figures" if same else "with other figures"
    return LeftOut(
        str(cell.run.folder),
        f"Its {cell.method} with seed {cell.seed} is already there from {before}, of the same "
        f"protocol and config, {values}; the first one counts.",
    )
