"""The sentences of a comparison, made from its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report.words import MISSING, decimal, epoch_choice, percent, short

_MEASURED = {"action": "Top-1", "privacy": "cMAP"}
_DERIVED = {"action": "drop and share kept", "privacy": "normalised leakage"}

# How the tables are to be read, once for the page.
NOTES = (
    'Figures are means over seeds, "\u00b1" half of the 95 % interval of Student\'s t; a figure '
    "without it is of one seed, and has no interval. Where intervals overlap, the order of two "
    "rows may be chance. Nothing is cut off: what lies below chance or above raw is shown so.",
    "Drop and share kept are against raw of the same seed and protocol, so against the method's "
    "own backbone. Normalised leakage is (cMAP - chance) / (raw cMAP - chance): 0 at chance, 1 as "
    'much as raw. "F1 tuned" takes its thresholds from the validation split.',
    "Penalty active is the share of the last tenth of the minimax steps in which the distance "
    "exceeded B; training is the time of f_A's phases in the run itself, without a pre-training "
    "taken over from another run. A dash stands for what was not measured or is not defined.",
)
TRADEOFF_NOTE = (
    "Up and left is better: the action kept, the attributes hidden. Bars are 95 % intervals; a "
    "line joins the budgets of a method; the stepped line is the Pareto front of the means."
)
HYPERVOLUME_NOTE = (
    "Share of the unit square that the budgets of a method dominate, with the privacy "
    "1 - normalised leakage and the utility (Top-1 - chance) / (raw Top-1 - chance), cut to "
    "[0, 1], a seed at a time. More budgets can only enlarge it: compare like with like."
)
PUBLISHED_NOTE = (
    "Published figures (arXiv 2504.14301) are from another machine and from other backbones than "
    "ours: compare drops from the raw row of the same source, never levels. Its rows of VITA, "
    "SPAct and the obfuscations come from weaker backbones than its row raw, so their drops are "
    "partly the backbone's."
)


def summary(report: Mapping[str, Any]) -> str:
    """One paragraph: how much was compared, and of one protocol the rows that lead."""
    protocols = report["protocols"]
    rows = sum(len(protocol["rows"]) for protocol in protocols)
    sentences = [
        f"{_count(report['num_runs'], 'run')} in {_count(rows, 'row')} of "
        f"{_count(len(protocols), 'protocol')}."
    ]
    if len(protocols) > 1:
        sentences.append("Figures of different protocols do not compare; each has its own tables.")
    else:
        sentences += [protocols[0]["verdict"]]
    single = [row for protocol in protocols for row in protocol["rows"] if len(row["seeds"]) == 1]
    if single:
        which = "All rows" if len(single) == rows else _count(len(single), "row")
        verb = "is" if len(single) == 1 and rows > 1 else "are"
        sentences.append(f"{which} {verb} of one seed, so without an interval.")
    if report["left_out"]:
        sentences.append(f"{_count(len(report['left_out']), 'folder')} left out, named below.")
    return " ".join(filter(None, sentences))


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which rows are not dominated; empty where none can be placed."""
    names = [row["name"] for row in rows if row["front"]]
    if not names:
        return ""
    return (
        "By the means, no other row has both more of the action and less leakage than: "
        f"{'; '.join(names)}."
    )


def title(fields: Mapping[str, Any]) -> str:
    """The datasets of a protocol: "trained on a and b", and what was attacked if it differs."""
    trained = _pair(fields.get("data.videos"), fields.get("data.images"))
    attacked = _pair(fields.get("attack.videos"), fields.get("attack.images"))
    if attacked == trained:
        return trained
    return f"{trained}, attacked on {attacked}"


def describe(fields: Mapping[str, Any]) -> str:
    """What the attackers saw, and their budget."""
    side = short(fields.get("data.resolution"))
    return (
        f"Clips of {short(fields.get('data.num_frames'))} frames at a stride of "
        f"{short(fields.get('data.frame_stride'))}, {side} x {side} pixels. Each method has "
        f"its own attackers, trained anew: {short(fields.get('networks.action'))} for "
        f"{short(fields.get('evaluate_action.epochs'))} epochs on the action, "
        f"{short(fields.get('networks.privacy'))} for "
        f"{short(fields.get('evaluate_privacy.epochs'))} epochs on the attributes."
        f"{_splits(fields)}"
    )


def difference(protocol: Mapping[str, Any]) -> str:
    """In which fields a protocol differs from the first one; empty for the first."""
    if not protocol["differs"]:
        return ""
    fields = "; ".join(
        f"{item['field']} is {_value(item['here'])}, there {_value(item['first'])}"
        for item in protocol["differs"]
    )
    return f"These figures do not compare with those of protocol 1: {fields}."


def notes(protocol: Mapping[str, Any]) -> list[str]:
    """What is particular to the runs of a protocol."""
    rows = protocol["rows"]
    found = [_missing_raw(item) for item in protocol["missing_raw"]]
    found += _not_defined(rows, protocol["missing_raw"])
    for row in rows:
        if row["frames_with_boxes"] is not None:
            found.append(
                f"{row['name']}: somebody was detected in {percent(row['frames_with_boxes'])} of "
                "the frames; the others passed unchanged."
            )
    single = [row["name"] for row in rows if len(row["seeds"]) == 1]
    if single:
        found.append(f"One seed alone, so no interval: {'; '.join(single)}.")
    return found


def published_note(table: Mapping[str, Any]) -> str:
    """What a published table does not print: its chance, and what of it is not ours."""
    sentences = []
    if table["privacy"] and table["chance_cmap"] is not None:
        sentences.append(
            "Chance is not published: by the prevalences of the test set, chance cMAP is "
            f"{percent(table['chance_cmap'])}."
        )
        if table["always_yes_f1"] is not None:
            f1 = decimal(table["always_yes_f1"])
            sentences.append(f"Always answering yes has a macro F1 of {f1}.")
        if table["rows"][0]["leakage"] is None:
            sentences.append("Its raw cMAP is about chance, so a leakage is not defined.")
    elif table["privacy"]:
        sentences.append("Its chance cMAP is not known, so a leakage cannot be given.")
    sentences += [
        f"{kind} were tested on other records than ours, and are left out."
        for kind in table["other_records"]
    ]
    return " ".join(sentences)


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


def _splits(fields: Mapping[str, Any]) -> str:
    """Which split the figures are of; says so where the same records chose the epoch."""
    found = {str(fields.get(f"{kind}: split")) for kind in _MEASURED} - {"None"}
    return "".join(
        f" Figures of the {split} split: {epoch_choice(split)}" for split in sorted(found)
    )


def _pair(videos: Any, images: Any) -> str:
    return " and ".join(dict.fromkeys(str(name) for name in (videos, images) if name)) or MISSING


def _value(value: Any) -> str:
    return MISSING if value in (None, "", []) else short(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
