"""The numbers of a comparison of runs: what report.json holds; nothing is formatted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report import comparison_words as words
from anon_jax.report import published
from anon_jax.report.cells import Cell, make_cells
from anon_jax.report.comparison_notes import notes
from anon_jax.report.protocols import ABSENT, INIT_FROM, Fields, differing, group, init_from
from anon_jax.report.rows import hypervolumes, make_rows, yardstick
from anon_jax.report.runs import LeftOut, Run
from anon_jax.report.tree import at, number


def build(runs: Sequence[Run], left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """The report of finished runs; scores are shares in [0, 1], times are seconds.

    Args:
      runs: at least one.
      left_out: the folders that were given but cannot be used.
    """
    groups = group(runs)
    places = Counter(id(run) for _, members in groups for run in members)
    shared = [run for run in runs if places[id(run)] > 1]
    protocols = [
        _protocol(index, fields, members, groups[0][0], shared)
        for index, (fields, members) in enumerate(groups, start=1)
    ]
    report = {
        "num_runs": len(runs),
        "left_out": [{"folder": item.folder, "reason": item.reason} for item in left_out],
        "protocols": protocols,
    }
    return {"summary": words.summary(report), **report}


def _protocol(
    index: int, fields: Fields, runs: Sequence[Run], first: Fields, shared: Sequence[Run]
) -> dict[str, Any]:
    cells, repeated = make_cells(runs)
    rows = make_rows(cells)
    leakage = yardstick(rows)
    differs = [
        {"field": field, "here": fields.get(field, ABSENT), "first": first.get(field, ABSENT)}
        for field in differing([first, fields])
    ]
    protocol: dict[str, Any] = {
        "number": index,
        "fields": fields,
        "differs": differs,
        "num_runs": len(runs),
        "chance": {
            "top1": number(fields.get("action: chance")),
            "majority": _majority(cells),
            "cmap": number(fields.get("privacy: chance_cmap")),
            "f1": number(fields.get("privacy: always_yes_f1")),
            "rank1": number(fields.get("identity: chance_rank1")),
            "map": number(fields.get("identity: chance_map")),
        },
        "rows": rows,
        "prevalence": _prevalence(cells),
        "left_out_attributes": fields.get("privacy: left_out") or [],
        "leakage": leakage,
        "hypervolumes": hypervolumes(rows, leakage),
        "missing_raw": _missing_raw(cells),
        "damaged": [run.damaged for run in runs if run.damaged],
        "builds": _builds(runs),
        "commits": dict(Counter(str(run.results.get("commit") or "unknown") for run in runs)),
        "init_from": {
            field: sorted({folder for run in runs if (folder := init_from(run, field))})
            for field in INIT_FROM
        },
        "elsewhere": [str(run.folder) for run in runs if any(run is other for other in shared)],
        "repeated": [{"folder": item.folder, "reason": item.reason} for item in repeated],
        "published": _published(fields),
    }
    return {
        **protocol,
        "verdict": words.verdict(rows, leakage),
        "title": words.title(fields),
        "description": words.describe(fields),
        "difference": words.difference(protocol),
        "notes": notes(protocol),
    }


def _majority(cells: Sequence[Cell]) -> float | None:
    """Top-1 of always answering the commonest action of the test split."""
    found = (number(at(cell.found, "action", "majority")) for cell in cells)
    return next((share for share in found if share is not None), None)


def _missing_raw(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The seeds with measurements that raw lacks: which ones, and the folders that need them."""
    missing: dict[int, tuple[list[str], list[str]]] = {}
    for cell in cells:
        for measurement, score in (("action", "top1"), ("privacy", "cmap")):
            measured = number(at(cell.found, measurement, score)) is not None
            if measured and number(at(cell.raw, measurement, score)) is None:
                measurements, folders = missing.setdefault(cell.seed, ([], []))
                measurements.append(measurement)
                folders.append(str(cell.run.folder))
    return [
        {"seed": seed, "measurements": _once(measurements), "folders": _once(folders)}
        for seed, (measurements, folders) in sorted(missing.items())
    ]


def _builds(runs: Sequence[Run]) -> dict[str, dict[str, list[str]]]:
    """{dataset: {fingerprint: folders}} of the datasets that these runs had different builds of.

    The build that most runs read comes first.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for dataset, fingerprint in (at(run.results, "data") or {}).items():
            folders = found.setdefault(dataset, {}).setdefault(str(fingerprint), [])
            folders.append(str(run.folder))
    return {
        dataset: dict(sorted(builds.items(), key=lambda build: -len(build[1])))
        for dataset, builds in found.items()
        if len(builds) > 1
    }


def _once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _prevalence(cells: Sequence[Cell]) -> dict[str, float | None]:
    """{attribute: share of the test records that have it}, in the dataset's order."""
    found: dict[str, float | None] = {}
    for cell in cells:
        attributes: Mapping[str, Any] = at(cell.found, "privacy", "per_attribute") or {}
        for name in attributes:
            found.setdefault(name, number(at(attributes, name, "prevalence")))
    return found


def _published(fields: Fields) -> list[dict[str, Any]]:
    return [
        {
            "title": table.title,
            "action": action,
            "privacy": privacy,
            "other_records": [
                kind
                for kind, tested, shown in (
                    ("Actions", table.attack_videos, action),
                    ("Attributes", table.attributes, privacy),
                )
                if tested and not shown
            ],
            "chance_cmap": None if table.chance_cmap is None else table.chance_cmap / 100,
            "always_yes_f1": table.always_yes_f1,
            "differs": published.differing_records(table, fields, action, privacy),
            "rows": published.published_rows(table, action, privacy),
        }
        for table, action, privacy in published.matching(fields)
    ]
