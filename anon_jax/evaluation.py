"""Predictions of a classifier over a whole split, and what they say."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from anon_jax import distributed
from anon_jax.metric_reports import average_by_group, labels_by_group
from anon_jax.sharding import shard_batch, to_host
from anon_jax.state import Network, TrainState
from anon_jax.steps import anonymize, to_float, without_decoder

Predict = Callable[[TrainState, Any], Any]


def make_action_predictor(networks: Mapping[str, Network]) -> Predict:
    """batch["frames"] uint8 [B, T, H, W, 3] -> softmax [B, num_actions] of the anonymized clip."""

    def predict(state: TrainState, batch: Any) -> jax.Array:
        clips = anonymize(networks, state.nets, to_float(batch["frames"]))
        (logits, _), _ = networks["action"].apply(state.nets["action"], clips)
        return jax.nn.softmax(logits)

    return jax.jit(predict)


def make_attribute_predictor(networks: Mapping[str, Network], frames: str = "image") -> Predict:
    """batch[`frames`] uint8 -> logits [B, num_attributes] of the anonymized image or clip.

    `frames` as in `steps.make_attribute_step`.
    """

    def predict(state: TrainState, batch: Any) -> jax.Array:
        images = anonymize(networks, state.nets, to_float(batch[frames]))
        (logits, _), _ = networks["privacy"].apply(state.nets["privacy"], images)
        return logits

    return jax.jit(predict)


def make_decoder_predictor(networks: Mapping[str, Network]) -> Predict:
    """What each frame of a batch becomes: {"raw", "anonymized", "reconstructed"}.

    batch["image"] and batch["raw"] uint8 [B, H, W, 3] as in `steps.make_decoder_step`; the outputs
    are floats of that shape in [0, 1].
    """

    def predict(state: TrainState, batch: Any) -> dict[str, jax.Array]:
        seen = to_float(batch["image"])
        return {
            "raw": to_float(batch["raw"]),
            "anonymized": anonymize(networks, without_decoder(state.nets), seen),
            "reconstructed": anonymize(networks, state.nets, seen),
        }

    return jax.jit(predict)


def predict_batches(
    predict: Predict, state: TrainState, batches: Iterable[Any], mesh: Mesh
) -> Iterator[tuple[Any, Any]]:
    """(outputs, labels) of each batch, both as NumPy arrays without the filling (index -1).

    The labels are all of a batch but its pixels. Of several processes, each of which has a part of
    the batch, all get the whole.
    """
    for batch in batches:
        given = shard_batch(batch, mesh)
        labels = {name: x for name, x in batch.items() if x.dtype != np.uint8}
        if distributed.count() > 1:
            labels = to_host({name: given[name] for name in labels})
        real = labels["index"] >= 0
        outputs = to_host(predict(state, given))
        yield jax.tree.map(lambda x, real=real: x[real], (outputs, labels))


def predict_split(
    predict: Predict, state: TrainState, batches: Iterable[Any], mesh: Mesh, *, label: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs `predict` over batches whose filling has index -1.

    Returns:
      outputs [N, ...], labels batch[label] [N, ...] and record indices [N], filling removed.
    """
    outputs, labels, indices = [], [], []
    for output, batch in predict_batches(predict, state, batches, mesh):
        outputs.append(output)
        labels.append(batch[label])
        indices.append(batch["index"])
    return np.concatenate(outputs), np.concatenate(labels), np.concatenate(indices)


def split_probabilities(
    logits: np.ndarray, labels: np.ndarray, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sigmoid of logits [N, A], averaged over the views of each record, with the records' labels.

    In float64, where the sigmoids of large logits still differ.
    """
    probabilities = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    means, _ = average_by_group(probabilities, indices)
    return means, labels_by_group(labels, indices)
