"""Batches for training and evaluation: Grain pipelines over the records of prepared datasets.

Training streams are endless, shuffled anew in each epoch, and their iterators can be checkpointed
in the middle of an epoch. Decoding runs in threads, for OpenCV releases the GIL; `with_workers`
moves it to processes.
"""

import functools
import itertools
import signal
import zlib
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import cv2
import grain
import jax
import numpy as np
from absl import flags

from input_pipeline.errors import DataError
from input_pipeline.processes import exit_with_parent
from input_pipeline.records import PooledSource, Record, RecordSource

Batch = dict[str, Any]

# An array in shared memory holds a file open; labels and indices, which are kept long, are copied.
_MIN_SHARED_BYTES = 2**16


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
      num_threads: batches are made ahead by so many threads.
      prefetch: so many batches are made ahead.
      process_index: of this process, which reads its own share of the shuffled order.
      process_count: so many processes share the order.

    The shuffling and each element's random numbers depend on `seed` and the position alone, not
    on threads or processes.
    """
    cv2.setNumThreads(0)  # the threads here are one per batch; OpenCV's own would fight with them
    shuffled = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(transform)
    # Whole batches in turn: together they are in the order of one process, and their positions the
    # same in all, so that a run may go on with another number of processes.
    batches = shuffled.batch(batch_size, drop_remainder=True)
    share = batches[process_index::process_count] if process_count > 1 else batches
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    return share.to_iter_dataset(options)


def zip_streams(streams: Mapping[str, grain.IterDataset]) -> grain.IterDataset:
    """One stream of {name: batch} from several endless ones, with one iterator state."""
    names = tuple(streams)
    zipped = grain.experimental.ZipIterDataset([streams[name] for name in names])
    return zipped.map(lambda batches: dict(zip(names, batches, strict=True)))


def with_workers(
    stream: grain.IterDataset, num_workers: int, *, owner: str = ""
) -> grain.IterDataset:
    """The same batches in the same order, made by `num_workers` processes; 0 = by this one.

    Worker i makes the batches i, i + num_workers, ... with the threads and the buffer that the
    stream was made with, and hands them over in shared memory (/dev/shm). Workers are spawned at
    the first batch, use no accelerator, and end when the iterator is closed or this process dies.

    The iterator's state belongs to one number of workers: `set_state` raises a DataError that names
    both numbers where they differ.

    Args:
      owner: e.g. the workdir of a run; the shared memory is called by it, so that
        `remove_shared_memory` finds what is left when all processes are killed at once.
    """
    if not flags.FLAGS.is_parsed():  # Grain asks for flags of its own, in notebooks too
        flags.FLAGS.mark_as_parsed()
    options = grain.experimental.DatasetOptions(min_shm_size=_MIN_SHARED_BYTES)
    processes = grain.experimental.WithOptionsIterDataset(stream, options).mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers),
        worker_init_fn=functools.partial(_start_worker, owner),
    )
    return _Workers(processes, num_workers)


def remove_shared_memory(owner: str) -> None:
    """Removes what killed worker processes of `owner` have left; none of them may be running."""
    for path in Path("/dev/shm").glob(f"{_memory_name(owner)}*"):
        path.unlink(missing_ok=True)


def evaluation_batches(
    source: RecordSource,
    transform: grain.transforms.Map,
    *,
    views: int,
    crops: int = 1,
    batch_size: int,
    num_threads: int,
    prefetch: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Every record of a split, `crops` crops at `views` places of each, once and in order.

    `transform` takes (record, place, crop). Places in the video and crops along the frame's longer
    side are spread evenly over [0, 1]; a single one lies at 0.5.

    Yields batches of always `batch_size` elements: the last one is filled up with copies whose
    "index" is -1. All views of one record share its index. Processes take batches in turn, each the
    same number: the last ones may be filling alone.
    """
    cv2.setNumThreads(0)
    dataset = grain.MapDataset.source(_Views(source, views, crops)).map(transform)
    batches = dataset.batch(batch_size, batch_fn=lambda elements: _fill(elements, batch_size))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    if process_count == 1:
        return iter(batches.to_iter_dataset(options))
    share = batches[process_index::process_count]
    missing = -(-len(batches) // process_count) - len(share)
    own = share.to_iter_dataset(options) if len(share) else []
    return itertools.chain(own, (_filling(batches[0]) for _ in range(missing)))


class _Views:
    """(record, place, crop) for each view of each record."""

    def __init__(self, source: RecordSource, views: int, crops: int):
        self._source = source
        self._views = [(place, crop) for place in _spread(views) for crop in _spread(crops)]

    def __len__(self) -> int:
        return len(self._source) * len(self._views)

    def __getitem__(self, index: int) -> tuple[Record, float, float]:
        record, view = divmod(int(index), len(self._views))
        return self._source[record], *self._views[view]


class _Workers(grain.IterDataset):
    """The elements of its parent; its iterator's state remembers the number of workers."""

    def __init__(self, parent: grain.IterDataset, num_workers: int):
        super().__init__(parent)
        self._num_workers = num_workers

    def __iter__(self) -> grain.DatasetIterator:
        return _WorkersIterator(self._parent.__iter__(), self._num_workers)


class _WorkersIterator(grain.DatasetIterator):
    def __init__(self, parent: grain.DatasetIterator, num_workers: int):
        super().__init__(parent)
        self._num_workers = num_workers

    def __next__(self) -> Any:
        return next(self._parent)

    def get_state(self) -> dict[str, Any]:
        return {"num_workers": self._num_workers, "stream": self._parent.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        if state["num_workers"] != self._num_workers:
            raise DataError(
                f"The position in the data was saved with {state['num_workers']} worker processes; "
                f"config.data.num_workers is {self._num_workers} now. Resume with "
                f"config.data.num_workers={state['num_workers']}, or begin anew in another workdir"
            )
        self._parent.set_state(state["stream"])


def _memory_name(owner: str) -> str:
    """How the names of an owner's shared memory begin. Python leaves room for nine characters."""
    return f"a{zlib.crc32(owner.encode()):08x}"


def _start_worker(owner: str, index: int, count: int) -> None:
    """Runs first in each worker process."""
    del index, count
    exit_with_parent()
    if owner:
        # Python has no other way to name them, and Grain leaves it to Python.
        vars(shared_memory)["_SHM_NAME_PREFIX"] = f"/{_memory_name(owner)}"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    jax.config.update("jax_platforms", "cpu")  # Grain imports JAX; the accelerator is the parent's
    cv2.setNumThreads(0)


def _spread(count: int) -> list[float]:
    return np.linspace(0, 1, count).tolist() if count > 1 else [0.5]


def _filling(batch: Batch) -> Batch:
    """A batch without any record."""
    return {**batch, "index": np.full_like(batch["index"], -1)}


def _fill(elements: Sequence[Any], batch_size: int) -> Batch:
    copies = [{**elements[0], "index": np.int32(-1)}] * (batch_size - len(elements))
    rows = [*elements, *copies]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
