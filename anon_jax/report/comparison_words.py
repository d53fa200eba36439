"""The sentences of a comparison, made from its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report.formats import MISSING, decimal, percent, short
from anon_jax.report.protocols import INIT_FROM
from anon_jax.report.words import epoch_choice

# The leakage that places the rows, by the name of its figure.
LEAKAGES = {"leakage": "direct attack", "worst_leakage": "worst case"}
# How the tables are to be read, once for the page.
NOTES = (
    'Figures are means over seeds, "\u00b1" half of the 95 % interval of Student\'s t; a figure '
    "without it is of one seed, and has no such interval. In brackets stands what a bootstrap over "
    "the test records of that seed gives (95 %): another choice of them, not another training. "
    "Where intervals overlap, the order of two rows may be chance. Nothing is cut off: what lies "
    "below chance or above raw is shown so.",
    "Drop and share kept are against raw of the same seed and protocol, so against the method's "
    "own backbone. Normalised leakage is (cMAP - chance) / (raw cMAP - chance): 0 at chance, 1 as "
    'much as raw. "F1 tuned" takes its thresholds from the validation split.',
    "Direct attackers learn from anonymized images, those of the reconstruction from what a "
    "decoder draws of them, and the white box knows f_A's weights. The worst case is the largest "
    "cMAP of all of them, put between the same chance and the same raw cMAP. Rank-1 and mAP are of "
    "finding people again who were never seen in training. Lower hides more, PSNR and SSIM of the "
    "reconstruction among them.",
    "The distance on test clips is the RMS from the raw ones, pixels in [0, 1]; PSNR and SSIM are "
    "of the anonymized frames. A flicker of 1 is no more than in the raw clips.",
    "Penalty active is about the share of f_A's updates in which the distance exceeded B (a mean "
    "over lines of metrics, by the steps between them); the distance "
    "from raw is that of the last tenth of the minimax steps; training is the time of f_A's phases "
    "in the run itself, without a pre-training taken over from another run. A dash stands for what "
    "was not measured or is not defined.",
)
TRADEOFF_NOTE = (
    "Up and left is better: the action kept, the attributes hidden. Bars are 95 % intervals; a "
    "line joins the budgets of a method; the stepped line is the Pareto front of the means."
)
TRADEOFF_LEAKAGE = {
    "leakage": "The leakage is that of the strongest direct attacker.",
    "worst_leakage": "The leakage is the worst case: that of the strongest of all attackers.",
}
HYPERVOLUME_NOTE = (
    "A hypervolume is the share of the unit square that the budgets of a method dominate, with "
    "the privacy 1 - normalised leakage (that of the chart) and the utility (Top-1 - chance) / "
    "(raw Top-1 - chance), cut to [0, 1], a seed at a time. More budgets, or other settings, can "
    "only enlarge it: compare like with like. How far a row is behind the largest one is taken "
    "seed by seed, over the seeds that both have: what a seed does to both is not in that interval."
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
        sentences.append(f"{which} {verb} of one seed, so without an interval over seeds.")
    if report["left_out"]:
        sentences.append(f"{_count(len(report['left_out']), 'folder')} left out, named below.")
    return " ".join(filter(None, sentences))


def verdict(rows: Sequence[Mapping[str, Any]], leakage: str) -> str:
    """Which rows are not dominated by Top-1 and `leakage`; empty where none can be placed."""
    names = [row["name"] for row in rows if row["front"]]
    if not names:
        return ""
    which = "less leakage" if leakage == "leakage" else "less leakage in the worst case"
    return (
        f"By the means, no other row has both more of the action and {which} than: "
        f"{'; '.join(names)}."
    )


def title(fields: Mapping[str, Any]) -> str:
    """The datasets of a protocol: "trained on a and b", and what was attacked if it differs."""
    trained = _pair(fields.get("data.videos"), fields.get("data.images"))
    attacked = _pair(fields.get("attack.videos"), fields.get("attack.images"))
    text = trained if attacked == trained else f"{trained}, attacked on {attacked}"
    tested = fields.get("attack.tested_attributes")
    return f"{text}, the attributes tested on {tested}" if tested else text


def describe(fields: Mapping[str, Any]) -> str:
    """What the attackers saw, and their budget."""
    side = short(fields.get("data.resolution"))
    return (
        f"Clips of {short(fields.get('data.num_frames'))} frames at a stride of "
        f"{short(fields.get('data.frame_stride'))}, {side} x {side} pixels. Each method has "
        f"its own attackers, trained anew: {short(fields.get('networks.action'))} for "
        f"{short(fields.get('evaluate_action.epochs'))} epochs on the action, "
        f"{_attackers(fields)} for {short(fields.get('evaluate_privacy.epochs'))} epochs on the "
        f"attributes.{_reconstruction(fields)}{_splits(fields)}"
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
    sentences += [_differing_records(item) for item in table["differs"]]
    sentences += [
        f"{kind} were tested on other records than ours, and are left out."
        for kind in table["other_records"]
    ]
    return " ".join(sentences)


def _differing_records(item: Mapping[str, float]) -> str:
    if "num_videos" in item:
        ours, theirs = f"{item['num_videos']:,}", f"{item['published']:,}"
        text = f"Ours were tested on {ours} videos, theirs on {theirs}"
    else:
        ours, theirs = percent(item["chance_cmap"]), percent(item["published"])
        text = f"Chance cMAP of our test records is {ours}, of theirs {theirs}"
    return f"{text}: these are not the same records, so not even drops compare without care."


def _attackers(fields: Mapping[str, Any]) -> str:
    """The networks that read the attributes: "a and b with 2 seeds each and ..."."""
    names = " and ".join(map(short, fields["evaluate_privacy.networks"]))
    seeds = fields["evaluate_privacy.seeds"]
    text = names if seeds == 1 else f"{names} with {seeds} seeds each"
    pretrained = sum(bool(fields[field]) for field in INIT_FROM)
    several = seeds != 1 or pretrained or len(fields["evaluate_privacy.networks"]) > 1
    text += " and one that starts from a pre-trained network" if pretrained == 1 else ""
    text += f" and {pretrained} that start from pre-trained networks" if pretrained > 1 else ""
    return f"{text} (the strongest counts)" if several else text


def _reconstruction(fields: Mapping[str, Any]) -> str:
    decoder = fields.get("reconstruction: decoder")
    if not decoder:
        return ""
    steps = fields.get("evaluate_reconstruction.inversion_steps")
    white_box = f", and {short(steps)} steps of white-box inversion" if steps else ""
    return (
        f" Reconstruction: {short(decoder)} for "
        f"{short(fields.get('evaluate_reconstruction.epochs'))} epochs{white_box}."
    )


def _splits(fields: Mapping[str, Any]) -> str:
    """Which split the figures are of; says so where the same records chose the epoch."""
    found = {str(fields.get(f"{kind}: split")) for kind in ("action", "privacy")} - {"None"}
    return "".join(
        f" Figures of the {split} split: {epoch_choice(split)}" for split in sorted(found)
    )


def _pair(videos: Any, images: Any) -> str:
    return " and ".join(dict.fromkeys(str(name) for name in (videos, images) if name)) or MISSING


def _value(value: Any) -> str:
    return MISSING if value in (None, "", []) else short(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
