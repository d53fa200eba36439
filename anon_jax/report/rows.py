"""The rows of a comparison: the cells of a method and budget, with intervals over their seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.methods import METHODS
from anon_jax.report.cells import Cell, bootstrapped, figures
from anon_jax.report.formats import short
from anon_jax.report.measured import attackers
from anon_jax.report.protocols import ABSENT, BUDGET, Fields, key
from anon_jax.report.tree import at, number
from anon_jax.settings import defaults
from anon_jax.statistics import hypervolume, over_seeds, pareto_front

Row = dict[str, Any]

_PENALTY = "minimax.penalty."
# As the method calls them, and short beside a bar.
_SYMBOLS = {
    "minimax.weights.action": "w_T",
    "minimax.weights.privacy": "w_B",
    "minimax.weights.penalty": "w_P",
}


def make_rows(cells: Sequence[Cell]) -> list[Row]:
    """One row for each method and config, raw first, budgets rising; shares in [0, 1].

    The front is that of the leakage that `yardstick` names.

    A figure is {"mean", "low", "high", "values": {seed: value}}, or None where no seed has it;
    the limits are None with one seed. "clips" has the bootstrap over the clips of each seed.
    """
    grouped: dict[tuple[str, str, str], list[Cell]] = {}
    for cell, series in zip(cells, _series(cells), strict=True):
        grouped.setdefault((cell.method, key(cell.variant), series), []).append(cell)
    rows = [_row(found, series) for (_, _, series), found in grouped.items()]
    rows.sort(key=_place)
    for index in front(rows, yardstick(rows)):
        rows[index]["front"] = True
    return rows


def interval(values: Mapping[int, float | None]) -> dict[str, Any] | None:
    """Mean and limits over the seeds that have a value."""
    known = {str(seed): value for seed, value in sorted(values.items()) if value is not None}
    if not known:
        return None
    found = over_seeds(list(known.values()))
    low, high = (None if math.isnan(x) else x for x in (found.low, found.high))
    return {"mean": found.value, "low": low, "high": high, "values": known}


def yardstick(rows: Sequence[Row]) -> str:
    """The leakage that places the rows: the worst case where all of them have it, else "leakage".

    Rows whose direct leakage is not known cannot be placed, and do not count.
    """
    placed = [row["figures"] for row in rows if row["figures"]["leakage"]]
    attacked = any(row["figures"]["worst_leakage"] for row in rows if row["method"] != "raw")
    complete = all(
        set(at(figures, "worst_leakage", "values") or ()) == set(figures["leakage"]["values"])
        for figures in placed
    )
    return "worst_leakage" if attacked and complete else "leakage"


def front(rows: Sequence[Row], leakage: str) -> list[int]:
    """Indices of the rows, raw aside, that no other one reaches in both means."""
    placed = [
        index
        for index, row in enumerate(rows)
        if row["method"] != "raw" and row["figures"][leakage] and row["figures"]["top1"]
    ]
    means = [[rows[i]["figures"][name]["mean"] for name in (leakage, "top1")] for i in placed]
    return [placed[i] for i in pareto_front([(1 - leaks, top1) for leaks, top1 in means])]


def hypervolumes(rows: Sequence[Row], leakage: str) -> list[dict[str, Any]]:
    """The area that the budgets of a method dominate, by seed, then over the seeds.

    Of a method that is there with several settings beside its budget, all of them together follow:
    what trades action for leakage is the budget of one method, and a weight of another. A seed
    counts where all rows of a series have been measured with it; "seeds" names all that are there.
    "behind" is what a series lacks to the one of the largest mean, by seed: cells of one seed have
    their pre-training and their raw clips in common, so what moves both is not in the difference.
    """
    rows = [row for row in rows if row["method"] != "raw"]
    groups = [
        (name, [row["budget"] for row in members if row["budget"] is not None], members)
        for name, members in _grouped(rows, "series").items()
    ]
    groups += [
        (f"{method}, all {len(members)} settings", [], members)
        for method, members in _grouped(rows, "method").items()
        if len(_grouped(members, "series")) > 1
    ]
    found: list[dict[str, Any]] = [
        {
            "series": name,
            "budgets": budgets,
            "seeds": sorted({seed for row in members for seed in row["seeds"]}),
            "volume": interval(_areas(members, leakage)),
        }
        for name, budgets, members in groups
    ]
    largest = max(
        (item["volume"] for item in found if item["volume"]),
        key=lambda volume: volume["mean"],
        default=None,
    )
    return [{**item, "behind": _difference(largest, item["volume"])} for item in found]


def _difference(
    largest: Mapping[str, Any] | None, volume: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """`largest` - `volume` over the seeds that both have; None of the largest itself."""
    if not largest or not volume or volume is largest:
        return None
    ours, theirs = largest["values"], volume["values"]
    return interval({int(seed): ours[seed] - theirs[seed] for seed in ours if seed in theirs})


def _grouped(rows: Sequence[Row], field: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[field], []).append(row)
    return groups


def _areas(rows: Sequence[Row], leakage: str) -> dict[int, float | None]:
    seeds = set.intersection(*(set(row["seeds"]) for row in rows))
    areas: dict[int, float | None] = {}
    for seed in seeds:
        pairs = [
            [at(row["figures"], name, "values", str(seed)) for name in (leakage, "utility")]
            for row in rows
        ]
        if all(None not in pair for pair in pairs):
            areas[seed] = hypervolume([(1 - leaks, utility) for leaks, utility in pairs])
    return areas


def _row(cells: Sequence[Cell], series: str) -> Row:
    found = {cell.seed: figures(cell) for cell in cells}
    method = METHODS.get(cells[0].method)
    has_budget = method is None or method.penalty
    budget = number(cells[0].variant.get(BUDGET)) if has_budget else None
    names = next(iter(found.values()))
    return {
        "name": series if budget is None else f"{series}, B = {short(budget)}",
        "method": cells[0].method,
        "series": series,
        "budget": budget,
        "front": False,
        "seeds": sorted(found),
        "folders": [str(cell.run.folder) for cell in cells],
        "figures": {name: interval({seed: f[name] for seed, f in found.items()}) for name in names},
        "clips": {str(cell.seed): bootstrapped(cell) for cell in cells},
        "attributes": _attributes(cells),
        "space": at(cells[0].run.config, "minimax", "penalty", "space"),
        "frames_with_boxes": _frames_with_boxes(cells),
        "worst_attacks": _worst_attacks(cells),
        "identical": all(number(at(c.found, "frames", "distance")) == 0 for c in cells),
        "timed": sorted({text for cell in cells if (text := _timed(cell))}),
    }


def _series(cells: Sequence[Cell]) -> list[str]:
    """Of each cell the method, and what tells its configs apart; all budgets have one name.

    What is the same in all of them is named too where another method has it otherwise.
    """
    known = defaults()
    # By method: fields of other versions, which some of its cells have and the others lack.
    foreign: dict[str, Fields] = {cell.method: {} for cell in cells}
    for cell in cells:
        foreign[cell.method] |= {field: ABSENT for field in cell.variant if field not in known}
    settings = [foreign[cell.method] | cell.variant for cell in cells]
    values: dict[str, set[str]] = {}
    for setting in settings:
        for field, value in setting.items():
            values.setdefault(field, set()).add(key({field: value}))
    disputed = sorted(field for field in values if field != BUDGET and len(values[field]) > 1)
    return [
        ", ".join(
            [cell.method, *(f"{_name(f)} = {short(setting[f])}" for f in disputed if f in setting)]
        )
        for cell, setting in zip(cells, settings, strict=True)
    ]


def _name(field: str) -> str:
    """Of minimax.penalty the last name says enough; elsewhere "epochs" alone would not."""
    return _SYMBOLS.get(field, ".".join(field.removeprefix(_PENALTY).split(".")[-2:]))


def _attributes(cells: Sequence[Cell]) -> dict[str, Any]:
    """{attribute: average precision over the seeds}, in the dataset's order."""
    found = {cell.seed: at(cell.found, "privacy", "per_attribute") or {} for cell in cells}
    names = dict.fromkeys(name for attributes in found.values() for name in attributes)
    return {
        name: interval({seed: number(at(f, name, "ap")) for seed, f in found.items()})
        for name in names
    }


def _frames_with_boxes(cells: Sequence[Cell]) -> float | None:
    """Of the methods that hide people and faces: the share of frames in which one was found."""
    shares = [number(at(cell.found, "action", "frames_with_boxes")) for cell in cells]
    known = [share for share in shares if share is not None]
    return min(known) if known else None


def _worst_attacks(cells: Sequence[Cell]) -> dict[str, dict[str, str]]:
    """{seed: the attack that reads most}, of the cells that more than one attacker faced.

    "attack" is its kind, "attacker" the network that read, with its seed.
    """
    return {
        str(cell.seed): {
            name: str(at(cell.found, "worst_case", name) or "") for name in ("attack", "attacker")
        }
        for cell in sorted(cells, key=lambda cell: cell.seed)
        if at(cell.found, "worst_case")
        and (at(cell.found, "reconstruction") or len(attackers(cell.found)) > 1)
    }


def _timed(cell: Cell) -> str:
    """On what a frame's time was measured; empty where it was not."""
    cost = at(cell.found, "frames", "cost")
    return short(at(cost, "backend")) if cost and cell.method != "raw" else ""


def _place(row: Row) -> tuple[Any, ...]:
    known = list(METHODS)
    place = known.index(row["method"]) if row["method"] in known else len(known)
    return (place, row["method"], row["series"], row["budget"] or 0.0)
