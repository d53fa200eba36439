"""The tables of a comparison: its numbers as text, for the HTML and the Markdown page alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report.attack_tables import attack_name
from anon_jax.report.formats import MISSING, SPACE, count, decimal, duration, short
from anon_jax.report.table import Column, Table, tabulate
from anon_jax.report.words import DISTANCE_UNITS

_OF_RAW = ("drop", "cmap_drop", "kept", "leakage", "worst_leakage")


def build(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """All tables of a protocol by name; "published" is a list of them."""
    return {
        "scores": _scores(protocol),
        "attacks": _attacks(protocol),
        "found_again": _found_again(protocol),
        "frames": _frames(protocol["rows"]),
        "cost": _cost(protocol["rows"]),
        "attributes": _attributes(protocol),
        "hypervolumes": _hypervolumes(protocol["hypervolumes"]),
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
        text += f"{SPACE}\u00b1{SPACE}{half:.{digits}f}"
    count = len(figure["values"])
    return text if not seeds or count == seeds else f"{text} ({count} of {seeds} seeds)"


def _scores(protocol: Mapping[str, Any]) -> Table:
    chance, rows = protocol["chance"], protocol["rows"]
    return tabulate(
        rows,
        [
            Column("Method", _name),
            Column("Seeds", lambda row: str(len(row["seeds"]))),
            _figure(f"Top-1, % ({_top1_levels(chance)})", "top1"),
            _figure("Drop, points", "drop"),
            _figure("Kept, % of raw", "kept"),
            _figure(f"cMAP, % (chance {_level(chance['cmap'])})", "cmap"),
            _figure("Normalised leakage (chance 0, raw 1)", "leakage", 1, 2),
            _figure("Leakage, worst case", "worst_leakage", 1, 2, of=_beyond_raw(rows)),
            Column("On the front", lambda row: "yes" if row["front"] else ""),
        ],
    )


def _top1_levels(chance: Mapping[str, Any]) -> str:
    text = f"chance {_level(chance['top1'])}"
    if chance["majority"] is None:
        return text
    return f"{text}, always the commonest {_level(chance['majority'])}"


def _attacks(protocol: Mapping[str, Any]) -> Table:
    chance, rows = protocol["chance"], protocol["rows"]
    always = decimal(chance["f1"])
    own = _beyond_raw(rows)
    return tabulate(
        rows,
        [
            Column("Method", _name),
            _figure("AUROC (chance 0.500)", "auroc", 1, 3),
            _figure(f"F1 at 0.5 (always yes {always})", "f1", 1, 3),
            _figure(f"F1 tuned (always yes {always})", "f1_tuned", 1, 3),
            _figure("cMAP of reconstructed, %", "reconstruction_cmap", of=own),
            _figure("cMAP white box, %", "white_box_cmap", of=own),
            Column("Strongest attack", _strongest, any(row["worst_attacks"] for row in own)),
        ],
    )


def _found_again(protocol: Mapping[str, Any]) -> Table:
    """Frames and people; without columns where neither was tried."""
    chance, rows = protocol["chance"], protocol["rows"]
    own = _beyond_raw(rows)
    return tabulate(
        rows,
        [
            Column("Method", _name),
            _figure("PSNR of reconstructed, dB", "reconstruction_psnr", 1, of=own),
            _figure("SSIM of reconstructed", "reconstruction_ssim", 1, 3, of=own),
            _figure(f"Rank-1, % (chance {_level(chance['rank1'])})", "rank1", of=rows),
            _figure(f"mAP, % (chance {_level(chance['map'])})", "map", of=rows),
        ],
    )


def _frames(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What was changed; without columns where it was not measured."""
    return tabulate(
        rows,
        [
            Column("Method", _name),
            _figure("Distance on test clips", "test_distance", 1, 3, of=rows),
            Column("PSNR, dB", _psnr, _measured(rows, "psnr")),
            _figure("SSIM", "ssim", 1, 3, of=rows),
            _figure("Flicker (raw 1)", "flicker_ratio", 1, 2, of=rows),
        ],
    )


def _cost(rows: Sequence[Mapping[str, Any]]) -> Table:
    timed = {text for row in rows for text in row["timed"]}
    time = f"ms a frame ({next(iter(timed))})" if len(timed) == 1 else "ms a frame"
    return tabulate(
        rows,
        [
            Column("Method", _name),
            _figure("Penalty active, %", "active"),
            _figure(_distance(rows), "distance", 1, 3),
            _figure(time, "ms_per_frame", 1, 2, of=rows),
            Column("GFLOPs a frame", _gflops, _measured(rows, "gflops")),
            Column("Parameters", _parameters, _measured(rows, "parameters")),
            Column("Training of f_A", _seconds),
        ],
    )


def _figure(
    header: str,
    name: str,
    scale: float = 100,
    digits: int = 1,
    of: Sequence[Mapping[str, Any]] | None = None,
) -> Column:
    """A figure's column; given `of`, it is there where one of these rows has the figure."""
    there = of is None or _measured(of, name)
    return Column(header, lambda row: _cell(row, name, scale, digits), there)


def _measured(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(row["figures"][name] for row in rows)


def _beyond_raw(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["method"] != "raw"]


def _strongest(row: Mapping[str, Any]) -> str:
    """Kind and network of the strongest attack, with how many seeds where they differ."""
    found = Counter(
        ", ".join(filter(None, (attack_name(worst["attack"]), worst["attacker"])))
        for worst in row["worst_attacks"].values()
    )
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{name} ({number})" for name, number in found.most_common()) or MISSING


def _psnr(row: Mapping[str, Any]) -> str:
    return "identical" if row["identical"] else _cell(row, "psnr", 1, 1)


def _parameters(row: Mapping[str, Any]) -> str:
    """All seeds of a row have the same networks, so there is nothing to have an interval."""
    found = row["figures"]["parameters"]
    return count(found["mean"] if found else None)


def _gflops(row: Mapping[str, Any]) -> str:
    found = row["figures"]["gflops"]
    return decimal(found["mean"] if found else None, 2)


def _seconds(row: Mapping[str, Any]) -> str:
    seconds = row["figures"]["seconds"]
    return MISSING if seconds is None else duration(seconds["mean"])


def _attributes(protocol: Mapping[str, Any]) -> Table:
    prevalence = protocol["prevalence"]
    headers = [f"{name} (chance {_level(share)})" for name, share in prevalence.items()]
    rows = [
        [_name(row), *(shown(row["attributes"].get(name)) for name in prevalence)]
        for row in protocol["rows"]
        if row["attributes"]
    ]
    return Table(["AP in %", *headers], rows)


def _hypervolumes(found: Sequence[Mapping[str, Any]]) -> Table:
    cells = []
    for item in found:
        volume = item["volume"]
        count = len(volume["values"]) if volume else 0
        budgets = ", ".join(short(budget) for budget in item["budgets"]) or MISSING
        of_seeds = str(count) if count == len(item["seeds"]) else f"{count} of {len(item['seeds'])}"
        behind = shown(item["behind"], 1, 3)
        cells.append([item["series"], budgets, of_seeds, shown(volume, 1, 3), behind])
    headers = ["Method", "Budgets B", "Seeds", "Hypervolume", "Behind the largest, by seed"]
    return Table(headers, cells)


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
    """A figure of a row; raw beside itself is 0, 100 % or 1 by definition, without an interval.

    Of one seed, the bootstrap over its clips follows in brackets where there is one.
    """
    figure = row["figures"][name]
    if figure and row["method"] == "raw" and name in _OF_RAW:
        figure = {**figure, "high": None}
    text = shown(figure, scale, digits, len(row["seeds"]))
    (clips,) = row["clips"].values() if len(row["clips"]) == 1 else ({},)
    if figure is None or name not in clips:
        return text
    low, high = (f"{scale * limit:.{digits}f}" for limit in clips[name])
    return f"{text}{SPACE}[{low}{SPACE}to{SPACE}{high}]"


def _distance(rows: Sequence[Mapping[str, Any]]) -> str:
    """With the unit, where all rows have the same; else the rows are named by their space."""
    spaces = {row["space"] for row in rows if row["figures"]["distance"]}
    units = [DISTANCE_UNITS.get(space, "unit not known") for space in spaces]
    return f"Distance from raw ({units[0]})" if len(units) == 1 else "Distance from raw"


def _name(row: Mapping[str, Any]) -> str:
    """Breaks between "mode = hinge" and "B = 0.3", not within them."""
    return row["name"].replace(" = ", f"{SPACE}={SPACE}")


def _level(share: float | None) -> str:
    return decimal(None if share is None else 100 * share, 1)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else short(value)
