"""The datasets of a run: which ones the config names, and what is refused before any training."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from anon_jax.errors import ConfigError
from anon_jax.phases.datasets import (
    Attacked,
    Datasets,
    attacked_attributes,
    check_datasets,
    ensure_datasets,
)
from configs import demo
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures
from input_pipeline.errors import DataError
from input_pipeline.specs import UNKNOWN, load_spec

ATTRIBUTES = MovingFiguresConfig(name="any").attributes


class OneSided(MovingFigures):
    """Clips of which the test split has no attribute of both kinds."""

    def _generate_examples(self, split):
        for index, (key, example) in enumerate(super()._generate_examples(split)):
            if split == "test":
                example["attributes"] = np.full(len(ATTRIBUTES), UNKNOWN, np.int32)
                example["attributes"][:2] = 0, 1
                example["attributes"][2] = 0 if index else UNKNOWN
            yield key, example


@pytest.fixture(scope="module")
def one_sided(tmp_path_factory):
    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("one_sided")
    config = MovingFiguresConfig(
        name="few",
        frames=4,
        clips={"train": 8, "validation": 8, "test": 4},
        subjects={"train": 4, "validation": 4, "test": 4},
    )
    builder = OneSided(config=config, data_dir=directory, file_format="array_record")
    builder.download_and_prepare()
    return load_spec("one_sided/few", directory)


def config(data_dir, **attack):
    found = demo.get_config()
    found.data.data_dir = str(data_dir)
    found.data.videos = "moving_figures/tiny_videos"
    found.data.images = "moving_figures/tiny_images"
    found.attack.update(attack)
    return found


VIDEOS, IMAGES = "moving_figures/tiny_videos", "moving_figures/tiny_images"


@pytest.mark.parametrize(
    ("images", "attack", "expected"),
    [
        (IMAGES, {}, (VIDEOS, IMAGES, VIDEOS, IMAGES)),
        ("", {}, (VIDEOS, VIDEOS, VIDEOS, VIDEOS)),
        (IMAGES, {"videos": "other"}, (VIDEOS, IMAGES, "other", IMAGES)),
        (IMAGES, {"images": "other"}, (VIDEOS, IMAGES, VIDEOS, "other")),
        # Without images, the attackers too take frames of their videos.
        ("", {"videos": "other"}, (VIDEOS, VIDEOS, "other", "other")),
    ],
)
def test_attackers_take_the_training_datasets_unless_others_are_named(
    tiny_data_dir, monkeypatch, images, attack, expected
):
    known = {name: load_spec(name, tiny_data_dir) for name in (VIDEOS, IMAGES)}
    known["other"] = dataclasses.replace(known[VIDEOS], name="other")
    monkeypatch.setattr("anon_jax.phases.datasets.ensure_dataset", lambda name, _: known[name])
    fields = config(tiny_data_dir, **attack)
    fields.data.images = images
    names = ensure_datasets(fields).names()
    assert names == dict(
        zip(("videos", "images", "attack_videos", "attack_images"), expected, strict=True)
    )


def test_still_images_are_no_videos(tiny_data_dir):
    fields = config(tiny_data_dir, videos=IMAGES)
    message = r"config\.attack\.videos is 'moving_figures/tiny_images', a dataset of still images"
    with pytest.raises(ConfigError, match=message):
        check_datasets(fields, ensure_datasets(fields))


def with_shortest(data_dir, shortest):
    spec = dataclasses.replace(load_spec(VIDEOS, data_dir), shortest=shortest)
    return Datasets(spec, spec, spec, spec)


def test_short_videos_are_named_before_any_training(tiny_data_dir):
    fields = config(tiny_data_dir)
    found = with_shortest(tiny_data_dir, {"train": 10, "validation": 10, "test": 10})
    fields.data.num_frames = 10
    check_datasets(fields, found)
    fields.data.num_frames = 11
    with pytest.raises(ConfigError) as caught:
        check_datasets(fields, found)
    assert re.search(r"'train' of 'moving_figures/tiny_videos'.*\(10\)", str(caught.value))
    assert "and 43 more" in str(caught.value)  # 48 videos, of which 5 are named
    assert "config.data.repeat_short_videos=True" in str(caught.value)
    fields.data.repeat_short_videos = True
    check_datasets(fields, found)


@pytest.mark.parametrize(
    ("phases", "refused"),
    [
        (("minimax",), "train"),
        (("evaluate_action",), "train"),
        (("reconstruct", "pretrain_privacy", "evaluate_privacy", "report"), None),
    ],
)
def test_only_phases_with_clips_need_long_videos(tiny_data_dir, phases, refused):
    fields = config(tiny_data_dir)
    fields.data.num_frames = 11
    fields.phases = phases
    found = with_shortest(tiny_data_dir, {"train": 10, "validation": 20, "test": 20})
    if refused:
        with pytest.raises(ConfigError, match=f"the split '{refused}'"):
            check_datasets(fields, found)
    else:
        check_datasets(fields, found)


def test_a_method_without_minimax_training_needs_long_videos_for_the_attack_only(tiny_data_dir):
    fields = config(tiny_data_dir)
    fields.data.num_frames = 11
    fields.method = "raw"
    found = with_shortest(tiny_data_dir, {"train": 10, "validation": 20, "test": 20})
    long = dataclasses.replace(found.videos, shortest={"train": 20, "validation": 20, "test": 20})
    check_datasets(fields, dataclasses.replace(found, attack_videos=long))


def test_attributes_of_one_class_are_refused_before_any_training(one_sided):
    fields = config("")
    fields.data.num_frames = 4
    found = Datasets(one_sided, one_sided, one_sided, one_sided)
    with pytest.raises(ConfigError) as caught:
        check_datasets(fields, found)
    message = str(caught.value)
    assert "on the split 'test' of 'one_sided/few'" in message
    first, second, third, fourth, *_ = ATTRIBUTES
    assert f"{first} is always 0, {second} is always 1, {third} is always 0" in message
    assert f"{fourth} is unlabelled" in message
    assert "config.attack" in message
    fields.phases = ("minimax", "evaluate_action")
    check_datasets(fields, found)


def test_a_dataset_without_attributes_is_refused(one_sided):
    bare = dataclasses.replace(one_sided, name="bare", attributes=())
    fields = config("")
    with pytest.raises(ConfigError, match=r"'videos', but 'bare' has no attributes.*attack\.vid"):
        attacked_attributes(fields, Datasets(one_sided, one_sided, bare, one_sided))


def test_attributes_may_be_tested_on_another_dataset(tiny_data_dir, one_sided):
    fields = config(tiny_data_dir)
    fields.evaluate_privacy.source = "images"
    fields.attack.tested_attributes = VIDEOS
    found = ensure_datasets(fields)
    images, videos = (load_spec(name, tiny_data_dir) for name in (IMAGES, VIDEOS))
    assert found.names()["tested_attributes"] == VIDEOS
    attacked = attacked_attributes(fields, found)
    assert attacked == Attacked(images, videos)
    assert attacked.splits() == [(images, "train"), (images, "validation"), (videos, "test")]
    check_datasets(fields, found)
    # Its labels count, and not those of the test split beside the records that are learned.
    other = dataclasses.replace(found, tested_attributes=one_sided)
    with pytest.raises(ConfigError, match="on the split 'test' of 'one_sided/few'"):
        check_datasets(fields, other)
    fields.evaluate_privacy.networks = ("resnet_tiny", "i3d_tiny")
    message = r"i3d_tiny, which sees clips.*tiny_images'.*leave it out of config\.evaluate_privacy"
    with pytest.raises(ConfigError, match=message):
        check_datasets(fields, found)
    # Nor where frames are tested on that clips are learned of.
    fields.evaluate_privacy.source = "videos"
    with pytest.raises(ConfigError, match=message):
        check_datasets(fields, dataclasses.replace(found, tested_attributes=images))


def test_clips_of_attributes_need_long_videos(tiny_data_dir):
    fields = config(tiny_data_dir)
    fields.data.num_frames = 11
    fields.phases = ("evaluate_privacy",)
    long = {"train": 20, "validation": 20, "test": 20}
    found = with_shortest(tiny_data_dir, long)
    short = dataclasses.replace(found.videos, name="short", shortest={**long, "test": 10})
    found = dataclasses.replace(found, tested_attributes=short)
    check_datasets(fields, found)  # frames alone
    fields.evaluate_privacy.networks = ("i3d_tiny",)
    with pytest.raises(ConfigError, match="the split 'test' of 'short' have fewer frames"):
        check_datasets(fields, found)


def test_attributes_that_are_not_the_learned_ones_are_refused(tiny_data_dir):
    fields = config(tiny_data_dir)
    found = ensure_datasets(fields)
    others = dataclasses.replace(found.videos, name="others", attributes=("hat", "bag"))
    with pytest.raises(ConfigError, match="is 'others', whose attributes are hat, bag; attackers"):
        check_datasets(fields, dataclasses.replace(found, tested_attributes=others))


def test_a_missing_split_is_found_before_any_training(one_sided):
    sizes = {"train": 8, "test": 4}
    without = dataclasses.replace(one_sided, split_sizes=sizes)
    fields = config("")
    fields.data.num_frames = 4
    fields.phases = ("evaluate_action",)
    with pytest.raises(DataError, match="no split 'validation'"):
        check_datasets(fields, Datasets(one_sided, one_sided, without, one_sided))


def test_the_shortest_videos_are_read_from_the_metadata(one_sided):
    path = one_sided.path / "metadata.json"
    before = path.read_text()
    try:
        path.write_text('{"attributes": ["a"], "shortest_video": {"train": 7, "test": 9}}')
        spec = load_spec(one_sided.name, one_sided.path.parents[2])
        path.write_text('{"attributes": ["a"]}')
        older = load_spec(one_sided.name, one_sided.path.parents[2])
    finally:
        path.write_text(before)
    assert spec.shortest == {"train": 7, "test": 9}
    assert older.shortest is None
