"""The tables of a comparison: its numbers as text, for the HTML and the Markdown page alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report.tables import Table
from anon_jax.report.words import DISTANCE_UNITS, MISSING, decimal, duration, short

_SPACE = "\u00a0"


def build(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """All tables of a protocol by name; "published" is a list of them."""
    return {
        "scores": _scores(protocol),
        "further": _further(protocol),
        "attributes": _attributes(protocol),
        "hypervolumes": _hypervolumes(protocol["hypervolumes"], protocol["rows"]),
        "published": [_published(table, protocol["rows"]) for table in protocol["published"]],
        "fields": Table(
            ["Field", "Value"],
            [[field, _listed(value)] for field, value in protocol["fields"].items()],
        ),
    }


def reasons(items: Sequence[Mapping[str, str]]) -> Table:
    """What was left out, and why."""
    return Table(["Folder", "Why"], [[item["folder"], item["reason"]] for item in items])


def shown(
    figure: Mapping[str, Any] | None, scale: float = 100, digits: int = 1, seeds: int = 0
) -> str:
    """A mean with half of its interval, "80.1 +- 2.3"; says so where seeds are missing.

    Args:
      seeds: of the row, 0 = do not compare.
    """
    if figure is None:
        return MISSING
    text = f"{scale * figure['mean']:.{digits}f}"
    if figure["high"] is not None:
        half = scale * (figure["high"] - figure["mean"])
        text += f"{_SPACE}\u00b1{_SPACE}{half:.{digits}f}"
    count = len(figure["values"])
    return text if not seeds or count == seeds else f"{text} ({count} of {seeds} seeds)"


def _scores(protocol: Mapping[str, Any]) -> Table:
    chance = protocol["chance"]
    headers = ["Method", "Seeds", f"Top-1, % (chance {_level(chance['top1'])})"]
    headers += ["Drop, points", "Kept, % of raw", f"cMAP, % (chance {_level(chance['cmap'])})"]
    headers += ["Normalised leakage (chance 0, raw 1)", "On the front"]
    rows = []
    for row in protocol["rows"]:
        cells = [_cell(row, name) for name in ("top1", "drop", "kept", "cmap")]
        front = "yes" if row["front"] else ""
        rows.append(
            [_name(row), str(len(row["seeds"])), *cells, _cell(row, "leakage", 1, 2), front]
        )
    return Table(headers, rows)


def _further(protocol: Mapping[str, Any]) -> Table:
    always = decimal(protocol["chance"]["f1"])
    headers = ["Method", "AUROC (chance 0.500)", f"F1 at 0.5 (always yes {always})"]
    headers += [f"F1 tuned (always yes {always})", "Penalty active, %"]
    headers += [_distance(protocol["rows"]), "Training of f_A"]
    rows = []
    for row in protocol["rows"]:
        cells = [_cell(row, name, 1, 3) for name in ("auroc", "f1", "f1_tuned")]
        cells += [_cell(row, "active"), _cell(row, "distance", 1, 3)]
        seconds = row["figures"]["seconds"]
        cells.append(MISSING if seconds is None else duration(seconds["mean"]))
        rows.append([_name(row), *cells])
    return Table(headers, rows)


def _attributes(protocol: Mapping[str, Any]) -> Table:
    prevalence = protocol["prevalence"]
    headers = [f"{name} (chance {_level(share)})" for name, share in prevalence.items()]
    rows = [
        [_name(row), *(shown(row["attributes"].get(name)) for name in prevalence)]
        for row in protocol["rows"]
        if row["attributes"]
    ]
    return Table(["AP in %", *headers], rows)


def _hypervolumes(found: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = []
    for item in found:
        volume = item["volume"]
        seeds = {seed for row in rows if row["series"] == item["series"] for seed in row["seeds"]}
        count = len(volume["values"]) if volume else 0
        budgets = ", ".join(short(budget) for budget in item["budgets"]) or MISSING
        of_seeds = str(count) if count == len(seeds) else f"{count} of {len(seeds)}"
        cells.append([item["series"], budgets, of_seeds, shown(volume, 1, 3)])
    return Table(["Method", "Budgets B", "Seeds", "Hypervolume"], cells)


def _published(table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    """Ours above theirs, in the same columns."""
    headers = ["Method", "From", "Top-1, %", "Top-1 drop, points", "Kept, % of raw", "cMAP, %"]
    headers += ["cMAP drop, points", "Normalised leakage", "F1 at 0.5"]
    action, privacy = ("top1", "drop", "kept"), ("cmap", "cmap_drop")
    cells = []
    for row in rows:
        scores = [_cell(row, name) for name in action] if table["action"] else [MISSING] * 3
        if table["privacy"]:
            scores += [*(_cell(row, name) for name in privacy), _cell(row, "leakage", 1, 2)]
            scores.append(_cell(row, "f1", 1, 3))
        else:
            scores += [MISSING] * 4
        cells.append([_name(row), "this report", *scores])
    for row in table["rows"]:
        scores = [_level(row[name]) for name in (*action, *privacy)]
        scores += [decimal(row["leakage"], 2), decimal(row["f1"])]
        cells.append([row["method"], "published", *scores])
    return Table(headers, cells)


def _cell(row: Mapping[str, Any], name: str, scale: float = 100, digits: int = 1) -> str:
    """A figure of a row; raw beside itself is 0, 100 % or 1 by definition, without an interval."""
    figure = row["figures"][name]
    if figure and row["method"] == "raw" and name in ("drop", "cmap_drop", "kept", "leakage"):
        figure = {**figure, "high": None}
    return shown(figure, scale, digits, len(row["seeds"]))


def _distance(rows: Sequence[Mapping[str, Any]]) -> str:
    """With the unit, where all rows have the same; else the rows are named by their space."""
    spaces = {row["space"] for row in rows if row["figures"]["distance"]}
    units = [DISTANCE_UNITS.get(space, "unit not known") for space in spaces]
    return f"Distance from raw ({units[0]})" if len(units) == 1 else "Distance from raw"


def _name(row: Mapping[str, Any]) -> str:
    """Breaks between "mode = hinge" and "B = 0.3", not within them."""
    return row["name"].replace(" = ", f"{_SPACE}={_SPACE}")


def _level(share: float | None) -> str:
    return decimal(None if share is None else 100 * share, 1)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else short(value)
