"""Tests averages over views and the reports, against values by hand and against the metrics."""

import json

import numpy as np
import pytest
from metric_samples import random_case, with_degenerate_columns

from anon_jax import metric_reports, metrics, statistics


@pytest.mark.parametrize("ids", [["v2", "v1", "v2", "v10"], [7, 3, 7, 5]])
def test_group_means_keep_the_order_of_first_appearance(ids):
    scores = np.array([[0.2, 0.8], [0.5, 0.5], [0.4, 0.6], [1.0, 0.0]], np.float32)
    means, groups = metric_reports.average_by_group(scores, np.array(ids))
    assert groups.tolist() == [ids[0], ids[1], ids[3]]
    assert means.dtype == np.float64
    np.testing.assert_allclose(means, [[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]], rtol=1e-6)
    labels = metric_reports.labels_by_group(np.array([1, 0, 1, 4]), np.array(ids))
    assert labels.tolist() == [1, 0, 4]


def test_groups_of_scalars_and_of_single_samples():
    means, groups = metric_reports.average_by_group(np.array([1.0, 2.0, 6.0]), np.array([1, 0, 1]))
    assert means.tolist() == [3.5, 2.0]
    assert groups.tolist() == [1, 0]


@pytest.mark.parametrize("labels", [[1, 0, 2], [[1, 0], [0, 0], [1, 1]]])
def test_labels_that_differ_inside_a_group_name_it(labels):
    with pytest.raises(ValueError, match=r"group .*'clip_a'.* differ.*sample 0, .*sample 2"):
        metric_reports.labels_by_group(np.array(labels), np.array(["clip_a", "clip_b", "clip_a"]))


def test_action_report():
    probabilities = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.3, 0.3, 0.4]])
    report = metric_reports.action_report(probabilities, np.array([1, 0, 1]))
    json.dumps(report, allow_nan=False)
    # Three draws with p = 2/3: all wrong in 1/27 = 3.7 % of the resamples, all right in 30 %.
    assert report.pop("top1_interval") == [0.0, 1.0]
    assert report == pytest.approx(
        {"top1": 2 / 3, "chance": 1 / 3, "majority": 2 / 3, "num_videos": 3}
    )


def test_privacy_report_leaves_out_and_names_the_degenerate_attributes():
    scores, labels = with_degenerate_columns()
    others, other_labels = random_case(3, samples=6, attributes=1)
    scores, labels = np.hstack([scores, others]), np.hstack([labels, other_labels])
    names = ["hair", "skin", "stripes", "glasses"]
    kept = [0, 3]
    thresholds = metrics.tune_thresholds(scores, labels)
    report = metric_reports.privacy_report(scores, labels, names, thresholds=thresholds)
    # Fails on a NaN and on anything that is not a Python number.
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["left_out"] == ["skin", "stripes"]
    assert list(report["per_attribute"]) == ["hair", "glasses"]
    assert report["cmap"] == metrics.cmap(scores[:, kept], labels[:, kept])
    assert report["f1"] == metrics.macro_f1(scores[:, kept], labels[:, kept])
    logits = np.log(scores + 1e-9) - np.log1p(1e-9 - scores)
    published = metrics.macro_f1((logits[:, kept] >= 0.5).astype(float), labels[:, kept])
    assert report["f1_published"] == published
    tuned = metrics.macro_f1(scores[:, kept], labels[:, kept], thresholds[kept])
    assert report["f1_tuned"] == tuned
    for key, macro in (("ap", "cmap"), ("prevalence", "chance_cmap"), ("auroc", "auroc")):
        mean = np.mean([values[key] for values in report["per_attribute"].values()])
        assert report[macro] == pytest.approx(mean)


def test_privacy_report_without_thresholds_has_no_tuned_f1():
    scores, labels = random_case(0)
    report = metric_reports.privacy_report(scores, labels, list("abcd"))
    assert "f1_tuned" not in report
    assert report["left_out"] == []


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a", "b", "c", "c"]])
def test_privacy_report_needs_one_name_for_each_attribute(names):
    with pytest.raises(ValueError, match="4 attributes need as many"):
        metric_reports.privacy_report(*random_case(0), names)


def one_hot(actions, num_actions=2):
    return np.eye(num_actions)[actions]


def test_groups_are_drawn_whole_and_samples_without_one_singly():
    # Twenty groups of ten videos; all videos of a group are right, or all are wrong.
    right = np.repeat(np.arange(20) < 12, 10).astype(np.int64)
    labels = np.ones(200, np.int64)
    groups = [f"film {index // 10}" for index in range(200)]

    def interval(groups):
        return metric_reports.action_report(one_hot(right), labels, groups=groups)["top1_interval"]

    def width(groups):
        return np.diff(interval(groups))[0]

    singly = interval(None)
    # Binomial: 0.6 +- 1.96 sqrt(0.24 / 200) = 0.068; 1000 resamples place a limit to about 0.005.
    assert singly == pytest.approx([0.6 - 0.068, 0.6 + 0.068], abs=0.01)
    assert interval([""] * 200) == singly  # not one group of all
    assert interval([str(index) for index in range(200)]) == singly
    assert interval(["the only film"] * 200) == singly
    # Worth twenty draws instead of 200; a limit falls on a multiple of 1/20.
    assert width(groups) == pytest.approx(10**0.5 * width(None), rel=0.2)
    half = groups[:100] + [""] * 100
    assert width(None) < width(half) < width(groups)


def test_cmap_interval_is_that_of_cmap_over_resamples():
    scores, labels = random_case(5, samples=60)  # with ties
    labels[3:40:4, 1] = -1
    labels[:, 2] = -1
    labels[:3, 2] = [0, 1, 0]  # one positive: of one class in a third of the resamples
    groups = [f"person {index // 3}" for index in range(60)]

    def cmap(drawn):
        # The attributes of one class are left out of a resample's mean, as in a report.
        return metrics.cmap(scores[drawn], labels[drawn])

    for given in (None, groups):
        expected = statistics.over_clips(cmap, 60, seed=0, groups=given)
        report = metric_reports.privacy_report(scores, labels, list("abcd"), groups=given)
        found = report["cmap_interval"]
        assert found == pytest.approx([expected.low, expected.high], abs=1e-12)
        assert found[0] < report["cmap"] < found[1]


def test_resamples_in_which_nothing_is_measured_enter_no_interval():
    # Two people, one with and one without: half of the resamples hold one class only.
    scores, labels = np.array([[0.9], [0.8], [0.1]]), np.array([[1], [1], [0]])
    report = metric_reports.privacy_report(scores, labels, ["face"], groups=["a", "a", "b"])
    assert report["cmap_interval"] == [1.0, 1.0]
    json.dumps(report, allow_nan=False)
