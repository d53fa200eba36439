"""Re-identification: whether clips of one person are found by clips of the same person."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """What a search by similarity finds; figures in [0, 1].

    Attributes:
      rank1: share of the queries whose nearest other clip shows the same person.
      mean_ap: mean over the queries of the average precision of the ranked other clips.
      chance_rank1, chance_map: the same for a random order: the mean share of clips of the same
        person, and the expected average precision.
      num_queries: clips of people with two clips or more.
    """

    rank1: float
    mean_ap: float
    chance_rank1: float
    chance_map: float
    num_queries: int


def retrieve(
    embeddings: Float[np.ndarray, "clips features"], people: Sequence[str], groups: Sequence[str]
) -> Retrieval:
    """Each clip in turn is searched for among all others, by the cosine of the embeddings.

    Args:
      embeddings: one row for each clip of people who were not seen in training.
      people: who is in each clip.
      groups: what would make it too easy, such as the recording: clips of the query's own group
        are left out of its search. Distinct names leave out the query alone.

    Raises:
      ValueError: rows and names do not fit, or no person can be searched for.
    """
    if not len(embeddings) == len(people) == len(groups):
        raise ValueError(
            f"{len(embeddings)} embeddings need as many people ({len(people)}) and groups "
            f"({len(groups)})"
        )
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    same_person = np.equal.outer(np.asarray(people), np.asarray(people))
    same_group = np.equal.outer(np.asarray(groups), np.asarray(groups))
    rows = []
    for query, similarities in enumerate(unit @ unit.T):
        gallery = np.flatnonzero(~same_group[query])
        ranked = gallery[np.argsort(-similarities[gallery], kind="stable")]
        hits = same_person[query][ranked]
        if hits.any():
            chance = hits.mean()
            rows.append((hits[0], _average_precision(hits), chance, _expected_ap(hits)))
    if not rows:
        raise ValueError("no person has two clips that may be matched; nothing can be searched for")
    rank1, mean_ap, chance_rank1, chance_map = np.mean(np.asarray(rows, np.float64), axis=0)
    return Retrieval(
        float(rank1), float(mean_ap), float(chance_rank1), float(chance_map), len(rows)
    )


def _average_precision(hits: np.ndarray) -> float:
    """Mean precision at the ranks of the hits."""
    ranks = np.flatnonzero(hits) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def _expected_ap(hits: np.ndarray) -> float:
    """The average precision of a random order: (R - 1)/(N - 1) + (1 - (R - 1)/(N - 1)) H_N / N."""
    total, relevant = len(hits), int(hits.sum())
    if total == 1:
        return 1.0
    harmonic = float(np.sum(1 / np.arange(1, total + 1)))
    rest = (relevant - 1) / (total - 1)
    return rest + (1 - rest) * harmonic / total
