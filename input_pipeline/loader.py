"""Batches for training and evaluation: Grain pipelines over the records of prepared datasets.

Training streams are endless, shuffled anew in each epoch, and their iterators can be checkpointed
in the middle of an epoch. Decoding runs in threads: OpenCV releases the GIL.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import grain
import numpy as np

from input_pipeline.records import PooledSource, Record, RecordSource

Batch = dict[str, Any]


def train_stream(
    source: RecordSource | PooledSource,
    transform: grain.transforms.RandomMap,
    *,
    batch_size: int,
    seed: int,
    num_threads: int,
    prefetch: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.IterDataset:
    """An endless stream of batches of `transform` over the records of `source`.

    Args:
      batch_size: elements of this process's batch.
      num_threads, prefetch: batches are made ahead by so many threads, so many of them.
      process_index, process_count: each process reads its own share of the shuffled order.

    The shuffling and each element's random numbers depend on `seed` and the position alone, not
    on threads or processes.
    """
    cv2.setNumThreads(0)  # the threads here are one per batch; OpenCV's own would fight with them
    shuffled = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(transform)
    share = shuffled[process_index::process_count] if process_count > 1 else shuffled
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return share.batch(batch_size, drop_remainder=True).to_iter_dataset(options)


def zip_streams(streams: Mapping[str, grain.IterDataset]) -> grain.IterDataset:
    """One stream of {name: batch} from several endless ones, with one iterator state."""
    names = tuple(streams)
    zipped = grain.experimental.ZipIterDataset([streams[name] for name in names])
    return zipped.map(lambda batches: dict(zip(names, batches, strict=True)))


def evaluation_batches(
    source: RecordSource,
    transform: grain.transforms.Map,
    *,
    views: int,
    batch_size: int,
    num_threads: int,
    prefetch: int,
) -> Iterator[Batch]:
    """Every record of a split, `views` evenly spaced places of each, once and in order.

    Yields batches of always `batch_size` elements: the last one is filled up with copies whose
    "index" is -1. Views of one record share its index.
    """
    cv2.setNumThreads(0)
    dataset = grain.MapDataset.source(_Views(source, views)).map(transform)
    batches = dataset.batch(batch_size, batch_fn=lambda elements: _fill(elements, batch_size))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return iter(batches.to_iter_dataset(options))


class _Views:
    """(record, place) for each evenly spaced place of each record."""

    def __init__(self, source: RecordSource, views: int):
        self._source = source
        self._places = np.linspace(0, 1, views) if views > 1 else np.array([0.5])

    def __len__(self) -> int:
        return len(self._source) * len(self._places)

    def __getitem__(self, index: int) -> tuple[Record, float]:
        record, place = divmod(int(index), len(self._places))
        return self._source[record], float(self._places[place])


def _fill(elements: Sequence[Any], batch_size: int) -> Batch:
    copies = [{**elements[0], "index": np.int32(-1)}] * (batch_size - len(elements))
    rows = [*elements, *copies]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
