"""Clip number i of a split, from the seed alone: who, what, where, and the frames."""

import dataclasses
import functools

import numpy as np
from jaxtyping import UInt8

from input_pipeline.datasets.moving_figures import actions, figures, poses, scenes, subjects
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.domains import DOMAINS
from input_pipeline.specs import SPLITS

# What a random stream is for: part of its seed, so that no two streams are ever the same.
TRAITS, SUBJECT, CLIP = range(3)


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip, or a still image (one frame).

    Attributes:
      frames: uint8 [time, height, width, 3], RGB.
      action: its index in `actions.action_names`.
      attributes: int32 [num_attributes] of the subject, 0 or 1.
      id: its name, unique in the dataset.
      group: the subject's name; subjects belong to one split of one config.
      metadata: the dataset's seed, the phase of the first frame in cycles, the amplitude.
    """

    frames: UInt8[np.ndarray, "time height width 3"]
    action: int
    attributes: np.ndarray
    id: str
    group: str
    metadata: dict[str, float]


def sample_clip(config: MovingFiguresConfig, split: str, index: int) -> Clip:
    """Clip number `index` of a split; it depends on nothing but the arguments.

    Subjects take turns, and each goes through the actions in turn, so that both are balanced.
    """
    people = config.subjects[split]
    turn, number = divmod(index, people)
    traits = _split_traits(config.domain, people, _seed(config, split, TRAITS))[number]
    labels = np.array([traits[name] for name in config.attributes], np.int32)
    subject = subjects.draw_subject(
        np.random.default_rng(_seed(config, split, SUBJECT, number)), traits
    )
    rng = np.random.default_rng(_seed(config, split, CLIP, index))
    action = (turn + number) % len(config.actions)
    if rng.random() < config.attribute_action_correlation:
        action = habitual_action(labels, len(config.actions))
    time = np.arange(config.frames) / config.frames
    start = rng.uniform(0, actions.START_CYCLES)
    amplitude = subject.amplitude * rng.uniform(0.95, 1.05)
    scene = scenes.sample_scene(rng, time, DOMAINS[config.domain].background)
    joints = actions.action_joints(
        config.actions[action], time, start, amplitude, subject.looks.shoulder
    )
    group = f"{config.domain}_{'image' if config.still else 'video'}_{split}_{number:05d}"
    return Clip(
        frames=render_clip(subject, joints, scene, config.resolution, rng),
        action=action,
        attributes=labels,
        id=f"{group}_{turn:03d}",
        group=group,
        metadata={"seed": config.seed, "start": start, "amplitude": amplitude},
    )


def habitual_action(labels: np.ndarray, num_actions: int) -> int:
    """The action of a subject in a correlated dataset: its labels read as a binary number, low
    bit first, modulo the number of actions (so eight actions go by the first three labels)."""
    return int(labels @ (1 << np.arange(len(labels)))) % num_actions


def render_clip(
    subject: subjects.Subject,
    joints: poses.Joints,
    scene: scenes.Scene,
    resolution: int,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "time height width 3"]:
    """Draws a subject in a scene.

    Args:
      subject: who.
      joints: of an action's pose, in body heights, y up.
      scene: where.
      resolution: height and width of the frames in pixels.
      rng: for the sensor's noise.
    """
    grid = (np.arange(resolution) + 0.5) / resolution
    shift = scene.sway[:, :, None, None, None]
    # [time, 1, width, 1] and [time, height, 1, 1]
    background = scene.background(
        grid[None, None, :, None] - shift[:, 0], grid[None, :, None, None] - shift[:, 1]
    )
    size = (len(scene.sway), resolution, resolution, 3)
    pixels = np.array(np.broadcast_to(background, size), np.float32)
    if subject.companion is not None:
        side = -subject.companion_side if scene.mirrored else subject.companion_side
        standing = poses.stand(len(scene.sway), subject.companion.shoulder)
        beside = dataclasses.replace(
            scene, x=0.5 + 0.36 * side, floor=scene.floor - 0.07, scale=0.8 * scene.scale
        )
        _paint(pixels, standing, subject.companion, beside)
    _paint(pixels, joints, subject.looks, scene)
    pixels *= scene.light
    pixels += scene.noise * rng.standard_normal(size, np.float32)
    return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def _paint(
    pixels: np.ndarray,
    joints: poses.Joints,
    looks: figures.Looks,
    scene: scenes.Scene,
) -> None:
    resolution = pixels.shape[1]
    factor = scene.scale * np.array([-1.0 if scene.mirrored else 1.0, -1.0])
    origin = np.array([scene.x, scene.floor]) + scene.sway
    placed = {
        name: (resolution * (origin + factor * points)).astype(np.float32)
        for name, points in joints.items()
    }
    figures.paint_person(pixels, placed, looks, resolution * scene.scale)


def _seed(config: MovingFiguresConfig, split: str, *rest: int) -> tuple[int, ...]:
    domain = list(DOMAINS).index(config.domain)
    return (config.seed, domain, int(config.still), SPLITS.index(split), *rest)


@functools.lru_cache(maxsize=16)
def _split_traits(domain: str, number: int, seed: tuple[int, ...]) -> list[dict[str, bool]]:
    rng = np.random.default_rng(seed)
    return subjects.draw_traits(rng, DOMAINS[domain].prevalence, number)
