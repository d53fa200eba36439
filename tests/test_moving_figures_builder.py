"""The embedded dataset on disk: records, people, shares, colours, and the builder's configs."""

import sys
import tempfile

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from input_pipeline.datasets.moving_figures import actions, clips
from input_pipeline.datasets.moving_figures.domains import DOMAINS
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import (
    MovingFigures,
    MovingFiguresConfig,
)
from input_pipeline.records import Record, RecordSource
from input_pipeline.specs import SPLITS, load_spec

CLIPS = {"train": 80, "validation": 20, "test": 40}
PEOPLE = {"train": 40, "validation": 10, "test": 20}


def config(**fields) -> MovingFiguresConfig:
    defaults = {"name": "tiny", "description": "For tests.", "clips": CLIPS, "subjects": PEOPLE}
    return MovingFiguresConfig(**(defaults | fields))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("figures")
    for fields in ({"name": "clips_a"}, {"name": "stills_a", "still": True, "frames": 1}):
        builder = MovingFigures(config=config(**fields), data_dir=directory)
        builder.download_and_prepare(file_format="array_record")
    return directory


def records(data_dir, name: str, split: str) -> list[Record]:
    source = RecordSource(load_spec(f"moving_figures/{name}", data_dir), split)
    return [source[i] for i in range(len(source))]


def decode(jpeg: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1), cv2.COLOR_BGR2RGB)


def test_records_are_complete(data_dir):
    spec = load_spec("moving_figures/clips_a", data_dir)
    assert spec.split_sizes == CLIPS
    assert spec.actions == actions.action_names(DOMAINS["a"].manifolds, "tempo")
    assert spec.attributes == DOMAINS["a"].attributes
    assert load_spec("moving_figures/stills_a", data_dir).kind == "image"
    names, people = set(), set()
    for name in ("clips_a", "stills_a"):
        for split in SPLITS:
            found = records(data_dir, name, split)
            assert {len(record.frames) for record in found} == {16 if name == "clips_a" else 1}
            groups = {record.group for record in found}
            assert len(groups) == PEOPLE[split]
            assert not groups & people, "nobody is in two splits or in clips and images"
            people |= groups
            names |= {record.id for record in found}
    assert len(names) == 2 * sum(CLIPS.values())
    assert "tensorflow" not in sys.modules


def test_attributes_belong_to_people_and_have_their_share(data_dir):
    domain = DOMAINS["a"]
    for name in ("clips_a", "stills_a"):
        by_person: dict[str, set] = {}
        for record in records(data_dir, name, "train"):
            by_person.setdefault(record.group, set()).add(tuple(record.attributes))
        assert {len(labels) for labels in by_person.values()} == {1}
        shares = np.mean([labels.pop() for labels in by_person.values()], axis=0)
        expected = [domain.prevalence[attribute] for attribute in domain.attributes]
        np.testing.assert_allclose(shares, expected, atol=0.5 / 40)  # half a person of 40


def test_stored_frames_are_rgb(data_dir):
    column = DOMAINS["a"].attributes.index("warm_clothes")
    redness: dict[int, list[float]] = {0: [], 1: []}
    for record in records(data_dir, "clips_a", "train"):
        image = decode(record.frames[0]).astype(float)
        shirt = image[14:19, 14:18].mean((0, 1))
        redness[int(record.attributes[column])].append(shirt[0] - shirt[2])
    assert np.mean(redness[1]) > 30  # of 255 levels
    assert np.mean(redness[0]) < -30
    record = records(data_dir, "clips_a", "test")[0]
    turn, number = int(record.id[-3:]), int(record.group[-5:])
    drawn = clips.sample_clip(config(), "test", PEOPLE["test"] * turn + number)
    stored = np.array([decode(frame) for frame in record.frames], float)
    assert (record.id, record.action) == (drawn.id, drawn.action)
    # JPEG of quality 95 costs about 3 levels here; swapped channels would cost over 20.
    assert np.abs(stored - drawn.frames).mean() < 5
    assert np.abs(stored - drawn.frames[..., ::-1]).mean() > 10


def test_tfds_reads_what_it_wrote(data_dir):
    path = load_spec("moving_figures/stills_a", data_dir).path
    example = tfds.builder_from_directory(path).as_data_source("test")[0]
    assert example["image"].shape == (32, 32, 3)
    assert example["image"].dtype == np.uint8
    assert example["attributes"].shape == (8,)


def test_a_builder_leaves_no_temporary_folder(tmp_path, monkeypatch):
    """TFDS makes one where it looks for metadata of datasets that are not built yet."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert MovingFigures(config=config(), data_dir=tmp_path).info.splits == {}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_default_configs():
    configs = {known.name: known for known in MovingFigures.BUILDER_CONFIGS}
    assert list(configs) == ["videos", "images", "videos_b", "images_b"]
    assert configs["videos"].clips == {"train": 2400, "validation": 300, "test": 600}
    assert configs["images"].subjects["train"] == 2000
    assert not set(configs["videos"].actions) & set(configs["videos_b"].actions)
    assert not set(configs["images"].attributes) & set(configs["images_b"].attributes)
    for known in configs.values():
        assert len(known.actions) == 8
        clip = clips.sample_clip(known, "validation", 299)
        assert clip.frames.shape == (known.frames, 32, 32, 3)
    assert "content.data-type.video" in MovingFigures.get_metadata().tags


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"domain": "c"}, "Unknown domain 'c'; known: a, b"),
        ({"pair": "speed"}, "Unknown pair of programmes 'speed'; known: tempo, direction"),
        ({"clips": {"dev": 1}}, r"unknown split \['dev'\]; known: train, validation, test"),
        ({"subjects": {"train": 81}}, r"subjects\['train'\] = 81 must lie between 1 and"),
        ({"still": True}, "frames = 16, but a still image has 1"),
        ({"attribute_action_correlation": 1.5}, r"a probability in \[0, 1\], not 1.5"),
    ],
)
def test_impossible_configs_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        config(**fields)
