"""The embedded dataset: what is drawn, and what a frame, a mirror or a coarse picture keeps."""

import dataclasses

import numpy as np
import pytest

from input_pipeline.datasets.moving_figures import actions, clips, figures, scenes, subjects
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.domains import DOMAINS

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
