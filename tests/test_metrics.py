"""Tests the metrics against scikit-learn on random cases with ties, and against values by hand."""

import inspect
import math

import numpy as np
import pytest
import sklearn.metrics
from metric_samples import random_case, with_degenerate_columns

from anon_jax import metric_reports, metrics

# 2 positives before a negative, one tie of a positive with a negative:
#   0.9 (1), 0.8 (1), 0.7 (0), 0.4 (1 and 0)
SCORES = np.array([0.9, 0.8, 0.7, 0.4, 0.4])
LABELS = np.array([1, 1, 0, 1, 0])


def test_top1_and_its_chance_levels_by_hand():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.3, 0.3, 0.4], [0.4, 0.5, 0.1]])
    labels = np.array([1, 0, 0, 0])
    assert metrics.top1(scores, labels) == 0.5
    assert metrics.chance_top1(labels, 3) == pytest.approx(1 / 3)
    assert metrics.majority_top1(labels) == 0.75


@pytest.mark.parametrize("label", [-1, 3])
def test_action_labels_out_of_range_are_named(label):
    labels = np.array([0, 1, label])
    with pytest.raises(ValueError, match=rf"outside 0 \.\. 2; the first is {label} at index \(2,"):
        metrics.top1(np.eye(3), labels)
    with pytest.raises(ValueError, match=r"outside 0 \.\. 2"):
        metrics.chance_top1(labels, 3)


def test_average_precision_and_auroc_by_hand():
    # Precision 1, 1 at the first two recall steps of 1/3; 3 of 5 at the last.
    assert metrics.average_precision(SCORES, LABELS) == pytest.approx((1 + 1 + 3 / 5) / 3)
    # Of 6 pairs: 4 won by the first two positives, the third loses one and ties one.
    assert metrics.auroc(SCORES, LABELS) == pytest.approx(4.5 / 6)


# A few levels make many ties, a million hardly any.
@pytest.mark.parametrize("levels", [1, 3, 10, 10**6])
@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_equal_scikit_learn(seed, levels):
    scores, labels = random_case(seed, levels=levels)
    # Both are float64 sums of about 40 terms.
    assert metrics.cmap(scores, labels) == pytest.approx(
        sklearn.metrics.average_precision_score(labels, scores, average="macro"), abs=1e-12
    )
    assert metrics.macro_auroc(scores, labels) == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, scores, average="macro"), abs=1e-12
    )
    for column in range(labels.shape[1]):
        assert metrics.average_precision(scores[:, column], labels[:, column]) == pytest.approx(
            sklearn.metrics.average_precision_score(labels[:, column], scores[:, column]), abs=1e-12
        )
    for threshold in (0.0, 0.5, 0.9):
        expected = sklearn.metrics.f1_score(
            labels, scores >= threshold, average="macro", zero_division=0
        )
        assert metrics.macro_f1(scores, labels, threshold) == pytest.approx(expected, abs=1e-12)


def test_ranking_metrics_do_not_change_under_the_sigmoid():
    logits = np.random.default_rng(0).normal(size=(30, 3))
    labels = random_case(0, 30, 3)[1]
    probabilities = 1 / (1 + np.exp(-logits))
    assert metrics.cmap(logits, labels) == metrics.cmap(probabilities, labels)
    assert metrics.macro_auroc(logits, labels) == metrics.macro_auroc(probabilities, labels)


def test_unknown_labels_are_left_out_attribute_by_attribute():
    scores, labels = random_case(1)
    masked = labels.copy()
    masked[5:20, 0] = -1
    known = masked[:, 0] != -1
    for function in (metrics.per_class_average_precision, metrics.per_class_auroc):
        values = function(scores, masked)
        np.testing.assert_array_equal(values[1:], function(scores, labels)[1:])
        np.testing.assert_allclose(values[0], function(scores[known], labels[known])[0])
    f1 = metrics.per_class_f1(scores, masked)
    expected = sklearn.metrics.f1_score(labels[known, 0], scores[known, 0] >= 0.5)
    assert f1[0] == pytest.approx(expected)
    assert metrics.prevalence(masked)[0] == pytest.approx(labels[known, 0].mean())


def test_degenerate_attributes_are_nan_alone_and_left_out_of_the_means():
    scores, labels = with_degenerate_columns()
    assert metrics.degenerate_attributes(labels) == [1, 2]
    per_class = metrics.per_class_average_precision(scores, labels)
    assert np.isnan(per_class).tolist() == [False, True, True]
    assert metrics.cmap(scores, labels) == per_class[0]
    assert metrics.macro_auroc(scores, labels) == metrics.per_class_auroc(scores, labels)[0]
    # 2 of the 5 known labels of the first attribute.
    assert metrics.chance_cmap(labels) == pytest.approx(0.4)


def test_only_degenerate_attributes_are_an_error_that_says_so():
    scores, labels = with_degenerate_columns()
    for function in (metrics.cmap, metrics.macro_auroc):
        with pytest.raises(ValueError, match="All 2 attributes are degenerate"):
            function(scores[:, 1:], labels[:, 1:])
    with pytest.raises(ValueError, match="All 2 attributes are degenerate"):
        metrics.chance_cmap(labels[:, 1:])


def test_average_precision_and_auroc_reject_labels_that_leave_them_undefined():
    for labels in ([0, 0, 0], [0, 1, -1]):
        with pytest.raises(ValueError, match="Average precision needs"):
            metrics.average_precision(SCORES[:3], np.array(labels))
        with pytest.raises(ValueError, match="AUROC needs"):
            metrics.auroc(SCORES[:3], np.array(labels))


def test_f1_without_positives_is_zero_as_in_scikit_learn():
    labels = np.array([[0, 1], [0, 0]])
    # Nothing predicted and nothing positive in the first; perfect in the second: (0 + 1) / 2.
    assert metrics.macro_f1(np.array([[0.1, 0.9], [0.2, 0.1]]), labels) == 0.5


def test_f1_takes_one_threshold_per_attribute():
    probabilities = np.array([[0.6, 0.6], [0.4, 0.4]])
    labels = np.array([[1, 1], [0, 1]])
    # The second attribute needs 0.3 to find both of its positives.
    assert metrics.macro_f1(probabilities, labels, np.array([0.5, 0.3])) == 1.0
    assert metrics.macro_f1(probabilities, labels) == pytest.approx((1 + 2 / 3) / 2)


def test_published_f1_thresholds_the_raw_logits():
    logits = np.array([[0.4], [0.6], [-1.0]])
    labels = np.array([[1], [1], [0]])
    # The first, at probability 0.599, is missed: TP 1, FN 1.
    assert metrics.macro_f1((logits >= 0.5).astype(float), labels) == pytest.approx(2 / 3)
    probabilities = 1 / (1 + np.exp(-logits))
    assert metrics.macro_f1(probabilities, labels) == 1.0
    threshold = metrics.PUBLISHED_THRESHOLD
    assert metrics.macro_f1(probabilities, labels, threshold) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [3, 10**6])
def test_tuned_thresholds_reach_the_best_f1_of_any_threshold(seed, levels):
    probabilities, labels = random_case(seed, levels=levels)
    labels[5:10, 1] = -1
    thresholds = metrics.tune_thresholds(probabilities, labels)
    assert ((thresholds >= 0) & (thresholds <= 1)).all()
    # Every split of the samples is reached by a threshold at one of the scores.
    candidates = np.unique(probabilities)
    best = np.max(
        [metrics.per_class_f1(probabilities, labels, float(t)) for t in candidates], axis=0
    )
    np.testing.assert_array_equal(metrics.per_class_f1(probabilities, labels, thresholds), best)


def test_tuned_threshold_by_hand():
    probabilities = np.array([[0.9], [0.6], [0.2], [0.1]])
    assert metrics.tune_thresholds(probabilities, np.array([[1], [1], [0], [0]]))[0] == 0.4
    # All positive: the split lies between the lowest score and 0.
    assert metrics.tune_thresholds(probabilities, np.array([[1], [1], [1], [1]]))[0] == 0.05
    assert metrics.tune_thresholds(probabilities, np.array([[0], [0], [-1], [0]]))[0] == 0.5


def test_tuned_threshold_separates_neighbouring_floats():
    lower = np.nextafter(0.5, 0.0)
    probabilities = np.array([[0.5], [lower], [np.nextafter(lower, 0.0)]])
    for labels in ([[1], [0], [0]], [[1], [1], [0]]):
        thresholds = metrics.tune_thresholds(probabilities, np.array(labels))
        assert metrics.macro_f1(probabilities, np.array(labels), thresholds) == 1.0


def test_chance_levels_by_hand():
    labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    assert metrics.chance_cmap(labels) == pytest.approx((0.75 + 0.25) / 2)
    # F1 of always yes is 2 p / (1 + p) at the prevalence p.
    assert metrics.always_yes_f1(labels) == pytest.approx((1.5 / 1.75 + 0.5 / 1.25) / 2)
    # Scores that say nothing reach chance exactly.
    assert metrics.cmap(np.full((4, 2), 0.3), labels) == pytest.approx(metrics.chance_cmap(labels))
    assert metrics.macro_auroc(np.full((4, 2), 0.3), labels) == 0.5


def test_random_rankings_lie_above_chance_by_what_the_docstring_says():
    rng = np.random.default_rng(0)
    labels = np.repeat([[1], [0]], [45, 105], axis=0)
    mean = np.mean([metrics.cmap(rng.uniform(size=(150, 1)), labels) for _ in range(2000)])
    # One ranking scatters by about 0.04, the mean of 2000 by 0.001.
    assert mean - metrics.chance_cmap(labels) == pytest.approx(0.0216, abs=0.004)


def test_normalised_leakage():
    assert metrics.normalised_leakage(0.6, 0.4, 0.9) == pytest.approx(0.4)
    assert metrics.normalised_leakage(0.4, 0.4, 0.9) == 0.0
    assert metrics.normalised_leakage(0.9, 0.4, 0.9) == 1.0
    assert math.isnan(metrics.normalised_leakage(0.5, 0.4, 0.4))
    assert math.isnan(metrics.normalised_leakage(0.3, 0.4, 0.35))


def test_bad_input_is_named_by_its_place():
    scores, labels = random_case(0)
    scores[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 scores are not finite; .* index \(3, 1\)"):
        metrics.cmap(scores, labels)
    scores[3, 1] = 1.5
    with pytest.raises(ValueError, match=r"outside \[0, 1\].*sigmoid.*index \(3, 1\)"):
        metric_reports.privacy_report(scores, labels, list("abcd"))
    labels[4, 2] = 2
    with pytest.raises(ValueError, match=r"outside -1 \.\. 1; the first is 2 at index \(4, 2\)"):
        metrics.cmap(scores, labels)
    with pytest.raises(ValueError, match="nothing to measure"):
        metrics.majority_top1(np.zeros(0, np.int64))


def test_shapes_are_checked_without_the_tests_type_checker_too():
    scores, labels = random_case(0)
    with pytest.raises(ValueError, match="rows of"):
        inspect.unwrap(metrics.top1)(scores, np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="differ in shape"):
        inspect.unwrap(metrics.per_class_f1)(scores, labels[:1])
    with pytest.raises(ValueError, match="as many thresholds"):
        inspect.unwrap(metric_reports.privacy_report)(
            scores, labels, list("abcd"), thresholds=np.array([0.5])
        )
