"""The tables of a report: its numbers as text, for the HTML and the Markdown page alike."""

from collections.abc import Mapping
from typing import Any

from anon_jax.report import attack_tables
from anon_jax.report.formats import (
    decimal,
    duration,
    limits,
    percent,
    points,
    short,
)
from anon_jax.report.table import Table
from anon_jax.report.words import DATASETS, DISTANCE_UNITS


def build(report: Mapping[str, Any]) -> dict[str, Any]:
    """All tables of a report by name; "key_figures" is a list of (name, value, note)."""
    return {
        "key_figures": _key_figures(report),
        "action": _action(report["methods"]),
        "privacy": _privacy(report["methods"]),
        "attributes": _attributes(report["attributes"]),
        **attack_tables.build(report["methods"]),
        "minimax": _minimax(report["minimax"]),
        "settings": _settings(report["settings"]),
        "seconds": _seconds(report["settings"]["seconds"]),
    }


def _key_figures(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What is read first; a comparison with raw where both were measured."""
    rows = {row["method"]: row for row in report["methods"]}
    own = rows.get(report["method"])
    if own is None:
        return []
    raw = rows.get("raw", own)
    action, privacy = own["action"], own["privacy"]
    figures = [
        ("Action Top-1", percent(action["top1"]), _beside(raw["action"], action, "top1", "chance")),
        (
            "Leakage cMAP",
            percent(privacy["cmap"]),
            _beside(raw["privacy"], privacy, "cmap", "chance_cmap"),
        ),
    ]
    if own is not raw:
        leakage = decimal(privacy["normalised_leakage"], 2)
        figures.append(("Normalised leakage", leakage, "0 chance, 1 as much as raw"))
        figures += _worst_case(own["worst_case"])
    if report["minimax"]:
        minimax = report["minimax"]
        limit = f"B = {short(minimax['budget'])}" if minimax["has_penalty"] else "no penalty"
        note = f"{limit}, exceeded in {percent(minimax['active'], 0)} of the last steps"
        figures.append(("Distance from raw", decimal(minimax["distance"]), note))
    return figures


def _worst_case(worst: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Where another attack reads more than the direct one."""
    if worst is None or worst["attack"] == "direct":
        return []
    leakage = decimal(worst["normalised_leakage"], 2)
    note = f"cMAP {percent(worst['cmap'])}, {attack_tables.attack_name(worst['attack'])}"
    return [("Leakage, worst case", leakage, note)]


def _beside(raw: Mapping[str, Any], own: Mapping[str, Any], score: str, chance: str) -> str:
    notes = [] if raw is own else [f"raw {percent(raw[score])}"]
    return ", ".join([*notes, f"chance {percent(own[chance])}"])


def _action(methods: list[dict[str, Any]]) -> Table:
    headers = ["Method", "Top-1", "Drop against raw", "Share of raw", "Chance", "Majority"]
    rows = []
    for row in methods:
        action = row["action"]
        cells = [percent(action["top1"]), points(action["drop"])]
        cells += [percent(action[key]) for key in ("kept", "chance", "majority")]
        rows.append([row["method"], *cells, *_origin(action)])
    return _with_intervals(Table([*headers, *_ORIGIN], rows), methods, "action")


def _privacy(methods: list[dict[str, Any]]) -> Table:
    headers = ["Method", "cMAP", "Drop against raw", "Chance cMAP", "Normalised leakage", "AUROC"]
    headers += ["F1 at 0.5", "F1 tuned", "F1 published", "F1 always yes"]
    rows = []
    for row in methods:
        privacy = row["privacy"]
        cells = [percent(privacy["cmap"]), points(privacy["drop"])]
        cells += [percent(privacy["chance_cmap"]), decimal(privacy["normalised_leakage"], 2)]
        scores = ("auroc", "f1", "f1_tuned", "f1_published", "always_yes_f1")
        cells += [decimal(privacy[key]) for key in scores]
        rows.append([row["method"], *cells, *_origin(privacy)])
    return _with_intervals(Table([*headers, *_ORIGIN], rows), methods, "privacy")


def _with_intervals(table: Table, methods: list[dict[str, Any]], measurement: str) -> Table:
    """Beside the score that they belong to, where the run has any."""
    intervals = [row[measurement]["interval"] for row in methods]
    if not any(intervals):
        return table
    return Table(
        [*table.headers[:2], "95 % interval", *table.headers[2:]],
        [
            [*cells[:2], limits(interval), *cells[2:]]
            for cells, interval in zip(table.rows, intervals, strict=True)
        ],
    )


_ORIGIN = ["Split", "Best step"]


def _origin(measured: Mapping[str, Any]) -> list[str]:
    chosen = attack_tables.chosen(measured["best_step"], measured["steps"])
    return [short(measured["split"]), chosen]


def _attributes(attributes: list[dict[str, Any]]) -> Table:
    methods = list(attributes[0]["methods"]) if attributes else []
    headers = ["Attribute", "Chance (%)", *(f"AP {method} (%)" for method in methods)]
    headers += [f"AUROC {method}" for method in methods]
    rows = []
    for entry in attributes:
        found = entry["methods"]
        shares = [entry["prevalence"], *(found[method]["ap"] for method in methods)]
        cells = [decimal(None if share is None else 100 * share, 1) for share in shares]
        cells += [decimal(found[method]["auroc"]) for method in methods]
        rows.append([entry["attribute"], *cells])
    return Table(headers, rows)


def _minimax(minimax: Mapping[str, Any] | None) -> Table:
    if minimax is None:
        return Table([], [])
    weights = minimax["weights"]
    unit = DISTANCE_UNITS.get(minimax["space"], "unit not known")
    rows = [
        [f"Distance reached ({unit})", decimal(minimax["distance"])],
        ["Penalty active, last tenth of the steps", percent(minimax["active"])],
        ["Penalty active, all steps", percent(minimax["active_all_steps"])],
        ["Budget B", short(minimax["budget"])],
        ["Mode", short(minimax["mode"])],
        ["Reduction", short(minimax["reduction"])],
        ["Space", short(minimax["space"])],
        ["Weights of action, privacy, penalty", ", ".join(short(w) for w in weights.values())],
        ["Steps", short(minimax["steps"])],
    ]
    if minimax["multiplier"] is not None:
        rows.insert(3, ["Multiplier, last tenth of the steps", decimal(minimax["multiplier"])])
    return Table(["Minimax training", "Value"], rows)


def _settings(settings: Mapping[str, Any]) -> Table:
    rows = [["Seed", short(settings["seed"])]]
    rows += [[DATASETS[role], short(name)] for role, name in settings["datasets"].items()]
    rows += [[package, short(version)] for package, version in settings["versions"].items()]
    return Table(["Setting", "Value"], rows)


def _seconds(seconds: Mapping[str, float]) -> Table:
    rows = [[phase, duration(spent)] for phase, spent in seconds.items()]
    if rows:
        rows.append(["All phases", duration(sum(seconds.values()))])
    return Table(["Phase", "Time"], rows)
