"""Tests averages over views and the reports, against values by hand and against the metrics."""

import json

import numpy as np
import pytest
from metric_samples import random_case, with_degenerate_columns

from anon_jax import metric_reports, metrics


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
    assert report == pytest.approx(
        {"top1": 2 / 3, "chance": 1 / 3, "majority": 2 / 3, "num_videos": 3}
    )
    json.dumps(report, allow_nan=False)


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
    published = metrics.macro_f1_published(logits[:, kept], labels[:, kept])
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
