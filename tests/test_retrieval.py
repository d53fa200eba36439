"""Re-identification: small cases by hand, chance by simulation, the precision of scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from anon_jax.retrieval import retrieve


def test_by_hand():
    angles = np.deg2rad([0, 10, 90, 95, 20])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1], [5], [1], [2], [1]]
    found = retrieve(embeddings, ["a", "a", "b", "b", "c"], list("12345"))
    # Each clip of a and b finds its partner first; c has no other clip and is no query.
    assert (found.rank1, found.mean_ap, found.num_queries) == (1.0, 1.0, 4)
    assert found.chance_rank1 == 0.25
    assert found.chance_map == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_clips_of_the_same_group_are_left_out():
    embeddings = np.array([[1, 0], [1, 0.1], [0, 1], [0.2, 1]])
    people, groups = ["a", "a", "a", "b"], ["x", "x", "y", "y"]
    found = retrieve(embeddings, people, groups)
    # Clip 0 may find 2 and 3 only: 3 is nearer. So may 1. Clip 2 finds 1 and 0. Clip 3 has nobody.
    assert found.num_queries == 3
    assert found.rank1 == pytest.approx(1 / 3)
    assert found.mean_ap == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_average_precision_and_chance():
    rng = np.random.default_rng(0)
    people = [f"person {i % 5}" for i in range(60)]
    runs = [
        retrieve(rng.normal(size=(60, 8)), people, list(map(str, range(60)))) for _ in range(40)
    ]
    # 60 queries share one set of vectors; over 40 sets the mean varies by about 0.005.
    assert np.mean([run.mean_ap for run in runs]) == pytest.approx(runs[0].chance_map, abs=0.015)
    assert np.mean([run.rank1 for run in runs]) == pytest.approx(runs[0].chance_rank1, abs=0.03)
    embeddings = rng.normal(size=(30, 4))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    people = [f"person {i % 3}" for i in range(30)]
    expected = [
        average_precision_score(
            [people[j] == people[i] for j in range(30) if j != i],
            [unit[i] @ unit[j] for j in range(30) if j != i],
        )
        for i in range(30)
    ]
    found = retrieve(embeddings, people, list(map(str, range(30))))
    assert found.mean_ap == pytest.approx(np.mean(expected))


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(ValueError, match="3 embeddings need as many people"):
        retrieve(np.ones((3, 2)), ["a", "b"], ["1", "2", "3"])
    with pytest.raises(ValueError, match="no person has two clips"):
        retrieve(np.ones((2, 2)), ["a", "b"], ["1", "2"])
