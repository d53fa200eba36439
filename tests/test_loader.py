"""Batches: deterministic, resumable in mid-epoch, each record once where it matters."""

import dataclasses
import itertools

import grain
import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.loader import evaluation_batches, train_stream, zip_streams
from input_pipeline.records import PooledSource, RecordSource
from input_pipeline.specs import UNKNOWN, load_spec
from input_pipeline.transforms import Augmentation, EvaluationImage, TrainClip, TrainImage

VIEW = Augmentation((0.8, 1.0), flip=0.5)


def source(data_dir, name="videos", split="train"):
    return RecordSource(load_spec(f"moving_figures/tiny_{name}", data_dir), split)


def stream(records, batch_size=7, seed=1, **kwargs):
    transform = TrainClip(4, 2, 16, VIEW) if kwargs.pop("clips", False) else TrainImage(16, VIEW)
    options = {"num_threads": 2, "prefetch": 2, **kwargs}
    return train_stream(records, transform, batch_size=batch_size, seed=seed, **options)


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def equal(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_an_epoch_has_each_record_once_and_the_next_another_order(tiny_data_dir):
    batches = take(iter(stream(source(tiny_data_dir), batch_size=8)), 12)
    order = np.concatenate([batch["index"] for batch in batches])
    assert sorted(order[:48]) == sorted(order[48:]) == list(range(48))
    assert order[:48].tolist() != order[48:].tolist()


def test_threads_change_nothing_and_the_seed_does(tiny_data_dir):
    records = source(tiny_data_dir)
    one, many, other = (
        take(iter(stream(records, **kwargs)), 5)
        for kwargs in (
            {"num_threads": 1, "prefetch": 1},
            {"num_threads": 4, "prefetch": 4},
            {"seed": 2},
        )
    )
    assert all(map(equal, one, many))
    assert not any(map(equal, one, other))


def test_processes_share_an_epoch(tiny_data_dir):
    records = source(tiny_data_dir)
    parts = [
        take(iter(stream(records, batch_size=4, process_index=i, process_count=3)), 4)
        for i in range(3)
    ]
    seen = np.concatenate([batch["index"] for part in parts for batch in part])
    assert sorted(seen) == list(range(48))


def test_resuming_equals_not_stopping(tiny_data_dir):
    def both():
        return iter(
            zip_streams(
                {
                    "clip": stream(source(tiny_data_dir), batch_size=5, clips=True),
                    "image": stream(source(tiny_data_dir, "images"), batch_size=7),
                }
            )
        )

    whole = take(both(), 20)
    stopped = both()
    take(stopped, 11)  # in the middle of an epoch of both
    resumed = both()
    resumed.set_state(stopped.get_state())
    for expected, batch in zip(whole[11:], take(resumed, 9), strict=True):
        assert equal(expected["clip"], batch["clip"])
        assert equal(expected["image"], batch["image"])


def test_evaluation_sees_each_record_once_and_marks_the_filling(tiny_data_dir):
    batches = list(
        evaluation_batches(
            source(tiny_data_dir, split="test"),
            EvaluationImage(16, 1.0),
            views=3,
            batch_size=20,
            num_threads=2,
            prefetch=2,
        )
    )
    assert [len(batch["index"]) for batch in batches] == [20] * 4
    indices = np.concatenate([batch["index"] for batch in batches])
    assert indices.tolist() == np.repeat(np.arange(24), 3).tolist() + [-1] * 8


class Views(grain.transforms.Map):
    """Only says which view it was asked for."""

    def map(self, element):
        record, place, crop = element
        return {"index": np.int32(record.index), "view": np.array([place, crop])}


@pytest.mark.parametrize(
    ("views", "crops", "expected"),
    [
        (1, 1, [(0.5, 0.5)]),
        (2, 1, [(0.0, 0.5), (1.0, 0.5)]),
        (1, 3, [(0.5, 0.0), (0.5, 0.5), (0.5, 1.0)]),
        (2, 3, [(0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (1.0, 0.0), (1.0, 0.5), (1.0, 1.0)]),
    ],
)
def test_evaluation_pairs_each_place_with_each_crop(tiny_data_dir, views, crops, expected):
    options = {"batch_size": 6, "num_threads": 1, "prefetch": 1}
    records = source(tiny_data_dir, split="test")
    batches = list(evaluation_batches(records, Views(), views=views, crops=crops, **options))
    seen = np.concatenate([batch["view"] for batch in batches])[: 24 * len(expected)]
    assert seen.tolist() == [list(view) for view in expected] * 24
    indices = np.concatenate([batch["index"] for batch in batches])
    assert indices.tolist() == np.repeat(np.arange(24), len(expected)).tolist()


def test_pooled_records_keep_their_content(tiny_data_dir):
    videos, images = source(tiny_data_dir), source(tiny_data_dir, "images")
    pool = PooledSource([videos, images])
    assert len(pool) == 96
    assert pool[47].id == videos[47].id
    assert pool[48].id == images[0].id
    assert pool[95].index == 95
    assert pool[95].frames == images[47].frames


class Unlabelled:
    """The records of a source without their attributes, as those of UCF101 are."""

    def __init__(self, records):
        self._records = records

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return dataclasses.replace(self._records[index], attributes=np.zeros(0, np.int32))


def test_datasets_of_other_attributes_make_batches_together(tiny_data_dir):
    pool = PooledSource([Unlabelled(source(tiny_data_dir)), source(tiny_data_dir, "images")])
    batch = next(iter(stream(pool, batch_size=96)))
    assert sorted(batch["index"].tolist()) == list(range(96))
    assert batch["image"].shape == (96, 16, 16, 3)


def test_spec_and_errors(tiny_data_dir):
    spec = load_spec("moving_figures/tiny_videos", tiny_data_dir)
    assert spec.kind == "video"
    assert spec.split_sizes == {"train": 48, "validation": 24, "test": 24}
    assert len(spec.actions) == 8
    labels = np.stack([RecordSource(spec, "train")[i].attributes for i in range(48)])
    assert labels.shape == (48, len(spec.attributes))
    assert set(np.unique(labels)) <= {0, 1, UNKNOWN}
    with pytest.raises(DataError, match=r"no split 'dev'.*train \(48\)"):
        RecordSource(spec, "dev")
    with pytest.raises(DataError, match=r"input_pipeline\.build video_folder --source=DIR"):
        load_spec("video_folder/mine", tiny_data_dir)
    for name in ("", "/home/me/films", "../films", "films/*.mp4"):
        with pytest.raises(DataError, match=r"is no name of a dataset.* video_folder --source=DIR"):
            load_spec(name, tiny_data_dir)
