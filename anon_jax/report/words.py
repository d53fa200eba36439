"""The sentences of a report, made from its numbers."""

from collections.abc import Mapping
from typing import Any

from anon_jax.report.attack_words import worst_case
from anon_jax.report.formats import decimal, percent, short

DISTANCE_UNITS = {
    "pixel": "RMS of pixels in [0, 1]",
    "action_feature": "distance of f_T's features",
}
# Of the privacy loss, by whether the method's f_B learns from labels.
PRIVACY_UNITS = {False: "NT-Xent (nats)", True: "of the attributes' classifiers (nats)"}
# The datasets of a run by their role in results.json.
DATASETS = {
    "videos": "Training videos",
    "images": "Training images",
    "attack_videos": "Attacked videos",
    "attack_images": "Attacked images",
    "tested_attributes": "Attributes tested on",
}
_NEAR = 0.1  # a distance within this share of B counts as held

# How the two tables of methods are to be read.
NOTES = (
    "Both classifiers are trained anew for each method, with the same number of steps. Drops are "
    "percentage points against the raw row of this run, so against the same backbone.",
    "Chance Top-1 is one in the number of actions, chance cMAP the mean prevalence of the "
    'attributes; "majority" always answers the commonest action, "always yes" says yes to every '
    'attribute. Normalised leakage is (cMAP - chance) / (raw cMAP - chance). "F1 tuned" takes '
    'its thresholds from the validation split; "F1 published" applies 0.5 to logits without a '
    "sigmoid, as the published code does.",
    "A dash stands for what was not measured or is not defined. One run is one seed: compare "
    "several before you rank methods.",
)


def summary(report: Mapping[str, Any]) -> str:
    """One paragraph in plain words: the method, what is kept, what leaks, and on which records."""
    rows = {row["method"]: row for row in report["methods"]}
    raw, own = rows.get("raw"), rows.get(report["method"])
    sentences = [_subject(report)]
    if own is None:
        return f"{sentences[0]} It was not evaluated."
    sentences.append(_action(own["action"], raw and raw["action"], own is raw))
    sentences.append(_privacy(own["privacy"], raw and raw["privacy"], own is raw))
    sentences += worst_case(own)
    sentences += _splits(own, report["privacy_source"] == "videos")
    return " ".join(sentences)


def penalty_verdict(facts: Mapping[str, Any]) -> str:
    """Whether the budget B took part in the training, from how often the penalty was active."""
    budget = f"B = {short(facts['budget'])}"
    if not facts["has_penalty"]:
        return "This method has no penalty: the distance was measured, and changed nothing."
    if facts["weights"]["penalty"] == 0:
        return "The penalty's weight was 0: the distance was measured, and changed nothing."
    if facts["constant"]:
        return (
            "The penalty was added as a number without a gradient (compat.constant_penalty), as "
            "the published code does: B changed nothing."
        )
    if facts["mode"] == "lagrangian":
        return _lagrangian_verdict(facts, budget)
    over_all = facts["active_all_steps"]
    active = facts["active"] if over_all is None else over_all
    if active is None:
        return "How often the penalty was active is not known."
    if active == 0:
        return (
            f"The penalty was never active, for the distance stayed within {budget}: B had no "
            "effect, and any larger B would have trained the same anonymizer."
        )
    if active == 1:
        return (
            f"The penalty was always active, for the distance stayed above {budget}: while it is "
            "active its gradient does not depend on B, so any smaller B would have trained the "
            "same anonymizer, and only the penalty's weight mattered."
        )
    share = f"The penalty was active in {percent(active)} of the steps"
    if facts["active"] == 0:
        return f"{share}, but never in the last tenth: towards the end {budget} had no effect."
    if facts["active"] == 1:
        return (
            f"{share}, and always in the last tenth: towards the end the gradient did not depend "
            f"on {budget}, only on the penalty's weight."
        )
    return f"{share}: {budget} took part in the training."


def _lagrangian_verdict(facts: Mapping[str, Any], budget: str) -> str:
    distance, multiplier = facts["distance"], facts["multiplier"]
    if None in (distance, multiplier, facts["budget"]):
        return f"Whether the multiplier held the distance at {budget} is not known."
    found = f"the distance was {decimal(distance)} in the last tenth of the steps"
    if abs(distance - facts["budget"]) <= _NEAR * facts["budget"]:
        return f"The multiplier held the distance at the budget: {found}, for {budget}."
    if distance < facts["budget"]:
        why = "the multiplier fell to 0" if multiplier == 0 else "the multiplier was still falling"
        return f"The budget was not used up: {found}, below {budget}, and {why}."
    bound = facts["multiplier_max"]
    at_bound = bound is not None and multiplier >= 0.99 * bound
    why = "the multiplier was at its bound" if at_bound else "the multiplier was still rising"
    return f"The budget was not kept: {found}, above {budget}, and {why}."


def _subject(report: Mapping[str, Any]) -> str:
    minimax, settings = report["minimax"], report["settings"]
    names = _names(settings, "videos", "images")
    attacked = _names(settings, "attack_videos", "attack_images")
    where = f" on {names}" if names else ""
    where += f", attacked on {attacked}" if attacked not in ("", names) else ""
    tested = _names(settings, "tested_attributes")
    where += f", the attributes tested on {tested}" if tested else ""
    seed = "" if settings["seed"] is None else f", seed {settings['seed']}"
    if report["method"] == "raw":
        return f'Method "raw"{where}{seed}: nothing is anonymized.'
    budget = ""
    if minimax and minimax["has_penalty"]:
        mode = short(minimax["mode"])
        budget = f" with the budget B = {short(minimax['budget'])} (penalty mode {mode})"
    return f'Method "{report["method"]}"{budget}{where}{seed}.'


def _names(settings: Mapping[str, Any], *roles: str) -> str:
    """The datasets of these roles: "a and b", or "a" where they are one."""
    found = [settings["datasets"].get(role) for role in roles]
    return " and ".join(dict.fromkeys(str(name) for name in found if name))


def _action(own: Mapping[str, Any], raw: Mapping[str, Any] | None, is_raw: bool) -> str:
    if own["top1"] is None:
        return "How well the action is recognised was not measured."
    chance = f"chance {percent(own['chance'])}, always the commonest {percent(own['majority'])}"
    if is_raw:
        return f"An action classifier reaches a Top-1 of {percent(own['top1'])} ({chance})."
    start = (
        "An action classifier trained anew on anonymized clips reaches a Top-1 of "
        f"{percent(own['top1'])}"
    )
    if own["kept"] is None or raw is None:
        return f"{start} ({chance}); raw clips were not measured, so the loss is not known."
    return (
        f"{start}, against {percent(raw['top1'])} on raw clips: it keeps {percent(own['kept'], 0)} "
        f"of the raw accuracy ({chance})."
    )


def _privacy(own: Mapping[str, Any], raw: Mapping[str, Any] | None, is_raw: bool) -> str:
    if own["cmap"] is None:
        return "How much leaks of the private attributes was not measured."
    chance = f"where chance is {percent(own['chance_cmap'])}"
    if is_raw:
        return f"A privacy classifier reaches a cMAP of {percent(own['cmap'])}, {chance}."
    start = (
        "A privacy classifier trained anew on anonymized images reaches a cMAP of "
        f"{percent(own['cmap'])}"
    )
    if raw is None or raw["cmap"] is None:
        return f"{start}, {chance}; raw images were not measured, so nothing compares with it."
    start = f"{start}, against {percent(raw['cmap'])} on raw images, {chance}"
    leakage = own["normalised_leakage"]
    if leakage is None:
        return (
            f"{start}; the normalised leakage is not defined, as the classifier of raw images is "
            "not above chance."
        )
    return (
        f"{start}: the normalised leakage, (cMAP - chance) / (raw cMAP - chance), is "
        f"{decimal(leakage, 2)}."
    )


def _splits(own: Mapping[str, Any], same_records: bool) -> list[str]:
    """Which split each figure is of; says so where the same split chose the epoch."""
    splits = {kind: own[kind]["split"] for kind in ("action", "privacy") if own[kind]["split"]}
    videos = own["action"]["num_videos"]
    sentences = []
    for split in dict.fromkeys(splits.values()):
        kinds = [kind for kind in splits if splits[kind] == split]
        whose = "All figures are" if kinds == list(splits) else f"The {kinds[0]} figures are"
        size = ""
        if videos is not None and "action" in kinds:
            of_action_only = "privacy" in kinds and not same_records
            size = f" ({videos} videos{' for the action' if of_action_only else ''})"
        sentences.append(f"{whose} of the {split} split{size}; {epoch_choice(split)}")
    return sentences


def epoch_choice(split: str) -> str:
    """On which records the reported epoch was chosen, the end of a sentence about figures."""
    return _CHOICE.get(split, _CHOSEN)


_CHOSEN = "the epoch was chosen on the validation split."
_CHOICE = {
    "validation": (
        "there was no test split, so the same records also chose the epoch and the tuned "
        "thresholds, and the figures are optimistic."
    )
}
