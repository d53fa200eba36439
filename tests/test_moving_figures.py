"""The embedded dataset: what is drawn, what a frame gives away, and what lies on disk."""

import dataclasses
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from input_pipeline.datasets.moving_figures import actions, clips, figures, scenes, subjects
from input_pipeline.datasets.moving_figures.domains import DOMAINS
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import (
    MovingFigures,
    MovingFiguresConfig,
)
from input_pipeline.records import Record, RecordSource
from input_pipeline.specs import SPLITS, load_spec

CLIPS = {"train": 80, "validation": 20, "test": 40}
PEOPLE = {"train": 40, "validation": 10, "test": 20}
BACKDROP = np.array([1.0, 0.0, 1.0])  # a colour that nobody wears


def config(**fields) -> MovingFiguresConfig:
    defaults = {"name": "tiny", "description": "For tests.", "clips": CLIPS, "subjects": PEOPLE}
    return MovingFiguresConfig(**(defaults | fields))


def plain_scene(**fields) -> scenes.Scene:
    """Nothing but the figure: no camera motion, no noise."""
    still = scenes.Scene(
        background=lambda x, y: np.broadcast_to(
            BACKDROP, np.broadcast_shapes(x.shape, y.shape, (3,))
        ),
        x=0.5,
        floor=0.96,
        scale=0.84,
        sway=np.zeros((16, 2)),
        mirrored=False,
        light=1.0,
        noise=0.0,
    )
    return dataclasses.replace(still, **fields)


def plain_clip(
    action: str, *, start=0.3, amplitude=1.0, resolution=32, traits=(), scene=None
) -> np.ndarray:
    """Frames [16, resolution, resolution, 3] of somebody with the traits, as float."""
    subject = subjects.draw_subject(np.random.default_rng(3), dict.fromkeys(traits, True))
    joints = actions.action_joints(
        action, np.arange(16) / 16, start, amplitude, subject.looks.shoulder
    )
    rng = np.random.default_rng(0)
    frames = clips.render_clip(subject, joints, scene or plain_scene(), resolution, rng)
    return frames.astype(float)


def pool(frames: np.ndarray, factor: int) -> np.ndarray:
    time, height, width, channels = frames.shape
    # [T, H, W, 3] -> [T, H/f, f, W/f, f, 3] -> means [T, H/f, W/f, 3]
    blocks = frames.reshape(time, height // factor, factor, width // factor, factor, channels)
    return blocks.mean((2, 4))


ALL_ACTIONS = [
    name
    for domain in DOMAINS.values()
    for pair in actions.PAIRS
    for name in actions.action_names(domain.manifolds, pair)
]


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


def test_capsule_covers_its_area():
    pixels = np.zeros((1, 40, 40, 3), np.float32)
    start, end = np.array([[10.3, 12.1]]), np.array([[26.3, 24.1]])  # 16 and 12 apart: length 20
    figures.paint_capsule(pixels, start, end, radius=3.0, colour=(1.0, 0.5, 0.0))
    area = np.pi * 3.0**2 + 2 * 3.0 * 20
    # Antialiasing by the distance at the pixel's centre is exact to about 1 % at this size.
    np.testing.assert_allclose(pixels.sum((0, 1, 2)), [area, 0.5 * area, 0.0], rtol=0.01)
    assert pixels[0, 18, 18].tolist() == [1.0, 0.5, 0.0]


def test_capsule_outside_the_frame_changes_nothing():
    pixels = np.full((1, 8, 8, 3), 0.5, np.float32)
    figures.paint_capsule(pixels, np.array([[-9.0, 3.0]]), np.array([[-5.0, 3.0]]), 2.0, (1, 1, 1))
    assert (pixels == 0.5).all()


def test_clip_depends_on_nothing_but_its_number():
    clip = clips.sample_clip(config(), "train", 45)
    clips._split_traits.cache_clear()
    clips.sample_clip(config(), "test", 3)
    again = clips.sample_clip(config(), "train", 45)
    np.testing.assert_array_equal(again.frames, clip.frames)
    assert (again.id, again.action) == (clip.id, clip.action) == ("a_video_train_00005_001", 6)
    for other, split, index in ((config(), "train", 5), (config(), "test", 45 % 40)):
        assert (clips.sample_clip(other, split, index).frames != clip.frames).mean() > 0.5
    reseeded = clips.sample_clip(config(seed=1), "train", 45)
    assert (reseeded.frames != clip.frames).mean() > 0.5


def test_resolution_changes_the_detail_only():
    small = plain_clip("squat_slow", traits=("glasses", "stripes"))
    large = plain_clip("squat_slow", traits=("glasses", "stripes"), resolution=128)
    # Edges are antialiased by distance instead of area: a few of 255 levels on average.
    assert np.abs(pool(large, 4) - small).mean() < 2.5


@pytest.mark.parametrize("name", ALL_ACTIONS)
def test_figure_fills_the_height_in_every_frame(name):
    # The smallest body that is drawn (scale .84), at the largest amplitude (1.05 * 1.05).
    frames = plain_clip(name, amplitude=1.1, resolution=64)
    inside = np.abs(frames - 255 * BACKDROP).max((2, 3)) > 64  # [time, row]: something there
    heights = [np.ptp(np.flatnonzero(rows)) + 1 for rows in inside]
    assert min(heights) >= 0.7 * 64
    assert inside[:, :2].sum() == 0  # and nothing sticks out at the top


@pytest.mark.parametrize("pair", actions.PAIRS)
@pytest.mark.parametrize("manifold", actions.MANIFOLDS)
def test_single_frames_hide_the_programme(manifold, pair):
    # All starts that can be drawn, evenly: 2,000 of them.
    starts = np.arange(2000) / 2000 * actions.START_CYCLES
    first, second = (
        actions.MANIFOLDS[manifold].pose(actions.PROGRAMMES[programme](0.8, starts), 1.0, 0.1)
        for programme in actions.PAIRS[pair]
    )
    spread = 0.0
    for joint in first:
        # Equal distributions: equal quantiles, up to the distance of neighbouring starts.
        np.testing.assert_allclose(
            np.sort(first[joint], axis=0), np.sort(second[joint], axis=0), atol=2e-3
        )
        spread = max(spread, np.ptp(first[joint], axis=0).max())
    assert spread > 0.05


def test_start_is_uniform_whatever_the_programme():
    few = config(clips={"train": 640}, subjects={"train": 40}, resolution=8, frames=2, pair="tempo")
    drawn = [clips.sample_clip(few, "train", index) for index in range(640)]
    for programme in range(2):
        phases = [c.metadata["start"] % 1 for c in drawn if c.action % 2 == programme]
        # Kolmogorov and Smirnov's distance of 320 uniform values stays below 1.95 / sqrt(320)
        # with probability .999.
        ranks = np.arange(1, len(phases) + 1) / len(phases)
        assert len(phases) == 320
        assert np.abs(np.sort(phases) - ranks).max() < 1.95 / np.sqrt(320)


@pytest.mark.parametrize("name", ALL_ACTIONS)
def test_mirrored_frames_are_frames_of_the_same_action(name):
    everything = ("bag", "second_person", "long_hair", "hat", "beard")
    right = plain_clip(name, traits=everything, scene=plain_scene(x=0.53))
    left = plain_clip(name, traits=everything, scene=plain_scene(x=0.47, mirrored=True))
    np.testing.assert_allclose(left, right[:, :, ::-1], atol=1)  # 1: rounding to whole levels


def test_scenes_are_mirrored_half_of_the_time():
    rng = np.random.default_rng(0)
    mirrored = [scenes.sample_scene(rng, np.zeros(1), "room").mirrored for _ in range(400)]
    assert 0.4 < np.mean(mirrored) < 0.6  # four standard deviations


def test_direction_leaves_out_what_a_mirror_turns_around():
    names = actions.action_names(DOMAINS["a"].manifolds, "direction")
    assert names[:2] == ("one_arm_wave_forwards", "one_arm_wave_backwards")
    assert len(names) == 6
    assert not any(name.startswith("drum") for name in names)


@pytest.mark.parametrize(("fine", "coarse"), [("drum", "two_arm_wave"), ("hand_roll", "kick")])
def test_fine_motion_vanishes_in_a_coarse_picture(fine, coarse):
    def difference(manifold: str, factor: int) -> float:
        slow, fast = (plain_clip(f"{manifold}_{tempo}") for tempo in ("slow", "fast"))
        return float(np.sqrt(((pool(slow, factor) - pool(fast, factor)) ** 2).mean()))

    # Root mean squares over the whole picture, of 255 levels; a least bit is 1.
    assert difference(fine, 1) > 8
    assert difference(fine, 8) < 2
    assert difference(fine, 1) > 6 * difference(fine, 8)
    assert difference(coarse, 1) < 4 * difference(coarse, 8)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_attribute_can_be_seen(domain):
    for name in DOMAINS[domain].attributes:
        still = plain_clip("march_slow")
        # Amplitude is drawn from the same stream: the same person, with the attribute.
        shown = plain_clip("march_slow", traits=(name,))
        if name == "large_motion":
            drawn = [
                subjects.draw_subject(np.random.default_rng(seed), {name: large}).amplitude
                for large in (False, True)
                for seed in range(20)
            ]
            assert max(drawn[:20]) + 0.2 < min(drawn[20:])
        else:
            changed = np.abs(shown - still).max(-1) > 40  # of 255 levels
            assert changed.sum((1, 2)).min() >= 5, name  # pixels of each frame


def test_traits_have_their_share_and_are_independent():
    prevalence = {"glasses": 0.35, "hat": 0.5}
    traits = subjects.draw_traits(np.random.default_rng(0), prevalence, 2000)
    columns = np.array([[row["glasses"], row["hat"]] for row in traits])
    assert columns.sum(0).tolist() == [700, 1000]
    # The correlation of 2,000 independent pairs has a standard deviation of .022.
    assert abs(np.corrcoef(columns.T)[0, 1]) < 0.08


def test_actions_are_balanced_or_tied_to_the_attributes():
    small = {"resolution": 8, "frames": 2}
    drawn = [clips.sample_clip(config(**small), "train", index) for index in range(80)]
    assert np.bincount([clip.action for clip in drawn]).tolist() == [10] * 8
    tied = config(**small, attribute_action_correlation=1.0)
    for index in range(80):
        clip = clips.sample_clip(tied, "train", index)
        skin, glasses, stripes = clip.attributes[:3]
        assert clip.action == skin + 2 * glasses + 4 * stripes


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
