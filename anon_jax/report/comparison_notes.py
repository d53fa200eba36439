"""What is particular to the runs of a protocol, in sentences, made from its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report.attack_words import detected

_MEASURED = {"action": "Top-1", "privacy": "cMAP"}
_DERIVED = {"action": "drop and share kept", "privacy": "normalised leakage"}


def notes(protocol: Mapping[str, Any]) -> list[str]:
    """What is particular to the runs of a protocol."""
    rows = protocol["rows"]
    found = [_missing_raw(item) for item in protocol["missing_raw"]]
    found += _not_defined(rows, protocol["missing_raw"])
    for row in rows:
        if row["frames_with_boxes"] is not None:
            found.append(detected(row["name"], row["frames_with_boxes"]))
    found += _not_attacked(protocol) + _clocks(rows)
    found += protocol["damaged"]
    found += [_builds(dataset, builds) for dataset, builds in protocol["builds"].items()]
    if len(protocol["commits"]) > 1:
        commits = (f"{name[:7]} ({n})" for name, n in sorted(protocol["commits"].items()))
        found.append(f"The runs are of several commits of the code: {', '.join(commits)}.")
    for folders in protocol["init_from"].values():
        if len(folders) > 1:
            named = "; ".join(folders)
            found.append(f"The pre-trained attackers start from different folders: {named}.")
    if protocol["elsewhere"]:
        found.append(
            "These runs made none of the measurements in which this protocol differs from another "
            f"one, and stand in each of them: {', '.join(protocol['elsewhere'])}."
        )
    single = [row["name"] for row in rows if len(row["seeds"]) == 1]
    if single:
        found.append(f"One seed alone, so no interval over seeds: {'; '.join(single)}.")
    return found


def _missing_raw(item: Mapping[str, Any]) -> str:
    seed, kinds = item["seed"], item["measurements"]
    return (
        f"Raw was not measured with seed {seed} under this protocol "
        f"({', '.join(_MEASURED[kind] for kind in kinds)}). Missing for "
        f"{', '.join(item['folders'])}: {', '.join(_DERIVED[kind] for kind in kinds)}, and the "
        "place on the chart. Run raw with the same config, python -m anon_jax.main "
        f"--config=CONFIG --config.method=raw --config.seed={seed} --workdir=DIR, and compare "
        "again with DIR among the folders."
    )


def _builds(dataset: str, builds: Mapping[str, Sequence[str]]) -> str:
    (first, most), *others = builds.items()
    listed = "; ".join(f"{name[:12]} in {', '.join(folders)}" for name, folders in others)
    return (
        f"The runs read different builds of {dataset}, whose records may not be the same, so these "
        f"figures compare with care. By fingerprint: {first[:12]} in {len(most)} of the runs; "
        f"{listed}."
    )


def _not_defined(rows: Sequence[Mapping[str, Any]], missing: Sequence[Any]) -> list[str]:
    """The rows whose leakage some seeds lack although raw was measured: it was not above chance."""
    without_raw = {str(item["seed"]) for item in missing if "privacy" in item["measurements"]}
    found = []
    for row in rows:
        cmap, leakage = row["figures"]["cmap"], row["figures"]["leakage"]
        seeds = set(cmap["values"]) if cmap else set()
        lacking = sorted(seeds - set(leakage["values"] if leakage else ()) - without_raw)
        if lacking:
            found.append(
                f"{row['name']}: normalised leakage is not defined with seed "
                f"{', '.join(lacking)}, as the raw classifier was not above chance."
            )
    return found


def _not_attacked(protocol: Mapping[str, Any]) -> list[str]:
    """The rows that keep the worst case from placing all of them."""
    rows = [row for row in protocol["rows"] if row["method"] != "raw"]
    tried = [row for row in rows if row["figures"]["worst_leakage"]]
    if protocol["leakage"] == "worst_leakage" or not tried:
        return []
    lacking = [
        row["name"]
        for row in protocol["rows"]
        if row["figures"]["leakage"] and _values(row, "leakage") - _values(row, "worst_leakage")
    ]
    return [
        "The chart, the front and the hypervolumes are of the direct attack for all rows, as with "
        f"some seeds there was no reconstruction of: {'; '.join(lacking)}."
    ]


def _values(row: Mapping[str, Any], name: str) -> set[str]:
    figure = row["figures"][name]
    return set(figure["values"]) if figure else set()


def _clocks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says so where the times of a frame do not compare."""
    timed = {row["name"]: ", ".join(row["timed"]) for row in rows if row["timed"]}
    if len({text for row in rows for text in row["timed"]}) < 2:
        return []
    listed = "; ".join(f"{name}: {text}" for name, text in timed.items())
    return [f"The times of a frame were measured on different backends. {listed}."]
