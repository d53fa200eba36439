"""Metrics of action and privacy, and their chance levels.

NumPy on the host, float64 inside. Scores are probabilities in [0, 1] unless a name says otherwise.
Privacy labels are 1 present, 0 absent, -1 unknown; unknown entries are left out attribute by
attribute. An attribute is degenerate where its known labels hold one class only: average precision
and AUROC mean nothing there, so it is left out of their macro means and named instead.

Every function raises ValueError for no samples, for scores that are not finite, for probabilities
outside [0, 1] and for labels outside their range; only further errors are documented below.
Metrics of arXiv 2504.14301, Sec. 4; chance levels, AUROC and normalised leakage are additions.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Integer

from anon_jax.metric_checks import (
    check_attributes,
    check_finite,
    check_labels,
    check_not_empty,
    check_probabilities,
)

# The published code compares raw logits with 0.5: this threshold on probabilities, 0.622.
PUBLISHED_THRESHOLD = float(1.0 / (1.0 + np.exp(-0.5)))

Scores = Float[np.ndarray, "samples attributes"]
Labels = Integer[np.ndarray, "samples attributes"]
PerAttribute = Float[np.ndarray, " attributes"]
SampleScores = Float[np.ndarray, " samples"]
SampleLabels = Integer[np.ndarray, " samples"]


def top1(scores: Float[np.ndarray, "samples actions"], labels: SampleLabels) -> float:
    """Share in [0, 1] of the samples whose highest score (logit or probability) is the label's.

    Labels are 0-based action indices. Of tied scores the lowest index counts, as in argmax.
    """
    if len(scores) != len(labels):
        raise ValueError(f"There are {len(scores)} rows of scores but {len(labels)} labels.")
    check_finite(scores)
    check_labels(labels, 0, scores.shape[1] - 1)
    return float((scores.argmax(axis=1) == labels).mean())


def chance_top1(labels: SampleLabels, num_actions: int) -> float:
    """Top-1 expected of guessing uniformly among all the actions: 1 / K, whatever the labels are.

    The labels are only checked. `majority_top1` is what the best constant answer reaches.
    """
    check_labels(labels, 0, num_actions - 1)
    return 1.0 / num_actions


def majority_top1(labels: SampleLabels) -> float:
    """Top-1 in (0, 1] of always answering the action that is most frequent in these labels."""
    check_not_empty(labels)
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def average_precision(scores: SampleScores, labels: SampleLabels) -> float:
    """Average precision in (0, 1]: the sum of (R_n - R_n-1) P_n over the distinct scores.

    Samples of one score enter together, as in scikit-learn's `average_precision_score`. Labels are
    0 or 1.

    Raises:
        ValueError: an unknown label, or no positive one.
    """
    check_attributes(scores, labels)
    if (labels == -1).any() or not (labels == 1).any():
        raise ValueError("Average precision needs labels of 0 and 1 only, at least one of them 1.")
    true_positives, predicted, _ = _cumulative_counts(scores, labels)
    recall_steps = np.diff(true_positives, prepend=0) / true_positives[-1]
    return float((recall_steps * true_positives / predicted).sum())


def auroc(scores: SampleScores, labels: SampleLabels) -> float:
    """Area under the ROC curve in [0, 1]: how often a positive outscores a negative; chance 0.5.

    A tie counts one half, as in scikit-learn's `roc_auc_score`. Labels are 0 or 1.

    Raises:
        ValueError: an unknown label, or labels of one class only.
    """
    check_attributes(scores, labels)
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError("AUROC needs labels of 0 and 1 only, and both of them.")
    true_positives, predicted, _ = _cumulative_counts(scores, labels)
    false_positives = predicted - true_positives
    area = np.trapezoid(np.append(0, true_positives), np.append(0, false_positives))
    return float(area / (true_positives[-1] * false_positives[-1]))


def degenerate_attributes(labels: Labels) -> list[int]:
    """Indices of the attributes whose known labels do not hold both classes."""
    both = (labels == 1).any(axis=0) & (labels == 0).any(axis=0)
    return [int(index) for index in np.flatnonzero(~both)]


def measured_attributes(labels: Labels) -> list[int]:
    """Indices of the attributes that are not degenerate.

    Raises:
        ValueError: there is none.
    """
    kept = sorted(set(range(labels.shape[1])) - set(degenerate_attributes(labels)))
    if not kept:
        raise ValueError(
            f"All {labels.shape[1]} attributes are degenerate: the known labels of the "
            f"{labels.shape[0]} samples hold one class only, so no macro mean is defined."
        )
    return kept


def per_class_average_precision(scores: Scores, labels: Labels) -> PerAttribute:
    """Average precision of each attribute over its known labels; NaN where it is degenerate."""
    return _per_attribute(average_precision, scores, labels)


def per_class_auroc(scores: Scores, labels: Labels) -> PerAttribute:
    """AUROC of each attribute over its known labels; NaN where it is degenerate."""
    return _per_attribute(auroc, scores, labels)


def cmap(scores: Scores, labels: Labels) -> float:
    """Class-wise mean average precision, over the attributes that are not degenerate.

    Logits or probabilities; but a float32 sigmoid makes large logits equal.

    Raises:
        ValueError: every attribute is degenerate.
    """
    return float(per_class_average_precision(scores, labels)[measured_attributes(labels)].mean())


def macro_auroc(scores: Scores, labels: Labels) -> float:
    """Mean AUROC of the attributes that are not degenerate. Scores and errors as in `cmap`."""
    return float(per_class_auroc(scores, labels)[measured_attributes(labels)].mean())


def per_class_f1(
    probabilities: Scores, labels: Labels, thresholds: float | PerAttribute = 0.5
) -> PerAttribute:
    """F1 in [0, 1] of the positive class of each attribute over its known labels.

    Args:
        probabilities: in [0, 1]; a sample is predicted positive at or above the threshold.
        labels: 1, 0, or -1 for unknown.
        thresholds: one for all attributes, or one for each.

    Returns:
        2 TP / (2 TP + FP + FN) an attribute; 0 where nothing is positive and nothing predicted so.
    """
    check_probabilities(probabilities)
    check_attributes(probabilities, labels)
    predicted = (probabilities.astype(np.float64) >= thresholds) & (labels != -1)
    positive = labels == 1
    return _f1((predicted & positive).sum(axis=0), predicted.sum(axis=0), positive.sum(axis=0))


def macro_f1(
    probabilities: Scores, labels: Labels, thresholds: float | PerAttribute = 0.5
) -> float:
    """Mean of `per_class_f1` over all attributes, degenerate ones included.

    Equals scikit-learn's `f1_score(average="macro", zero_division=0)` where all labels are known.
    """
    return float(per_class_f1(probabilities, labels, thresholds).mean())


def tune_thresholds(probabilities_val: Scores, labels_val: Labels) -> PerAttribute:
    """Threshold of each attribute that maximises its F1 on the validation split.

    Returns:
        Thresholds in [0, 1], midway between two scores; the largest of those equally good; 0.5 for
        an attribute without a known positive.
    """
    check_probabilities(probabilities_val)
    check_attributes(probabilities_val, labels_val)
    thresholds = np.full(labels_val.shape[1], 0.5)
    for index, (scores, labels) in enumerate(zip(probabilities_val.T, labels_val.T, strict=True)):
        known = labels != -1
        if not (labels == 1).any():
            continue
        true_positives, predicted, distinct = _cumulative_counts(scores[known], labels[known])
        best = _f1(true_positives, predicted, true_positives[-1:]).argmax()
        upper, lower = np.append(distinct, 0.0)[best : best + 2]
        middle = (upper + lower) / 2
        # Between neighbouring floats the midpoint is rounded to one of them, perhaps the lower.
        thresholds[index] = middle if middle > lower else upper
    return thresholds


def prevalence(labels: Labels) -> PerAttribute:
    """Share of positives among the known labels of each attribute; NaN where none is known."""
    known = (labels != -1).sum(axis=0)
    return np.where(known > 0, (labels == 1).sum(axis=0) / np.maximum(known, 1), np.nan)


def chance_cmap(labels: Labels) -> float:
    """cMAP of scores that say nothing: the mean prevalence of the non-degenerate attributes.

    Equal scores reach it exactly. Random rankings of N samples lie above it on average, by about
    (ln N + 0.58) / N times the share of negatives: by 0.02 at N = 150 and a prevalence of 0.3.

    Raises:
        ValueError: every attribute is degenerate.
    """
    return float(prevalence(labels)[measured_attributes(labels)].mean())


def always_yes_f1(labels: Labels) -> float:
    """Macro F1 of predicting every attribute for every sample, over all attributes."""
    return macro_f1(np.ones(labels.shape), labels)


def normalised_leakage(cmap: float, chance: float, cmap_raw: float) -> float:
    """(cMAP - chance) / (raw cMAP - chance): 0 nothing above chance, 1 as much as from raw input.

    Values below 0 and above 1 occur. NaN where `cmap_raw` does not exceed `chance`, as a raw
    attacker that learned nothing is no yardstick; JSON has no NaN, so write that as missing.
    """
    return (cmap - chance) / (cmap_raw - chance) if cmap_raw > chance else float("nan")


def _cumulative_counts(
    scores: SampleScores, labels: SampleLabels
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, predictions and the score itself at each distinct score, highest first."""
    distinct, inverse = np.unique(-scores.astype(np.float64), return_inverse=True)
    predicted = np.bincount(inverse, minlength=len(distinct)).cumsum()
    true_positives = np.bincount(inverse, weights=labels, minlength=len(distinct)).cumsum()
    return true_positives, predicted, -distinct


def _per_attribute(
    metric: Callable[[np.ndarray, np.ndarray], float], scores: Scores, labels: Labels
) -> PerAttribute:
    check_attributes(scores, labels)
    values = np.full(labels.shape[1], np.nan)
    for index in set(range(labels.shape[1])) - set(degenerate_attributes(labels)):
        known = labels[:, index] != -1
        values[index] = metric(scores[known, index], labels[known, index])
    return values


def _f1(true_positives: np.ndarray, predicted: np.ndarray, positive: np.ndarray) -> np.ndarray:
    # TP + FP are predicted, TP + FN positive, so their sum is 2 TP + FP + FN.
    return 2.0 * true_positives / np.maximum(predicted + positive, 1)
