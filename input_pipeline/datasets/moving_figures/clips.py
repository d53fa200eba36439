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


@dataclasses.dataclass(frozen=True)
class Plan:
    """A clip before it is drawn.

    Attributes:
      subject: who.
      joints: of the action's pose in every frame, in body heights, y up.
      scene: where.
      action, attributes, id, group, metadata: as in `Clip`.
    """

    subject: subjects.Subject
    joints: poses.Joints
    scene: scenes.Scene
    action: int
    attributes: np.ndarray
    id: str
    group: str
    metadata: dict[str, float]


def sample_clip(config: MovingFiguresConfig, split: str, index: int) -> Clip:
    """Clip number `index` of a split; it depends on nothing but the arguments.

    Subjects take turns, and each goes through the actions in turn, so that both are balanced.
    """
    plan, rng = _plan(config, split, index)
    return Clip(
        frames=render_clip(plan.subject, plan.joints, plan.scene, config.resolution, rng),
        action=plan.action,
        attributes=plan.attributes,
        id=plan.id,
        group=plan.group,
        metadata=plan.metadata,
    )


def plan_clip(config: MovingFiguresConfig, split: str, index: int) -> Plan:
    """What `sample_clip` draws."""
    plan, _ = _plan(config, split, index)
    return plan


def _plan(config: MovingFiguresConfig, split: str, index: int) -> tuple[Plan, np.random.Generator]:
    """The plan, and its random stream, from which the noise of the frames comes next."""
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
    plan = Plan(
        subject=subject,
        joints=joints,
        scene=scene,
        action=action,
        attributes=labels,
        id=f"{group}_{turn:03d}",
        group=group,
        metadata={"seed": config.seed, "start": start, "amplitude": amplitude},
    )
    return plan, rng


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
    for person in place_people(subject, joints, scene, resolution):
        figures.paint_person(pixels, person)
    pixels *= scene.light
    pixels += scene.noise * rng.standard_normal(size, np.float32)
    return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def place_people(
    subject: subjects.Subject, joints: poses.Joints, scene: scenes.Scene, resolution: int
) -> list[figures.Person]:
    """The people in the frames of `render_clip`: the companion, if there is one, then the subject.

    Arguments are those of `render_clip`.
    """
    people = []
    if subject.companion is not None:
        side = -subject.companion_side if scene.mirrored else subject.companion_side
        standing = poses.stand(len(scene.sway), subject.companion.shoulder)
        beside = dataclasses.replace(
            scene, x=0.5 + 0.36 * side, floor=scene.floor - 0.07, scale=0.8 * scene.scale
        )
        people.append(_place(standing, subject.companion, beside, resolution))
    people.append(_place(joints, subject.looks, scene, resolution))
    return people


def _place(
    joints: poses.Joints, looks: figures.Looks, scene: scenes.Scene, resolution: int
) -> figures.Person:
    factor = scene.scale * np.array([-1.0 if scene.mirrored else 1.0, -1.0])
    origin = np.array([scene.x, scene.floor]) + scene.sway
    placed = {
        name: (resolution * (origin + factor * points)).astype(np.float32)
        for name, points in joints.items()
    }
    return figures.Person(joints=placed, looks=looks, scale=resolution * scene.scale)


def _seed(config: MovingFiguresConfig, split: str, *rest: int) -> tuple[int, ...]:
    domain = list(DOMAINS).index(config.domain)
    return (config.seed, domain, int(config.still), SPLITS.index(split), *rest)


@functools.lru_cache(maxsize=16)
def _split_traits(domain: str, number: int, seed: tuple[int, ...]) -> list[dict[str, bool]]:
    rng = np.random.default_rng(seed)
    return subjects.draw_traits(rng, DOMAINS[domain].prevalence, number)
