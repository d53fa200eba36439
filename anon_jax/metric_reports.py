"""What the metrics say of a whole split: views averaged by record, then one report ready for JSON.

Labels, scores and errors are those of `anon_jax.metrics`. Intervals are the limits of 95 % of the
bootstrap over the records, of whole groups where these are known; the resamples are the same for
all methods.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Shaped

from anon_jax import statistics
from anon_jax.metric_checks import check_finite, check_not_empty
from anon_jax.metrics import (
    PUBLISHED_THRESHOLD,
    Labels,
    PerAttribute,
    Scores,
    always_yes_f1,
    chance_cmap,
    chance_top1,
    cmap,
    macro_auroc,
    macro_f1,
    majority_top1,
    measured_attributes,
    per_class_auroc,
    per_class_average_precision,
    per_class_f1,
    prevalence,
    top1,
)

_SEED = 0  # of the resamples


def average_by_group(
    scores: Float[np.ndarray, "samples *dims"], group_ids: Shaped[np.ndarray, " samples"]
) -> tuple[Float[np.ndarray, "groups *dims"], Shaped[np.ndarray, " groups"]]:
    """Average the scores of the clips or frames that belong to one video.

    Average probabilities, not logits (softmax or sigmoid first), as the published action test does.

    Returns:
        The means [G, ...] in float64, and the G distinct ids in order of first appearance.
    """
    check_finite(scores)
    first, index = _groups(group_ids)
    sums = np.zeros((len(first), *scores.shape[1:]))
    np.add.at(sums, index, scores)
    counts = np.bincount(index).reshape(-1, *[1] * (scores.ndim - 1))  # [G] -> [G, 1, ...]
    return sums / counts, group_ids[first]


def labels_by_group(
    labels: Integer[np.ndarray, "samples *dims"], group_ids: Shaped[np.ndarray, " samples"]
) -> Integer[np.ndarray, "groups *dims"]:
    """Return the one label that all the samples of a group share, in `average_by_group`'s order.

    Raises:
        ValueError: the labels of a group differ; names the group.
    """
    check_not_empty(labels)
    first, index = _groups(group_ids)
    differing = np.flatnonzero(
        (labels != labels[first][index]).any(axis=tuple(range(1, labels.ndim)))
    )
    if differing.size:
        at = differing[0]
        raise ValueError(
            f"The labels of group {group_ids[at]!r} differ: {labels[first[index[at]]]} at sample "
            f"{first[index[at]]}, {labels[at]} at sample {at}."
        )
    return labels[first]


def action_report(
    probabilities: Float[np.ndarray, "videos actions"],
    labels: Integer[np.ndarray, " videos"],
    *,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Top-1 of a test split beside its chance levels, in [0, 1], and its size; ready for JSON.

    Args:
        probabilities: softmax outputs averaged over the clips of each video (`average_by_group`).
        labels: 0-based action indices.
        groups: film or person of each video, "" where unknown; None = of none.

    Returns:
        "top1", its "top1_interval" [low, high], "chance", "majority", "num_videos".
    """
    hits = probabilities.argmax(axis=1) == labels
    return {
        "top1": top1(probabilities, labels),
        "top1_interval": _interval(lambda drawn: float(hits[drawn].mean()), len(labels), groups),
        "chance": chance_top1(labels, probabilities.shape[1]),
        "majority": majority_top1(labels),
        "num_videos": len(labels),
    }


def privacy_report(
    probabilities: Scores,
    labels: Labels,
    attribute_names: Sequence[str],
    *,
    thresholds: PerAttribute | None = None,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Every privacy metric of a test split beside its chance levels, ready for JSON.

    Args:
        probabilities: sigmoid outputs in [0, 1], averaged over frames where a sample is a video.
        labels: 1, 0, or -1 for unknown.
        attribute_names: one name a column.
        thresholds: from `tune_thresholds` on the validation split; adds "f1_tuned".
        groups: film or person of each sample, "" where unknown; None = of none.

    Returns:
        Python floats that are never NaN: macro means "cmap", "f1" (threshold 0.5), "f1_tuned",
        "f1_published" (probabilities at the published code's threshold), "auroc", "chance_cmap",
        "always_yes_f1"; "per_attribute", name to "ap", "prevalence", "auroc", "f1"; "left_out",
        the names of the degenerate attributes, which enter none of these figures; "cmap_interval",
        [low, high] (an attribute that is degenerate in a resample is left out of its mean, as it
        would be left out of the report on such a split).

    Raises:
        ValueError: every attribute is degenerate, or names or thresholds do not fit the columns.
    """
    if len(set(attribute_names)) != len(attribute_names) or len(attribute_names) != labels.shape[1]:
        raise ValueError(f"{labels.shape[1]} attributes need as many names: {attribute_names}.")
    if thresholds is not None and len(thresholds) != labels.shape[1]:
        raise ValueError(f"{labels.shape[1]} attributes need as many thresholds: {thresholds}.")
    kept = measured_attributes(labels)
    probabilities, labels = probabilities[:, kept], labels[:, kept]
    report: dict[str, Any] = {
        "cmap": cmap(probabilities, labels),
        "cmap_interval": _interval(_cmap_of_drawn(probabilities, labels), len(labels), groups),
        "f1": macro_f1(probabilities, labels),
        "f1_published": macro_f1(probabilities, labels, PUBLISHED_THRESHOLD),
        "auroc": macro_auroc(probabilities, labels),
        "chance_cmap": chance_cmap(labels),
        "always_yes_f1": always_yes_f1(labels),
    }
    if thresholds is not None:
        report["f1_tuned"] = macro_f1(probabilities, labels, thresholds[kept])
    columns = {
        "ap": per_class_average_precision(probabilities, labels),
        "prevalence": prevalence(labels),
        "auroc": per_class_auroc(probabilities, labels),
        "f1": per_class_f1(probabilities, labels),
    }
    report["per_attribute"] = {
        attribute_names[index]: {key: float(column[at]) for key, column in columns.items()}
        for at, index in enumerate(kept)
    }
    report["left_out"] = [name for i, name in enumerate(attribute_names) if i not in kept]
    return report


def _interval(
    statistic: Callable[[np.ndarray], float], num_items: int, groups: Sequence[str] | None
) -> list[float]:
    """[low, high] of a statistic of drawn items; an item without a group is drawn alone.

    Where all items are of one group there is nothing to draw from, so that items are drawn.
    """
    units = groups and [
        f"group {group}" if group else f"item {index}" for index, group in enumerate(groups)
    ]
    if units and len(set(units)) in (1, len(units)):
        units = None
    found = statistics.over_clips(statistic, num_items, seed=_SEED, groups=units or None)
    return [found.low, found.high]


def _cmap_of_drawn(probabilities: Scores, labels: Labels) -> Callable[[np.ndarray], float]:
    """Indices of drawn samples -> `cmap` of these; NaN where every attribute is degenerate.

    Sorts once, and counts how often each sample was drawn: sorting each of the thousand resamples
    takes four to eight times as long.
    """
    columns = []
    for scores, truth in zip(probabilities.T, labels.T, strict=True):
        known = np.flatnonzero(truth != -1)
        order = known[np.argsort(-scores[known], kind="stable")]
        # Equal scores enter together: the counts are read at the last sample of each score.
        last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        columns.append((order, truth[order] == 1, last))

    def statistic(drawn: np.ndarray) -> float:
        times = np.bincount(drawn, minlength=len(labels))
        precisions = []
        for order, positive, last in columns:
            weights = times[order]
            predicted = weights.cumsum()[last]
            found = (weights * positive).cumsum()[last]
            if 0 < found[-1] < predicted[-1]:
                steps = np.diff(found, prepend=0)
                precisions.append((steps * found / np.maximum(predicted, 1)).sum() / found[-1])
        return float(np.mean(precisions)) if precisions else float("nan")

    return statistic


def _groups(group_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample of each group's first appearance [G], and the group of each sample [N]."""
    _, first, inverse = np.unique(group_ids, return_index=True, return_inverse=True)
    order = first.argsort()
    return first[order], order.argsort()[inverse]
